"""
Feeds: an output's way from the journal to its files, beside the reactor.

What must be true:

* an output gets every batch in order of C{seq}, from memory while it keeps up, from the
  journal when it does not; what waits in memory for it is bounded;
* a blocked output (its disk is full or read-only, its directory gone) is tried again for
  ever and holds up nobody but the journal's size;
* a failed sync stops the process: what the cursor would say could not be believed;
* an output that gets nothing lets go of files that others have renamed or deleted, too.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import UserError
from .groupcommit import GroupCommit
from .journal import JournalFailed
from .promise import JournalBlocked
from .values import Batch, Cursor

__all__ = ["Feed", "Output"]

Steps: TypeAlias = Generator[Deferred[Any], Any, None]
BatchSteps: TypeAlias = Generator[Deferred[Any], Any, list[Batch]]

# Batches kept in memory for an output that is a little behind; more come back from disk.
QUEUE_COST_MAX = 16 * 1024 * 1024

# What one call in the output's thread gets: the JSON of it is four times as large.
APPLY_COST = 2 * 1024 * 1024

# What an output may be behind before those who send much are made to wait, in octets, where
# a record is as much work as so many: a tenth of a second. Without a bound a
# worker that sends lines of one octet, which are a hundred times as long as records, is
# minutes ahead of the output, and everybody's lines with it.
RECORD_WORK = 512
BEHIND_MAX = 8 * 1024 * 1024

# What one worker may have of that however far behind it is: who sends little never waits.
BEHIND_ALWAYS = 1024 * 1024

# How soon after the first octet that is not on disk an output's file is synced, so that its
# batches can be released: also when more octets come all the time.
SYNC_DELAY_S = 0.5

# How long a blocked output waits before it tries again.
BLOCKED_RETRY_S = 1.0

# How often an output's files are looked at when nothing is written to them, in seconds.
LOOK_S = 2.0

# Errors of system calls that are ours. Every other one, of anything but a sync, can end by
# what somebody else does, and nothing is lost by waiting for that.
_OURS = (errno.EBADF, errno.EFAULT)


class Output(Protocol):
    """
    What a feed asks of an output.

    L{decnet_syslog.master.outputs.FileOutput} says what each means.
    """

    name: str
    path: str
    seq: int
    unsynced: int

    @property
    def syncDue(self) -> bool: ...

    def start(self, cursor: Cursor) -> None: ...

    def apply(self, batches: Sequence[Batch]) -> Cursor | None: ...

    def look(self) -> Cursor | None: ...

    def sync(self) -> Cursor: ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class Source(Protocol):
    """The part of a journal that a feed uses."""

    def read(self, after: int, costMax: int) -> list[Batch]: ...


class Feed:
    """
    Feed one output.

    @ivar blocked: why the output cannot be written now, or C{None}.
    @ivar inThread: call a function in the output's thread, in order of the calls.
    """

    _log = Logger()

    def __init__(
        self,
        output: Output,
        journal: Source,
        commits: GroupCommit,
        inThread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        failed: Callable[[Failure], None],
    ) -> None:
        """
        @param inThread: call a function in this output's thread, in order of the calls.
        @param failed: told when the output cannot be trusted any more.
        """
        self.output = output
        self.blocked: str | None = None
        self._journal = journal
        self._commits = commits
        self._lineWork = RECORD_WORK if output.name.startswith("json:") else 1
        self.inThread = inThread
        self._clock = clock
        self._failed = failed
        self._queue: deque[Batch] = deque()
        self._cost = 0
        # Batches may be in the journal that are not in the queue.
        self._behind = True
        # What is committed since the start and not written yet, in all and of each worker.
        self._left = 0
        self._leftOf: Counter[str] = Counter()
        self._counted = self._settled = 0
        self._reopen = False
        # The journal could not be read when it was last asked.
        self._unread = False
        # Told that there is more since the journal was last read.
        self._woken = False
        self._busy = False
        self._idle: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self._later: IDelayedCall | None = None
        self._lookTimer: IDelayedCall | None = None
        # When the file must be synced; None: everything in it is on disk.
        self._syncAt: float | None = None
        self._stopping = False
        self._broken = False

    def start(self) -> None:
        """Begin with what the journal still has."""
        self._commits.onBatches(self._committed)
        self._commits.limitBy(self.crowdedFor)
        self._lookLater()
        self._run()

    def block(self, why: str) -> None:
        """Begin blocked: the output could not be started. It is tried again."""
        self._say(why)

    def wake(self) -> None:
        """There may be more in the journal than we were told of: others commit to it."""
        self._behind = self._woken = True
        if self.blocked is None:
            self._run()

    def crowdedFor(self, worker: str) -> bool:
        """
        Whether a worker should wait for the output: it is far behind, and with much of its.

        Nobody waits for one that is blocked: for that there is the journal.
        """
        return (
            self._left >= BEHIND_MAX
            and self._leftOf[worker] >= BEHIND_ALWAYS
            and self.blocked is None
        )

    def reopen(self) -> None:
        """Open the files anew before the next write: somebody has renamed them."""
        self._reopen = True
        self._run()

    def facts(self) -> dict[str, Any]:
        """How the output is, for a status."""
        return {
            "name": self.output.name,
            "path": self.output.path,
            "position": self.output.seq,
            "blocked": self.blocked,
        }

    def answer(self) -> Deferred[None]:
        """Fire when what the output's thread has to do now is done."""
        return self.inThread(lambda: None)

    def halt(self) -> None:
        """Start no more work, because the journal went back."""
        self._stopping = True
        self._cancel()

    @inlineCallbacks
    def stop(self) -> Steps:
        """Write what is in memory, bring it to disk and close the files."""
        self._stopping = True
        self._cancel()
        if self._lookTimer is not None and self._lookTimer.active():
            self._lookTimer.cancel()
        yield self._whenIdle()
        if self.blocked is None:
            self._run()
            yield self._whenIdle()
        self._cancel()
        if self._broken:
            return
        try:
            cursor = yield self.inThread(self.output.sync)
        except OSError:
            self._log.failure("cannot sync {output}", output=self.output.name)
        else:
            self._commits.saveCursor(cursor)
        yield self.inThread(self.output.close)

    def _cancel(self) -> None:
        for timer in (self._timer, self._later):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._later = None

    def _count(self, batches: Sequence[Batch], sign: int) -> None:
        left = self._leftOf
        for batch in batches:
            work = sign * (len(batch.octets) + self._lineWork * (batch.lines + 1))
            worker = batch.provenance.worker
            self._left += work
            left[worker] += work
            if not left[worker]:
                del left[worker]

    def _settle(self, batches: Sequence[Batch]) -> None:
        """Count what was written no more; some of it has come twice, or was here before us."""
        fresh = [b for b in batches if b.seq > self._settled and b.seq >= self._counted]
        if self._counted and fresh:
            self._count(fresh, -1)
            self._settled = fresh[-1].seq
            self._commits.room()

    def _committed(self, batches: list[Batch]) -> None:
        self._counted = self._counted or batches[0].seq
        self._count(batches, 1)
        cost = sum([batch.cost for batch in batches])
        if self._behind or self._cost + cost > QUEUE_COST_MAX:
            self._behind = True
        else:
            self._queue.extend(batches)
            self._cost += cost
        if self.blocked is None:
            self._run()

    def _run(self) -> None:
        self._begin(self._work)

    def _begin(self, work: Callable[[], Deferred[None]]) -> None:
        """Do something with the output, unless something is being done."""
        if self._busy or self._broken:
            return
        self._busy = True
        done = work()
        done.addErrback(self._fail)
        done.addBoth(self._rest)

    def _rest(self, _: object) -> None:
        self._busy = False
        waiting, self._idle = self._idle, []
        for idle in waiting:
            idle.callback(None)
        isMore = self._queue or self._woken
        if isMore and self.blocked is None and not self._stopping:
            self._run()

    def _whenIdle(self) -> Deferred[None]:
        idle: Deferred[None] = Deferred()
        if self._busy:
            self._idle.append(idle)
        else:
            idle.callback(None)
        return idle

    def _fail(self, failure: Failure) -> None:
        # What comes next must not be written behind what was not, nor a cursor be saved.
        self._broken = True
        if not self._stopping:
            self._failed(failure)

    @inlineCallbacks
    def _work(self) -> Steps:
        """Apply until nothing is left or the output is blocked."""
        self._cancel()
        try:
            if self.blocked is not None:
                # Also when there is nothing to write: then this shows whether it could be.
                yield self._lookAtFiles()
            while True:
                if self._reopen:
                    yield self.inThread(self.output.reopen)
                    self._reopen = False
                batches = yield self._next()
                if not batches:
                    break
                yield self._apply(batches)
        except (OSError, UserError) as error:
            if isinstance(error, OSError) and error.errno in _OURS:
                raise
            yield self._block(str(error))
            return
        self._unblock()
        if self._isSyncDue():
            yield self._sync()
        if self._syncAt is not None and not self._stopping:
            # The deadline stays what it was: each batch must not put the sync off.
            self._timer = self._clock.callLater(
                self._syncAt - self._clock.seconds(), self._syncIdle
            )

    @inlineCallbacks
    def _apply(self, batches: list[Batch]) -> Steps:
        """
        Write some batches; if that cannot be done now, they stay where they were.

        @raise OSError: the output is blocked.
        @raise UserError: the same.
        """
        try:
            barrier = yield self.inThread(self.output.apply, batches)
        except (OSError, UserError):
            self._putBack(batches)
            raise
        if barrier is not None:
            # On disk before anything else is written.
            self._commits.saveCursor(barrier)
            yield self._commits.flush()
            self._putBack(batches)
            return
        self._unblock()
        self._settle(batches)
        if self._isSyncDue():
            yield self._sync()

    def _unblock(self) -> None:
        if self.blocked is not None:
            self._log.info("{output} is written again", output=self.output.name)
            self.blocked = None

    def _isSyncDue(self) -> bool:
        """Whether to sync now; the first octet that is not on disk starts the deadline."""
        if not self.output.unsynced:
            self._syncAt = None
            return False
        now = self._clock.seconds()
        if self._syncAt is None:
            self._syncAt = now + SYNC_DELAY_S
        return self.output.syncDue or now >= self._syncAt

    @inlineCallbacks
    def _next(self) -> BatchSteps:
        """The batches to apply now."""
        if self._queue:
            batches = []
            cost = 0
            while self._queue and cost < APPLY_COST:
                batch = self._queue.popleft()
                cost += batch.cost
                batches.append(batch)
            self._cost -= cost
            return batches
        if not self._behind or self._stopping:
            return []
        # Everything that is committed from here on comes to the queue.
        self._behind = self._woken = False
        try:
            batches = yield self._commits.perform(
                self._journal.read, self.output.seq, APPLY_COST
            )
        except JournalBlocked as error:
            if not self._unread:
                self._log.warn(
                    "{output} waits for the journal: {why}",
                    output=self.output.name,
                    why=str(error),
                )
            self._behind = self._unread = True
            self._later = self._clock.callLater(BLOCKED_RETRY_S, self._run)
            return []
        if batches is None:
            raise JournalFailed("the journal cannot be read")
        self._unread = False
        if batches:
            # There may be more than was read. The queue then repeats some of it: apply
            # leaves out what it has.
            self._behind = True
            self._queue.clear()
            self._cost = 0
        elif self._queue:
            batches = yield self._next()
        return list(batches)

    def _putBack(self, batches: list[Batch]) -> None:
        self._queue.extendleft(reversed(batches))
        self._cost += sum([batch.cost for batch in batches])

    @inlineCallbacks
    def _block(self, why: str) -> Steps:
        """Wait, and try again. What was written is synced first: a wait can be long."""
        isNew = self.blocked is None
        self._say(why)
        self._commits.room()
        if isNew and self.output.unsynced:
            yield self._sync()
        if not self._stopping:
            self._timer = self._clock.callLater(BLOCKED_RETRY_S, self._run)

    def _say(self, why: str) -> None:
        if self.blocked is None:
            self._log.error(
                "cannot write {output}: {why}; its lines wait in the journal",
                output=self.output.name,
                why=why,
            )
        self.blocked = why

    def _lookLater(self) -> None:
        self._lookTimer = self._clock.callLater(LOOK_S, self._lookIdle)

    def _lookIdle(self) -> None:
        if not (self._stopping or self._broken):
            self._lookLater()
            # A blocked output is looked at when it is tried again.
            if self.blocked is None:
                self._begin(self._lookAndWork)

    @inlineCallbacks
    def _lookAndWork(self) -> Steps:
        """Look, and then do what came meanwhile, or was due and found us looking."""
        try:
            yield self._lookAtFiles()
        except (OSError, UserError):
            # The next write tells whether that matters.
            pass
        yield self._work()

    @inlineCallbacks
    def _lookAtFiles(self) -> Steps:
        cursor = yield self.inThread(self.output.look)
        if cursor is not None:
            self._commits.saveCursor(cursor)

    def _syncIdle(self) -> None:
        self._begin(self._sync)

    @inlineCallbacks
    def _sync(self) -> Steps:
        self._syncAt = None
        cursor = yield self.inThread(self.output.sync)
        self._commits.saveCursor(cursor)
