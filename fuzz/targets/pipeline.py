"""
Worker and master, both real, joined by a lossy link: L{tests.campaigns.pipeline}.

Any history of lines, deliveries, cuts, rotations, truncations and kills of either end.
Both outputs must have every line once and in order.
"""

from __future__ import annotations

from tests.campaigns.pipeline import World, perform

from ..scratch import fresh
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

# Two processes are simulated: some hundredths of a second.
OCTETS_MAX = 48
OPAQUE = False

_Step = tuple[object, ...]

_PLAIN: tuple[_Step, ...] = (
    *(("connect",), ("poll",), ("cut",), ("rotate",), ("copytruncate",), ("wait",)),
    *(("send",), ("hear",), ("all",), ("crash worker", True), ("crash worker", False)),
    *(("crash master", True), ("crash master", False), ("step", 1), ("step", 3)),
)
_LINE, _DELIVER, _HEAR, _LATE = range(len(_PLAIN), len(_PLAIN) + 4)

WORDS = (
    bytes([_LINE, 0, 6]),
    bytes([_LINE, 200, 6, 13]),
    bytes([_DELIVER, 90]),
    bytes([_HEAR, 30]),
    bytes([_LATE, 99]),
    bytes([3, _LINE, 5, 8]),
    bytes([4, 8]),
    bytes([11, 0, 8]),
)

SEEDS = (
    bytes([_LINE, 0, 6, 13, 11, 0, _LINE, 5, 8]),
    bytes([_LINE, 100, 1, _DELIVER, 60, 0, _LATE, 90, 13, _HEAR, 9, 2, 0, 8]),
    bytes([_LINE, 9, 3, _LINE, 9, 9, 0, 8, 4, 5, 10, 0, 8]),
)


def _step(source: Source) -> _Step:
    which = source.below(_LATE + 1)
    if which < len(_PLAIN):
        return _PLAIN[which]
    amount = source.octet()
    if which == _LINE:
        return "line", amount
    if which == _LATE:
        return "late", 1 + 2 * amount
    return "deliver", 1 + 2 * amount, which == _HEAR


def run(octets: bytes) -> None:
    """Run a history."""
    source = Source(octets)
    world = World(fresh("pipeline") / "world")
    try:
        world.connect()
        world.warmUp()
        while source.left:
            perform(world, _step(source))
            world.look()
        world.heal()
        world.check()
    finally:
        world.close()
