"""
The listener as a service: journal, outputs and port, started in that order.

A stop closes the port, commits the received octets, sends BYE on every connection, writes and
syncs the outputs, and closes the journal. After a kill the same promise holds; a stop only
leaves less work for the next start.
"""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import (
    Deferred,
    gatherResults,
    inlineCallbacks,
    maybeDeferred,
)
from twisted.internet.interfaces import (
    IListeningPort,
    ILoggingContext,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..durable import EXIT_SOFTWARE, EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..journal import Cursor, GroupCommit, IJournal, ISharedJournal, JournalBlocked
from ..limits import DEFAULTS, Limits
from ..notify import adoptedSockets
from ..openfiles import raiseOpenFiles
from ..outputs import Feed, IOutput, ListenerLock, Steps, Threads, WrongKind
from ..receiving import (
    ConnectionLimit,
    ListenerFactory,
    Network,
    ProxiedFactory,
    Refuse,
    acceptAll,
    showAddress,
)
from ..signals import ServiceSignals
from ..trust import RefuseChain
from ..wire import BYE

__all__ = ["ListenerService", "Works", "answers"]

# Descriptors reserved for the journal, outputs, their directories and threads.
DESCRIPTORS_KEPT = 48

# How long connections may take to end when we stop, in seconds.
STOP_S = 3.0

# How often a shared journal is checked, in seconds.
LOOK_S = 1.0

# A fleet that reconnects after our restart arrives within a second.
BACKLOG = 1024


def utcNow() -> str:
    """The time of a record: RFC 3339, UTC, microseconds."""
    # Called for each receive: strftime would be slower.
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


def exitAtOnce(failure: Failure) -> None:
    """End the process at once, so that nothing more is acknowledged."""
    storage = failure.check(StorageFailed, OSError, sqlite3.Error)
    os._exit(EXIT_SOFTWARE if storage is None else EXIT_STORAGE)


def connectionsAllowed(wantedConnections: int) -> int:
    """The number of connections, after raising the limit on descriptors as far as possible."""
    allowed = raiseOpenFiles(wantedConnections + DESCRIPTORS_KEPT)
    return max(1, min(wantedConnections, allowed - DESCRIPTORS_KEPT))


def boundSocket(host: str, port: int, shared: bool) -> socket.socket:
    """
    Bind a socket for connections that does not listen yet.

    @param shared: whether other processes of this user may bind the same port: the kernel
        distributes the connections.
    @raise OSError: the port cannot be bound.
    """
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
        host or "0.0.0.0",
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def answers(commits: GroupCommit, feeds: Sequence[Feed]) -> Mapping[str, Deferred[Any]]:
    """
    Ask the journal and every output for a sign of progress.

    The journal answers with an empty commit. While its disk is full it answers, too, because
    waiting is not a fault; a blocked output does the same.
    """
    return {
        "the journal": commits.flush(),
        **{feed.output.name: feed.answer() for feed in feeds},
    }


def startOutput(feed: Feed, cursor: Cursor) -> None:
    """
    Start an output and its feed.

    @raise UserError: the output cannot be opened and was never written: a wrong option. If it
        was written before, the feed waits for it; perhaps its disk is not mounted.
    """
    try:
        feed.output.start(cursor)
    except WrongKind:
        raise
    except UserError as error:
        if not cursor.files:
            raise
        feed.block(str(error))
    feed.start()


class Works(NamedTuple):
    """
    The parts of a listener that has started.

    @ivar handshakes: the number of unauthenticated connections.
    """

    factory: ListenerFactory
    commits: GroupCommit
    journal: IJournal
    feeds: Sequence[Feed]
    handshakes: int
    journalOctetsMax: int


class ListenerService(Service):
    """
    The master's side.

    @ivar port: the listening port, once started.
    """

    _log = Logger()
    name = "decnet-listener"

    def __init__(
        self,
        reactor: Any,
        context: IOpenSSLServerConnectionCreator,
        host: str,
        port: int,
        openJournal: Callable[[], IJournal],
        journalName: str,
        outputs: Sequence[IOutput],
        limits: Limits = DEFAULTS,
        die: Callable[[Failure], None] = exitAtOnce,
        lock: ListenerLock | None = None,
        refuseCertificate: Refuse = acceptAll,
        onHostnameMismatch: str = "tag",
        proxies: Sequence[Network] = (),
        reusePort: bool = False,
    ) -> None:
        """
        @param openJournal: called last; it may raise L{UserError}.
        @param journalName: for our own log.
        @param outputs: the outputs that this process writes; none if another process does.
        @param proxies: the networks of balancers. If there are any, other peers are refused.
        @param reusePort: whether other listeners of this user may have the same port.
        @param lock: acquired before the journal is opened, released at the end of the stop.
        @param onHostnameMismatch: see L{ListenerFactory}.
        """
        self._reactor = reactor
        self._context = context
        self._host = host
        self._portNumber = port
        self._openJournal = openJournal
        self._journalName = journalName
        self._outputs = outputs
        self._limits = limits
        self._die = die
        self._lock = lock
        self._refuseCertificate = refuseCertificate
        self._onHostnameMismatch = onHostnameMismatch
        self._proxies = proxies
        self._reusePort = reusePort
        self._threads = Threads(reactor)
        self._looks: LoopingCall | None = None
        self._ports: list[IListeningPort] = []
        self._sockets: list[int] = []
        self._proxied: ProxiedFactory | None = None
        self._signals = ServiceSignals(reactor, self.reopen)
        self.port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Bind the port before twistd gives up the rights that a low number needs."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._signals.ignore()
        self._limit = ConnectionLimit(
            _Later(),
            replace(
                self._limits, connections=connectionsAllowed(self._limits.connections)
            ),
        )
        factory: WrappingFactory[Any] = self._limit
        if self._proxies:
            factory = self._proxied = ProxiedFactory(
                self._limit, self._proxies, self._reactor
            )
        self._portFactory = factory
        self._sockets = adoptedSockets()
        self._isOwn = not self._sockets
        if self._isOwn:
            self._sockets = [self._bind()]

    def _bind(self) -> int:
        """
        Bind our own port without listening: no peer can connect before the journal is open.

        @return: the socket's descriptor.
        @raise SystemExit: the port cannot be bound.
        """
        try:
            return boundSocket(self._host, self._portNumber, self._reusePort).detach()
        except OSError as error:
            raise self._noPort(error) from None

    def _noPort(self, error: OSError) -> SystemExit:
        remedy = "choose another --port, or stop the program that uses it"
        if error.errno == errno.EADDRNOTAVAIL:
            remedy = "give an address of this machine as --host, or 0.0.0.0 for all"
        elif isinstance(error, socket.gaierror):
            remedy = "give an IP address of this machine as --host, or 0.0.0.0 for all"
        elif error.errno == errno.EACCES:
            remedy = "choose a --port above 1023, or start as root with twistd --uid"
        return SystemExit(
            f"decnet-listener: cannot listen on {self._host} port {self._portNumber}:"
            f" {error.strerror or error}; {remedy}"
        )

    def _listen(self) -> None:
        """
        Accept connections.

        @raise SystemExit: another program listens on our port.
        """
        if self._isOwn:
            with socket.socket(fileno=os.dup(self._sockets[0])) as own:
                try:
                    own.listen(BACKLOG)
                except OSError as error:
                    raise self._noPort(error) from None
        for descriptor in self._sockets:
            self._ports.append(self._adopt(descriptor, self._portFactory))
        self._sockets = []
        self.port = self._ports[0]

    def _adopt(self, descriptor: int, factory: WrappingFactory[Any]) -> IListeningPort:
        """
        Listen on an open socket, for example one from the service manager.

        @raise SystemExit: it is not a TCP socket.
        """
        with socket.socket(fileno=os.dup(descriptor)) as given:
            family, kind = given.family, given.type
        if family not in (socket.AF_INET, socket.AF_INET6) or kind != (
            socket.SOCK_STREAM
        ):
            raise SystemExit(
                "decnet-listener: the service manager's socket is not for TCP: set"
                " ListenStream= in its unit to a port"
            )
        os.set_blocking(descriptor, False)
        port: IListeningPort = self._reactor.adoptStreamPort(
            descriptor, family, factory
        )
        # The reactor has its own descriptor now.
        os.close(descriptor)
        return port

    def parts(self) -> Mapping[str, Deferred[Any]]:
        """Ask every part for a sign of progress, for L{decnet_syslog.notify}."""
        return answers(self._commits, self._feeds)

    def status(self) -> str:
        """The listener's state in one line, including every obstacle."""
        connections = len(self._factory.connections)
        said = f"{connections} connection{'' if connections == 1 else 's'}"
        if self._commits.obstacle is not None:
            said += f"; {self._commits.obstacle}: nothing is accepted"
        for feed in self._feeds:
            if feed.blocked is not None:
                said += f"; cannot write {feed.output.name}: {feed.blocked}"
        return said

    def startService(self) -> None:
        """Recover the journal, start the outputs, serve."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._open()
            self._listen()
        except StorageFailed:
            self._log.critical(
                "{reason}; nothing is accepted", reason=Failure().getErrorMessage()
            )
            self._threads.stop()
            self._die(Failure())
            return
        except BaseException as error:
            # Otherwise the threads would keep a useless process alive.
            self._threads.stop()
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
            address=", ".join([showAddress(port.getHost()) for port in self._ports]),
            journal=self._journalName,
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
            self._limits,
        )
        self._feeds = []
        for output in self._outputs:
            feed = Feed(
                output,
                journal,
                self._commits,
                self._threads.start(output.name),
                self._reactor,
                self._fail,
            )
            self._feeds.append(feed)
            startOutput(feed, cursors[output.name])
        self._factory = ListenerFactory(
            self._commits,
            journal,
            self._reactor,
            utcNow,
            self._limits,
            self._refuseCertificate,
            self._onHostnameMismatch,
        )
        tls = TLSMemoryBIOFactory(self._context, False, self._factory, self._reactor)
        self._limit.handshakes = self._factory.handshakes
        self._limit.wrappedFactory = tls
        if isinstance(journal, ISharedJournal):
            journal.onWentBack(self._heardWentBack)
            self._looks = LoopingCall(self._lookAtJournal, journal)
            self._looks.clock = self._reactor
            self._looks.start(LOOK_S, now=False)

    def _heardWentBack(self) -> None:
        """The journal went back. Called in any thread."""
        self._reactor.callFromThread(self._factory.journalWentBack)

    @inlineCallbacks
    def _lookAtJournal(self, journal: ISharedJournal) -> Steps:
        try:
            yield self._commits.perform(journal.look)
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
        yield gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        if self._proxied is not None:
            self._proxied.stop()
        self._factory.stop()
        # Commit and acknowledge everything that was received before the goodbye. Without the
        # acknowledgements, forwarders that find another journal next would repeat these lines.
        for connection in list(self._factory.connections):
            if connection.control:
                connection.pause()
        yield self._commits.flush()
        for connection in list(self._factory.connections):
            connection.goodbye(BYE("shutdown", "the listener is stopping"))
        yield self._commits.flush()
        yield gatherResults([feed.stop() for feed in self._feeds])
        yield self._commits.flush()
        yield self._connectionsGone()
        self._commits.stop()
        yield self._commits.perform(self._journal.close)
        self._threads.stop()
        if self._lock is not None:
            self._lock.release()
        self._signals.release()

    @property
    def works(self) -> Works:
        """The parts of this listener."""
        return Works(
            self._factory,
            self._commits,
            self._journal,
            self._feeds,
            self._factory.handshakes.count,
            self._commits.journalOctetsMax,
        )

    def sweep(self, refuse: RefuseChain) -> None:
        """Close the connections whose certificates are not accepted any more."""
        self._factory.sweep(refuse)

    def reopen(self) -> None:
        """Open the output files anew: they have been renamed."""
        self._log.info("reopening the output files")
        for feed in self._feeds:
            feed.reopen()

    def _connectionsGone(self) -> Deferred[None]:
        """Fire when every connection has ended, or C{STOP_S} is over."""
        done: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + STOP_S

        def look() -> None:
            if not self._limit.protocols:
                done.callback(None)
            elif self._reactor.seconds() >= deadline:
                for connection in list(self._limit.protocols):
                    connection.abortConnection()
                done.callback(None)
            else:
                self._reactor.callLater(0.02, look)

        look()
        return done

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


@implementer(ILoggingContext)
class _Later:
    """Stands for the TLS factory until the journal is open."""

    def logPrefix(self) -> str:
        """The prefix of log lines about the port."""
        return "decnet-listener"

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def buildProtocol(self, addr: object) -> None:
        """Never called: it is replaced before the reactor runs."""
