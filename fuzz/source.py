"""Octets as decisions: the source of the steps of a target with more than one input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Source"]

T = TypeVar("T")


class Source:
    """
    Octets that are consumed from the front. Missing octets are zero, so every input is
    valid.

    An additional or missing octet affects few decisions, so that the unchanged part of
    a mutated input keeps its meaning: a decision takes one octet; a text takes its
    length and its octets.
    """

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def left(self) -> int:
        """The number of octets not consumed yet."""
        return len(self._octets) - self._at

    def octet(self) -> int:
        """The next octet."""
        taken = self.take(1)
        return taken[0] if taken else 0

    def below(self, count: int) -> int:
        """A number under C{count}, which is at most 256."""
        return self.octet() % count

    def choose(self, choices: Sequence[T]) -> T:
        """One of at most 256 choices."""
        return choices[self.below(len(choices))]

    def number(self, octets: int) -> int:
        """A number with this many octets."""
        return int.from_bytes(self.take(octets), "big")

    def take(self, count: int) -> bytes:
        """This many octets, or all remaining ones."""
        at, self._at = self._at, min(len(self._octets), self._at + count)
        return self._octets[at : self._at]

    def some(self) -> bytes:
        """Up to 255 octets: first their number, then the octets."""
        return self.take(self.octet())

    def rest(self) -> bytes:
        """All remaining octets."""
        return self.take(self.left)

    def text(self) -> str:
        """Up to 255 octets as text; invalid UTF-8 is decoded as in file names."""
        return self.some().decode("utf-8", "surrogateescape")

    def edit(self, octets: bytes) -> bytes:
        """
        Octets with some replaced, removed or added; the remaining source decides where
        and how.

        If a library does the parsing, the fuzzer cannot observe which octet mattered,
        and random octets are hardly ever a certificate. So a useful input is a
        certificate with few changes.
        """
        edited = bytearray(octets)
        while self.left:
            at = self.number(2) % (len(edited) + 1)
            kind, value = self.below(8), self.octet()
            if kind < 4:
                edited[at : at + 1] = bytes([value])
            elif kind == 4:
                edited[at : at + 1 + value % 16] = b""
            elif kind == 5:
                edited[at:at] = self.take(value % 16)
            elif kind == 6:
                edited[at : at + value % 16] = self.take(value % 16)
            else:
                edited[at:at] = edited[at : at + value]
        return bytes(edited)
