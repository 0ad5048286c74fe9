"""
The journal's upkeep: unused room goes back to the disk, in small steps between the commits.

The same steps measure the room on the disk. A disk that has had no room for lines for some time is
reported here.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ._backpressure import Backpressure
from ._promise import IJournal, JournalBlocked

__all__ = ["TIDY_S", "Upkeep"]

# How often the journal returns unused space to the disk, in seconds, and the pause after each
# step of that: commits must have their turn.
TIDY_S = 2.0
TIDY_STEP_S = 0.02

# A disk without room is reported when this many looks in a row have found it.
SCARCE_LOOKS = 3


class Upkeep:
    """
    Calls L{IJournal.giveBack} when there is something to give back.
    """

    _log = Logger()

    def __init__(
        self,
        journal: IJournal,
        perform: Callable[[Callable[[], bool]], Deferred[bool]],
        clock: IReactorTime,
        backpressure: Backpressure,
    ) -> None:
        """
        @param perform: call in the journal's thread.
        """
        self._journal = journal
        self._perform = perform
        self._clock = clock
        self._backpressure = backpressure
        self._timer: IDelayedCall | None = None
        # The number of looks in a row that found too little room for waiting depositors.
        self._scarce = 0
        self._isStopped = False

    @property
    def isScarce(self) -> bool:
        """Whether peers have been waiting for room on the journal's disk."""
        return self._scarce >= SCARCE_LOOKS

    def begin(self, seconds: float = TIDY_S) -> None:
        """Take the next step after this time, unless one is due or there is nothing to do."""
        if self._journal.hasSpare and self._timer is None and not self._isStopped:
            self._timer = self._clock.callLater(seconds, self._step)

    def _step(self) -> None:
        # The timer counts as running until the step is done: one at a time.
        done = self._perform(self._journal.giveBack)
        done.addErrback(lambda failure: failure.trap(JournalBlocked) and False)
        done.addCallback(self._stepped)

    def _stepped(self, more: bool | None) -> None:
        self._timer = None
        self.begin(TIDY_STEP_S if more else TIDY_S)
        if not more:
            self._lookScarce()
        self._backpressure.resumeWaiting()

    def _lookScarce(self) -> None:
        """Report a disk that has had no room for lines for longer than two cursors take."""
        wasScarce = self.isScarce
        if self._backpressure.isWaiting and self._backpressure.isDiskFull:
            self._scarce += 1
        else:
            self._scarce = 0
        if self.isScarce and not wasScarce:
            self._log.error(
                "the journal's disk has no room for lines, so none are accepted; free some space,"
                " or let the outputs write the backlog"
            )
        elif wasScarce and not self.isScarce:
            self._log.info("the journal's disk has room for lines again")

    def stop(self) -> None:
        """Take no more steps."""
        self._isStopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
