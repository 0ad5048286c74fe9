"""Tests for outputs with the same content in neighbouring directories."""

from __future__ import annotations

import gzip
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._values import FileLength
from decnet_syslog.outputs._nearby import findCopies


class BesideTests(SynchronousTestCase):
    """
    Another output's files are never taken for this output's, whatever they contain.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.path = self.directory / "a" / "master.log"
        for name in ("a", "b", "a/old", "a/below"):
            (self.directory / name).mkdir(parents=True)
        self.octets = b"line\n" * 100

    def found(self, recorded: FileLength | None = None) -> list[str]:
        copies = findCopies(str(self.path), recorded or FileLength(0, 0, 10, b"line\n"))
        for copy in copies:
            copy.close()
        return sorted(str(Path(c.path).relative_to(self.directory)) for c in copies)

    def test_otherLiveOutput(self) -> None:
        """
        Another live output's directory, next to this one's or below it, is not
        searched.
        """
        for place in ("b", "a/below"):
            for name in ("master.log", "master.log.1"):
                (self.directory / place / name).write_bytes(self.octets)
            packed = self.directory / place / "master.log.2.gz"
            packed.write_bytes(gzip.compress(self.octets))
        self.assertEqual(self.found(), [])

    def test_ownRotatedCopies(self) -> None:
        """
        Rotated copies in the output's own directory and in one below it are found.
        """
        for name in ("a/master.log.1", "a/old/master.log.2"):
            (self.directory / name).write_bytes(self.octets)
        self.assertEqual(self.found(), ["a/master.log.1", "a/old/master.log.2"])

    def test_movedFileItself(self) -> None:
        """The output's file itself is found wherever it was moved."""
        for name in ("b/master.log", "a/below/master.log", "b/whatever"):
            moved = self.directory / name
            moved.write_bytes(self.octets)
            status = moved.stat()
            recorded = FileLength(status.st_dev, status.st_ino, 10, b"line\n")
            self.assertEqual(self.found(recorded), [name])
            moved.unlink()

    def test_justMoved(self) -> None:
        """
        A file moved to a neighbouring directory a moment ago counts, unless a process
        writes to it.
        """
        moved = self.directory / "b" / "master.log"
        moved.write_bytes(self.octets)
        recorded = FileLength(0, 0, 10, b"line\n")

        def found() -> list[str]:
            copies = findCopies(str(self.path), recorded, isJustMoved=True)
            for copy in copies:
                copy.close()
            return [copy.path for copy in copies]

        self.assertEqual(found(), [str(moved)])
        with open(moved, "ab"):
            self.assertEqual(found(), [])
