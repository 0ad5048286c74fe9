"""
Group commit: one journal, one thread, many connections.

What must be true:

* the journal is used by one thread, one operation after the other. So whatever an older
  connection still had committing is in the position that a newer one is granted, and
  whatever it hands over later is stale;
* a depositor hears of its deposits only after the commit of all of them has returned;
* what waits in memory is bounded: beyond L{Limits.pending} depositors are asked to
  stop reading until a commit has returned;
* who sends little is not kept waiting by who sends much: see L{GroupCommit.crowdedFor}.

Chosen: while one commit runs, everything that arrives gathers for the next. So a lone
line is committed at once and a flood costs one fsync for megabytes. A fleet that trickles
would have a commit for every few lines, each with its pages, its fsync and its turn of
every output: with little to commit, commits begin C{SPACING_S} apart.

A full disk is waited out: the same deposits are tried again until there is room. Any
other error stops the process (L{decnet_syslog.master.listener}).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .limits import DEFAULTS, Limits
from .listing import Listings
from .promise import JournalBlocked, JournalPromise
from .values import Batch, Cursor, Deposit, Grant, Wish

__all__ = ["Depositor", "GroupCommit"]

T = TypeVar("T")

# What one connection may have waiting however crowded it is, so that those who send little
# are in the next commit. It cannot be much: of all connections together it is 256 MiB.
PENDING_ALWAYS = 16 * 1024

# How long to wait before trying again on a full disk, in seconds.
FULL_RETRY_S = 1.0

# Grants in one transaction. Then it is the commits' turn: who opens very many streams does
# not hold up everybody's lines.
GRANTS_AT_ONCE = 64

# Commits begin so long after one another on average, in seconds, unless so many octets wait.
# What a line may wait for others: a tenth of what a human notices. So many may come before
# their time if there were fewer before: a line in each such time does not wait because it
# came a little early. Behind a commit of a crowd it is so many times as long: half of what
# such a commit costs is the same for two lines and for two hundred.
SPACING_S = 0.01
SPACINGS_SAVED = 3
CROWD_SPACINGS = 3
CROWD_DEPOSITS = 32
SPACED_OCTETS_MAX = 128 * 1024

# Acknowledgements of one connection are so long apart, in seconds, unless they are of so
# many octets: to say it is as much work as to take a line. Nobody waits for one.
ACK_SPACING_S = 0.5
ACK_OCTETS_MAX = 128 * 1024

# How often the journal gives back what it does not need, in seconds, and how long after a step
# of that comes the next: the commits are to have their turn.
TIDY_S = 2.0
TIDY_STEP_S = 0.02

# Found so often in a row, a disk without room is reported.
SCARCE_LOOKS = 3

# An idle journal saves the outputs' cursors after so long, in seconds: with an output's own
# deadline (feeds.SYNC_DELAY_S) less than a second after the octets were written.
CURSOR_DELAY_S = 0.25


class Depositor(Protocol):
    """Who hands over deposits: a connection's reception."""

    def take(self) -> Sequence[Deposit]:
        """Give everything received since the last call."""

    def committed(self, batches: Sequence[Batch | None]) -> None:
        """What was taken is durable; C{None} for each deposit that was stale."""

    def acknowledge(self) -> None:
        """It is time for what L{GroupCommit.owe} was told of."""

    def room(self) -> None:
        """There is room again: what was paused for want of it can go on."""

    def failed(self) -> None:
        """An error of ours in one of the above: this depositor is to go."""


# A wish, whether somebody still is there for it, and who is answered.
_Asked: TypeAlias = tuple[Wish, Callable[[], bool], Deferred[Grant]]


@dataclass
class _Group:
    """What is committed in one transaction, and who is to hear of it."""

    takes: list[tuple[Depositor, int]]
    deposits: list[Deposit]
    cursors: list[Cursor]
    flushes: list[Deferred[None]]


class GroupCommit:
    """
    Commit what depositors hand over, in groups, off the reactor's thread.

    @ivar limits: the listener's.
    @ivar full: whether the journal can take nothing now: its disk has no space, or it is
        elsewhere and does not answer.
    @ivar why: it could not when it last was full.
    @ivar pendingOctets: taken and not yet committed.
    @ivar acknowledgements: said to all peers.
    @ivar listings: the answers to LIST.
    @ivar took: how long the last commit took, in seconds, the journal's thread and the
        way there included.
    """

    _log = Logger()

    def __init__(
        self,
        journal: JournalPromise,
        inThread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        failed: Callable[[Failure], None],
        limits: Limits = DEFAULTS,
        spacing: float = SPACING_S,
        ackSpacing: float = ACK_SPACING_S,
    ) -> None:
        """
        @param inThread: call a function in the journal's thread, in order of the calls.
        @param failed: told once when the journal cannot be trusted any more.
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
        self._limits: list[Callable[[str], bool]] = []
        self._flushes: list[Deferred[None]] = []
        self._wishes: dict[str, deque[_Asked]] = {}
        self._granting = False
        self._timer: IDelayedCall | None = None
        self._tidyTimer: IDelayedCall | None = None
        # How often the disk was found too full for those that wait.
        self._scarce = 0
        self._owing: dict[Depositor, None] = {}
        self._ackTimer: IDelayedCall | None = None
        self._busy = False
        self._dead = False
        self.full = False
        self.why = ""
        self.pendingOctets = 0
        self._pendingOf: Counter[str] = Counter()
        self.listings = Listings(self.perform, clock)
        self.acknowledgements = 0
        self.took = 0.0

    @property
    def journalOctetsMax(self) -> int:
        """What the journal may hold: what it was told, or what its disk has room for."""
        return min(self.limits.journal, self._journal.capacity)

    @property
    def obstacle(self) -> str | None:
        """Why nothing is accepted from anybody, or C{None}."""
        if self.full:
            return self.why
        return "no room for lines on the journal's disk" if self.isScarce else None

    @property
    def isScarce(self) -> bool:
        """Whether peers have been waiting for room on the journal's disk."""
        return self._scarce >= SCARCE_LOOKS

    @property
    def blocked(self) -> bool:
        """Whether nothing is accepted from anybody until there is room on the disk."""
        return self.full or self._left <= 0

    @property
    def _left(self) -> int:
        """
        What the journal may still take, in octets.

        What is kept beside the batches (positions, gaps, names) takes a half at most: a fleet
        has it for years, and must not be stopped by it.
        """
        journal, most = self._journal, self.limits.journal
        most -= min(journal.keptOctets, most // 2)
        return min(most, journal.capacity) - journal.octets

    def crowdedFor(self, worker: str, octets: int = 0) -> bool:
        """
        Whether a depositor should stop reading until L{Depositor.room}.

        Of the journal a worker may have as much as it leaves free: one that floods gets a
        half, two get a third each, and somebody else always finds room. A fixed share would
        be too much for many or too little for one.

        @param octets: what the depositor has waiting.
        """
        journal = self._journal
        if self.full or journal.octetsOf.get(worker, 0) >= self._left:
            return True
        for crowded in self._limits:
            if crowded(worker):
                return True
        return octets >= PENDING_ALWAYS and (
            self.pendingOctets >= self.limits.pending
            or self._pendingOf[worker] >= self.limits.pendingPerWorker
        )

    def charge(self, worker: str, octets: int) -> None:
        """Count octets that wait for a commit, or, negative, that wait no more."""
        self.pendingOctets += octets
        pending = self._pendingOf
        pending[worker] += octets
        if not pending[worker]:
            del pending[worker]

    def onBatches(self, listener: Callable[[list[Batch]], None]) -> None:
        """Call C{listener} with every group of committed batches, in order of C{seq}."""
        self._batchListeners.append(listener)

    def limitBy(self, crowded: Callable[[str], bool]) -> None:
        """Also take C{crowded(worker)} for an answer; call L{room} when it may be another."""
        self._limits.append(crowded)

    def deposit(self, depositor: Depositor) -> None:
        """Say that C{depositor} has something to take."""
        self._dirty[depositor] = None
        if not self._busy and not self._dead:
            self._commitInTime()

    def owe(self, depositor: Depositor) -> None:
        """Call C{depositor.acknowledge} soon, together with the others'."""
        self._owing[depositor] = None
        if self._ackTimer is None and not self._dead:
            self._ackTimer = self._clock.callLater(self.ackSpacing, self._acknowledge)

    def _acknowledge(self) -> None:
        self._ackTimer = None
        owing, self._owing = self._owing, {}
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

    def room(self) -> None:
        """There may be room again for those that wait."""
        if self._waiting and not self.blocked and not self._dead:
            waiting, self._waiting = self._waiting, {}
            for depositor in waiting:
                with self._blaming(depositor):
                    depositor.room()

    def saveCursor(self, cursor: Cursor) -> None:
        """Save an output's cursor with the next commit, or soon if there is none."""
        self._keep(cursor)
        if not self._busy and not self._dead:
            self._commitWithin(CURSOR_DELAY_S)

    def flush(self) -> Deferred[None]:
        """
        Fire when everything handed over so far is committed, cursors too; or when there is
        no space for it.
        """
        done: Deferred[None] = Deferred()
        if self.full:
            # Deposits wait for space; cursors need none, or hardly any.
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
        """Call a method of the journal in its thread, behind what is committing."""
        done: Deferred[T] = self._inThread(function, *arguments)
        done.addErrback(self._check)
        return done

    def grant(self, wish: Wish, wanted: Callable[[], bool]) -> Deferred[Grant]:
        """
        A grant, behind every group, also one that waits for space.

        A grant before it would make one deposit of it stale and leave the next, of a newer
        file: out of order.

        @param wanted: whether somebody still is there for it; if not, it never fires.
        """
        done: Deferred[Grant] = Deferred()
        self._wishes.setdefault(wish.worker, deque()).append((wish, wanted, done))
        self._grant()
        return done

    def _grant(self) -> None:
        """Grant some wishes; what was handed over meanwhile comes between them and the next."""
        if self._granting or self.full or self._dead:
            return
        some: list[tuple[Wish, Deferred[Grant]]] = []
        while self._wishes and len(some) < GRANTS_AT_ONCE:
            # A worker with thousands has one turn, like one with one.
            worker = next(iter(self._wishes))
            waiting = self._wishes.pop(worker)
            wish, wanted, done = waiting.popleft()
            if waiting:
                self._wishes[worker] = waiting
            if wanted():
                some.append((wish, done))
        if not some:
            return
        self._granting = True
        granted = self.perform(self._journal.grants, [wish for wish, _ in some])
        granted.addCallbacks(
            self._granted, self._notGranted, callbackArgs=(some,), errbackArgs=(some,)
        )
        # Also when the journal is gone: nobody is answered then.
        granted.addErrback(self._check)

    def _granted(
        self, grants: list[Grant] | None, some: list[tuple[Wish, Deferred[Grant]]]
    ) -> None:
        self._granting = False
        if grants is None:
            # The journal cannot be trusted; it was said.
            return
        for (_, done), grant in zip(some, grants, strict=True):
            done.callback(grant)
        self._grant()

    def _notGranted(
        self, failure: Failure, some: list[tuple[Wish, Deferred[Grant]]]
    ) -> None:
        failure.trap(JournalBlocked)
        self._granting = False
        for _, done in some:
            done.errback(failure)
        self._grant()

    def stop(self) -> None:
        """Start nothing more."""
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
        """Commit now, or when the commits before have begun long enough ago."""
        early = self._due - self._clock.seconds()
        if early <= 0 or self.pendingOctets >= SPACED_OCTETS_MAX:
            self._commit()
        else:
            self._commitWithin(early)

    def _commit(self) -> None:
        """Take what there is and commit it."""
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
            self._log.info("the journal takes lines again")
            self._grant()
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
        self.room()

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
        self.room()

    def _lookScarce(self) -> None:
        """Report a disk that leaves no room for lines, and not only between two cursors."""
        journal = self._journal
        wasScarce = self.isScarce
        if self._waiting and journal.capacity <= journal.octets:
            self._scarce += 1
        else:
            self._scarce = 0
        if self.isScarce and not wasScarce:
            self._log.error(
                "the journal's disk has no room for lines: none is accepted until there is;"
                " make room, or have the outputs write what waits"
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
        # Who stops must not wait for somebody to make room.
        flushes, group.flushes = group.flushes, []
        for flush in flushes:
            flush.callback(None)
        if not self._dead:
            self._clock.callLater(FULL_RETRY_S, self._retry, group)
            self._tidyIn(TIDY_S)

    def _retry(self, group: _Group) -> None:
        # Cursors that came meanwhile can release batches, and with them space.
        group.cursors.extend(self._cursors.values())
        self._cursors = {}
        if not self._dead:
            self._try(group)

    @contextmanager
    def _blaming(self, depositor: Depositor) -> Iterator[None]:
        """An error of ours with one connection ends that connection, nothing else."""
        try:
            yield
        except Exception:
            self._log.failure("a connection is closed for an error of the listener")
            depositor.failed()

    def _check(self, failure: Failure) -> Failure | None:
        """Anything but a full disk is the end."""
        if failure.check(JournalBlocked):
            return failure
        if not self._dead:
            self.stop()
            self._failed(failure)
        return None
