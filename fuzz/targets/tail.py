"""
L{decnet_syslog.files} with any history of a log's files, using the model of
L{tests.campaigns.contents}: octets are delivered, or are in a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tests.campaigns.contents import ACTIONS, REPEATS, FilesHistory

from ..scratch import fresh
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

# A step takes milliseconds: a longer history costs more than it finds.
OCTETS_MAX = 64
OPAQUE = False

WORDS = tuple(bytes([number]) for number in range(len(ACTIONS)))

SEEDS = (
    bytes([0, 1, 17, 2, 0, 3, 0, 0, 2, 15, 0, 17, 2, 0]),
    bytes([0, 2, 5, 0, 0, 1, 13, 1, 6, 0, 0, 0, 18, 2, 17, 2, 0]),
    bytes([0, 0, 17, 2, 0, 20, 3, 0, 0, 0, 17, 2, 0, 21, 17, 2, 0]),
)

_T = TypeVar("_T")


class _Dice:
    """The model's random decisions, taken from the octets."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def choice(self, among: Sequence[_T]) -> _T:
        return among[self._source.below(len(among))]

    def randrange(self, end: int) -> int:
        return self._source.below(end)

    def random(self) -> float:
        return self._source.octet() / 256


def run(octets: bytes) -> None:
    """Run a history."""
    source = Source(octets)
    dice = _Dice(source)
    world = FilesHistory(fresh("tail"))
    try:
        while source.left:
            _, make = ACTIONS[source.below(len(ACTIONS))]
            world.act(make(dice))
        outcome = world.finish()
        assert not outcome.lost, outcome
        assert not outcome.repeated or outcome.events & REPEATS, outcome
    finally:
        world.close()
