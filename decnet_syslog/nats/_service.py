"""
The outputs as a service: the process with the lease reads the journal and writes the files.

What must be true: only the process with the lease writes. So the files are opened once this process
has the lease, and the process ends at once when it has lost the lease or cannot know
(L{decnet_syslog.nats._outbox}). It is then started again, and waits.

This module is long because the order of all steps of a start, a stop and a lost lease is here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..durable import EXIT_SOFTWARE, EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..journal import GroupCommit, JournalBlocked
from ..outputs import IOutput, ListenerLock, OutputWriter, Steps, Threads, WrongKind
from ..signals import ServiceSignals
from ._keeping import CursorKeeper
from ._lease import GIVE_UP_S, RENEW_S, LeaseLost, WentBack

if TYPE_CHECKING:
    from ._journal import JetStreamJournal
    from ._outbox import Outbox
    from ._proving import WrittenView

__all__ = ["EXIT_AGAIN", "OutputsService"]

# EX_TEMPFAIL of sysexits: nothing is wrong here. The process must be started again, and waits.
EXIT_AGAIN = 75

# Interval at which a waiting process tries to take the lease, in seconds.
ACQUIRE_S = 1.0

# Interval of reading without a notice of new messages, in seconds.
POLL_S = 1.0

# Interval of attempts to make room in the stream, in seconds.
TIDY_S = 20.0

# Maximum time to save the cursors after a rollback, before the process ends, in seconds.
SAVE_S = 10.0

# How often the stream's history is checked, in seconds.
STREAM_CHECK_S = 1.0


def exitAtOnce(failure: Failure) -> None:
    """Stop at once, without writing another octet."""
    if failure.check(LeaseLost, WentBack) is not None:
        os._exit(EXIT_AGAIN)
    storage = failure.check(StorageFailed, OSError, sqlite3.Error)
    os._exit(EXIT_SOFTWARE if storage is None else EXIT_STORAGE)


class OutputsService(Service):
    """
    The outputs of a journal that many listeners share.

    @ivar isWriting: whether this process has the lease, and writes.
    @ivar writers: the writers of the outputs, once it writes.
    @ivar journalName: the address of the journal.
    """

    _log = Logger()
    name = "decnet-outputs"

    def __init__(
        self,
        reactor: Any,
        openJournal: Callable[[], tuple[JetStreamJournal, Outbox]],
        journalName: str,
        outputs: Sequence[IOutput],
        lock: ListenerLock,
        die: Callable[[Failure], None] = exitAtOnce,
    ) -> None:
        """
        @param openJournal: opens the journal; it may raise L{UserError}.
        @param lock: the lock next to the files: only one process on this host can have it.
        """
        self._reactor = reactor
        self._openJournal = openJournal
        self.journalName = journalName
        self._outputs = outputs
        self._lock = lock
        self._die = die
        self._threads = Threads(reactor)
        self._signals = ServiceSignals(reactor, self._reopen)
        self._loops: list[LoopingCall] = []
        self.writers: list[OutputWriter] = []
        self._views: dict[str, WrittenView] = {}
        self.isWriting = self._isFailing = False

    def startService(self) -> None:
        """Open the journal, and wait for the lease."""
        super().startService()  # type: ignore[no-untyped-call]
        self._signals.ignore()
        try:
            self._lock.acquire()
            self._journal, self._outbox = self._openJournal()
        except UserError as error:
            raise SystemExit(f"decnet-outputs: {error}") from None
        except StorageFailed:
            self._fail(Failure())
            return
        self._inJournal = self._threads.start("journal")
        self._commits = GroupCommit(
            self._journal, self._inJournal, self._reactor, self._fail
        )
        self._keeper = CursorKeeper(
            self._commits,
            self._outbox.save,
            self._threads.start("cursors"),
            self._journal.share,
            self._reactor,
            self._fail,
        )
        self._signals.catchWhenRunning()
        self._saidWaiting = False
        self._repeat(ACQUIRE_S, self._acquire)

    def _repeat(self, seconds: float, work: Callable[[], object]) -> None:
        loop = LoopingCall(work)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(seconds).addErrback(self._fail)

    def _endLoops(self) -> None:
        loops, self._loops = self._loops, []
        for loop in loops:
            if loop.running:
                loop.stop()

    @inlineCallbacks
    def _acquire(self) -> Steps:
        if self.isWriting or not self.running:
            return
        isOurs = yield self._commits.perform(self._outbox.acquire)
        if not self.running:
            return
        if isOurs:
            yield self._begin()
        elif not self._saidWaiting:
            self._saidWaiting = True
            self._log.info(
                "waiting: {holder} writes the outputs of {journal}",
                journal=self.journalName,
                holder=ascii(self._outbox.holder),
            )

    @inlineCallbacks
    def _begin(self) -> Steps:
        """This process has the lease: continue at the cursors."""
        try:
            cursors = yield self._commits.perform(
                self._journal.useOutputs, [output.name for output in self._outputs]
            )
        except JournalBlocked:
            # Try again in a second. The lease is not renewed meanwhile.
            return
        if cursors is None or not self.running:
            return
        self.isWriting = True
        self._endLoops()
        for output in self._outputs:
            thread = self._threads.start(output.name)
            view = self._views[output.name] = self._journal.written(output.name)
            writer = OutputWriter(
                output,
                view,
                self._keeper,
                thread,
                self._reactor,
                self._fail,
            )
            try:
                yield thread(output.start, cursors[output.name])
            except WrongKind:
                self._fail(Failure())
                return
            except UserError as error:
                if not cursors[output.name].files:
                    # This output was never written, so the options are wrong.
                    self._fail(Failure())
                    return
                writer.block(str(error))
            self.writers.append(writer)
        self._log.info(
            "writing the outputs of {journal} as {holder}",
            journal=self.journalName,
            holder=ascii(self._outbox.holder),
        )
        for writer in self.writers:
            writer.start()
        try:
            self._journal.onCommitted(
                lambda: self._reactor.callFromThread(
                    self._wake
                )  # from the bus's thread
            )
        except JournalBlocked:
            # Without notices the journal is read every second.
            pass
        self._repeat(POLL_S, self._wake)
        self._repeat(RENEW_S, self._renew)
        self._repeat(1.0, self._look)
        self._repeat(TIDY_S, self._tidy)
        self._repeat(STREAM_CHECK_S, self._lookAtStream)

    def _wake(self) -> None:
        if self.running:
            for writer in self.writers:
                writer.wake()

    @inlineCallbacks
    def _renew(self) -> Steps:
        try:
            yield self._commits.perform(self._journal.share)
        except JournalBlocked:
            # Try again, until _look ends the process.
            pass

    @inlineCallbacks
    def _lookAtStream(self) -> Steps:
        try:
            yield self._commits.perform(self._journal.checkHistory)
        except JournalBlocked:
            # The next time.
            pass

    @inlineCallbacks
    def _tidy(self) -> Steps:
        try:
            yield self._commits.perform(self._journal.tidy)
        except JournalBlocked:
            # The next time.
            pass

    def _look(self) -> None:
        """Stop before the lease can expire for other processes."""
        silent = self._reactor.seconds() - self._outbox.renewed
        if silent > GIVE_UP_S:
            self._fail(
                Failure(
                    LeaseLost(
                        f"the lease could not be renewed for {silent:.0f} s: another process"
                        " may soon write the outputs"
                    )
                )
            )

    def parts(self) -> Mapping[str, Deferred[Any]]:
        """Ask every part whether it makes progress, for L{decnet_syslog.notify}."""
        return {
            "the journal": self._commits.perform(lambda: None),
            **{writer.output.name: writer.answer() for writer in self.writers},
        }

    @property
    def holder(self) -> str:
        """The process that writes the outputs, at the last answer; "": none."""
        return self._outbox.holder

    @property
    def journalOctetsMax(self) -> int:
        """Maximum size of the journal, in octets."""
        return self._journal.octetsMax

    def sizeOfJournal(self) -> Deferred[Any]:
        """The journal's size in octets and its last message, as of L{JetStreamJournal.size}."""
        return self._commits.perform(self._journal.size)

    def position(self, output: IOutput) -> int:
        """The number of the newest message that an output has, for the status."""
        return self._views[output.name].position(output.seq)

    def status(self) -> str:
        """Describe in one line whether this process writes, and which outputs are blocked."""
        if not self.isWriting:
            return f"waiting: {self._outbox.holder!a} writes the outputs"
        blocked = [
            f"; cannot write {writer.output.name}: {writer.blocked}"
            for writer in self.writers
            if writer.blocked is not None
        ]
        return "writing" + "".join(blocked)

    @inlineCallbacks
    def stopService(self) -> Steps:
        """Write everything in memory, save the cursors, and give up the lease."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._signals.stopping()
        self._endLoops()
        self._keeper.stop()
        yield gatherResults([writer.stop() for writer in self.writers])
        yield self._keeper.flush()
        if self.isWriting:
            yield self._renew()
            yield self._sayWhatIsLeft()
        self._commits.stop()
        yield self._commits.perform(self._journal.close)
        self._threads.stop()
        self._lock.release()
        self._signals.release()

    @inlineCallbacks
    def _sayWhatIsLeft(self) -> Steps:
        """Log whether everything is written: an operator may be moving to another journal."""
        try:
            isAll = yield self._commits.perform(self._journal.isAllWritten)
        except JournalBlocked:
            return
        if isAll:
            self._log.info("stopping; everything in the stream is written")
        else:
            self._log.info(
                "stopping; the stream has messages that are not written yet, start decnet-outputs"
                " again before the stream is abandoned"
            )

    def _reopen(self) -> None:
        self._log.info("reopening the output files")
        for writer in self.writers:
            writer.reopen()

    def _fail(self, failure: Failure) -> None:
        if self._isFailing:
            return
        self._isFailing = True
        self._log.critical("stopping: {reason}", reason=failure.getErrorMessage())
        if (
            failure.check(LeaseLost, WentBack, StorageFailed, UserError, OSError)
            is None
        ):
            self._log.failure("internal error of the outputs", failure)
        if failure.check(WentBack) is not None:
            # Save the position of the files, so that lines which come again are recognized.
            self._reactor.callLater(SAVE_S, self._die, failure)
            saved = self._saveWritten()
            saved.addErrback(
                lambda error: self._log.warn(
                    "cannot save the cursors, so the last lines may be repeated: {reason}",
                    reason=error.getErrorMessage(),
                )
            )
            saved.addCallback(lambda _: self._die(failure))
            return
        self._die(failure)

    @inlineCallbacks
    def _saveWritten(self) -> Steps:
        """Save the cursors of all outputs, without writing more lines."""
        for writer in self.writers:
            writer.halt()
        cursors = yield gatherResults(
            [writer.inThread(writer.output.sync) for writer in self.writers]
        )
        for cursor in cursors:
            self._keeper.saveCursor(cursor)
        yield self._keeper.flush()
