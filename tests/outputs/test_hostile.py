"""Tests for outputs when a worker tries to harm others: copies and names."""

from __future__ import annotations

import os

from decnet_syslog.journal._values import Cursor, Deposit
from decnet_syslog.outputs._paths import REFUSED, OutputPaths
from decnet_syslog.outputs._rendering import RAW, RECORDS
from decnet_syslog.wire._provenance import Provenance

from ..doubles import STREAM, MasterTestCase, makeOutput
from .test_fileoutput import OutputTestCase, batch


class CopyTests(OutputTestCase):
    """The output's file was copied and truncated while the listener was down."""

    def truncated(self, copied: bytes | None = None) -> None:
        """
        Lines are written, counted, and written again; then logrotate runs and the
        output starts.
        """
        self.apply(batch(1, b"first line\n"))
        self.save(self.output.sync())
        self.apply(batch(2, b"second\nthird\n"))
        self.output.close()
        octets = self.path.read_bytes() if copied is None else copied
        (self.directory / "master.log.1").write_bytes(octets)
        os.truncate(self.path, 0)
        self.start()

    def every(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.directory.iterdir())

    def test_wholeCopy(self) -> None:
        """Lines in the copy are not written again; later ones are."""
        self.truncated()
        self.apply(batch(2, b"second\nthird\n"), batch(3, b"fourth\n"))
        self.assertEqual(self.read(), b"fourth\n")

    def test_partOfCopy(self) -> None:
        """If the copy ends within a line, the complete line is written."""
        self.truncated(b"first line\nsecond\nthi")
        self.apply(batch(2, b"second\n"))
        self.apply(batch(3, b"third\n"), batch(4, b"fourth\n"))
        self.assertEqual(self.read(), b"third\nfourth\n")

    def test_overwrittenInPlace(self) -> None:
        """
        If another program has replaced the file's content by more octets, the inode and
        the length are not enough to accept the file, and lines that were written after
        the counted ones are found in the copy.
        """
        self.truncated()
        self.output.close()
        with open(self.path, "wb") as file:
            file.write(b"another program's lines\n" * 4)
        self.start()
        self.apply(batch(2, b"second\nthird\n"), batch(3, b"fourth\n"))
        self.assertEqual(self.read().count(b"second\n"), 0)
        self.assertEqual(self.read().count(b"fourth\n"), 1)

    def test_copyGone(self) -> None:
        """
        The copy is opened at the start, so it may be deleted before the first line.
        """
        self.truncated()
        (self.directory / "master.log.1").unlink()
        self.apply(batch(2, b"second\nthird\n"))
        self.assertEqual(self.read(), b"")

    def test_noCopy(self) -> None:
        """An object that is not a readable file of ours does not count as a copy."""
        self.truncated()
        self.output.close()
        (self.directory / "master.log.1").unlink()
        os.symlink("/etc/hostname", self.directory / "master.log.1")
        self.start()
        self.apply(batch(2, b"second\nthird\n"))
        self.assertEqual(self.read(), b"second\nthird\n")

    def test_olderSibling(self) -> None:
        """
        An older file full of lines chosen by a worker does not suppress another
        worker's line.
        """
        self.path.unlink()
        self.output.close()
        self.start()
        filler = self.directory / "master.log.2"
        filler.write_bytes(b"some lines\n" + b"\n" * 100_000)
        os.utime(filler, (1, 1))
        self.apply(batch(1, b"first line\n" * 3))
        self.save(self.output.sync())
        self.output.close()
        (self.directory / "master.log.1").write_bytes(self.path.read_bytes())
        os.truncate(self.path, 0)
        self.start()
        self.apply(batch(2, b"\n", worker="evil"))
        for number in range(100):
            self.apply(batch(3 + number, b"evidence %d\n" % number, worker="good"))
        self.assertEqual(self.every().count(b"evidence"), 100)

    def test_foreignEnd(self) -> None:
        """Lines appended by another program do not cause repetition of ours."""
        self.apply(batch(1, b"first line\n"))
        self.save(self.output.sync())
        self.apply(batch(2, b"second\n"))
        self.output.close()
        with open(self.path, "ab") as file:
            file.write(b"somebody else's\n")
        self.start()
        self.apply(batch(2, b"second\n"), batch(3, b"third\n"))
        self.assertEqual(self.read(), b"first line\nsecond\nsomebody else's\nthird\n")


class RenamedTests(MasterTestCase):
    """Rendering depends only on the batch."""

    def test_streamRenamedAfterCrash(self) -> None:
        """
        If a stream is opened with another name after a crash, rendered records do not
        change.
        """
        path = self.directory / "master.json"

        first = self.openOutput(path, RECORDS)
        deposits = []
        for worker, stream, name in (("evil", STREAM, "/a"), ("good", "7" * 32, "/b")):
            grant = self.journal.grant(worker, stream, 0, 0, name)
            who = Provenance(
                worker, "f", "a", "2026-04-18T00:00:00.000000Z", name, False
            )
            deposits.append(Deposit(who, grant, 0, 2, b"x\n"))
        batches = [b for b in self.journal.commit(deposits) if b is not None]
        while (barrier := first.apply(batches)) is not None:
            self.journal.commit([], [barrier])
        self.restart()
        second = self.openOutput(path, RECORDS)
        self.journal.grant("evil", STREAM, 0, 0, "/another")
        again = self.journal.read(second.seq, 10**6)
        while (barrier := second.apply(again)) is not None:
            self.journal.commit([], [barrier])
        self.assertEqual(path.read_bytes().count(b'"source_worker": "good"'), 1)
        self.assertEqual(path.read_bytes().count(b"\n"), 2)


class NameTests(OutputTestCase):
    """An output with one file per worker, and hostile worker names."""

    template = "{worker}"

    def start(self) -> None:
        """Start the output with the listener's other files reserved."""
        paths = OutputPaths(
            (str(self.directory / "listener.db"),),
            (("json", str(self.directory / "master.json")),),
        )
        self.output = makeOutput(
            self, self.directory / self.template, RAW, self.event, paths
        )
        self.output.start(Cursor("", 0, {}))

    def test_reservedName(self) -> None:
        """
        A worker named like one of the listener's files gets a replacement file next to
        it.
        """
        (self.directory / "master.json").write_bytes(b"ours\n")
        self.apply(batch(1, b"forged\n", worker="master.json"))
        self.assertEqual(self.read("master.json"), b"ours\n")
        self.assertEqual(self.read("master.json" + REFUSED), b"forged\n")
        self.assertEqual(self.events.count("output-refused"), 1)

    def test_nameOfDirectory(self) -> None:
        """A worker named like a directory does not stop the output."""
        (self.directory / "ca").mkdir()
        self.apply(batch(1, b"x\n", worker="ca"), batch(2, b"y\n", worker="w2"))
        self.assertEqual(self.read("w2"), b"y\n")
        self.assertEqual(self.read("ca" + REFUSED), b"x\n")
