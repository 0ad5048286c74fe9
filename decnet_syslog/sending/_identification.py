"""
Finding the stream of a journal that holds a content, proved by checksums.

What must be true:

* only proof counts: the checksum of all octets that the journal holds of a stream after its last
  gap. A stream without such octets proves nothing, so no content is matched with it;
* no number from a master is used that is larger than the worker's own count;
* the longest proved stream is chosen: then only the missing octets are sent.

Files can be large, so the work is done in slices: at each C{yield} other work may run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from ..files import GENERATION_MAX, Changed, OpenContent, Vanished
from ..wire import KNOWN

__all__ = ["Slices", "checksumInSlices", "identify"]

# Octets in a slice: they take a few hundredths of a second.
SLICE_OCTETS = 32 * 1024 * 1024

_Found = TypeVar("_Found")
Slices = Generator[None, None, _Found]
"""A generator that yields after each slice of work, and returns the result."""


def checksumInSlices(
    content: OpenContent, start: int, end: int, crc: int = 0
) -> Slices[int]:
    """
    The CRC-32 of the octets from C{start} to C{end} of a content.

    @raise Changed: the file now holds another content.
    @raise Vanished: the file does not have these octets.
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
    The longest of the journal's streams that is proved to hold this content.

    Reads the file once for each different base of the candidates.

    @param offsetMin: the octets that the journal is known to hold: a shorter stream is another.
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
