"""
Group commit: one journal, one thread, many connections.

Requirements:

* one thread uses the journal, one operation after the other. So the position that a newer
  connection is granted includes everything that an older one was still committing, and
  everything that the older one hands over later is stale;
* a depositor is notified only after the commit of all its deposits has returned;
* the octets that wait in memory are bounded: beyond L{Limits.pending} depositors stop
  reading until a commit has returned;
* a worker that floods does not delay a worker that sends little: see L{PendingBudget}.

Chosen: while one commit runs, arriving deposits gather for the next. So a single line is
committed at once, and a flood costs one fsync for megabytes. Without spacing, a fleet that
sends a trickle would cause a commit for every few lines, each with its pages, its fsync and a
turn of every output. So with little to commit, commits begin C{SPACING_S} apart.

When the disk is full, the same deposits are tried again until there is room. Any other error
stops the process (L{decnet_syslog.receiving._listener}).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..limits import DEFAULTS, Limits
from ._budget import PendingBudget
from ._grantqueue import GrantQueue
from ._listing import Listings
from ._promise import IJournal, JournalBlocked
from ._values import Batch, Cursor, Deposit, OpenRequest, StreamLease

__all__ = ["Depositor", "GroupCommit"]

T = TypeVar("T")

# How long to wait before trying again on a full disk, in seconds.
FULL_RETRY_S = 1.0

# The average time between the beginnings of two commits, in seconds, unless
# SPACED_OCTETS_MAX octets wait. A line may wait that long for others: a tenth of the delay
# that a human notices. After a quiet time, SPACINGS_SAVED commits may begin early, so that a
# steady line per interval does not wait because it came a little early. After a commit with
# CROWD_DEPOSITS deposits the interval is CROWD_SPACINGS times as long: half the cost of such
# a commit is the same for two lines and for two hundred.
SPACING_S = 0.01
SPACINGS_SAVED = 3
CROWD_SPACINGS = 3
CROWD_DEPOSITS = 32
SPACED_OCTETS_MAX = 128 * 1024

# The time between two acknowledgements on one connection, in seconds, unless they cover
# ACK_OCTETS_MAX octets. Sending one is as much work as receiving a line, and no peer waits
# for one.
ACK_SPACING_S = 0.5
ACK_OCTETS_MAX = 128 * 1024

# How often the journal returns unused space to the disk, in seconds, and the pause after each
# step of that: commits must have their turn.
TIDY_S = 2.0
TIDY_STEP_S = 0.02

# A disk without room is reported when this many looks in a row have found it.
SCARCE_LOOKS = 3

# An idle journal saves the outputs' cursors after this time, in seconds. Together with an
# output's own deadline (feeds.SYNC_DELAY_S) that is less than a second after the write.
CURSOR_DELAY_S = 0.25


class Depositor(Protocol):
    """A source of deposits: a connection's reception."""

    def take(self) -> Sequence[Deposit]:
        """Give everything received since the last call."""

    def committed(self, batches: Sequence[Batch | None]) -> None:
        """The taken deposits are durable; C{None} for each that was stale."""

    def acknowledge(self) -> None:
        """Send the acknowledgements that L{GroupCommit.scheduleAck} has scheduled."""

    def resumeReading(self) -> None:
        """There is room again: resume reading."""

    def failed(self) -> None:
        """Close: one of the above has failed because of an internal error."""


@dataclass
class _Group:
    """The content of one transaction, and everything to notify afterwards."""

    takes: list[tuple[Depositor, int]]
    deposits: list[Deposit]
    cursors: list[Cursor]
    flushes: list[Deferred[None]]


class GroupCommit:
    """
    Commit what depositors hand over, in groups, off the reactor's thread.

    @ivar limits: the listener's.
    @ivar full: whether the journal can accept nothing now: its disk has no space, or it is
        on other machines that do not respond.
    @ivar why: the reason why the journal was last full.
    @ivar acknowledgements: the number of acknowledgements sent to all peers.
    @ivar listings: the answers to LIST.
    @ivar took: the duration of the last commit, in seconds, including the time in the queue
        of the journal's thread.
    """

    _log = Logger()

    def __init__(
        self,
        journal: IJournal,
        inThread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        failed: Callable[[Failure], None],
        limits: Limits = DEFAULTS,
        spacing: float = SPACING_S,
        ackSpacing: float = ACK_SPACING_S,
    ) -> None:
        """
        @param inThread: call a function in the journal's thread, in order of the calls.
        @param failed: called once when the journal cannot be trusted any more.
        """
        self._journal = journal
        self._inThread = inThread
        self._clock = clock
        self._failed = failed
        self.limits = limits
        self._spacing = spacing
        self.ackSpacing = ackSpacing
        self._begun = clock.seconds()
        self._due = float("-inf")
        self._dirty: dict[Depositor, None] = {}
        self._waiting: dict[Depositor, None] = {}
        self._cursors: dict[str, Cursor] = {}
        self._batchListeners: list[Callable[[list[Batch]], None]] = []
        self._flushes: list[Deferred[None]] = []
        self._budget = PendingBudget(journal, limits)
        self._grants = GrantQueue(
            lambda requests: self.perform(journal.grants, requests),
            lambda: self.full or self._dead,
            self._check,
        )
        self._timer: IDelayedCall | None = None
        self._tidyTimer: IDelayedCall | None = None
        # The number of looks in a row that found too little room for waiting depositors.
        self._scarce = 0
        self._unacknowledged: dict[Depositor, None] = {}
        self._ackTimer: IDelayedCall | None = None
        self._busy = False
        self._dead = False
        self.full = False
        self.why = ""
        self.listings = Listings(self.perform, clock)
        self.acknowledgements = 0
        self.took = 0.0

    @property
    def pendingOctets(self) -> int:
        """Octets that are taken and not yet committed."""
        return self._budget.pendingOctets

    @property
    def journalOctetsMax(self) -> int:
        """The octets that the journal may hold: its limit, or the room on its disk if less."""
        return self._budget.journalOctetsMax

    @property
    def obstacle(self) -> str | None:
        """The reason why no peer's lines are accepted, or C{None}."""
        if self.full:
            return self.why
        return "no room for lines on the journal's disk" if self.isScarce else None

    @property
    def isScarce(self) -> bool:
        """Whether peers have been waiting for room on the journal's disk."""
        return self._scarce >= SCARCE_LOOKS

    @property
    def blocked(self) -> bool:
        """Whether no peer's lines are accepted until there is room on the disk."""
        return self.full or self._budget.left <= 0

    def shouldPause(self, worker: str, octets: int = 0) -> bool:
        """
        Whether a depositor should stop reading until L{Depositor.resumeReading}.

        @param octets: the number of octets that wait at the depositor.
        """
        return self.full or self._budget.isSpent(worker, octets)

    def whyHeld(self, worker: str) -> tuple[str, str]:
        """Why a worker's octets have to wait: a word, and a text for people."""
        return ("journal", self.why) if self.full else self._budget.why(worker)

    def accountPending(self, worker: str, octets: int) -> None:
        """Count octets that wait for a commit; negative if they do not wait any more."""
        self._budget.accountPending(worker, octets)

    def onBatches(self, listener: Callable[[list[Batch]], None]) -> None:
        """Call C{listener} with every group of committed batches, in order of C{seq}."""
        self._batchListeners.append(listener)

    def addBackpressure(self, crowded: Callable[[str], bool]) -> None:
        """Also ask C{crowded(worker)}. Call L{resumeWaiting} when its answer may have changed."""
        self._budget.addBackpressure(crowded)

    def deposit(self, depositor: Depositor) -> None:
        """Note that C{depositor} has deposits to take."""
        self._dirty[depositor] = None
        if not self._busy and not self._dead:
            self._commitInTime()

    def scheduleAck(self, depositor: Depositor) -> None:
        """Call C{depositor.acknowledge} soon, together with the others'."""
        self._unacknowledged[depositor] = None
        if self._ackTimer is None and not self._dead:
            self._ackTimer = self._clock.callLater(self.ackSpacing, self._acknowledge)

    def _acknowledge(self) -> None:
        self._ackTimer = None
        owing, self._unacknowledged = self._unacknowledged, {}
        for depositor in owing:
            with self._blaming(depositor):
                depositor.acknowledge()

    def seconds(self) -> float:
        """The time of the clock that commits are spaced by."""
        return self._clock.seconds()

    def waitForRoom(self, depositor: Depositor) -> None:
        """Call C{depositor.room} when there is room again."""
        self._waiting[depositor] = None
        # The disk may have room again without a commit.
        self._tidyIn(TIDY_S)

    def resumeWaiting(self) -> None:
        """Resume waiting depositors if there is room again."""
        if self._waiting and not self.blocked and not self._dead:
            waiting, self._waiting = self._waiting, {}
            for depositor in waiting:
                with self._blaming(depositor):
                    depositor.resumeReading()

    def saveCursor(self, cursor: Cursor) -> None:
        """Save an output's cursor with the next commit, or soon if there is none."""
        self._keep(cursor)
        if not self._busy and not self._dead:
            self._commitWithin(CURSOR_DELAY_S)

    def flush(self) -> Deferred[None]:
        """
        Fire when everything handed over so far is committed, including cursors; or when there
        is no space for it.
        """
        done: Deferred[None] = Deferred()
        if self.full:
            # Deposits wait for space; cursors need hardly any.
            cursors, self._cursors = self._cursors, {}
            saved = self.perform(self._journal.commit, [], list(cursors.values()))
            saved.addErrback(self._notSaved, cursors)
            saved.addCallback(lambda _: done.callback(None))
            return done
        self._flushes.append(done)
        if not self._busy:
            self._commit()
        return done

    def _notSaved(self, failure: Failure, cursors: dict[str, Cursor]) -> None:
        failure.trap(JournalBlocked)
        later, self._cursors = self._cursors, cursors
        for cursor in later.values():
            self._keep(cursor)

    def _keep(self, cursor: Cursor) -> None:
        before = self._cursors.get(cursor.output)
        if before is not None:
            files = {**before.files, **cursor.files}
            cursor = Cursor(cursor.output, cursor.seq, files)
        self._cursors[cursor.output] = cursor

    def perform(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call a method of the journal in its thread, after the running commit."""
        done: Deferred[T] = self._inThread(function, *arguments)
        done.addErrback(self._check)
        return done

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
        if self._tidyTimer is not None and self._tidyTimer.active():
            self._tidyTimer.cancel()
        if self._ackTimer is not None:
            self._ackTimer.cancel()
            self._ackTimer = None

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timeUp(self) -> None:
        self._timer = None
        if not self._busy:
            self._commit()

    def _commitWithin(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._timeUp)
        elif self._timer.getTime() > self._clock.seconds() + seconds:
            self._timer.reset(seconds)

    def _commitInTime(self) -> None:
        """Commit now, or when enough time has passed since the previous commits began."""
        early = self._due - self._clock.seconds()
        if early <= 0 or self.pendingOctets >= SPACED_OCTETS_MAX:
            self._commit()
        else:
            self._commitWithin(early)

    def _commit(self) -> None:
        """Take all deposits and commit them."""
        self._stopTimer()
        self._begun = self._clock.seconds()
        group = _Group([], [], list(self._cursors.values()), self._flushes)
        self._cursors = {}
        self._flushes = []
        dirty, self._dirty = self._dirty, {}
        for depositor in dirty:
            taken: Sequence[Deposit] = ()
            with self._blaming(depositor):
                taken = depositor.take()
            group.takes.append((depositor, len(taken)))
            group.deposits.extend(taken)
        crowd = len(group.deposits) >= CROWD_DEPOSITS
        spacing = self._spacing * (CROWD_SPACINGS if crowd else 1)
        saved = 0 if crowd else SPACINGS_SAVED * self._spacing
        self._due = min(max(self._due, self._begun - saved), self._begun) + spacing
        self._try(group)

    def _try(self, group: _Group) -> None:
        self._busy = True
        done = self._inThread(self._journal.commit, group.deposits, group.cursors)
        done.addCallbacks(
            self._committed,
            self._notCommitted,
            callbackArgs=(group,),
            errbackArgs=(group,),
        )
        done.addErrback(self._check)

    def _committed(self, batches: list[Batch | None], group: _Group) -> None:
        self.took = self._clock.seconds() - self._begun
        if self.full:
            self.full = False
            self._log.info("the journal accepts lines again")
            self._grants.proceed()
        at = 0
        for depositor, count in group.takes:
            with self._blaming(depositor):
                depositor.committed(batches[at : at + count])
            at += count
        fresh = [batch for batch in batches if batch is not None]
        if fresh:
            for listener in self._batchListeners:
                listener(fresh)
        self._busy = False
        for flush in group.flushes:
            flush.callback(None)
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
        self._tidyIn(TIDY_S)
        self.resumeWaiting()

    def _tidyIn(self, seconds: float) -> None:
        if self._journal.hasSpare and self._tidyTimer is None and not self._dead:
            self._tidyTimer = self._clock.callLater(seconds, self._tidy)

    def _tidy(self) -> None:
        # The timer counts as running until it is done: one step at a time.
        done = self.perform(self._journal.giveBack)
        done.addErrback(lambda failure: failure.trap(JournalBlocked) and False)
        done.addCallback(self._tidied)

    def _tidied(self, more: bool | None) -> None:
        self._tidyTimer = None
        self._tidyIn(TIDY_STEP_S if more else TIDY_S)
        if not more:
            self._lookScarce()
        self.resumeWaiting()

    def _lookScarce(self) -> None:
        """Report a disk that has had no room for lines for longer than two cursors take."""
        wasScarce = self.isScarce
        if self._waiting and self._budget.isDiskFull:
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

    def _notCommitted(self, failure: Failure, group: _Group) -> None:
        failure.trap(JournalBlocked)
        self.why = failure.getErrorMessage()
        if not self.full:
            self.full = True
            self._log.error(
                "{why}: nothing is accepted until that is over; the backlog stays with"
                " the workers",
                why=self.why,
            )
        # A stop must not wait until an operator has freed space.
        flushes, group.flushes = group.flushes, []
        for flush in flushes:
            flush.callback(None)
        if not self._dead:
            self._clock.callLater(FULL_RETRY_S, self._retry, group)
            self._tidyIn(TIDY_S)

    def _retry(self, group: _Group) -> None:
        # New cursors can release batches, and thereby free space.
        group.cursors.extend(self._cursors.values())
        self._cursors = {}
        if not self._dead:
            self._try(group)

    @contextmanager
    def _blaming(self, depositor: Depositor) -> Iterator[None]:
        """Close only this connection when one of its methods has an internal error."""
        try:
            yield
        except Exception:
            self._log.failure("internal error: closing one connection")
            depositor.failed()

    def _check(self, failure: Failure) -> Failure | None:
        """Any error other than a blocked journal is final."""
        if failure.check(JournalBlocked):
            return failure
        if not self._dead:
            self.stop()
            self._failed(failure)
        return None
