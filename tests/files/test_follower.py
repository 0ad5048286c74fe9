"""Tests for the tail of one file that is never rotated: L{decnet_syslog.files}."""

from __future__ import annotations

import os
import shutil

from hypothesis import given, settings
from hypothesis import strategies as st

from ..tailing import TailTestCase


class LineTests(TailTestCase):
    """Complete lines are shipped unchanged."""

    def test_completeLines(self) -> None:
        """Only complete lines are shipped, whatever their content."""
        odd = b"a\r\n\n\n\x00\xff\n" + b"x" * 500 + b"\n"
        self.append(odd + b"part")
        self.assertEqual(self.ship(), odd)
        self.append(b"ial\n")
        self.assertEqual(self.ship(), odd + b"partial\n")

    def test_fileAppearsLater(self) -> None:
        """A missing file is not an error, and is shipped when it appears."""
        self.assertEqual(self.ship(), b"")
        self.append(b"a\n")
        self.assertEqual(self.ship(), b"a\n")

    def test_longLine(self) -> None:
        """
        A line over the limit becomes a gap, wherever it is, and the lines around it are
        shipped.
        """
        for octets in (64, 5000, 100000):
            with self.subTest(octets=octets):
                self.append(b"a\n" + b"y" * 2048 + b"\n" + b"x" * 2049 + b"\nb\n")
                want = b"a\n" + b"y" * 2048 + b"\n<oversize>b\n"
                self.assertTrue(self.ship(octets).endswith(want))

    def test_longLineInPieces(self) -> None:
        """A long line that is still being written is waited for."""
        self.append(b"x" * 5000)
        self.assertEqual(self.ship(), b"")
        self.append(b"x" * 5000)
        self.assertEqual(self.ship(), b"")
        self.append(b"\nb\n")
        self.assertEqual(self.ship(), b"<oversize>b\n")

    def test_offsetSurvivesRestart(self) -> None:
        """The offset survives a restart, and nothing is shipped twice."""
        self.append(b"a\nb\n")
        self.ship()
        self.restart()
        self.append(b"c\n")
        self.assertEqual(self.ship(), b"a\nb\nc\n")

    def test_pipeInPlaceOfFile(self) -> None:
        """
        An object in place of the file is reported once, and the file is shipped when it
        appears.
        """
        os.mkfifo(self.path)
        self.ship()
        self.ship()
        self.assertEqual(self.events.count("unreadable"), 1)
        self.path.unlink()
        self.append(b"a\n")
        self.assertEqual(self.ship(), b"a\n")

    @settings(deadline=None, derandomize=True, database=None, max_examples=40)
    @given(
        st.binary(max_size=400).map(lambda b: b.replace(b"x", b"\n")),
        st.integers(1, 99),
    )
    def test_anyOctets(self, octets: bytes, piece: int) -> None:
        """Whatever the file contains, exactly its complete lines are shipped."""
        self.stop()
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.begin()
        self.append(octets)
        self.assertEqual(self.ship(piece), octets[: octets.rfind(b"\n") + 1])


class LagTests(TailTestCase):
    """The limit on the lag."""

    lagOctetsMax = 100

    def test_oldestLinesAreSkipped(self) -> None:
        """The oldest lines are skipped as whole lines, and reported."""
        self.append(b"".join([b"line %03d\n" % n for n in range(100)]))
        self.assertEqual(
            self.ship(),
            b"<lag-cap>" + b"".join([b"line %03d\n" % n for n in range(89, 100)]),
        )
