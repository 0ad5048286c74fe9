"""Octets as decisions: what a target of more than one input takes its steps from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Source"]

T = TypeVar("T")


class Source:
    """
    Octets that are used up from the front. What is not there is zero: every input is one.

    An octet more or less moves few decisions, so that what a mutation keeps of an input
    keeps its meaning: a decision takes one octet, a text its length and itself.
    """

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def left(self) -> int:
        """Octets that are not used yet."""
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
        """A number of so many octets."""
        return int.from_bytes(self.take(octets), "big")

    def take(self, count: int) -> bytes:
        """So many octets, or what is left."""
        at, self._at = self._at, min(len(self._octets), self._at + count)
        return self._octets[at : self._at]

    def some(self) -> bytes:
        """Up to 255 octets: their number, and they."""
        return self.take(self.octet())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def text(self) -> str:
        """Up to 255 octets as text; what is not UTF-8 as in a file name."""
        return self.some().decode("utf-8", "surrogateescape")

    def edit(self, octets: bytes) -> bytes:
        """
        Octets with some of them replaced, removed or added: what is left says where and how.

        Of what is parsed by a library nobody sees which octet mattered, and almost all
        octets are no certificate. So an input that is worth a try is few changes to one.
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
