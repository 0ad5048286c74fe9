"""Tests for L{decnet_syslog.files._chunks}."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files._background import SUMMED_FIRST_OCTETS, SUMMED_OCTETS
from decnet_syslog.files._chunks import LineChunk

from ..tailing import TailTestCase

CRCS = st.integers(0, 2**32 - 1)


class ContinuedTests(SynchronousTestCase):
    """The checksum of a stream, continued by the checksum of its content."""

    @given(CRCS, CRCS, st.binary(max_size=40))
    def test_neverDiffersFromChecksum(
        self, one: int, other: int, octets: bytes
    ) -> None:
        """Whatever was summed before, the result is the CRC-32 of the octets."""
        known = LineChunk(0, len(octets), octets, (one, crc32(octets, one)))
        unknown = LineChunk(0, len(octets), octets)
        for chunk in (known, unknown):
            for crc in (one, other):
                self.assertEqual(chunk.continued(crc), crc32(octets, crc))

    def test_knownChecksumIsUsed(self) -> None:
        """Octets whose checksum is known are not summed again."""
        chunk = LineChunk(0, 2, b"a\n", (5, 7))
        self.assertEqual(chunk.continued(5), 7)


class ReadingTests(TailTestCase):
    """Chunks of a file."""

    def test_chunksInOrderKnowTheirChecksums(self) -> None:
        """A file that is read from its beginning is summed once."""
        self.append(b"first\n")
        self.append(b"second\n" * 3)
        self.files.poll()
        (content,) = self.files.opened
        crc = 0
        for octets in (b"first\n", b"second\n" * 3):
            chunk = content.read(len(octets))
            assert isinstance(chunk, LineChunk)
            self.assertEqual(chunk.octets, octets)
            self.assertEqual(chunk.checksums, (crc, crc32(octets, crc)))
            crc = crc32(octets, crc)


class AheadTests(TailTestCase):
    """Checksums ahead of reading."""

    def test_firstLookSumsLittle(self) -> None:
        """The first look does not delay what is sent; later looks sum the rest of a backlog."""
        size = SUMMED_FIRST_OCTETS + SUMMED_OCTETS + 100
        self.append((b"x" * 99 + b"\n") * (size // 100))
        self.files.poll()
        (content,) = self.files.opened
        summed = [content.content.proof.end]
        for _ in range(2):
            self.now += 1
            self.files.poll()
            summed.append(content.content.proof.end)
        first, *_, last = summed
        self.assertGreaterEqual(first, SUMMED_FIRST_OCTETS)
        self.assertLess(first, SUMMED_OCTETS)
        self.assertEqual(last, content.size)
