"""
The outputs as a service: the process with the lease reads the journal and writes the files.

What must be true: only the process with the lease writes. So the files are opened once this process
has the lease, and the process ends at once when it has lost the lease or cannot know
(L{decnet_syslog.nats._outbox}). It is then started again, and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..durable import StorageFailed
from ..errors import UserError
from ..journal import GroupCommit, JournalBlocked
from ..outputs import IOutput, ListenerLock, Steps, Threads
from ..reactors import IReactor
from ..signals import ServiceSignals
from ..untrusted import escapeUntrusted
from ._keeping import CursorKeeper
from ._lease import RENEW_S, LeaseLost, WentBack, exitAtOnce
from ._writers import Writers

if TYPE_CHECKING:
    from ._outbox import Outbox
    from ._outputsjournal import OutputsJournal

__all__ = ["OutputsService"]

# Interval at which a waiting process tries to take the lease, in seconds.
ACQUIRE_S = 1.0

# Interval of reading without a notice of new messages, in seconds.
POLL_S = 1.0

# Interval of attempts to make room in the stream, in seconds.
TIDY_S = 20.0

# Maximum time to save the cursors after a rollback, before the process ends, in seconds.
SAVE_S = 10.0

# How often the lease and the stream's history are checked, in seconds.
LEASE_CHECK_S = 1.0
STREAM_CHECK_S = 1.0


class OutputsService(Service):
    """
    The outputs of a journal that many listeners share.

    @ivar isWriting: whether this process has the lease, and writes.
    @ivar journalName: the address of the journal.
    @ivar writers: the writers of the outputs.
    """

    _log = Logger()
    name = "decnet-outputs"

    def __init__(
        self,
        reactor: IReactor,
        openJournal: Callable[[], tuple[OutputsJournal, Outbox]],
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
        self.writers = Writers(
            self._outputs,
            self._journal,
            self._keeper,
            self._threads,
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
                holder=escapeUntrusted(self._outbox.holder),
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
        try:
            yield self.writers.open(cursors)
        except UserError:
            self._fail(Failure())
            return
        self._log.info(
            "writing the outputs of {journal} as {holder}",
            journal=self.journalName,
            holder=escapeUntrusted(self._outbox.holder),
        )
        self.writers.start()
        try:
            # Notices come in the bus's thread.
            self._journal.onCommitted(lambda: self._reactor.callFromThread(self._wake))
        except JournalBlocked:
            # Without notices the journal is read every second.
            pass
        self._repeat(POLL_S, self._wake)
        self._repeat(LEASE_CHECK_S, self._outbox.checkLease)
        self._repeat(RENEW_S, lambda: self._perform(self._journal.share))
        self._repeat(TIDY_S, lambda: self._perform(self._journal.tidy))
        self._repeat(STREAM_CHECK_S, lambda: self._perform(self._journal.checkHistory))

    def _wake(self) -> None:
        if self.running:
            self.writers.wake()

    @inlineCallbacks
    def _perform(self, work: Callable[[], object]) -> Steps:
        """Do something in the journal's thread, which is repeated anyway if it is blocked."""
        try:
            yield self._commits.perform(work)
        except JournalBlocked:
            pass

    def parts(self) -> Mapping[str, Deferred[None]]:
        """Ask every part whether it makes progress, for L{decnet_syslog.notify}."""
        return {
            "the journal": self._commits.perform(lambda: None),
            **self.writers.answers(),
        }

    @property
    def holder(self) -> str:
        """The process that writes the outputs, at the last answer; "": none."""
        return self._outbox.holder

    @property
    def journalOctetsMax(self) -> int:
        """Maximum size of the journal, in octets."""
        return self._journal.octetsMax

    def sizeOfJournal(self) -> Deferred[tuple[int, int]]:
        """The journal's size in octets and its last message, as of L{OutputsJournal.size}."""
        return self._commits.perform(self._journal.size)

    def status(self) -> str:
        """Describe in one line whether this process writes, and which outputs are blocked."""
        if not self.isWriting:
            return f"waiting: {self._outbox.holder!a} writes the outputs"
        blocked = self.writers.blocked().items()
        return "writing" + "".join(
            [f"; cannot write {name}: {why}" for name, why in blocked]
        )

    @inlineCallbacks
    def stopService(self) -> Steps:
        """Write everything in memory, save the cursors, and give up the lease."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._signals.stopping()
        self._endLoops()
        self._keeper.stop()
        yield self.writers.stop()
        yield self._keeper.flush()
        if self.isWriting:
            yield self._perform(self._journal.share)
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
        self.writers.reopen()

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
            saved = self.writers.saveCursors()
            saved.addErrback(
                lambda error: self._log.warn(
                    "cannot save the cursors, so the last lines may be repeated: {reason}",
                    reason=error.getErrorMessage(),
                )
            )
            saved.addCallback(lambda _: self._die(failure))
            return
        self._die(failure)
