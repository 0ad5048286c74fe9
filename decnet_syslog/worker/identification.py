"""
Which of the streams that a journal holds a content is, proved by checksums.

What must be true:

* only proof counts: the checksum of all octets that the journal holds of a stream behind its
  last gap. A stream with none is proved by nothing, so it is nobody's;
* no number is taken from a master that is larger than what the worker itself counts;
* the longest proved stream is taken: what it lacks is all that is sent.

Files can be large, so all of this is done in slices: each C{yield} lets others go on.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from ..files import Changed, OpenContent, Vanished
from ..wire.control import KNOWN

__all__ = ["GENERATION_MAX", "Slices", "checksumInSlices", "identify"]

# Octets of a slice: a few hundredths of a second.
SLICE_OCTETS = 32 * 1024 * 1024

# As many contents as a path can have before the worker begins another stream.
GENERATION_MAX = 2**31

_Found = TypeVar("_Found")
Slices = Generator[None, None, _Found]
"""Work that yields after each slice."""


def checksumInSlices(
    content: OpenContent, start: int, end: int, crc: int = 0
) -> Slices[int]:
    """
    The CRC-32 of octets of a content.

    @raise Changed: the file holds another content by now.
    @raise Vanished: the octets are not there.
    @raise OSError: they cannot be read.
    """
    while True:
        upTo = min(end, start + SLICE_OCTETS)
        crc = content.checksum(start, upTo, crc)
        if upTo == end:
            return crc
        start = upTo
        yield


def identify(
    content: OpenContent, candidates: Sequence[KNOWN], offsetMin: int = 0
) -> Slices[KNOWN | None]:
    """
    The longest of a journal's streams that a content is proved to be.

    Reads the file once for each base among the candidates.

    @param offsetMin: octets that the journal is known to hold: one with fewer is another.
    @raise OSError: the file cannot be read.
    """
    best: KNOWN | None = None
    possible = [
        known
        for known in candidates
        if known.generation <= GENERATION_MAX
        and known.base < known.offset <= content.size
        and known.offset >= offsetMin
    ]
    for base in sorted({known.base for known in possible}):
        ours = sorted(
            [known for known in possible if known.base == base],
            key=lambda known: known.offset,
        )
        at, crc = base, 0
        for known in ours:
            try:
                crc = yield from checksumInSlices(content, at, known.offset, crc)
            except (Changed, Vanished):
                break
            at = known.offset
            if crc == known.crc and (best is None or known.offset > best.offset):
                best = known
    return best
