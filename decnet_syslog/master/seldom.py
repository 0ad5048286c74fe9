"""
Log events that a peer can cause as often as it likes: the first at once, then few.

What must be true: each occurrence is counted, and the next line that is logged has the count,
so that none is lost between two lines; the memory for this is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

__all__ = ["SELDOM_S", "Seldom"]

# The least time between two lines of one worker and kind, in seconds.
SELDOM_S = 60.0

# Workers and kinds that are remembered. Of one that was forgotten there is a line more.
KNOWN_MAX = 4096


class Seldom:
    """Which occurrences are logged."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # The time of the last line, and the number of occurrences since then.
        self._known: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def occurred(self, key: Hashable, count: int = 1) -> int:
        """
        Count.

        @return: how many to log now; 0: it was logged a short time ago.
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
