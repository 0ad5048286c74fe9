"""
Rate limiting for log events that a peer can cause at will.

The first event is logged at once, later ones at most once per C{SELDOM_S}. Requirements: every
occurrence is counted, and the next logged line contains the count; the memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

__all__ = ["SELDOM_S", "Seldom"]

# The least time between two lines of one worker and kind, in seconds.
SELDOM_S = 60.0

# Workers and kinds that are remembered. A forgotten one may cause a line too soon.
KNOWN_MAX = 4096


class Seldom:
    """Decides which occurrences are logged."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # The time of the last line, and the number of occurrences since then.
        self._known: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """The number of workers and kinds that are remembered."""
        return len(self._known)

    def occurred(self, key: Hashable, count: int = 1) -> int:
        """
        Count occurrences.

        @return: the number to log now; 0 if a line was logged a short time ago.
        """
        now = self._clock.seconds()
        last, waiting = self._known.get(key, (float("-inf"), 0))
        waiting += count
        if now - last < SELDOM_S:
            self._known[key] = last, waiting
            return 0
        self._known[key] = now, 0
        self._known.move_to_end(key)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return waiting
