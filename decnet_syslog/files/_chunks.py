"""The units in which a content is read."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

__all__ = ["Chunk", "FinalLine", "GapChunk", "LineChunk", "endBeforeLong"]


@dataclass(frozen=True, slots=True)
class LineChunk:
    """
    Complete lines, each with its LF: the octets [start, end) of the content.

    @ivar checksums: a CRC-32 of octets that end at C{start}, and the same continued to C{end}. Any
        CRC-32 that has the first value at C{start} has the second at C{end}. C{None}: not known.
    """

    start: int
    end: int
    octets: bytes
    checksums: tuple[int, int] | None = None

    def continued(self, crc: int) -> int:
        """A CRC-32 of octets that end at C{start}, continued to C{end}."""
        if self.checksums is not None and self.checksums[0] == crc:
            return self.checksums[1]
        return crc32(self.octets, crc)


@dataclass(frozen=True, slots=True)
class FinalLine:
    """The last line of a content, which has no LF."""

    start: int
    end: int
    octets: bytes

    def continued(self, crc: int) -> int:
        """A CRC-32 of octets that end at C{start}, continued to C{end}."""
        return crc32(self.octets, crc)


@dataclass(frozen=True, slots=True)
class GapChunk:
    """Octets that will never be shipped, and the reason."""

    start: int
    end: int
    reason: str


Chunk = LineChunk | FinalLine | GapChunk


def endBeforeLong(octets: bytes, end: int, limit: int) -> int:
    """The end of the complete lines before the first one that is too long."""
    at = 0
    while at < end:
        line = octets.index(b"\n", at)
        if line - at > limit:
            break
        # The next line that can be too long ends after at + limit.
        at = max(line + 1, octets.rfind(b"\n", at, at + limit + 1) + 1)
    return at
