"""
The listener as a service: journal, outputs and port, started in that order.

A stop closes the port, commits the received octets, sends BYE on every connection, writes and
syncs the outputs, and closes the journal. After a kill the same promise holds; a stop only
leaves less work for the next start.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import (
    Deferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..durable import EXIT_SOFTWARE, EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..journal import GroupCommit, IJournal, ISharedJournal, JournalBlocked
from ..limits import Limits
from ..outputs import IOutput, ListenerLock, OutputWriter, Steps, Threads
from ..reactors import IReactor
from ..receiving import (
    ListenerFactory,
    Pause,
    Refuse,
    acceptAll,
    showAddress,
)
from ..signals import ServiceSignals
from ..trust import RefuseChain
from ..wire import BYE
from ._accepted import AcceptedConnections
from ._parts import ListenerComponents, answers, startOutput
from ._ports import ListenerPorts
from ._settings import ListenerSettings

__all__ = ["ListenerService"]

# How often a shared journal is checked, in seconds.
JOURNAL_CHECK_S = 1.0


def exitAtOnce(failure: Failure) -> None:
    """End the process at once, so that nothing more is acknowledged."""
    storage = failure.check(StorageFailed, OSError, sqlite3.Error)
    os._exit(EXIT_SOFTWARE if storage is None else EXIT_STORAGE)


class ListenerService(Service):
    """The master's side."""

    _log = Logger()
    name = "decnet-listener"

    def __init__(
        self,
        reactor: IReactor,
        context: IOpenSSLServerConnectionCreator,
        settings: ListenerSettings,
        openJournal: Callable[[], IJournal],
        outputs: Sequence[IOutput],
        die: Callable[[Failure], None] = exitAtOnce,
        lock: ListenerLock | None = None,
        refuseCertificate: Refuse = acceptAll,
    ) -> None:
        """
        @param openJournal: called last; it may raise L{UserError}.
        @param outputs: the outputs that this process writes; none if another process does.
        @param lock: acquired before the journal is opened, released at the end of the stop.
        """
        self._reactor = reactor
        self._context = context
        self._settings = settings
        self._openJournal = openJournal
        self._outputs = outputs
        self._die = die
        self._lock = lock
        self._refuseCertificate = refuseCertificate
        self._threads = Threads(reactor)
        self._looks: LoopingCall | None = None
        self._ports = ListenerPorts(
            reactor, settings.host, settings.port, settings.reusePort
        )
        self._signals = ServiceSignals(reactor, self._hungUp)
        self.reread: Callable[[], None] = lambda: None

    def privilegedStartService(self) -> None:
        """Bind the port before twistd gives up the rights that a low number needs."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._signals.ignore()
        self._accepted = AcceptedConnections(
            self._reactor, self._settings.limits, self._settings.proxies
        )
        self._ports.bind()

    def parts(self) -> Mapping[str, Deferred[None] | Deferred[bool]]:
        """Ask every part for a sign of progress, for L{decnet_syslog.notify}."""
        return answers(self._commits, self._writers)

    def status(self) -> str:
        """The listener's state in one line, including every obstacle."""
        connections = len(self._factory.connections)
        said = f"{connections} connection{'' if connections == 1 else 's'}"
        if self._commits.obstacle is not None:
            said += f"; {self._commits.obstacle}: nothing is accepted"
        for writer in self._writers:
            if writer.blocked is not None:
                said += f"; cannot write {writer.output.name}: {writer.blocked}"
        return said

    def startService(self) -> None:
        """Recover the journal, start the outputs, serve."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._open()
            self._ports.listen(self._accepted.factory)
        except StorageFailed:
            self._log.critical(
                "{reason}; nothing is accepted", reason=Failure().getErrorMessage()
            )
            self._threads.stop()
            self._ports.close()
            self._die(Failure())
            return
        except BaseException as error:
            # Otherwise the threads would keep a useless process alive.
            self._threads.stop()
            self._ports.close()
            if isinstance(error, UserError):
                raise SystemExit(f"decnet-listener: {error}") from None
            if isinstance(error, JournalBlocked):
                raise SystemExit(
                    f"decnet-listener: {error}; start it again when that is over"
                ) from None
            raise
        self._signals.catchWhenRunning()
        self._log.info(
            "listening on {address}; journal {journal}",
            address=", ".join(map(showAddress, self._ports.addresses)),
            journal=self._settings.journalName,
        )

    def _open(self) -> None:
        """
        Open the journal and the outputs, and make the factory.

        @raise UserError: a file cannot be opened, or is in use.
        """
        if self._lock is not None:
            self._lock.acquire()
        journal = self._journal = self._openJournal()
        cursors = {}
        if self._outputs:
            cursors = journal.useOutputs([output.name for output in self._outputs])
        # From here on, this thread never waits for the journal's disk.
        self._commits = GroupCommit(
            journal,
            self._threads.start("journal"),
            self._reactor,
            self._fail,
            self._settings.limits,
        )
        self._writers = []
        for output in self._outputs:
            writer = OutputWriter(
                output,
                journal,
                self._commits,
                self._threads.start(output.name),
                self._reactor,
                self._fail,
            )
            self._writers.append(writer)
            startOutput(writer, cursors[output.name])
        self._factory = ListenerFactory(
            self._commits,
            journal,
            self._reactor,
            self._settings.limits,
            self._refuseCertificate,
            self._settings.onHostnameMismatch,
        )
        self._accepted.serve(self._factory, self._context)
        if isinstance(journal, ISharedJournal):
            journal.onWentBack(self._heardWentBack)
            self._looks = LoopingCall(self._lookAtJournal, journal)
            self._looks.clock = self._reactor
            self._looks.start(JOURNAL_CHECK_S, now=False)

    def _heardWentBack(self) -> None:
        """The journal went back. Called in any thread."""
        self._reactor.callFromThread(self._factory.journalWentBack)

    @inlineCallbacks
    def _lookAtJournal(self, journal: ISharedJournal) -> Steps:
        try:
            yield self._commits.perform(journal.checkHistory)
        except JournalBlocked:
            # Try again later. Group commit logs it if there is something to commit.
            pass

    @inlineCallbacks
    def stopService(self) -> Steps:
        """Stop without losing or repeating anything."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._signals.stopping()
        if self._looks is not None and self._looks.running:
            self._looks.stop()
        yield self._ports.stop()
        self._accepted.stop()
        self._factory.stop()
        # Commit and acknowledge everything that was received before the goodbye. Without the
        # acknowledgements, forwarders that find another journal next would repeat these lines.
        for connection in list(self._factory.connections):
            if connection.control:
                connection.pause(Pause.STOP)
        yield self._commits.flush()
        for connection in list(self._factory.connections):
            connection.goodbye(BYE("shutdown", "the listener is stopping"))
        yield self._commits.flush()
        yield gatherResults([writer.stop() for writer in self._writers])
        yield self._commits.flush()
        yield self._accepted.gone()
        self._commits.stop()
        yield self._commits.perform(self._journal.close)
        self._threads.stop()
        if self._lock is not None:
            self._lock.release()
        self._signals.release()

    @property
    def components(self) -> ListenerComponents:
        """The parts of this listener."""
        return ListenerComponents(
            self._factory,
            self._commits,
            self._journal,
            self._writers,
            self._factory.handshakes.count,
            self._commits.backpressure.journalOctetsMax,
        )

    def sweep(self, refuse: RefuseChain) -> None:
        """Close the connections whose certificates are not accepted any more."""
        self._factory.sweep(refuse)

    def _hungUp(self) -> None:
        """SIGHUP or SIGUSR1: open the outputs anew, and read the configuration again."""
        self.reopen()
        self.reread()

    def useLimits(self, limits: Limits) -> None:
        """Use other limits; the limits that only a start can set stay."""
        before = self._factory.limits
        limits = replace(
            limits,
            connections=before.connections,
            filesPerConnection=before.filesPerConnection,
            filesPerWorker=before.filesPerWorker,
        )
        self._accepted.useLimits(limits)
        self._commits.backpressure.useLimits(limits)
        self._factory.useLimits(limits)

    def reopen(self) -> None:
        """Open the output files anew: they have been renamed."""
        self._log.info("reopening the output files")
        for writer in self._writers:
            writer.reopen()

    def _fail(self, failure: Failure) -> None:
        if failure.check(StorageFailed, OSError, sqlite3.Error) is None:
            self._log.failure("internal error; stopping the listener", failure)
        else:
            self._log.critical(
                "the disk cannot be trusted: {reason}; stopping, nothing more is"
                " acknowledged",
                reason=failure.getErrorMessage(),
            )
        self._die(failure)
