"""
Output writers: each passes batches from the journal to one output, in a thread of the output's own.

Requirements:

* an output gets every batch in order of C{seq}: from memory while it keeps up, otherwise from
  the journal. The batches that wait in memory are bounded;
* a blocked output (its disk is full or read-only, or its directory is gone) is retried for
  ever, and delays nothing until the journal reaches its size limit;
* written octets are synced and the cursor is saved within a bounded time, also while the next
  batches are read: a journal on other machines may not answer;
* a failed sync stops the process, because the cursor could not be believed;
* an idle output also closes files that other programs have renamed or deleted.

This module is long because the steps of one output exclude each other: to see that a cursor
never moves past octets that are not on disk, one must read them together.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..boundaries import Called
from ..errors import UserError
from ..journal import LOST, Batch, JournalBlocked, JournalFailed
from ..threads import InThread
from ._backlog import APPLY_COST, Backlog
from ._interfaces import IBatchSource, ICommits, IOutput

__all__ = ["OutputWriter"]

Steps: TypeAlias = Generator[Deferred[Called], Called, None]
BatchSteps: TypeAlias = Generator[Deferred[Called], Called, list[Batch]]

# The time from the first octet that is not on disk to the sync of an output's file, so that
# its batches can be released. It does not change when more octets come.
SYNC_DELAY_S = 0.5

# How long a blocked output waits before it tries again.
BLOCKED_RETRY_S = 1.0

# How often an idle output checks its files, in seconds.
FILES_CHECK_S = 2.0

# Errors of system calls that show a bug. All others, except those of a sync, may end without
# us, and waiting loses nothing.
_OURS = (errno.EBADF, errno.EFAULT)


class OutputWriter:
    """
    Write the journal's batches to one output.

    @ivar blocked: the reason why the output cannot be written now, or C{None}.
    @ivar inThread: call a function in the output's thread, in order of the calls.
    """

    _log = Logger()

    def __init__(
        self,
        output: IOutput,
        journal: IBatchSource,
        commits: ICommits,
        inThread: InThread,
        clock: IReactorTime,
        failed: Callable[[Failure], None],
    ) -> None:
        """
        @param inThread: call a function in this output's thread, in order of the calls.
        @param failed: called when the output cannot be trusted any more.
        """
        self.output = output
        self.blocked: str | None = None
        self._journal = journal
        self._commits = commits
        self.inThread = inThread
        self._clock = clock
        self._failed = failed
        self._backlog = Backlog(output.lineWork)
        self._reopen = False
        # Whether the journal must have a cursor before another octet is written.
        self._isBarrier = False
        # Whether the last attempt to read the journal failed.
        self._unread = False
        # Whether wake() was called since the journal was last read.
        self._woken = False
        self._busy = False
        self._idle: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self._later: IDelayedCall | None = None
        self._lookTimer: IDelayedCall | None = None
        # Runs from the first octet that is not on disk, whether the writer is busy or not.
        self._syncTimer: IDelayedCall | None = None
        self._stopping = False
        self._broken = False

    def start(self) -> None:
        """Begin with the batches that the journal still has."""
        self._commits.onBatches(self._committed)
        self._commits.addBackpressure(self.shouldPause)
        self._lookLater()
        self._run()

    def block(self, why: str) -> None:
        """Begin blocked: the output could not be started. It is tried again."""
        self._say(why)

    def wake(self) -> None:
        """Look in the journal for batches: other listeners commit to it, too."""
        self._backlog.isPartial = self._woken = True
        if self.blocked is None:
            self._run()

    def shouldPause(self, worker: str) -> bool:
        """
        Whether a worker should wait for the output: the output is far behind, and much of the
        waiting work is this worker's.

        Workers do not wait for a blocked output: the journal keeps their lines.
        """
        return self.blocked is None and self._backlog.isCrowdedBy(worker)

    def reopen(self) -> None:
        """Open the files anew before the next write: they were renamed."""
        self._reopen = True
        self._run()

    def answer(self) -> Deferred[None]:
        """Fire when the output's thread has finished its queue."""
        return self.inThread(lambda: None)

    def halt(self) -> None:
        """Start no more work, because the journal went back."""
        self._stopping = True
        self._cancel()
        self._cancelSync()

    @inlineCallbacks
    def stop(self) -> Steps:
        """Write the batches in memory, sync the files and close them."""
        self._stopping = True
        self._cancel()
        if self._lookTimer is not None and self._lookTimer.active():
            self._lookTimer.cancel()
        yield self._whenIdle()
        if self.blocked is None:
            self._run()
            yield self._whenIdle()
        self._cancel()
        self._cancelSync()
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

    def _cancelSync(self) -> None:
        if self._syncTimer is not None:
            self._syncTimer.cancel()
            self._syncTimer = None

    def _committed(self, batches: list[Batch]) -> None:
        self._backlog.add(batches)
        if self.blocked is None:
            self._run()

    def _run(self) -> None:
        self._begin(self._work)

    def _begin(self, work: Callable[[], Deferred[None]]) -> None:
        """Start work on the output, unless it is busy."""
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
        isMore = self._backlog or self._woken
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
        # Write nothing after octets that were not written, and save no cursor.
        self._broken = True
        if not self._stopping:
            self._failed(failure)

    @inlineCallbacks
    def _work(self) -> Steps:
        """Apply until nothing is left or the output is blocked."""
        self._cancel()
        try:
            if self.blocked is not None:
                # With nothing to write, only this shows whether the output can be written.
                yield self._lookAtFiles()
            while True:
                if self._reopen:
                    yield self.inThread(self.output.reopen)
                    self._reopen = False
                if self._isBarrier:
                    yield self._recordFiles()
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

    @inlineCallbacks
    def _apply(self, batches: list[Batch]) -> Steps:
        """
        Write some batches. If they cannot be written now, they stay in the queue.

        @raise OSError: the output is blocked.
        @raise UserError: the output is blocked.
        """
        try:
            barrier = yield self.inThread(self.output.apply, batches)
        except (OSError, UserError):
            self._backlog.putBack(batches)
            raise
        if barrier is not None:
            self._commits.saveCursor(barrier)
            self._isBarrier = True
            self._backlog.putBack(batches)
            return
        self._unblock()
        if self._backlog.settle(batches):
            self._commits.resumeWaiting()
        if self.output.syncDue:
            yield self._sync()
        elif self.output.unsynced and self._syncTimer is None:
            # Further batches do not postpone it.
            self._syncTimer = self._clock.callLater(SYNC_DELAY_S, self._syncInTime)

    @inlineCallbacks
    def _recordFiles(self) -> Steps:
        """
        Wait until the journal has the files that have changed.

        @raise UserError: it cannot record them now.
        """
        isSaved = yield self._commits.flush()
        if not isSaved:
            raise UserError(
                "its file was rotated or truncated, and the journal cannot record that now"
            )
        self._isBarrier = False

    def _unblock(self) -> None:
        if self.blocked is not None:
            self._log.info("{output} can be written again", output=self.output.name)
            self.blocked = None

    @inlineCallbacks
    def _next(self) -> BatchSteps:
        """The batches to apply now."""
        if self._backlog:
            return self._backlog.take()
        if not self._backlog.isPartial or self._stopping:
            return []
        # Batches that are committed from now on go to the queue.
        self._backlog.isPartial = self._woken = False
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
            self._backlog.isPartial = self._unread = True
            self._later = self._clock.callLater(BLOCKED_RETRY_S, self._run)
            return []
        if batches is None:
            raise JournalFailed("the journal cannot be read")
        self._unread = False
        self._reportLost(batches)
        if batches:
            self._backlog.readFromJournal()
            return list(batches)
        return self._backlog.take()

    def _reportLost(self, batches: Sequence[Batch]) -> None:
        """Report batches whose octets the journal has lost: the output gets gap records."""
        for batch in batches:
            if batch.reason == LOST:
                self._log.error(
                    "the journal has lost octets {start} to {end} of {log} of {worker},"
                    " received at {receivedAt}: {output} gets a gap record instead; check the"
                    " journal's disk, and look for these lines at the worker",
                    start=batch.start,
                    end=batch.end,
                    log=batch.provenance.log or "no file",
                    worker=batch.provenance.worker,
                    receivedAt=batch.provenance.receivedAt,
                    output=self.output.name,
                )

    @inlineCallbacks
    def _block(self, why: str) -> Steps:
        """Wait and try again. Sync written octets first, because the wait can be long."""
        isNew = self.blocked is None
        self._say(why)
        self._commits.resumeWaiting()
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
        self._lookTimer = self._clock.callLater(FILES_CHECK_S, self._lookIdle)

    def _lookIdle(self) -> None:
        if not (self._stopping or self._broken):
            self._lookLater()
            # A blocked output checks its files with each retry.
            if self.blocked is None:
                self._begin(self._lookAndWork)

    @inlineCallbacks
    def _lookAndWork(self) -> Steps:
        """Check the files, then do the work that arrived or became due meanwhile."""
        try:
            yield self._lookAtFiles()
        except (OSError, UserError):
            # If that matters, the next write fails, too.
            pass
        yield self._work()

    @inlineCallbacks
    def _lookAtFiles(self) -> Steps:
        cursor = yield self.inThread(self.output.checkFiles)
        if cursor is not None:
            self._commits.saveCursor(cursor)

    def _syncInTime(self) -> None:
        """Sync the file, after the call that the output's thread is in."""
        self._syncTimer = None
        if self.output.unsynced and not self._broken:
            self._sync().addErrback(self._fail)

    @inlineCallbacks
    def _sync(self) -> Steps:
        self._cancelSync()
        cursor = yield self.inThread(self.output.sync)
        if not self._broken:
            # Otherwise an earlier call has failed meanwhile.
            self._commits.saveCursor(cursor)
