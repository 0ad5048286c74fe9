"""
Backpressure: which connections are read, and which wait for room.

A connection waits while the journal accepts nothing, while its worker has used its share of the
journal, while an output is far behind with its worker's lines, or while too many of its octets wait
for a commit. All of this is decided here, and here are the depositors that wait: L{gathered} says
when to pause, L{resumeWaiting} resumes.

A worker may use as much of the journal as it leaves free: one flooding worker gets a half, two
get a third each, and other workers always find room. A fixed share would be too much for many or
too little for one.

The room in the journal changes only by operations of the journal. It is measured after each of
them, not for each line (L{measure}).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from ..limits import Limits
from ._depositor import Depositor, notify
from ._promise import IJournal

__all__ = ["PENDING_ALWAYS", "Backpressure"]

# One connection may always have this much waiting, so that workers that send little are in
# the next commit. For all connections together that is 256 MiB.
PENDING_ALWAYS = 16 * 1024


class Backpressure:
    """
    Counts octets that wait for a commit, and compares them and the journal with the limits.

    @ivar limits: the listener's.
    @ivar pendingOctets: octets that are taken and not yet committed.
    @ivar isFull: whether the journal accepts nothing now: its disk has no space, or it is on other
        machines that do not respond.
    """

    def __init__(
        self,
        journal: IJournal,
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.pendingOctets = 0
        self.isFull = False
        self._journal = journal
        self._pendingOf: Counter[str] = Counter()
        self._others: list[Callable[[str], bool]] = []
        self._waiting: dict[Depositor, None] = {}
        self._left = 0
        self._octetsOf: Mapping[str, int] = {}
        self.measure()

    @property
    def journalOctetsMax(self) -> int:
        """The octets that the journal may hold: its limit, or the room on its disk if less."""
        return min(self.limits.journal, self._journal.capacity)

    @property
    def left(self) -> int:
        """
        The room that the journal has left, in octets.

        Positions, gaps and names are deducted, but at most half of the limit: a fleet
        accumulates them for years, and they must not stop it.
        """
        journal, most = self._journal, self.limits.journal
        most -= min(journal.keptOctets, most // 2)
        return min(most, journal.capacity) - journal.octets

    @property
    def isBlocked(self) -> bool:
        """Whether no depositor may resume: there is no room in the journal for any worker."""
        return self.isFull or self.left <= 0

    @property
    def isWaiting(self) -> bool:
        """Whether any depositor waits for room."""
        return bool(self._waiting)

    @property
    def isDiskFull(self) -> bool:
        """Whether the journal's disk has no room for lines."""
        return self._journal.capacity <= self._journal.octets

    def useLimits(self, limits: Limits) -> None:
        """Use other limits from now on; depositors that waited may go on."""
        self.limits = limits
        self.measure()
        self.resumeWaiting()

    def measure(self) -> None:
        """An operation of the journal has ended: note the room that is left."""
        self._left = self.left
        self._octetsOf = self._journal.octetsOf

    def addBackpressure(self, shouldPause: Callable[[str], bool]) -> None:
        """
        Also pause a worker when C{shouldPause(worker)} returns true. Call L{resumeWaiting} when its
        answer may have changed.
        """
        self._others.append(shouldPause)

    def gathered(self, worker: str, octets: int, waiting: int) -> bool:
        """
        Count octets that a depositor has gathered for a commit.

        @param waiting: the number of octets that wait at the depositor, including these.
        @return: whether it should pause.
        """
        self.pendingOctets += octets
        self._pendingOf[worker] += octets
        if self.isFull or self._octetsOf.get(worker, 0) >= self._left:
            return True
        for shouldPause in self._others:
            if shouldPause(worker):
                return True
        return waiting >= self.limits.pendingPerConnection or (
            waiting >= PENDING_ALWAYS and self._isShareUsed(worker)
        )

    def _isShareUsed(self, worker: str) -> bool:
        limits = self.limits
        return (
            self.pendingOctets >= limits.pending
            or self._pendingOf[worker] >= limits.pendingPerWorker
        )

    def settled(self, worker: str, octets: int) -> None:
        """Octets of a worker do not wait any more: they are committed, or discarded."""
        self.pendingOctets -= octets
        pending = self._pendingOf
        pending[worker] -= octets
        if not pending[worker]:
            del pending[worker]

    def shouldPause(self, worker: str, waiting: int = 0) -> bool:
        """
        Whether a depositor of a worker should not read.

        @param waiting: the number of octets that wait at the depositor.
        """
        self.measure()
        return self.isFull or (
            self._octetsOf.get(worker, 0) >= self._left
            or any(other(worker) for other in self._others)
            or (waiting >= PENDING_ALWAYS and self._isShareUsed(worker))
        )

    def whyHeld(self, worker: str) -> tuple[str, str]:
        """Why a depositor of a worker has to wait: a word, and a text for people."""
        if self.isDiskFull:
            return ("journal", "no room for lines on the journal's disk")
        if self._journal.octetsOf.get(worker, 0) >= self.left:
            return (
                "journal",
                "the journal is full of lines that an output cannot write, or not fast enough",
            )
        if any(other(worker) for other in self._others):
            return ("output", "an output is far behind with this worker's lines")
        return ("memory", "octets wait for the journal's disk (--max-pending)")

    def waitForRoom(self, depositor: Depositor) -> None:
        """Call C{depositor.resumeReading} when there may be room again."""
        self._waiting[depositor] = None

    def resumeWaiting(self) -> None:
        """Resume waiting depositors if there is room again."""
        if self._waiting and not self.isBlocked:
            waiting, self._waiting = self._waiting, {}
            for depositor in waiting:
                notify(depositor, depositor.resumeReading)
