"""
L{decnet_syslog.worker.tail} through any history of a file, with the model of
L{tests.test_history}: every octet that was written is shipped once, in order.
"""

from __future__ import annotations

from typing import Any

from tests.test_history import History

from ..scratch import fresh
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

# A history takes milliseconds a step: a longer one costs more than it finds.
OCTETS_MAX = 64
OPAQUE = False

_LENGTHS = (0, 1, 30, 200, 300, 1500, 2040, 2500)
_SECONDS = (1.0, 5.0, 20.0)

_PLAIN = ("rotate", "late", "copytruncate", "compress", "expire", "delete", "go", "cut")
_APPEND, _LINE, _SHIP, _RESTART, _HALT, _WAIT = range(len(_PLAIN), len(_PLAIN) + 6)

WORDS = (
    bytes([0, 1]),
    bytes([2, 2]),
    bytes([_APPEND, 3]) + b"x\ny",
    bytes([_APPEND, 1]) + b"\n",
    bytes([_LINE, 2]),
    bytes([_SHIP, 0]),
    bytes([_SHIP, 7]),
    bytes([_RESTART, 0]),
    bytes([_HALT, 1]),
    bytes([_WAIT, 2]),
)

SEEDS = (
    bytes([_LINE, 2, _SHIP, 1, 0, _LINE, 3, _RESTART, 0, 3, _SHIP, 5]),
    bytes([_APPEND, 2]) + b"x\n" + bytes([2, 2, 5, _HALT, 0, 3]),
    bytes([2, _APPEND, 2]) + b"x\n" + bytes([_HALT, 1, 2, _APPEND, 1]) + b"a",
    bytes([_LINE, 4, 0, 1, _LINE, 2, _SHIP, 0, 4, _WAIT, 2, 7, 0, 3, _SHIP, 2]),
)


class _Past(History):
    """A history that is no test. Nothing is deleted but by C{expire}, which looks before."""

    rotatedMax = OCTETS_MAX + 1

    def runTest(self) -> None:
        """Nothing: it is driven from outside."""

    def setUp(self) -> None:
        """In memory, and always the same place."""
        self.directory = fresh("tail")
        self.begin()


def _action(source: Source) -> tuple[Any, ...]:
    which = source.below(_WAIT + 1)
    if which < len(_PLAIN):
        return (_PLAIN[which],)
    if which == _APPEND:
        return "append", source.take(1 + source.below(20)) or b"\n"
    if which == _LINE:
        return "line", source.choose(_LENGTHS)
    if which == _SHIP:
        kind = source.octet()
        return "ship", (1, 3, 10**6)[kind % 3], kind % 4 != 3
    if which == _WAIT:
        return "wait", source.choose(_SECONDS)
    return ("restart" if which == _RESTART else "halt"), source.below(2)


def run(octets: bytes) -> None:
    """A history."""
    source = Source(octets)
    past = _Past("runTest")
    past.setUp()
    try:
        while source.left:
            past.act(_action(source))
        past.finish()
        past.check()
    finally:
        if past.running:
            past.stop()
