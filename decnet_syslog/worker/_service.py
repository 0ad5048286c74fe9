"""
The forwarder as a service: it assembles the parts and stops them in order.

The files thread (L{decnet_syslog.worker._filesthread}) owns the files, the state database and the
sender. The reactor owns the connection, the signals and the reports. On stop the forwarder says
goodbye and saves the acknowledged offsets. A forwarder that is killed loses nothing compared with
one that is stopped: the listener holds the position.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.logger import Logger

from ..boundaries import Called
from ..files import FollowedFiles
from ..reactors import IReactor
from ..sending import Counts, Session
from ..signals import ServiceSignals
from ..wire import BYE
from ._connector import EndpointConnector
from ._delivery import Delivery
from ._failback import Failback
from ._fileevents import reportFileEvent
from ._filelimit import filesThatFit
from ._filelooks import FileLooks
from ._filestates import FileStates
from ._filesthread import FilesThread
from ._forwarder import ForwarderFactory
from ._masterselector import Address, MasterSelector
from ._offsetsaver import OffsetSaver
from ._protocol import ForwarderProtocol
from ._settings import ForwarderSettings
from ._srv import Directory
from ._stateopening import openState
from ._statusreporter import StatusReporter
from ._transport import TLSClientEndpoint

__all__ = ["ForwarderComponents", "ForwarderService"]

# How long a stopping forwarder waits for acknowledgements of lines in flight, in seconds. After
# that it closes the connection, which has a deadline of its own (CLOSE_S).
STOP_S = 2.0


class ForwarderComponents(NamedTuple):
    """The parts of a started forwarder."""

    counts: Counts
    factory: ForwarderFactory
    reporter: StatusReporter
    masters: MasterSelector


class ForwarderService(Service):
    """
    The forwarder: follows log files and sends their lines to a master.
    """

    _log = Logger()
    name = "decnet-forwarder"

    def __init__(
        self,
        reactor: IReactor,
        context: Callable[[], IOpenSSLClientConnectionCreator],
        refusal: Callable[[], str | None],
        masters: MasterSelector,
        settings: ForwarderSettings,
        directory: Directory | None = None,
        workerName: Callable[[], str] = lambda: "",
    ) -> None:
        """
        @param workerName: returns the name in the certificate that is in use.
        @param directory: if given, it is asked for the masters before the first connection.
        @param context: makes the TLS settings of the next connection.
        @param refusal: why TLS refused the last master, or C{None}.
        """
        self._reactor = reactor
        self._context = context
        self._refusal = refusal
        self._masters = masters
        self._settings = settings
        self._workerName = workerName
        self._counts = Counts()
        self._directory = directory
        self._signals = ServiceSignals(reactor, self._hungUp)
        self.reread: Callable[[], None] = lambda: None

    def startService(self) -> None:
        """Open the state database, start looking at the files, connect."""
        super().startService()  # type: ignore[no-untyped-call]
        filesMax = filesThatFit(self._settings.filesMax)
        self._signals.ignore()
        self._store = openState(self._settings.statePath, self._settings.decnetPath)
        self._files = FollowedFiles(
            self._settings.patterns,
            self._store,
            self._reactor.seconds,
            messageOctetsMax=self._settings.messageOctetsMax,
            lagOctetsMax=self._settings.lagOctetsMax,
            events=reportFileEvent,
            filesMax=filesMax,
            rotated=self._settings.rotated,
        )
        self._states = FileStates(self._files, self._counts, self._reactor.seconds)
        self._thread = FilesThread(self._reactor)
        self._thread.start()
        self._saver = OffsetSaver(self._thread, self._files)
        self._files.onChanged(self._saver.changed)
        self._delivery = Delivery(
            self._reactor,
            self._thread,
            self._files,
            self._counts,
            self._workerName,
            delivery=self._settings.delivery,
            resendToNewMaster=self._settings.resendToNewMaster,
            chunkOctets=self._settings.chunkOctets,
        )
        self._factory = ForwarderFactory(
            self._reactor,
            self._sessionFor,
            self._refusal,
            self._masters,
            self._delivery.connected,
            lambda: self._reporter.reportDue(),
        )
        self._connector = EndpointConnector(self._endpoint, self._factory)
        self._factory.connector = self._connector
        directories = {
            os.path.dirname(os.path.abspath(p)) for p in self._settings.patterns
        }
        self._looks = FileLooks(
            self._reactor,
            self._thread,
            self._files,
            directories,
            self._settings.pollSeconds,
            self._looked,
        )
        self._looks.start()
        self._reporter = StatusReporter(
            lambda: self._thread.ask(self._states.summarize),
            self._reactor,
            self._factory.tell,
        )
        self._reporter.start()
        self._failback = Failback(
            self._reactor, self._masters, self._factory, self._endpoint
        )
        self._failback.start()
        if self._directory is None:
            self._connector.connect()
        else:
            self._directory.ask().addCallback(lambda _: self._connectFirst())
        self._signals.catchWhenRunning()
        self._log.info(
            "following {files}; sending to {masters}",
            files=", ".join(self._settings.patterns),
            masters=", ".join(map(str, self._masters.addresses)),
        )

    def _connectFirst(self) -> None:
        if self.running:
            self._masters.restart()
            self._connector.connect()

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Called], Called, None]:
        """Stop without losing or repeating a line."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._signals.stopping()
        self._looks.stopWatching()
        self._reporter.stop()
        self._failback.stop()
        if self._directory is not None:
            self._directory.stop()
        self._factory.stopTrying()  # type: ignore[no-untyped-call]
        self._connector.stopConnecting()
        connection = self._factory.connection
        if connection is not None:
            yield self._wait(
                lambda: connection.session is None or not connection.session.inFlight
            )
            lost: Deferred[None] = Deferred()
            self._factory.whenLost(lambda: lost.callback(None))
            connection.close(BYE("shutdown", "the forwarder is stopping"))
            if self._factory.connection is not None:
                yield lost
        self._looks.stop()
        yield self._thread.ask(self._end)
        self._thread.stop()
        # Only the main thread may change signals, so this is not part of _end.
        self._signals.release()

    def _end(self) -> None:
        """Save and close, after all calls that were posted before."""
        self._saver.end()
        self._files.close()
        self._store.close()

    def _hungUp(self) -> None:
        """
        SIGHUP or SIGUSR1: read the configuration again, and look at the files now. Certificates
        are watched in any case.
        """
        if self.running:
            self._log.info("signal received: looking at the files now")
            self.reread()
            self._looks.wake()

    def useMasters(self, addresses: Sequence[Address]) -> None:
        """Use another list of masters; a connection to one that is not in it ends."""
        self._masters.use(addresses)
        connection = self._factory.connection
        if connection is not None and self._masters.current not in addresses:
            self._masters.moveTo(addresses[0])
            connection.close(BYE("shutdown", "the forwarder has another master now"))

    def usePollSeconds(self, pollSeconds: float) -> None:
        """Look at the files at least this often."""
        self._looks.usePollSeconds(pollSeconds)

    def parts(self) -> Mapping[str, Deferred[None]]:
        """
        Ask every part whether it makes progress, for L{decnet_syslog.notify}.

        This starts a look at the files, because --poll-interval may be longer than the watchdog's
        interval.
        """
        return {
            "the files thread": self._thread.ask(lambda: None),
            "the look at the files": self._looks.ask(),
        }

    def status(self) -> str:
        """The forwarder's state in one line, with the reason if it cannot send."""
        files = self._reporter.report.followed
        connection = self._factory.connection
        if connection is None or not connection.greeted:
            return f"{files} files; no connection to the master"
        kind = "acknowledged" if connection.control else "plain RFC 5425"
        return f"{files} files; connected to the master, {kind}"

    @property
    def components(self) -> ForwarderComponents:
        """The parts, for the status page and the metrics."""
        return ForwarderComponents(
            self._counts, self._factory, self._reporter, self._masters
        )

    def _wait(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fire when the condition holds, when the connection is gone, or after STOP_S."""
        done: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + STOP_S

        def look() -> None:
            if (
                condition()
                or self._reactor.seconds() > deadline
                or not self._factory.connection
            ):
                done.callback(None)
            else:
                self._reactor.callLater(0.02, look)

        look()
        return done

    def _endpoint(self, master: Address | None = None) -> IStreamClientEndpoint:
        host, port = master or self._masters.current
        tcp = HostnameEndpoint(self._reactor, host, port)
        return TLSClientEndpoint(self._context(), tcp, self._reactor)

    def _sessionFor(self, connection: ForwarderProtocol) -> Session | None:
        self._reporter.connected()
        return self._delivery.sessionFor(connection)

    def _looked(self) -> None:
        """The files may hold new octets: send them."""
        if self._factory.connection is not None:
            self._factory.connection.pump()
