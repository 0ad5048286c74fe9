"""
The listener as a service: journal, outputs, port; started and stopped in that order.

Stopping: no new connection; every connection is told BYE; what they had sent is
committed; the outputs are written and synced; the journal is closed. A master that is
stopped and one that is killed leave the same promise, stopping only leaves less to do.
"""

from __future__ import annotations

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
from ..notify import adoptedSockets
from ..openfiles import raiseOpenFiles
from ..signals import ServiceSignals
from ..trust.contexts import RefuseChain
from ..wire.control import BYE
from .door import ConnectionLimit, showAddress
from .feeds import Feed, Output, Steps
from .groupcommit import GroupCommit
from .limits import DEFAULTS, Limits
from .listener import ListenerFactory, Refuse, acceptAll
from .outputpaths import WrongKind
from .outputprocess import ListenerLock
from .promise import JournalBlocked, JournalPromise, SharedJournal
from .proxied import Network, ProxiedFactory
from .threads import Threads
from .values import Cursor

__all__ = ["ListenerService", "Works", "answers"]

# Descriptors that connections must leave: journal, outputs, their directories, threads.
DESCRIPTORS_KEPT = 48

# How long connections may take to end when we stop, in seconds.
STOP_S = 3.0

# How often a shared journal is checked, in seconds.
LOOK_S = 1.0

# A fleet that reconnects after our restart arrives within a second.
BACKLOG = 1024


def utcNow() -> str:
    """The time of a record: RFC 3339, UTC, microseconds."""
    # Of each receive, and so not by strftime, which is slower.
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


def exitAtOnce(failure: Failure) -> None:
    """Stop at once, without another word to anybody: nothing more is acknowledged."""
    storage = failure.check(StorageFailed, OSError, sqlite3.Error)
    os._exit(EXIT_SOFTWARE if storage is None else EXIT_STORAGE)


def connectionsAllowed(wantedConnections: int) -> int:
    """How many connections the descriptors suffice for, when we take all we can have."""
    allowed = raiseOpenFiles(wantedConnections + DESCRIPTORS_KEPT)
    return max(1, min(wantedConnections, allowed - DESCRIPTORS_KEPT))


def boundSocket(host: str, port: int, shared: bool) -> socket.socket:
    """
    A socket for connections that does not listen yet.

    @param shared: others of the same user may have the port, too: the kernel spreads the
        connections over them.
    @raise OSError: it cannot be had.
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
    Ask the journal and every output whether they get on.

    The journal is asked with a commit of its own, of nothing; while its disk is full it
    waits and is well. A blocked output waits, too.
    """
    return {
        "the journal": commits.flush(),
        **{feed.output.name: feed.answer() for feed in feeds},
    }


def startOutput(feed: Feed, cursor: Cursor) -> None:
    """
    Start an output and what feeds it.

    @raise UserError: it cannot be had, and never could: a mistake. One that was written
        before is waited for: its disk is not mounted, perhaps.
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
    What a listener is made of, once it is started.

    @ivar handshakes: connections that are not authenticated yet.
    """

    factory: ListenerFactory
    commits: GroupCommit
    journal: JournalPromise
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
        openJournal: Callable[[], JournalPromise],
        journalName: str,
        outputs: Sequence[Output],
        limits: Limits = DEFAULTS,
        die: Callable[[Failure], None] = exitAtOnce,
        lock: ListenerLock | None = None,
        refuseCertificate: Refuse = acceptAll,
        onHostnameMismatch: str = "tag",
        proxies: Sequence[Network] = (),
        reusePort: bool = False,
    ) -> None:
        """
        @param openJournal: called when all else is there; it may raise L{UserError}.
        @param journalName: for our own log.
        @param outputs: those that are written here; none when others write them.
        @param proxies: where balancers are; if there are any, nobody else may connect.
        @param reusePort: other listeners of this user may have the same port.
        @param lock: taken before the journal is opened, released when all is over.
        @param onHostnameMismatch: as of L{ListenerFactory}.
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
        """Have the port while we may: its number may take rights that are given up next."""
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
        Have our own port, without listening: nobody can connect before there is a journal.

        @return: the socket's descriptor.
        @raise SystemExit: it cannot be had.
        """
        try:
            return boundSocket(self._host, self._portNumber, self._reusePort).detach()
        except OSError as error:
            raise self._noPort(error) from None

    def _noPort(self, error: OSError) -> SystemExit:
        return SystemExit(
            f"decnet-listener: cannot listen on {self._host} port {self._portNumber}:"
            f" {error.strerror or error}; choose another --port, or stop what uses it"
        )

    def _listen(self) -> None:
        """
        Let connections in.

        @raise SystemExit: somebody else listens on our port.
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
        Listen on a socket that is open, as one that the service manager has opened.

        @raise SystemExit: it is none for TCP.
        """
        with socket.socket(fileno=os.dup(descriptor)) as given:
            family, kind = given.family, given.type
        if family not in (socket.AF_INET, socket.AF_INET6) or kind != (
            socket.SOCK_STREAM
        ):
            raise SystemExit(
                "decnet-listener: the service manager's socket is not for TCP: give"
                " its unit ListenStream= with a port"
            )
        os.set_blocking(descriptor, False)
        port: IListeningPort = self._reactor.adoptStreamPort(
            descriptor, family, factory
        )
        # The reactor has a descriptor of its own now.
        os.close(descriptor)
        return port

    def parts(self) -> Mapping[str, Deferred[Any]]:
        """Ask every part whether it gets on, as L{decnet_syslog.notify} wants it."""
        return answers(self._commits, self._feeds)

    def status(self) -> str:
        """In one line, what we do and what keeps us from it."""
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
            # Or the threads would keep a listener alive that serves nobody.
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
        Open what is on disk, and let connections in.

        @raise UserError: something cannot be had.
        """
        if self._lock is not None:
            self._lock.acquire()
        journal = self._journal = self._openJournal()
        cursors = {}
        if self._outputs:
            cursors = journal.useOutputs([output.name for output in self._outputs])
        # Behind this nothing waits for the journal's disk in this thread.
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
        if isinstance(journal, SharedJournal):
            journal.onWentBack(self._heardWentBack)
            self._looks = LoopingCall(self._lookAtJournal, journal)
            self._looks.clock = self._reactor
            self._looks.start(LOOK_S, now=False)

    def _heardWentBack(self) -> None:
        """The journal went back. Called in any thread."""
        self._reactor.callFromThread(self._factory.journalWentBack)

    @inlineCallbacks
    def _lookAtJournal(self, journal: SharedJournal) -> Steps:
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
        """What there is to look at."""
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
        """Fire when every connection has ended, or has had the time to."""
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
            self._log.failure("an error of the listener; stopping", failure)
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
        """What the log says of who has the port."""
        return "decnet-listener"

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def buildProtocol(self, addr: object) -> None:
        """No connection is accepted before the reactor runs, and then we are replaced."""
