"""Tests for L{decnet_syslog.outputs._fileoutput} and L{decnet_syslog.outputs._file}."""

from __future__ import annotations

import errno
import gzip
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.journal._values import Batch, Cursor, FileLength
from decnet_syslog.outputs import _deleted as outputdeleted
from decnet_syslog.outputs._deleted import MOVING_S
from decnet_syslog.outputs._options import OUTPUT_EVENTS
from decnet_syslog.outputs._rendering import RAW, renderRaw
from decnet_syslog.wire._provenance import Provenance

from ..doubles import makeOutput


def batch(seq: int, octets: bytes, worker: str = "w1") -> Batch:
    """A committed batch of lines."""
    provenance = Provenance(
        worker, "f", "a", "2026-04-18T00:00:00.000000Z", None, False
    )
    return Batch(seq, provenance, None, 0, 0, 0, octets, None, None)


def booted() -> AbstractContextManager[mock.MagicMock]:
    """The machine was rebooted since the files were last written."""
    return mock.patch("decnet_syslog.outputs._file.bootId", return_value="another boot")


class OutputTestCase(SynchronousTestCase):
    """An output in a directory, and the cursor that a journal would store for it."""

    template = "master.log"

    passed = 0.0

    def longAgo(self, seconds: float = 5 * MOVING_S) -> None:
        """Let time pass for the files, as if everything so far had happened long ago."""
        self.passed += seconds

    def setUp(self) -> None:
        clock = SimpleNamespace(
            monotonic=lambda: time.monotonic() + self.passed, time=time.time
        )
        self.patch(outputdeleted, "time", clock)
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "master.log"
        self.events: list[str] = []
        self.cursor = Cursor("", 0, {})
        self.start()

    def start(self) -> None:
        """Start the output with the saved cursor."""
        path = self.directory / self.template
        self.output = makeOutput(self, path, RAW, self.event)
        self.output.start(self.cursor)

    def event(self, name: str, **facts: Any) -> None:
        # There is a log text for each event, and its fields are present.
        OUTPUT_EVENTS[name][1].format(**facts)
        self.events.append(name)

    def save(self, cursor: Cursor) -> None:
        """Save the cursor like the journal."""
        files: dict[str, FileLength] = {**self.cursor.files, **cursor.files}
        self.cursor = Cursor(cursor.output, cursor.seq, files)

    def apply(self, *batches: Batch) -> None:
        """Apply batches like a feed."""
        while (barrier := self.output.apply(batches)) is not None:
            self.save(barrier)

    def crash(self) -> None:
        """Die without a clean stop and start again."""
        self.output.close()
        self.start()

    def read(self, name: str = "master.log") -> bytes:
        return (self.directory / name).read_bytes()


class CrashTests(OutputTestCase):
    """A batch is in the file once, whichever process died."""

    def test_batchesAreAppended(self) -> None:
        """Batches are appended in order."""
        self.apply(batch(1, b"a\n"), batch(2, b"b\n"))
        self.apply(batch(3, b"c\n"))
        self.assertEqual(self.read(), b"a\nb\nc\n")
        self.assertEqual(self.output.sync().seq, 3)

    def test_killedBeforeCursor(self) -> None:
        """
        A batch that was written but not yet counted by the cursor is not written again.
        """
        self.apply(batch(1, b"a\n"))
        self.crash()
        self.apply(batch(1, b"a\n"), batch(2, b"b\n"))
        self.assertEqual(self.read(), b"a\nb\n")

    def test_killedTwice(self) -> None:
        """
        If the cursor advances over octets that a killed process wrote, it counts them.
        """
        self.apply(batch(1, b"a\n"))
        self.crash()
        self.apply(batch(1, b"a\n"))
        self.save(self.output.sync())
        self.assertEqual(self.cursor.seq, 1)
        self.crash()
        self.apply(batch(2, b"b\n"))
        self.assertEqual((self.read(), self.events), (b"a\nb\n", []))

    def test_killedInTheMiddle(self) -> None:
        """A half-written line is completed."""
        self.apply(batch(1, b"first\n"))
        self.save(self.output.sync())
        with open(self.path, "ab") as file:
            file.write(b"sec")
        self.crash()
        self.apply(batch(2, b"second\n"))
        self.assertEqual(self.read(), b"first\nsecond\n")

    @settings(deadline=None, derandomize=True, database=None, max_examples=60)
    @given(st.integers(0, 40), st.integers(1, 3))
    def test_killedAnywhere(self, written: int, group: int) -> None:
        """
        Killed at any octet, and with any grouping of the batches afterwards, every line
        is in the file once.
        """
        self.path.unlink()
        self.cursor = Cursor("", 0, {})
        self.crash()
        batches = [batch(n, b"line %d of some\n" % n) for n in range(1, 4)]
        whole = b"".join([b.octets for b in batches])
        barrier = self.output.apply(batches[:1])
        assert barrier is not None
        self.save(barrier)
        self.path.write_bytes(whole[:written])
        self.crash()
        for at in range(0, 3, group):
            self.apply(*batches[at : at + group])
        self.assertEqual(self.read(), whole)

    def test_zerosOfAPowerCut(self) -> None:
        """After a reboot, zeros in place of written octets are overwritten."""
        self.apply(batch(1, b"first\n"))
        self.save(self.output.sync())
        with open(self.path, "ab") as file:
            file.write(b"sec\0\0\0\0")
        self.crash()
        with booted():
            self.apply(batch(2, b"second\n"))
        self.assertEqual(self.read(), b"first\nsecond\n")
        self.assertEqual(self.events, ["output-mended"])

    def test_foreignZerosAreKept(self) -> None:
        """Without a reboot, zeros did not come from a power cut and are kept."""
        for number, theirs in enumerate((b"\0" * 7, b"sec\0\0\0\0", b"\0" * 4096)):
            with self.subTest(theirs=theirs):
                seq = 2 * number
                self.apply(batch(seq + 1, b"first\n"))
                self.save(self.output.sync())
                before = self.read()
                with open(self.path, "ab") as file:
                    file.write(theirs)
                self.crash()
                self.apply(batch(seq + 2, b"second\n"))
                self.assertEqual(self.read(), before + theirs + b"\nsecond\n")
                self.save(self.output.sync())

    def test_foreignOctetsAreKept(self) -> None:
        """
        Octets that another program appended are kept, and all our lines are written.
        """
        self.apply(batch(1, b"first\n"))
        self.save(self.output.sync())
        with open(self.path, "ab") as file:
            file.write(b"not ours")
        self.crash()
        self.apply(batch(2, b"second\n"))
        self.assertEqual(self.read(), b"first\nnot ours\nsecond\n")
        self.assertIn("output-unlike", self.events)

    def test_existingFile(self) -> None:
        """An existing file is appended to."""
        self.output.close()
        self.path.write_bytes(b"old\n")
        self.events.clear()
        self.start()
        self.apply(batch(1, b"a\n"))
        self.assertEqual(self.read(), b"old\na\n")
        # Its lines belong to another journal: they may be repeated, and this is
        # reported.
        self.assertEqual(self.events, ["output-older"])

    def test_existingHalfLine(self) -> None:
        """A half line left by another program does not swallow ours."""
        self.output.close()
        self.path.write_bytes(b"old\nhal")
        self.start()
        self.apply(batch(1, b"a\n"))
        self.crash()
        self.apply(batch(1, b"a\n"), batch(2, b"b\n"))
        self.assertEqual(self.read(), b"old\nhal\na\nb\n")


class RotationTests(OutputTestCase):
    """Other programs rotate the files."""

    def test_renamedFile(self) -> None:
        """After a rename the old file is left, and a new one begins."""
        self.apply(batch(1, b"a\n"))
        self.path.rename(self.directory / "master.log.1")
        self.apply(batch(2, b"b\n"))
        self.assertEqual((self.read("master.log.1"), self.read()), (b"a\n", b"b\n"))

    def test_reopenRequest(self) -> None:
        """A request to reopen loses and repeats nothing."""
        self.apply(batch(1, b"a\n"))
        self.path.rename(self.directory / "master.log.1")
        self.output.reopen()
        self.apply(batch(2, b"b\n"))
        self.output.reopen()
        self.apply(batch(3, b"c\n"))
        self.assertEqual((self.read("master.log.1"), self.read()), (b"a\n", b"b\nc\n"))

    def test_truncatedFile(self) -> None:
        """A file that was copied and truncated is continued without a hole."""
        self.apply(batch(1, b"aaaa\n"))
        (self.directory / "master.log.1").write_bytes(self.read())
        os.truncate(self.path, 0)
        self.apply(batch(2, b"b\n"))
        self.assertEqual(self.read(), b"b\n")
        self.assertIn("output-truncated", self.events)

    def test_renamedThenKilled(self) -> None:
        """
        After a kill, a batch that is in the renamed file is not written to the new one.
        """
        self.apply(batch(1, b"a\n"))
        self.save(self.output.sync())
        self.apply(batch(2, b"b\n"))
        self.path.rename(self.directory / "master.log.1")
        self.crash()
        self.apply(batch(2, b"b\n"), batch(3, b"c\n"))
        self.apply(batch(4, b"d\n"))
        both = self.read("master.log.1") + self.read()
        self.assertEqual(both, b"a\nb\nc\nd\n")

    def test_truncatedThenKilled(self) -> None:
        """After a kill, a batch that is in the copy is not written again."""
        self.apply(batch(1, b"aaaa\n"))
        self.save(self.output.sync())
        self.apply(batch(2, b"b\n"))
        (self.directory / "master.log.1").write_bytes(self.read())
        os.truncate(self.path, 0)
        self.crash()
        self.apply(batch(2, b"b\n"), batch(3, b"c\n"))
        self.assertEqual(self.read("master.log.1") + self.read(), b"aaaa\nb\nc\n")

    def test_olderCopyIsNoCopy(self) -> None:
        """A longer, older file is not taken for the copy, and no line is omitted."""
        (self.directory / "master.log.2").write_bytes(b"x" * 1000)
        self.apply(batch(1, b"aaaa\n"))
        self.save(self.output.sync())
        os.truncate(self.path, 0)
        self.crash()
        self.apply(batch(2, b"b\n"))
        self.assertEqual(self.read(), b"b\n")

    def test_killedBehindTheRotation(self) -> None:
        """
        A listener killed right after the first write to a new file does not repeat it.
        """
        self.apply(batch(1, b"a\n"))
        self.path.rename(self.directory / "master.log.1")
        self.apply(batch(2, b"b\n"))
        self.crash()
        self.apply(batch(2, b"b\n"), batch(3, b"c\n"))
        self.assertEqual(self.read(), b"b\nc\n")


class FullDiskTests(OutputTestCase):
    """A failed write continues where it failed."""

    def test_shortWrite(self) -> None:
        """After a full disk the same batches complete the file, in any grouping."""
        write = os.write
        room = [4]

        def little(descriptor: int, octets: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "full")
            count = write(descriptor, octets[: room[0]])
            room[0] -= count
            return count

        self.apply(batch(1, b"a\n"))
        with mock.patch("os.write", little):
            error = self.assertRaises(
                OSError, self.apply, batch(2, b"bb\n"), batch(3, b"cc\n")
            )
            self.assertEqual(error.errno, errno.ENOSPC)
            room[0] = 1
            self.assertRaises(OSError, self.apply, batch(2, b"bb\n"), batch(3, b"cc\n"))
        cursor = self.output.sync()
        self.assertEqual(cursor.seq, 1)
        self.apply(batch(2, b"bb\n"))
        self.apply(batch(3, b"cc\n"), batch(4, b"d\n"))
        self.assertEqual(self.read(), b"a\nbb\ncc\nd\n")

    def test_killedOnAFullDisk(self) -> None:
        """The half line written before a crash is completed afterwards."""
        self.test_shortWrite()
        self.save(self.output.sync())
        self.crash()
        self.apply(batch(4, b"d\n"), batch(5, b"e\n"))
        self.assertEqual(self.read(), b"a\nbb\ncc\nd\ne\n")


class ClosedTests(OutputTestCase):
    """Files that change while the output has closed them, or cannot be opened completely."""

    def test_truncatedWhileClosed(self) -> None:
        """
        After a signal the output closes its file. If that is truncated before the next
        write, and the process is killed, each line is in one of the files once.
        """
        copy = self.directory / "master.log.1"
        for rounds in range(2):
            with self.subTest(round=rounds):
                seq = self.output.seq
                before = batch(seq + 1, b"before %d\n" % seq)
                after = batch(seq + 2, b"after %d\n" % seq)
                self.apply(before)
                self.output.reopen()
                copy.write_bytes(self.path.read_bytes())
                os.truncate(self.path, 0)
                self.apply(after)
                self.crash()
                self.apply(before, after)
                self.assertEqual(
                    copy.read_bytes() + self.read(), before.octets + after.octets
                )
                self.save(self.output.sync())
                # The next round begins like the first: with an empty file.
                self.path.unlink()
                self.crash()

    def test_cutLineOnFullDisk(self) -> None:
        """
        At a start with a full disk, a cut line of another program cannot be ended. The output
        can be started all the same, and goes on when there is room.
        """
        self.apply(batch(1, b"a\n"))
        self.save(self.output.sync())
        self.path.rename(self.directory / "master.log.1")
        self.path.write_bytes(b"cut")
        self.output.close()
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            error = self.assertRaises(UserError, self.start)
        self.assertIn("full", str(error))
        self.apply(batch(2, b"b\n"))
        self.assertEqual(self.read(), b"cut\nb\n")


class WorkerFileTests(OutputTestCase):
    """An output with one file per worker."""

    template = "{worker}.log"

    @contextmanager
    def oneWrite(self) -> Iterator[None]:
        """One write succeeds. Then the disk is full."""
        write, left = os.write, [1]

        def full(descriptor: int, octets: bytes) -> int:
            if not left:
                raise OSError(errno.ENOSPC, "full")
            left.pop()
            return write(descriptor, octets)

        with mock.patch("os.write", full):
            yield

    def test_countedWithoutAWrite(self) -> None:
        """
        If a file gets nothing because every octet is in an earlier file, the cursor counts
        that, too: the worker's next lines are not taken for those octets.
        """
        for other in (True, False):
            with self.subTest(other=other):
                self.path = self.directory / "w1.log"
                seq = self.output.seq
                self.apply(batch(seq + 1, b"a\n", "w1"), batch(seq + 2, b"b\n", "w2"))
                self.save(self.output.sync())
                group = [batch(seq + 3, b"one\n", "w1"), batch(seq + 4, b"2\n", "w2")]
                with self.oneWrite():
                    self.assertRaises(OSError, self.output.apply, group)
                self.path.rename(self.directory / f"w1.log.{seq}")
                self.apply(*(group if other else group[:1]))
                self.save(self.output.sync())
                self.crash()
                last = b"last %d\n" % seq
                self.apply(*group[1:], batch(seq + 5, last, "w1"))
                self.assertEqual(self.read(f"w1.log.{seq}")[-6:], b"a\none\n")
                self.assertEqual(self.read("w1.log"), last)
                self.save(self.output.sync())

    def placeTaken(self, move: Callable[[Path], object]) -> None:
        """
        Another program moves a worker's file and puts a directory in its place, and takes it
        away later, between octets that the cursor does not count: each line is written once.
        """
        for worker, killed in (("w1", False), ("w2", True)):
            place = self.directory / f"{worker}.log"
            with self.subTest(killed=killed):
                first = self.output.seq + 1
                self.apply(batch(first, b"a %d\n" % first, worker))
                self.save(self.output.sync())
                pending = [batch(first + 1, b"bb %d\n" % first, worker)]
                wanted = [*pending]
                self.apply(*pending)
                move(place)
                place.mkdir()
                for number in range(2, 5):
                    if killed:
                        self.crash()
                    else:
                        pending = []
                    octets = b"line %d\n" % (first + number)
                    pending += [batch(first + number, octets, worker)]
                    wanted += pending[-1:]
                    for _ in range(2):
                        # The path is chosen again after it could not be opened.
                        try:
                            self.apply(*pending)
                        except UserError:
                            continue
                        break
                    if number == 3:
                        place.rmdir()
                there = b"".join(
                    gzip.decompress(path.read_bytes())
                    if path.suffix == ".gz"
                    else path.read_bytes()
                    for path in self.directory.rglob("*")
                    if path.is_file()
                )
                for one in wanted:
                    self.assertEqual(there.count(one.octets), 1, one.octets)
                self.save(self.output.sync())

    def test_placeTakenAfterRename(self) -> None:
        """See L{placeTaken}."""
        self.placeTaken(lambda path: path.rename(f"{path}.{self.output.seq}"))

    def test_placeTakenAfterCompression(self) -> None:
        """See L{placeTaken}."""

        def compress(path: Path) -> None:
            self.longAgo()
            packed = Path(f"{path}.{self.output.seq}.gz")
            packed.write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()

        self.placeTaken(compress)

    def test_workersAreSplit(self) -> None:
        """Each worker's lines are written once, to the worker's own file."""
        self.apply(
            batch(1, b"a\n", "w1"), batch(2, b"b\n", "w2"), batch(3, b"c\n", "w1")
        )
        self.crash()
        batches = [
            batch(1, b"a\n", "w1"),
            batch(2, b"b\n", "w2"),
            batch(3, b"c\n", "w1"),
        ]
        self.apply(batches[0])
        self.apply(*batches[1:], batch(4, b"d\n", "w2"))
        self.assertEqual(
            (self.read("w1.log"), self.read("w2.log")), (b"a\nc\n", b"b\nd\n")
        )


class PlantedTests(OutputTestCase):
    """Objects planted at the output's path are not written to."""

    def test_linkIsRefused(self) -> None:
        """A symbolic link is refused."""
        path = self.directory / "planted.log"
        path.symlink_to(self.directory / "target")
        output = makeOutput(self, path)
        self.assertRaises(UserError, output.start, Cursor("", 0, {}))
        self.assertFalse((self.directory / "target").exists())

    def test_fifoIsRefused(self) -> None:
        """A FIFO is refused without waiting for a reader."""
        path = self.directory / "pipe.log"
        os.mkfifo(path)
        output = makeOutput(self, path)
        self.assertRaises(UserError, output.start, Cursor("", 0, {}))


class RenderTests(SynchronousTestCase):
    """One message becomes one line."""

    def test_lineFeedInside(self) -> None:
        """A line feed inside a message does not begin a second line."""
        provenance = Provenance(
            "w", "f", "a", "2026-04-18T00:00:00.000000Z", None, False
        )
        odd = Batch(1, provenance, None, 0, 0, 0, b"a\nb#c#d", (4, 3), None)
        self.assertEqual(b"".join(renderRaw(odd)), b"a#012b#043\nc#d\n")
