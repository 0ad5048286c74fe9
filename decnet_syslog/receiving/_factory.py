"""The factory of the listener's connections, and their common registry, limits and rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from cryptography import x509
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory

from ..boundaries import Foreign
from ..journal import GroupCommit, IJournal
from ..limits import DEFAULTS, Limits
from ..trust import Objection, RefuseChain, chainOf
from ..wire import ForwarderReport
from ._acked import AckedSession
from ._assembler import Origin
from ._connectionlimits import Handshakes
from ._flowcontrol import Pause
from ._holding import Held, Holding, windowFor
from ._listener import ListenerProtocol
from ._plain import PlainSession
from ._ratelimits import RateLimiter
from ._registry import ConnectionRegistry
from ._seldom import Seldom
from ._session import ReceiverSession

__all__ = ["HOSTNAME_POLICIES", "ListenerFactory", "Refuse", "acceptAll"]

# The policies for a message whose HOSTNAME is not its worker's: mark its record, do nothing,
# or refuse the message.
HOSTNAME_POLICIES = ("tag", "accept", "reject")

# How often late frames and silent peers are looked for, in seconds; at least four times in
# Limits.frameSeconds.
DEADLINE_CHECK_S = 15.0

# The reason why a certificate is not accepted; None if it is.
Refuse: TypeAlias = Callable[[x509.Certificate], Objection | None]


def acceptAll(certificate: x509.Certificate) -> Objection | None:
    """Accept every certificate that the CA has signed."""
    return None


class ListenerFactory(Factory):
    """
    Makes the protocols of connections, and has the registry of streams.

    @ivar limits: the listener's limits.
    @ivar connections: the connections with a complete handshake.
    @ivar handshakes: the connections without one.
    @ivar rejects: whether messages that name another machine are refused.
    @ivar held: octets of unfinished frames, all connections together.
    @ivar emptyFrames: the number of skipped frames of each worker since the start.
    @ivar holding: which workers are held back, and why.
    @ivar seldom: limits the log lines that peers can cause.
    @ivar reported: called with worker and report when a forwarder reports its state.
    """

    protocol: Foreign = ListenerProtocol
    noisy = False

    def __init__(
        self,
        commits: GroupCommit,
        journal: IJournal,
        clock: IReactorTime,
        limits: Limits = DEFAULTS,
        refuseCertificate: Refuse = acceptAll,
        onHostnameMismatch: str = "tag",
    ) -> None:
        """
        @param onHostnameMismatch: one of L{HOSTNAME_POLICIES}.
        @param refuseCertificate: returns the reason why a certificate is not accepted, or
            C{None}.
        """
        self.refuseCertificate = refuseCertificate
        self.clock = clock
        self.limits = limits
        self._lookSeconds = min(DEADLINE_CHECK_S, limits.frameSeconds / 4)
        self.rejects = onHostnameMismatch == "reject"
        self._flagHostnameMismatch = onHostnameMismatch != "accept"
        self.registry = ConnectionRegistry(limits.connectionsPerWorker)
        self.rateLimiter = RateLimiter(clock, limits.rate, self._refilled)
        self.holding = Holding(
            clock, limits.rate, lambda worker: Held(*commits.whyHeld(worker))
        )
        self.connections: set[ListenerProtocol] = set()
        self._commits = commits
        self.handshakes = Handshakes()
        self.held = 0
        self.emptyFrames: Counter[str] = Counter()
        self.seldom = Seldom(clock)
        self._journal = journal
        self._looks: IDelayedCall | None = None
        self.reported: Callable[[str, ForwarderReport], None] = lambda worker, report: (
            None
        )

    def sessionFor(
        self, connection: ListenerProtocol, worker: str, fingerprint: str, address: str
    ) -> ReceiverSession:
        """Make the session of a connection with a complete handshake."""
        self.connections.add(connection)
        self.registry.join(worker, connection)
        if self._looks is None:
            self._looks = self.clock.callLater(self._lookSeconds, self._checkDeadlines)
        peer = Origin(worker, fingerprint, address, self._flagHostnameMismatch)
        if not connection.control:
            return PlainSession(peer, connection, self._commits)
        return AckedSession(
            peer,
            connection,
            self._commits,
            self._journal,
            self.limits,
            self.registry,
            self.reported if connection.reports else None,
            connection.history,
            windowFor(self.limits.rate) if connection.tellsLag else None,
        )

    def useLimits(self, limits: Limits) -> None:
        """Use other limits: for new connections, and for what all of a worker may send."""
        self.limits = limits
        self.registry.perWorkerMax = limits.connectionsPerWorker
        self.rateLimiter.useRate(limits.rate)
        self.holding.useRate(limits.rate)
        for connection in self.connections:
            if isinstance(connection.session, AckedSession):
                connection.session.useWindow(
                    windowFor(limits.rate), self.holding.of(connection)
                )

    def received(self, connection: ListenerProtocol, octets: int) -> None:
        """Count a worker's octets, and stop reading it for a while if there are too many."""
        worker = connection.worker
        assert worker is not None
        if self.rateLimiter.spend(worker, octets):
            for member in self.registry.of(worker):
                member.pause(Pause.RATE)

    def _refilled(self, worker: str) -> None:
        for member in self.registry.of(worker):
            member.resume(Pause.RATE)

    def sweep(self, refuse: RefuseChain) -> None:
        """Close the connections whose certificates are not accepted any more."""
        for connection in list(self.connections):
            reason = refuse(chainOf(connection.transport))
            if reason is not None:
                connection.expel(reason)

    def journalWentBack(self) -> None:
        """The journal went back: close all connections that have positions."""
        for connection in list(self.connections):
            if isinstance(connection.session, AckedSession):
                connection.session.journalWentBack()

    def gone(self, connection: ListenerProtocol) -> None:
        """A connection is lost."""
        self.connections.discard(connection)
        self.holding.lost(connection)
        assert connection.worker is not None
        if self.registry.leave(connection.worker, connection):
            self.rateLimiter.forget(connection.worker)
        if isinstance(connection.session, AckedSession):
            self.registry.gone(connection.session)

    def _checkDeadlines(self) -> None:
        """Check every connection periodically."""
        self._looks = None
        now = self.clock.seconds()
        for connection in list(self.connections):
            connection.checkDeadlines(now)
        if self.connections:
            self._looks = self.clock.callLater(self._lookSeconds, self._checkDeadlines)

    def stop(self) -> None:
        """Stop the periodic checks."""
        if self._looks is not None:
            self._looks.cancel()
            self._looks = None
        self.rateLimiter.stop()
        self.holding.stop()
