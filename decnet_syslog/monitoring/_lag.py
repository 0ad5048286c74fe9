"""
How far behind a worker is now, from its last report and what the listener has committed since.

What must be true:

* a report is a statement about the past. Its age counts: a line that was a minute old when the
  report was made, and is still not here ten seconds later, is 70 s old;
* the listener knows its own commits better than the report does. Octets that the report calls
  undelivered and that are in the journal now do not count, and the oldest line is the one after
  them: the report says how old the octets further on are;
* the growth of the files since the report is estimated by their growth up to the report. A
  burst is not taken for a trend: the slower of the last two rates counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from ..wire import LAG, STATE, ForwarderReport

__all__ = ["Committed", "Growth", "Lag", "ageAt", "lagOf"]

# The longer time over which the growth of files is measured, in seconds.
TREND_S = 10.0

# Growth is extrapolated no further than this, in seconds: longer than a report should take.
AHEAD_MAX_S = 30.0

# Reports kept for the growth, at most: they come every two seconds, or less often.
REPORTS_KEPT = 16

# The committed end of each stream and generation.
Committed = Mapping[tuple[str, int], int]


class Lag(NamedTuple):
    """
    @ivar octets: octets that are not committed.
    @ivar seconds: the age of the oldest line that is not committed; 0: none.
    """

    octets: int
    seconds: float


class Growth:
    """
    How fast a worker's files grow.

    @ivar rate: octets a second.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._sizes: deque[tuple[float, dict[tuple[str, int], int]]] = deque(
            maxlen=REPORTS_KEPT
        )

    def reported(self, report: ForwarderReport, madeAt: float) -> None:
        """
        Take a report.

        @param madeAt: when it was made, on our clock.
        """
        sizes = {(one.stream, one.generation): one.size for one in report.states}
        reports = self._sizes
        while len(reports) > 1 and reports[1][0] <= madeAt - TREND_S:
            reports.popleft()
        same = [
            (at, before)
            for at, before in reports
            if at < madeAt and before.keys() & sizes.keys()
        ]
        rates = [
            sum(max(0, sizes.get(key, 0) - size) for key, size in before.items())
            / (madeAt - at)
            for at, before in same[:1] + same[-1:]
        ]
        # One interval alone may be a burst.
        self.rate = min(rates) if len(same) > 1 else 0.0
        reports.append((madeAt, sizes))


def ageAt(state: STATE | LAG, position: int) -> float:
    """
    The age of the octet at a position when the report was made, in seconds.

    A peer without version 2.1 reports one age only: from there on, the ages are taken to shrink
    steadily to 0 at the file's end.
    """
    if not state.age or position >= state.size:
        return 0.0
    ages = (
        ((state.position, state.age), (state.size, 0))
        if isinstance(state, STATE)
        else state.ages
    )
    before = ages[0]
    position = max(position, before[0])
    for point in ages:
        if point[0] > position:
            share = (position - before[0]) / (point[0] - before[0])
            return (before[1] + share * (point[1] - before[1])) / 1000
        before = point
    return before[1] / 1000


def lagOf(
    report: ForwarderReport, elapsed: float, committed: Committed, growth: float = 0.0
) -> Lag:
    """
    The lag now.

    @param elapsed: how long ago the report was made, in seconds.
    @param growth: octets that the worker writes in a second.
    """
    octets = report.behindOctets
    listed = 0
    oldest = 0.0
    for state in report.states:
        listed += state.size - state.position
        here = max(state.position, committed.get((state.stream, state.generation), 0))
        octets -= min(here, state.size) - state.position
        oldest = max(oldest, ageAt(state, here))
    if report.behindOctets > listed:
        # Files that the report has no room for are not older than the last one that it lists.
        others = [state.age / 1000 for state in report.states]
        oldest = max(oldest, min([report.behindSeconds, *others]))
    if oldest:
        octets += round(growth * min(elapsed, AHEAD_MAX_S))
    return Lag(max(0, octets), oldest + elapsed if oldest else 0.0)
