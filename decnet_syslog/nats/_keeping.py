"""
Saves the outputs' cursors in the local database, in a thread of its own.

What must be true:

* a cursor is saved when its octets are on disk, however long NATS does not answer. The thread that
  reads the stream can wait for many seconds. If the process was killed meanwhile and the stream
  went back, nothing would show that the output has the lines of these seconds;
* one cursor of an output is saved after the other, and a change of files (L{CursorKeeper.flush}) is
  saved before the output writes another octet. If the disk is full, that output waits;
* other hosts learn of a cursor after it is saved here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..journal import Batch, Cursor, GroupCommit, JournalBlocked, PendingCursors
from ..threads import InThread

__all__ = ["CursorKeeper"]

T = TypeVar("T")

# The time from a saved cursor to the attempt to share it, in seconds: the cursors of all outputs
# are shared together. With the output's own deadline that is less than a second after the write.
SHARE_DELAY_S = 0.1

# How long to wait before trying again on a full disk, in seconds.
FULL_RETRY_S = 1.0


class CursorKeeper:
    """
    Saves cursors for output writers, as L{decnet_syslog.outputs._feeds.Commits}.

    @ivar isBlocked: whether the database cannot be written now.
    """

    _log = Logger()

    def __init__(
        self,
        commits: GroupCommit,
        save: Callable[[Sequence[Cursor]], None],
        inThread: InThread,
        share: Callable[[], None],
        clock: IReactorTime,
        failed: Callable[[Failure], None],
    ) -> None:
        """
        @param commits: performs everything else, in the thread that reads the stream.
        @param save: save some cursors locally; may raise L{JournalBlocked}.
        @param inThread: call a function in this keeper's thread, in order of the calls.
        @param share: copy the saved cursors to other hosts, in the thread that reads the stream.
        @param failed: called when the local database cannot be trusted any more.
        """
        self._commits = commits
        self._save = save
        self._inThread = inThread
        self._share = share
        self._clock = clock
        self._failed = failed
        self._cursors = PendingCursors()
        self._flushes: list[Deferred[bool]] = []
        self._isBusy = self._isStopping = self.isBlocked = False
        # Whether a cursor was saved since the last attempt to share, and whether one is running.
        self._isNew = self._isSharing = False
        self._retryTimer: IDelayedCall | None = None
        self._shareTimer: IDelayedCall | None = None

    def onBatches(self, listener: Callable[[list[Batch]], None]) -> None:
        """As L{GroupCommit.onBatches}."""
        self._commits.onBatches(listener)

    def addBackpressure(self, shouldPause: Callable[[str], bool]) -> None:
        """As L{GroupCommit.addBackpressure}."""
        self._commits.addBackpressure(shouldPause)

    def resumeWaiting(self) -> None:
        """As L{GroupCommit.resumeWaiting}."""
        self._commits.resumeWaiting()

    def perform(self, function: Callable[..., T], *arguments: object) -> Deferred[T]:
        """As L{GroupCommit.perform}."""
        return self._commits.perform(function, *arguments)

    def saveCursor(self, cursor: Cursor) -> None:
        """Save an output's cursor now, and tell other hosts soon."""
        self._cursors.add(cursor)
        self._next()

    def flush(self) -> Deferred[bool]:
        """
        Fire when all cursors are saved; after L{stop} also when that is impossible now.

        @return: whether they are saved.
        """
        done: Deferred[bool] = Deferred()
        self._flushes.append(done)
        self._next()
        return done

    def stop(self) -> None:
        """Share no more cursors, and do not wait for a full disk."""
        self._isStopping = True
        for timer in (self._shareTimer, self._retryTimer):
            if timer is not None:
                timer.cancel()
        self._shareTimer = self._retryTimer = None
        if self.isBlocked:
            self._next()

    def _next(self) -> None:
        if self._isBusy or self._retryTimer is not None:
            return
        flushes, self._flushes = self._flushes, []
        if not self._cursors:
            self._fire(flushes, True)
            return
        self._isBusy = True
        cursors = self._cursors.take()
        done = self._inThread(self._save, cursors)
        done.addCallbacks(
            self._saved,
            self._notSaved,
            callbackArgs=(cursors, flushes),
            errbackArgs=(cursors, flushes),
        )
        done.addErrback(self._failed)

    @staticmethod
    def _fire(flushes: Sequence[Deferred[bool]], isSaved: bool) -> None:
        for flush in flushes:
            flush.callback(isSaved)

    def _saved(
        self, _: object, cursors: list[Cursor], flushes: Sequence[Deferred[bool]]
    ) -> None:
        self._isBusy = False
        self._cursors.saved(cursors)
        if self.isBlocked:
            self.isBlocked = False
            self._log.info("the outputs' positions can be saved again")
        self._isNew = True
        self._shareSoon()
        self._fire(flushes, True)
        self._next()

    def _notSaved(
        self,
        failure: Failure,
        cursors: list[Cursor],
        flushes: list[Deferred[bool]],
    ) -> None:
        failure.trap(JournalBlocked)
        self._isBusy = False
        if not self.isBlocked:
            self.isBlocked = True
            self._log.error(
                "cannot save the outputs' positions: {why}; outputs whose files were rotated wait,"
                " and other hosts learn nothing, until there is room",
                why=failure.getErrorMessage(),
            )
        self._cursors.putBack(cursors)
        if self._isStopping:
            waiting, self._flushes = [*flushes, *self._flushes], []
            self._fire(waiting, False)
            return
        self._flushes[:0] = flushes
        self._retryTimer = self._clock.callLater(FULL_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retryTimer = None
        self._next()

    def _shareSoon(self) -> None:
        if not (self._isStopping or self._isSharing) and self._shareTimer is None:
            self._shareTimer = self._clock.callLater(SHARE_DELAY_S, self._shareNow)

    def _shareNow(self) -> None:
        self._shareTimer = None
        self._isSharing, self._isNew = True, False
        done = self.perform(self._share)
        # The lease is renewed regularly, which shares them as well.
        done.addErrback(lambda failure: failure.trap(JournalBlocked) and None)
        done.addCallback(self._shared)

    def _shared(self, _: object) -> None:
        self._isSharing = False
        if self._isNew:
            self._shareSoon()
