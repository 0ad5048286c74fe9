"""Places of octets in the file of segments, and which segments they are in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SIZES", "Place", "SegmentSizes"]


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where the octets of a batch are.

    @ivar start: offset in the file after its header.
    @ivar octets: their number.
    @ivar rest: offset of a segment that has what does not fit into the first one; C{None} if
        everything does.
    """

    start: int
    octets: int
    rest: int | None

    def __post_init__(self) -> None:
        """
        Check the numbers.

        @raise ValueError: no program has written them.
        """
        if min(self.start, self.octets, self.rest or 0) < 0:
            raise ValueError(f"a batch with the place {self}")


@dataclass(frozen=True)
class SegmentSizes:
    """
    The sizes of segments, in octets. Tests use smaller ones.

    @ivar segment: of a segment. It is the same for the whole life of a journal: rows name places
        in the file, and this tells which segment that is.
    @ivar commitMin: the size of a transaction from which its octets are written to segments.
        That costs a second sync; fewer octets take hardly longer in rows.
    """

    segment: int = 8 * 1024 * 1024
    commitMin: int = 64 * 1024

    def firstOf(self, place: Place) -> int:
        """The number of octets in the first segment."""
        return min(place.octets, self.segment - place.start % self.segment)

    def endOf(self, place: Place) -> int:
        """The offset after the last octet."""
        if place.rest is None:
            return place.start + place.octets
        return place.rest + place.octets - self.firstOf(place)

    def segmentsOf(self, place: Place) -> tuple[int, ...]:
        """The numbers of the segments."""
        first = place.start // self.segment
        return (first,) if place.rest is None else (first, place.rest // self.segment)


SIZES = SegmentSizes()
