"""
Group commit: one journal, one thread, many connections.

Requirements:

* one thread uses the journal, one operation after the other. So the position that a newer
  connection is granted includes everything that an older one was still committing, and
  everything that the older one hands over later is stale;
* a depositor is notified only after the commit of all its deposits has returned;
* the octets that wait in memory are bounded, and a worker that floods does not delay a worker that
  sends little (L{decnet_syslog.journal._backpressure}).

Chosen: while one commit runs, arriving deposits gather for the next, and with little to commit
commits begin some milliseconds apart (L{decnet_syslog.journal._spacing}). What can be done once for
a commit is not done for each of its lines: they have one time of arrival, and one statement each in
the journal, and the observers of commits are called once.

This module is long because a commit, its retry and what follows it share their state.

When the disk is full, the same deposits are tried again until there is room. Any other error
stops the process (L{decnet_syslog.receiving._listener}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..clock import utcNow
from ..limits import DEFAULTS, Limits
from ..threads import InThread
from ._ackschedule import ACK_OCTETS_MAX, ACK_SPACING_S, AckSchedule
from ._backpressure import Backpressure
from ._depositor import Depositor, blame
from ._grantqueue import GrantQueue
from ._listing import Listings
from ._pendingcursors import PendingCursors
from ._promise import IJournal, JournalBlocked
from ._spacing import SPACED_OCTETS_MAX, SPACING_S, CommitSpacing
from ._upkeep import Upkeep
from ._values import Batch, Cursor, Deposit, OpenRequest, StreamLease

__all__ = ["ACK_OCTETS_MAX", "Depositor", "GroupCommit"]

T = TypeVar("T")

# How long to wait before trying again on a full disk, in seconds.
FULL_RETRY_S = 1.0

# An idle journal saves the outputs' cursors after this time, in seconds. Together with an
# output's own deadline (feeds.SYNC_DELAY_S) that is less than a second after the write.
CURSOR_DELAY_S = 0.25


@dataclass
class _Group:
    """The content of a transaction, and the depositors to notify afterwards."""

    takes: list[tuple[Depositor, int]]
    deposits: list[Deposit]
    cursors: list[Cursor]
    flushes: list[Deferred[bool]]


def _fire(isSaved: bool, flushes: Sequence[Deferred[bool]]) -> None:
    for flush in flushes:
        flush.callback(isSaved)


class GroupCommit:
    """
    Commit what depositors hand over, in groups, off the reactor's thread.

    @ivar now: the time of arrival of a line: RFC 3339, UTC.
    @ivar why: the reason why the journal was last full.
    @ivar backpressure: decides which depositors may read on.
    @ivar acks: the acknowledgements that are due.
    @ivar listings: the answers to LIST.
    @ivar took: the duration of the last commit, in seconds, including the time in the queue
        of the journal's thread.
    """

    _log = Logger()

    def __init__(
        self,
        journal: IJournal,
        inThread: InThread,
        clock: IReactorTime,
        failed: Callable[[Failure], None],
        limits: Limits = DEFAULTS,
        spacing: float = SPACING_S,
        ackSpacing: float = ACK_SPACING_S,
        now: Callable[[], str] = utcNow,
    ) -> None:
        """
        @param inThread: call a function in the journal's thread, in order of the calls.
        @param failed: called once when the journal cannot be trusted any more.
        """
        self.now = now
        self.backpressure = Backpressure(journal, limits)
        self.acks = AckSchedule(clock, ackSpacing)
        self.listings = Listings(self.perform, clock)
        self.why = ""
        self.took = 0.0
        self._journal = journal
        self._inThread = inThread
        self._clock = clock
        self._failed = failed
        self._spacing = CommitSpacing(spacing)
        self._upkeep = Upkeep(journal, self.perform, clock, self.backpressure)
        self._grants = GrantQueue(
            lambda requests: self.perform(journal.grants, requests),
            lambda: self.full or self._dead,
            self._check,
        )
        self._begun = clock.seconds()
        self._dirty: dict[Depositor, None] = {}
        self._cursors = PendingCursors()
        self._batchListeners: list[Callable[[list[Batch]], None]] = []
        self._flushes: list[Deferred[bool]] = []
        self._timer: IDelayedCall | None = None
        # Whether the timer is set for deposits; otherwise for cursors only, which can wait longer.
        self._isDue = False
        self._busy = False
        self._dead = False

    @property
    def full(self) -> bool:
        """Whether the journal can accept nothing now."""
        return self.backpressure.isFull

    @property
    def pendingOctets(self) -> int:
        """Octets that are taken and not yet committed."""
        return self.backpressure.pendingOctets

    @property
    def acknowledgements(self) -> int:
        """The number of acknowledgements sent to all peers."""
        return self.acks.sent

    @property
    def obstacle(self) -> str | None:
        """The reason why no peer's lines are accepted, or C{None}."""
        if self.full:
            return self.why
        if self._upkeep.isScarce:
            return "no room for lines on the journal's disk"
        return None

    def whyHeld(self, worker: str) -> tuple[str, str]:
        """Why a worker's octets have to wait: a word, and a text for people."""
        return ("journal", self.why) if self.full else self.backpressure.whyHeld(worker)

    def onBatches(self, listener: Callable[[list[Batch]], None]) -> None:
        """Call C{listener} with every group of committed batches, in order of C{seq}."""
        self._batchListeners.append(listener)

    def deposit(self, depositor: Depositor) -> None:
        """Note that C{depositor} has deposits to take."""
        self._dirty[depositor] = None
        if self._busy or self._dead:
            return
        if not self._isDue or self.backpressure.pendingOctets >= SPACED_OCTETS_MAX:
            self._commitInTime()

    def seconds(self) -> float:
        """The time of the clock that commits are spaced by."""
        return self._clock.seconds()

    def waitForRoom(self, depositor: Depositor) -> None:
        """Call C{depositor.resumeReading} when there is room again."""
        self.backpressure.waitForRoom(depositor)
        # The disk may have room again without a commit.
        self._upkeep.begin()

    def addBackpressure(self, shouldPause: Callable[[str], bool]) -> None:
        """See L{Backpressure.addBackpressure}."""
        self.backpressure.addBackpressure(shouldPause)

    def resumeWaiting(self) -> None:
        """Resume waiting depositors if there is room again."""
        if not self._dead:
            self.backpressure.resumeWaiting()

    def saveCursor(self, cursor: Cursor) -> None:
        """Save an output's cursor with the next commit, or soon if there is none."""
        self._cursors.add(cursor)
        if not self._busy and not self._dead:
            self._commitWithin(CURSOR_DELAY_S)

    def flush(self) -> Deferred[bool]:
        """
        Fire when everything handed over so far is committed, including cursors; or, if there
        is no space for deposits, when a commit of the cursors alone has ended.

        @return: whether the cursors are committed.
        """
        if self.full:
            return self._saveCursors()
        done: Deferred[bool] = Deferred()
        self._flushes.append(done)
        if not self._busy:
            self._commit()
        return done

    def _saveCursors(self) -> Deferred[bool]:
        """Commit cursors only: deposits wait for space, cursors need hardly any."""
        cursors = self._cursors.take()
        committing = self.perform(self._journal.commit, [], cursors)
        saved: Deferred[bool] = committing.addCallbacks(
            self._cursorsSaved,
            self._cursorsNotSaved,
            callbackArgs=(cursors,),
            errbackArgs=(cursors,),
        )
        return saved

    def _cursorsSaved(self, committed: object, cursors: list[Cursor]) -> bool:
        if committed is None:
            # The journal has failed, as perform has reported.
            return False
        self._cursors.saved(cursors)
        return True

    def _cursorsNotSaved(self, failure: Failure, cursors: list[Cursor]) -> bool:
        failure.trap(JournalBlocked)
        self._cursors.putBack(cursors)
        return False

    def perform(self, function: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Call a method of the journal in its thread, after the running commit."""
        done: Deferred[T] = self._inThread(function, *arguments)
        done.addBoth(self._measured)
        done.addErrback(self._check)
        return done

    def _measured(self, result: T) -> T:
        """An operation of the journal has ended."""
        self.backpressure.measure()
        return result

    def grant(
        self, request: OpenRequest, wanted: Callable[[], bool]
    ) -> Deferred[StreamLease]:
        """
        Grant a request after every group that was handed over, also one that waits for space.

        A grant before such a group would make one of its deposits stale and not the next one,
        of a newer file: that file's lines would be out of order.

        @param wanted: whether the connection still wants the grant; if not, the Deferred never
            fires.
        """
        return self._grants.add(request, wanted)

    def stop(self) -> None:
        """Start no further operation."""
        self._dead = True
        self.listings.stop()
        self._stopTimer()
        self._upkeep.stop()
        self.acks.stop()

    def _stopTimer(self) -> None:
        self._isDue = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timeUp(self) -> None:
        self._timer = None
        self._isDue = False
        if not self._busy:
            self._commit()

    def _commitWithin(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._timeUp)
        elif self._timer.getTime() > self._clock.seconds() + seconds:
            self._timer.reset(seconds)

    def _commitInTime(self) -> None:
        """Commit now, or when enough time has passed since the previous commits began."""
        early = self._spacing.due - self._clock.seconds()
        if early <= 0 or self.backpressure.pendingOctets >= SPACED_OCTETS_MAX:
            self._commit()
        else:
            self._commitWithin(early)
            self._isDue = True

    def _commit(self) -> None:
        """Take all deposits and commit them."""
        self._stopTimer()
        self._begun = self._clock.seconds()
        group = _Group([], [], self._cursors.take(), self._flushes)
        self._flushes = []
        dirty, self._dirty = self._dirty, {}
        receivedAt = self.now()
        for depositor in dirty:
            taken: Sequence[Deposit] = ()
            try:
                taken = depositor.take(receivedAt)
            except Exception:
                blame(depositor)
            group.takes.append((depositor, len(taken)))
            group.deposits.extend(taken)
        self._spacing.begun(self._begun, len(group.deposits))
        self._try(group)

    def _try(self, group: _Group) -> None:
        self._busy = True
        done = self._inThread(self._journal.commit, group.deposits, group.cursors)
        done.addBoth(self._measured)
        done.addCallbacks(
            self._committed,
            self._notCommitted,
            callbackArgs=(group,),
            errbackArgs=(group,),
        )
        done.addErrback(self._check)

    def _committed(self, batches: list[Batch | None], group: _Group) -> None:
        now = self._clock.seconds()
        self.took = now - self._begun
        self._cursors.saved(group.cursors)
        if self.full:
            self.backpressure.isFull = False
            self._log.info("the journal accepts lines again")
            self._grants.proceed()
        at = 0
        for depositor, count in group.takes:
            try:
                depositor.committed(batches[at : at + count], now)
            except Exception:
                blame(depositor)
            at += count
        fresh = [batch for batch in batches if batch is not None]
        if fresh:
            for listener in self._batchListeners:
                listener(fresh)
        self._busy = False
        for flush in group.flushes:
            flush.callback(True)
        self._next()

    def _next(self) -> None:
        if self._busy or self._dead:
            return
        if self._flushes:
            self._commit()
        elif self._dirty:
            self._commitInTime()
        elif self._cursors:
            self._commitWithin(CURSOR_DELAY_S)
        self._upkeep.begin()
        self.resumeWaiting()

    def _notCommitted(self, failure: Failure, group: _Group) -> None:
        failure.trap(JournalBlocked)
        self.why = failure.getErrorMessage()
        if not self.full:
            self.backpressure.isFull = True
            self._log.error(
                "{why}: nothing is accepted until that is over; the backlog stays with"
                " the workers",
                why=self.why,
            )
        # Others may save newer cursors before the next attempt.
        self._cursors.putBack(group.cursors)
        # A stop must not wait until an operator has freed space.
        flushes, group.flushes = group.flushes, []
        if flushes:
            self._saveCursors().addCallback(_fire, flushes)
        if not self._dead:
            self._clock.callLater(FULL_RETRY_S, self._retry, group)
            self._upkeep.begin()

    def _retry(self, group: _Group) -> None:
        if not self._dead:
            # New cursors can release batches, and thereby free space.
            group.cursors = self._cursors.take()
            self._try(group)

    def _check(self, failure: Failure) -> Failure | None:
        """Any error other than a blocked journal is final."""
        if failure.check(JournalBlocked):
            return failure
        if not self._dead:
            self.stop()
            self._failed(failure)
        return None
