"""
The budget of a listener: how much may wait for a commit, and how much the journal may hold.

A worker may use as much of the journal as it leaves free: one flooding worker gets a half, two
get a third each, and other workers always find room. A fixed share would be too much for many or
too little for one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..limits import Limits
from ._promise import IJournal

__all__ = ["PendingBudget"]

# One connection may always have this much waiting, so that workers that send little are in
# the next commit. For all connections together that is 256 MiB.
PENDING_ALWAYS = 16 * 1024


class PendingBudget:
    """
    Counts octets that wait for a commit, and compares them and the journal with the limits.

    @ivar pendingOctets: octets that are taken and not yet committed.
    """

    def __init__(self, journal: IJournal, limits: Limits) -> None:
        self.pendingOctets = 0
        self._journal = journal
        self._limits = limits
        self._pendingOf: Counter[str] = Counter()
        self._others: list[Callable[[str], bool]] = []

    @property
    def journalOctetsMax(self) -> int:
        """The octets that the journal may hold: its limit, or the room on its disk if less."""
        return min(self._limits.journal, self._journal.capacity)

    @property
    def left(self) -> int:
        """
        The room that the journal has left, in octets.

        Positions, gaps and names are deducted, but at most half of the limit: a fleet
        accumulates them for years, and they must not stop it.
        """
        journal, most = self._journal, self._limits.journal
        most -= min(journal.keptOctets, most // 2)
        return min(most, journal.capacity) - journal.octets

    @property
    def isDiskFull(self) -> bool:
        """Whether the journal's disk has no room for lines."""
        return self._journal.capacity <= self._journal.octets

    def accountPending(self, worker: str, octets: int) -> None:
        """Count octets that wait for a commit; negative if they do not wait any more."""
        self.pendingOctets += octets
        pending = self._pendingOf
        pending[worker] += octets
        if not pending[worker]:
            del pending[worker]

    def addBackpressure(self, crowded: Callable[[str], bool]) -> None:
        """Also ask C{crowded(worker)}."""
        self._others.append(crowded)

    def why(self, worker: str) -> tuple[str, str]:
        """Why a depositor of a worker has to wait: a word, and a text for people."""
        if self.isDiskFull:
            return ("journal", "no room for lines on the journal's disk")
        if self._journal.octetsOf.get(worker, 0) >= self.left:
            return (
                "journal",
                "the journal is full of lines that an output cannot write, or not fast enough",
            )
        if any(crowded(worker) for crowded in self._others):
            return ("output", "an output is far behind with this worker's lines")
        return ("memory", "octets wait for the journal's disk (--max-pending)")

    def isSpent(self, worker: str, octets: int) -> bool:
        """
        Whether a depositor of a worker has to wait.

        @param octets: the number of octets that wait at the depositor.
        """
        if self._journal.octetsOf.get(worker, 0) >= self.left:
            return True
        if any(crowded(worker) for crowded in self._others):
            return True
        return octets >= PENDING_ALWAYS and (
            self.pendingOctets >= self._limits.pending
            or self._pendingOf[worker] >= self._limits.pendingPerWorker
        )
