"""
Tests for outputs that other programs move, compress, truncate and delete, while the
listener runs and while it does not.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.durable import StorageFailed
from decnet_syslog.errors import UserError
from decnet_syslog.journal._values import Absence, Batch, Cursor
from decnet_syslog.outputs import _deleted as outputdeleted
from decnet_syslog.outputs._deleted import COPYING_S
from decnet_syslog.outputs._file import OutputFile
from decnet_syslog.outputs._rendering import RAW

from ..doubles import makeOutput
from .test_fileoutput import OutputTestCase, batch

_write = os.write


@contextmanager
def room(octets: int, error: int = errno.ENOSPC) -> Iterator[None]:
    """Writes succeed for this number of octets, and may end within a line."""
    left = [octets]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(error, os.strerror(error))
        count = _write(descriptor, data[: left[0]])
        left[0] -= count
        return count

    with mock.patch("os.write", write):
        yield


def unpacked(path: Path) -> bytes:
    """A file's content after decompression."""
    unpack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.decompress,
        ".bz2": bz2.decompress,
        ".xz": lzma.decompress,
    }
    return unpack.get(path.suffix, bytes)(path.read_bytes())


class MovedTestCase(OutputTestCase):
    """Batches of distinguishable lines, and a place that is never searched."""

    seq = 0

    def setUp(self) -> None:
        self.facts: dict[str, dict[str, object]] = {}
        super().setUp()
        self.elsewhere = Path(self.mktemp()).resolve() / "no" / "relation"
        self.elsewhere.mkdir(parents=True)
        self.pending: list[Batch] = []
        self.written: list[Batch] = []
        self.moves = 0
        self.longAgo()

    def batches(self, count: int = 1, lines: int = 3) -> list[Batch]:
        made = []
        for _ in range(count):
            self.seq += 1
            octets = b"".join(
                [b"line %d.%d of a batch\n" % (self.seq, n) for n in range(lines)]
            )
            made.append(batch(self.seq, octets))
        return made

    def crash(self) -> None:
        """
        Die and start again, with the batches that the journal has after the cursor.
        """
        super().crash()
        self.pending = [b for b in self.written if b.seq > self.cursor.seq]

    def send(self, *batches: Batch) -> None:
        """Commit batches, and apply all pending ones."""
        self.pending += batches
        self.written += batches
        while self.pending:
            some = self.pending[:2]
            self.apply(*some)
            self.pending = self.pending[2:]

    def contents(self) -> bytes:
        """The content of all files, oldest first."""
        paths = [
            path
            for place in (self.elsewhere, self.directory)
            for path in place.rglob("*")
            if path.is_file() and path != self.path
        ]
        paths.sort(key=lambda path: int(re.findall(r"\d+", path.name)[0]))
        if self.path.exists():
            paths.append(self.path)
        return b"".join([unpacked(path) for path in paths])

    def assertOnce(self) -> None:
        """
        Check that the files have every line once and complete; only the ends of files
        may be truncated.
        """
        wanted = [line for b in self.written for line in b.octets.splitlines(True)]
        paths = [
            path
            for place in (self.elsewhere, self.directory)
            for path in place.rglob("*")
            if path.is_file()
        ]
        there = Counter(
            line
            for path in paths
            for line in unpacked(path).splitlines(True)
            if line.endswith(b"\n")
        )
        self.assertEqual(there, Counter(wanted))

    # Operations by others. Each removes the file from its path.

    def rename(self, to: str = "") -> None:
        self.moves += 1
        where = self.directory / (to or f"master.log.{self.moves}")
        where.parent.mkdir(exist_ok=True)
        self.path.rename(where)

    def dated(self) -> None:
        self.rename(f"master-2026112{self.moves}.log")

    def toOldDirectory(self) -> None:
        self.rename(f"old/master.log.{self.moves + 1}")

    def compress(self, ending: str = ".gz") -> None:
        self.rename()
        plain = self.directory / f"master.log.{self.moves}"
        packed = plain.with_name(plain.name + ending)
        pack: dict[str, Callable[[bytes], bytes]] = {
            ".gz": gzip.compress,
            ".bz2": bz2.compress,
            ".xz": lzma.compress,
        }
        packed.write_bytes(pack[ending](plain.read_bytes()))
        status = plain.stat()
        os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
        plain.unlink()

    def bzip(self) -> None:
        self.compress(".bz2")

    def xz(self) -> None:
        self.compress(".xz")

    def compressAtOnce(self) -> None:
        """As C{gzip master.log}: a copy is made, then the file is deleted."""
        self.moves += 1
        packed = self.directory / f"master.log.{self.moves}.gz"
        packed.write_bytes(gzip.compress(self.path.read_bytes()))
        self.path.unlink()

    def copyTruncate(self) -> None:
        self.moves += 1
        shutil.copy(self.path, self.directory / f"master.log.{self.moves}")
        os.truncate(self.path, 0)

    def toAnotherDisk(self) -> None:
        """As C{mv} across file systems."""
        self.moves += 1
        shutil.copy2(self.path, self.elsewhere / f"moved.{self.moves}")
        self.path.unlink()

    FOUND = (
        rename,
        dated,
        toOldDirectory,
        compress,
        bzip,
        xz,
        compressAtOnce,
        copyTruncate,
    )
    EVERY = (*FOUND, toAnotherDisk)


class HalfLineTests(MovedTestCase):
    """The file is moved away while a line is half written."""

    def test_everyOperation(self) -> None:
        """
        Wherever the disk was full, and whichever operation follows, each line is
        written once.
        """
        for move in self.EVERY:
            for octets in (0, 1, 7, 30, 61, 62, 100):
                with self.subTest(move=move.__name__, octets=octets):
                    self.send(*self.batches())
                    with room(octets):
                        self.assertRaises(OSError, self.send, *self.batches(2))
                        self.longAgo()
                    move(self)
                    self.send(*self.batches())
                    self.assertOnce()

    def test_killedAfterOperation(self) -> None:
        """
        If the process is also killed before it checks the file, or after it saved the
        cursor, each line is written once.
        """
        for move in self.FOUND:
            for octets in (0, 7, 30, 62, 100):
                for barriers in (None, 0, 1, 2):
                    with self.subTest(
                        move=move.__name__, octets=octets, after=barriers
                    ):
                        self.send(*self.batches())
                        with room(octets):
                            self.assertRaises(OSError, self.send, *self.batches(2))
                            self.longAgo()
                        move(self)
                        for _ in range(barriers or 0):
                            cursor = self.output.apply(self.pending[:2])
                            if cursor is None:
                                break
                            self.save(cursor)
                        self.crash()
                        self.send(*self.batches())
                        self.assertOnce()
                        self.save(self.output.sync())

    def test_oldFileGone(self) -> None:
        """
        Once the cursor has the next file, the previous one is no longer needed: it may
        be deleted, and the process killed.
        """
        for move in self.EVERY:
            with self.subTest(move=move.__name__):
                self.send(*self.batches())
                with room(70):
                    self.assertRaises(OSError, self.send, *self.batches(2))
                    self.longAgo()
                move(self)
                cursor = self.output.apply(self.pending[:2])
                assert cursor is not None
                self.save(cursor)
                self.moves += 1
                for path in self.directory.rglob("*"):
                    if path.is_file() and path != self.path:
                        path.rename(self.elsewhere / f"{self.moves}-{path.name}")
                self.crash()
                self.send(*self.batches())
                self.assertOnce()
                self.save(self.output.sync())

    def test_truncatedAndMoved(self) -> None:
        """
        A file that is copied, truncated, and renamed or deleted between two checks
        loses nothing.
        """
        for move in self.EVERY:
            for octets in (0, 30, 70):
                with self.subTest(move=move.__name__, octets=octets):
                    self.send(*self.batches())
                    with room(octets):
                        self.assertRaises(OSError, self.send, *self.batches(2))
                        self.longAgo()
                    self.copyTruncate()
                    move(self)
                    self.send(*self.batches())
                    self.assertOnce()

    def test_lineIsCompleted(self) -> None:
        """
        In a renamed file the half line is completed; in an unreachable file it cannot
        be.
        """
        for move, completed in ((self.rename, True), (self.toAnotherDisk, False)):
            with self.subTest(move=move.__name__):
                self.send(*self.batches())
                with room(30):
                    self.assertRaises(OSError, self.send, *self.batches())
                    self.longAgo()
                move()
                self.send()
                old = self.contents()[: -len(self.read())]
                self.assertEqual(old.endswith(b"\n"), completed)
                self.assertTrue(self.read().startswith(b"line "))

    def test_stillFull(self) -> None:
        """
        A renamed file whose disk stays full keeps half a line; the next file, on
        another disk, has it whole.
        """
        self.send(*self.batches())
        with room(30):
            self.assertRaises(OSError, self.send, *self.batches())
            self.rename()
            # Not even the remainder of the line.
            self.assertRaises(OSError, self.send)
        self.send(*self.batches())
        self.assertOnce()

    def test_deletedIsClosed(self) -> None:
        """
        A deleted file is closed while the disk is still full, which frees its space.
        """
        self.send(*self.batches())
        with room(30):
            self.assertRaises(OSError, self.send, *self.batches())
            self.longAgo()
            descriptor = self.output.files.open[str(self.path)].descriptor
            self.toAnotherDisk()
            self.assertRaises(OSError, self.send)
            links = [
                os.readlink(f"/proc/self/fd/{fd}")
                for fd in os.listdir("/proc/self/fd")
                if os.path.lexists(f"/proc/self/fd/{fd}")
            ]
            self.assertNotIn(f"{self.path} (deleted)", links)
        self.assertIsNotNone(descriptor)
        self.send()
        self.assertOnce()

    def test_foreignBehindIt(self) -> None:
        """
        If another program writes after the half line, the line is written again, whole
        and on its own line.
        """
        self.send(*self.batches())
        with room(30):
            self.assertRaises(OSError, self.send, *self.batches())
        with open(self.path, "ab") as file:
            file.write(b"not ours")
        self.send()
        lines = self.read().splitlines()
        wanted = [line for b in self.written for line in b.octets.splitlines()]
        self.assertEqual([line for line in lines if line in wanted], wanted)


class MovedWhileDownTests(MovedTestCase):
    """The file was moved while no listener was running."""

    def test_uncountedLinesAreFound(self) -> None:
        """
        Lines that a killed listener wrote and had not counted are not written again.
        """
        for move in self.FOUND:
            for counted in (True, False):
                with self.subTest(move=move.__name__, counted=counted):
                    self.send(*self.batches(3))
                    if counted:
                        self.save(self.output.sync())
                    self.send(*self.batches(3))
                    move(self)
                    self.events.clear()
                    self.crash()
                    self.send(*self.batches())
                    self.assertOnce()
                    self.assertNotIn("output-lost", self.events)

    def test_firstFile(self) -> None:
        """
        A listener killed before it counted anything of its first file finds the file by
        its lines.
        """
        for move in self.FOUND:
            with self.subTest(move=move.__name__):
                self.send(*self.batches(3))
                move(self)
                self.crash()
                self.send(*self.batches())
                self.assertOnce()
                # The next file is the first one again.
                self.save(self.output.sync())
                self.rename()
                self.save(self.output.checkFiles() or self.output.sync())

    def test_killedTwice(self) -> None:
        """
        If the listener is killed again before the cursor has advanced over the copy's
        lines, nothing is repeated.
        """
        for move in self.FOUND:
            with self.subTest(move=move.__name__):
                self.send(*self.batches())
                self.save(self.output.sync())
                self.send(*self.batches(4))
                move(self)
                for applied in range(4):
                    self.crash()
                    for b in self.pending[:applied]:
                        self.apply(b)
                    if applied == 2:
                        self.save(self.output.sync())
                self.crash()
                self.send(*self.batches())
                self.assertOnce()
                self.save(self.output.sync())

    def test_missingFileIsReported(self) -> None:
        """
        If the file cannot be found, possible repetition is reported, with its time.
        """
        self.send(*self.batches(3))
        self.save(self.output.sync())
        self.send(*self.batches(2))
        self.toAnotherDisk()
        self.crash()
        self.send(*self.batches())
        self.assertIn("output-lost", self.events)
        self.assertEqual(
            self.facts["output-lost"]["since"], self.written[3].provenance.receivedAt
        )
        # No line is missing.
        there = Counter(self.contents().splitlines(True))
        wanted = Counter(x for b in self.written for x in b.octets.splitlines(True))
        self.assertEqual(wanted - there, Counter())
        self.assertEqual(
            there - wanted,
            Counter(x for b in self.written[3:5] for x in b.octets.splitlines(True)),
        )

    def test_notReported(self) -> None:
        """
        If the cursor covers everything written, nothing can be repeated, and nothing is
        reported.
        """
        self.send(*self.batches(3))
        self.save(self.output.sync())
        self.toAnotherDisk()
        self.crash()
        self.seq += 1
        late = batch(self.seq, b"received after the start\n")
        who = late.provenance
        late = Batch(
            late.seq,
            replace(who, receivedAt="2999-01-01T00:00:00Z", log=None, flagHostnameMismatch=False),
            None, 0, 0, 0, late.octets, None, None,
        )  # fmt: skip
        self.send(late)
        self.assertNotIn("output-lost", self.events)
        self.assertOnce()

    def event(self, name: str, **facts: object) -> None:
        super().event(name, **facts)
        self.facts[name] = facts


class DeletedWhileWrittenTests(MovedTestCase):
    """The file is copied and deleted while lines are written to it."""

    def test_behindTheCopy(self) -> None:
        """
        Lines written between the copy and the deletion are in no copy: they are written
        again, and this is reported.
        """
        self.send(*self.batches(2))
        self.moves += 1
        shutil.copy2(self.path, self.elsewhere / "moved.1")
        self.send(*self.batches(2))
        self.path.unlink()
        self.send(*self.batches())
        there = Counter(self.contents().splitlines(True))
        wanted = Counter(x for b in self.written for x in b.octets.splitlines(True))
        self.assertEqual(wanted - there, Counter())
        self.assertIn("output-rewritten", self.events)

    def requireWatch(self) -> None:
        """Skip the test if the system has no free inotify instance for this user."""
        (file,) = self.output.files.open.values()
        if file.watch is None:
            raise SkipTest("no inotify instance is free")

    def firstAgain(self) -> bytes:
        """
        The first line that is written again if one batch was written after the copy.
        """
        self.send(*self.batches(2))
        shutil.copy2(self.path, self.elsewhere / "moved.1")
        self.send(*self.batches())
        self.path.unlink()
        self.send(*self.batches())
        self.assertIn("output-rewritten", self.events)
        return self.read().splitlines(True)[0]

    def test_openIsObserved(self) -> None:
        """
        Lines in the file at the time a copying program opened it are in the copy: only
        later ones are written again.
        """
        self.requireWatch()
        self.assertIn(self.firstAgain(), self.written[2].octets)

    def test_openedUnseen(self) -> None:
        """
        Where opens of a file cannot be observed, its last half second is written again.
        """
        self.output.files.opens.close()
        self.assertIn(self.firstAgain(), self.written[0].octets)

    def test_openedTooOften(self) -> None:
        """
        If too many programs have opened the file, its last half second is written
        again.
        """
        with mock.patch.object(self.output.files.opens, "seen", return_value=None):
            self.assertIn(self.firstAgain(), self.written[0].octets)

    def test_openedJustNow(self) -> None:
        """A copy that was made between two looks at the system's events counts, too."""
        self.requireWatch()
        self.send(*self.batches(2))
        isElsewhere = OutputFile.isElsewhere
        moved: list[int] = []

        def look(file: OutputFile) -> bool:
            if not moved:
                moved.append(1)
                self.toAnotherDisk()
            return isElsewhere(file)

        with mock.patch.object(OutputFile, "isElsewhere", look):
            self.send(*self.batches())
        self.assertOnce()
        self.assertNotIn("output-rewritten", self.events)

    def test_watchedLater(self) -> None:
        """The system had no room for one more watcher at the start, and has it later."""
        self.output.close()
        full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        with mock.patch("twisted.python._inotify.init", side_effect=full):
            self.start()
            self.send(*self.batches(2))
        self.save(self.output.checkFiles() or self.output.sync())
        self.requireWatch()
        # Readers from before the watch have closed the file since.
        self.longAgo(COPYING_S + 1.0)
        self.send(*self.batches())
        self.toAnotherDisk()
        self.send(*self.batches())
        self.assertOnce()
        self.assertNotIn("output-rewritten", self.events)

    def test_nothingBehindTheCopy(self) -> None:
        """
        If lines arrive all the time but none between copy and deletion, none is
        repeated.
        """
        self.requireWatch()
        for _ in range(5):
            self.send(*self.batches(2))
            self.toAnotherDisk()
        self.send(*self.batches())
        self.assertOnce()
        self.assertNotIn("output-rewritten", self.events)

    def test_behindTheArchive(self) -> None:
        """After gzip, exactly the lines that the archive lacks are written again."""
        for counted in (True, False):
            with self.subTest(counted=counted):
                self.send(*self.batches(2))
                if counted:
                    self.save(self.output.sync())
                self.moves += 1
                packed = self.directory / f"master.log.{self.moves}.gz"
                packed.write_bytes(gzip.compress(self.path.read_bytes()))
                self.send(*self.batches(2))
                if counted:
                    self.save(self.output.sync())
                self.path.unlink()
                self.events.clear()
                self.send(*self.batches())
                self.assertOnce()
                self.assertNotIn("output-rewritten", self.events)

    def test_idleFileIsClosed(self) -> None:
        """
        Without further lines, the deleted file is closed, and nothing is repeated.
        """
        self.send(*self.batches(2))
        self.save(self.output.sync())
        self.longAgo()
        self.toAnotherDisk()
        cursor = self.output.checkFiles()
        assert cursor is not None
        self.assertEqual(self.output.files.open, {})
        self.save(cursor)
        self.assertIsNone(self.output.checkFiles())
        self.crash()
        self.send(*self.batches())
        self.assertOnce()
        self.assertEqual(self.events, ["output-renamed"])

    def test_idleBehindTheCopy(self) -> None:
        """
        Without further lines, the last ones that were written during the copy are
        written again.
        """
        self.send(*self.batches(2))
        shutil.copy2(self.path, self.elsewhere / "moved.1")
        self.send(*self.batches(1))
        self.path.unlink()
        self.save(self.output.checkFiles() or self.output.sync())
        self.assertTrue(self.read().endswith(self.written[-1].octets))


class SizesTests(SynchronousTestCase):
    """The octets that a copy surely holds, by the readers that the deleted file had."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.sizes = outputdeleted.Sizes()
        clock = mock.Mock(monotonic=lambda: self.now, time=lambda: self.now)
        self.patch(outputdeleted, "time", clock)

    def write(self, seconds: float) -> None:
        """Write an octet each eighth of a second."""
        for _ in range(round(seconds * 8)):
            self.now += 0.125
            self.sizes.note(self.size)

    @property
    def size(self) -> int:
        return round((self.now - 1000.0) * 8)

    def test_moverOpenedLately(self) -> None:
        """A reader of the last half second may be the mover: its copy holds all earlier octets."""
        self.write(2.0)
        self.sizes.opened(self.size)
        at = self.size
        self.write(0.25)
        self.sizes.closed()
        self.assertEqual(self.sizes.before(self.now), at)

    def test_slowMover(self) -> None:
        """A mover that opened the file earlier is not mistaken for a later reader."""
        self.write(2.0)
        self.sizes.opened(self.size)
        self.write(1.0)
        late = self.size - 1
        self.write(0.25)
        self.sizes.opened(self.size)
        self.sizes.closed()
        self.write(0.125)
        self.sizes.closed()
        self.assertEqual(self.sizes.before(self.now), late)

    def test_earlierReader(self) -> None:
        """A reader that closed the file earlier did not move it."""
        self.write(1.0)
        for _ in range(5):
            self.sizes.opened(self.size)
            self.sizes.closed()
            self.write(0.625)
        self.sizes.opened(self.size)
        at = self.size
        self.sizes.closed()
        self.assertEqual(self.sizes.before(self.now), at)

    def test_permanentReader(self) -> None:
        """A reader that has had the file open for a long time does not move it."""
        self.sizes.opened(0)
        self.now += outputdeleted.COPYING_S
        self.write(2.0)
        self.sizes.opened(self.size)
        at = self.size
        self.sizes.closed()
        self.assertEqual(self.sizes.before(self.now), at)

    def test_tooManyReaders(self) -> None:
        """With more readers than are noted, nothing is concluded from them."""
        self.write(2.0)
        late = self.size - 4
        for _ in range(outputdeleted.READERS_MAX + 1):
            self.sizes.opened(self.size)
        self.assertEqual(self.sizes.before(self.now), late)

    def test_lostEvents(self) -> None:
        """With lost events, any program may have opened the file at any time."""
        self.write(2.0)
        late = self.size - 4
        self.sizes.opened(0)
        self.sizes.opened(self.size)
        self.assertEqual(self.sizes.before(self.now), late)


class DirectoryTests(MovedTestCase):
    """The directory of an output goes away."""

    template = "out/master.log"

    def setUp(self) -> None:
        (self.__dict__.setdefault("_made", None))
        super().setUp()

    def start(self) -> None:
        (self.directory / "out").mkdir(exist_ok=True)
        self.path = self.directory / self.template
        super().start()

    def test_missingDirectory(self) -> None:
        """
        If its directory is renamed, deleted or replaced by a file, the output is
        blocked, and continues when the directory is back.
        """
        out = self.directory / "out"
        for case in ("renamed", "file", "deleted", "link to nowhere", "no access"):
            for synced in (True, False):
                with self.subTest(case=case, synced=synced):
                    self.send(*self.batches())
                    if synced:
                        self.save(self.output.sync())
                    self.longAgo()
                    self.moves += 1
                    shutil.copytree(out, self.elsewhere / f"{self.moves}")
                    if case == "renamed":
                        out.rename(self.elsewhere / f"{self.moves}-renamed")
                        shutil.rmtree(self.elsewhere / f"{self.moves}")
                    else:
                        shutil.rmtree(out)
                    if case == "file":
                        out.write_bytes(b"")
                    if case == "link to nowhere":
                        out.symlink_to(self.directory / "nowhere")
                    for _ in range(3):
                        self.assertRaises(
                            (OSError, UserError), self.send, *self.batches()
                        )
                        self.pending = (
                            self.pending[-1:] if not self.pending else self.pending
                        )
                        # Synced while blocked, as by a feed.
                        self.save(self.output.sync())
                    if os.path.lexists(out):
                        out.unlink()
                    out.mkdir()
                    self.send(*self.batches())
                    self.assertOnce()

    def test_goneForEachWorker(self) -> None:
        """
        An output with one file per worker is blocked by a missing directory, and
        continues when it is back.
        """
        where = self.directory / "nowhere"
        output = makeOutput(self, where / "{worker}.log", RAW, self.event)
        self.assertRaises(UserError, output.start, Cursor("", 0, {}))
        self.assertRaises(UserError, output.checkFiles)
        where.mkdir()
        self.assertIsNone(output.checkFiles())

    def test_goneAtStart(self) -> None:
        """
        A missing directory at the start is an error; the pending lines are written when
        it is back.
        """
        self.send(*self.batches())
        self.save(self.output.sync())
        out = self.directory / "out"
        self.output.close()
        out.rename(self.elsewhere / "1")
        output = makeOutput(self, self.path, RAW, self.event)
        self.assertRaises(UserError, output.start, self.cursor)
        self.assertRaises(UserError, output.checkFiles)
        out.mkdir()
        output.checkFiles()
        self.output = output
        self.send(*self.batches())
        self.assertOnce()


class ErrorTests(MovedTestCase):
    """Which errors are waited out, and which are fatal."""

    def test_failedSync(self) -> None:
        """A failed sync is fatal, whatever the error."""
        for error in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            with self.subTest(error=errno.errorcode[error]):
                self.send(*self.batches())
                failing = OSError(error, os.strerror(error))
                with mock.patch("os.fdatasync", side_effect=failing):
                    raised = self.assertRaises(StorageFailed, self.output.sync)
                self.assertIn(os.strerror(error), str(raised))

    def test_directorySync(self) -> None:
        """A failed sync of a new file's directory entry is fatal."""
        for error in (errno.EIO, errno.ENOSPC):
            failing = OSError(error, os.strerror(error))
            with mock.patch(
                "decnet_syslog.outputs._appended.syncDirectory", side_effect=failing
            ):
                output = makeOutput(self, self.directory / "new.log")
                self.assertRaises(StorageFailed, output.start, Cursor("", 0, {}))

    def test_failedWrite(self) -> None:
        """
        A failed write is not fatal: the same octets are written when it works again.
        """
        for error in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            for octets in (0, 7, 30, 61, 100):
                with self.subTest(error=errno.errorcode[error], octets=octets):
                    with room(octets, error):
                        self.assertRaises(OSError, self.send, *self.batches(2))
                    self.send()
                    self.assertOnce()


class HistoryTests(MovedTestCase):
    """All operations, in any order."""

    def test_randomHistories(self) -> None:
        """Whichever operations come in between, each line is in the files once."""
        for seed in range(400):
            with self.subTest(seed=seed):
                self.history(random.Random(seed))

    def history(self, dice: random.Random) -> None:
        for _ in range(dice.randint(4, 14)):
            step = dice.randrange(8)
            if step < 3:
                self.send(*self.batches(dice.randint(1, 3), dice.randint(1, 4)))
            elif step == 3:
                with room(dice.randint(0, 120)):
                    try:
                        self.send(*self.batches(dice.randint(1, 3)))
                    except OSError:
                        pass
            elif step == 4:
                self.save(self.output.sync())
            elif step == 5:
                self.crash()
                for b in self.pending[: dice.randint(0, 3)]:
                    cursor = self.output.apply([b])
                    if cursor is not None:
                        if dice.random() < 0.7:
                            self.save(cursor)
                        self.crash()
                        break
                else:
                    self.crash()
            elif step == 6 and self.path.exists():
                self.longAgo()
                dice.choice(self.FOUND)(self)
            else:
                try:
                    cursor = self.output.checkFiles()
                except (OSError, UserError):
                    continue
                if cursor is not None:
                    self.save(cursor)
        self.send(*self.batches())
        self.assertOnce()


class AbsenceTests(MovedTestCase):
    """An output was not configured for some time."""

    def test_missingBatchesAreReported(self) -> None:
        """The batches that its files lack are reported."""
        self.send(*self.batches(2))
        self.save(self.output.sync())
        self.output.close()
        absence = Absence(self.cursor.seq, "2026-04-18T00:00:00.000000Z")
        cursor = Cursor("", self.cursor.seq + 5, self.cursor.files, absence)
        told: dict[str, object] = {}
        output = makeOutput(
            self, self.path, RAW, lambda name, **facts: told.update(facts)
        )
        output.start(cursor)
        self.assertEqual((told["since"], told["batches"]), (absence.since, 5))

    def test_noHole(self) -> None:
        """
        If no batch was deleted in the meantime, the output continues, and nothing is
        reported.
        """
        self.send(*self.batches(2))
        self.save(self.output.sync())
        self.output.close()
        self.cursor = Cursor(
            "", self.cursor.seq, self.cursor.files, Absence(self.cursor.seq, "2026")
        )
        self.start()
        self.send(*self.batches())
        self.assertOnce()
        self.assertEqual(self.events, [])
