"""
The listener: connections in, committed lines out.

Nothing is accepted before the handshake is done and the peer's certificate has given
exactly one usable name. What a connection sends is its L{Reception}'s business; here are
the transport's side of it and the service that wires journal, outputs and port together.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from cryptography import x509
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..trust.contexts import DELIVERY_PROTOCOL
from ..trust.names import NameRefused, fingerprint, peerName
from ..wire.control import BYE, ControlError, ControlLine
from ..wire.framing import MESSAGE_OCTETS_MAX, FramingError
from ..wire.protocol import OctetCountedReceiver
from .acknowledged import Acknowledged
from .groupcommit import GroupCommit
from .journal import Journal
from .reception import Plain, Reception, Violation

__all__ = [
    "CONNECTIONS_MAX",
    "ConnectionLimit",
    "ListenerFactory",
    "ListenerProtocol",
    "showAddress",
]

# A handshake is two round trips; who needs longer holds a connection for nothing.
HANDSHAKE_S = 15.0

# A peer's words come back to it in our own: not many of them.
BYE_CHARACTERS_MAX = 500

# How long a peer may take to answer our close_notify before the connection is cut.
CLOSE_S = 5.0

# The same for one whose certificate is not accepted any more.
EXPEL_S = 0.25

# Each connection costs about 50 KiB; a fleet is smaller than this, a flood is not.
CONNECTIONS_MAX = 16384

# Of these, not authenticated yet. A whole fleet may return at once after our restart; a
# flood of strangers must not take the places of those who have a certificate.
HANDSHAKES_MAX = 8192

# Of one name. A forwarder has one, and for a moment the dead one before it; other
# programs may have one for each of their threads. When there are more the oldest goes.
CONNECTIONS_PER_WORKER_MAX = 16

# Octets of unfinished frames of all connections. A connection may always hold
# HELD_ALWAYS; beyond this sum no connection may hold more.
HELD_OCTETS_MAX = 64 * 1024 * 1024
HELD_ALWAYS = 64 * 1024

# A frame that is begun must end: who needs longer for one holds memory for nothing. Looked
# at so often, in seconds.
FRAME_S = 60.0

# A peer whose host is gone: probed when silent for so long, given up when what we sent is
# not acknowledged for so long, in seconds and milliseconds.
KEEPALIVE_S = 60
KEEPALIVE_PROBES = 4
USER_TIMEOUT_MS = 120_000

# Why a certificate is not accepted; None if it is.
Refuse: TypeAlias = Callable[[x509.Certificate], str | None]


def acceptAll(certificate: x509.Certificate) -> str | None:
    """Whoever the CA has signed."""
    return None


def showAddress(address: IAddress) -> str:
    """An address for logs and records."""
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    return str(address)


def keepAlive(transport: Any) -> None:
    """Have TCP notice that a peer's host is gone."""
    # TLS has a handle of its own.
    tcp: Any = transport.transport
    # In memory there is none.
    hasSocket: bool = ISystemHandle.providedBy(tcp)
    if hasSocket:
        tcp.setTcpKeepAlive(True)
        setTimeouts(tcp.getHandle())


def setTimeouts(handle: socket.socket) -> None:
    """See L{keepAlive}; what a system does not have is left out."""
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S // KEEPALIVE_PROBES),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)


@implementer(IHandshakeListener, IPushProducer)
class ListenerProtocol(OctetCountedReceiver):
    """
    One connection.

    @ivar reception: once the handshake is done and the name is accepted.
    @ivar certificate: the peer's, then.
    """

    _log = Logger()
    factory: ListenerFactory

    def __init__(self) -> None:
        self.reception: Reception | None = None
        self.address = ""
        self.worker: str | None = None
        self.certificate: x509.Certificate | None = None
        self._timer: IDelayedCall | None = None
        self._handshaking = True
        self._lost = False
        self._producing = False
        # Why we do not read: the reception has enough, or the peer does not read.
        self._waits: set[str] = set()
        self._heldBefore = 0
        self._frameSince: float | None = None

    def connectionMade(self) -> None:
        """Start the clock of the handshake."""
        self.factory.handshakes += 1
        self.address = showAddress(self.transport.getPeer())  # type: ignore[union-attr]
        self.MAX_LENGTH = self.factory.messageOctetsMax
        self._timer = self.factory.clock.callLater(HANDSHAKE_S, self._handshakeLate)

    def _handshakeLate(self) -> None:
        self._timer = None
        self._log.warn(
            "refused {address}: no handshake in {seconds} s",
            address=self.address,
            seconds=HANDSHAKE_S,
        )
        self.refuse()
        self._abort()

    def handshakeCompleted(self) -> None:
        """Take the peer's name from its certificate, or refuse it."""
        transport = cast(Any, self.transport)
        self._stopTimer()
        self._handshakeOver()
        certificate = transport.getPeerCertificate().to_cryptography()
        try:
            # What the handshake has checked may have changed since.
            reason = self.factory.refuseCertificate(certificate)
            if reason is None:
                self.worker = peerName(certificate)
        except NameRefused as error:
            reason = str(error)
        if reason is not None:
            self._log.warn(
                "refused {address}: {reason}; certificate {fingerprint}",
                event="refused",
                address=self.address,
                reason=reason,
                fingerprint=fingerprint(certificate),
            )
            self.refuse()
            transport.abortConnection()
            return
        assert self.worker is not None
        self.certificate = certificate
        self.control = transport.negotiatedProtocol == DELIVERY_PROTOCOL
        keepAlive(transport)
        if self.control:
            # A plain peer is sent nothing.
            transport.registerProducer(self, True)
            self._producing = True
        self.reception = self.factory.receptionFor(
            self, self.worker, fingerprint(certificate), self.address
        )
        self._log.info(
            "{worker} connected from {address}, {mode}",
            worker=self.worker,
            address=self.address,
            mode="acknowledged" if self.control else "plain RFC 5425",
        )
        self.reception.start()
        if isinstance(self.reception, Acknowledged):
            self.reception.greet()

    def _handshakeOver(self) -> None:
        if self._handshaking:
            self._handshaking = False
            self.factory.handshakes -= 1

    def dataReceived(self, data: bytes) -> None:
        """Decode, and count what is left of a frame."""
        super().dataReceived(data)
        self._countHeld(0 if self._refused else self.unfinished)
        factory = self.factory
        if self._heldBefore > HELD_ALWAYS and factory.held > HELD_OCTETS_MAX:
            self._violated(
                Violation("limit", "too many octets of unfinished frames are held")
            )

    def _countHeld(self, held: int) -> None:
        self.factory.held += held - self._heldBefore
        self._heldBefore = held
        if not held:
            self._frameSince = None
        elif self._frameSince is None:
            self._frameSince = self.factory.clock.seconds()

    def look(self, now: float) -> None:
        """See whether a frame does not end."""
        since = self._frameSince
        if since is not None and now - since >= FRAME_S and not self._waits:
            self._violated(
                Violation("limit", f"a frame that has not ended in {FRAME_S:.0f} s")
            )

    def framesReceived(self, messages: list[bytes]) -> None:
        """Hand messages to the reception."""
        self._frameSince = None
        assert self.reception is not None
        try:
            self.reception.framesReceived(messages)
        except Violation as violation:
            self._violated(violation)

    def controlReceived(self, line: ControlLine) -> None:
        """Hand a control line to the reception."""
        self._frameSince = None
        assert isinstance(self.reception, Acknowledged)
        try:
            self.reception.controlReceived(line)
        except Violation as violation:
            self._violated(violation)

    def frameError(self, error: FramingError | ControlError) -> None:
        """The framing is broken: keep what was complete, say why, close."""
        self._violated(Violation("framing", str(error)))

    def _violated(self, violation: Violation) -> None:
        self.close(BYE(violation.code, violation.text))

    def close(self, bye: BYE) -> None:
        """Say why, if the peer can hear it, and close. Nothing more is received."""
        # A text may have a peer's words in it.
        bye = BYE(bye.code, bye.text[:BYE_CHARACTERS_MAX])
        self._log.warn(
            "closing {worker} at {address}: {code}: {text}",
            worker=self.worker,
            address=self.address,
            code=bye.code,
            text=bye.text,
        )
        self.refuse()
        self.goodbye(bye)

    def expel(self, reason: str) -> None:
        """The certificate is not accepted any more: nothing more is received."""
        self._log.warn(
            "closing {worker} at {address}: {reason}; what it sent before is kept;"
            " certificate {fingerprint}",
            event="revoked",
            worker=self.worker,
            address=self.address,
            reason=reason,
            fingerprint=fingerprint(cast(x509.Certificate, self.certificate)),
        )
        self.goodbye(BYE("revoked", reason), EXPEL_S)

    def goodbye(self, bye: BYE, seconds: float = CLOSE_S) -> None:
        """
        Send BYE and close_notify.

        @param seconds: the connection is cut if the peer does not answer for so long.
        """
        transport = cast(Any, self.transport)
        self.refuse()
        if self.control:
            if self.reception is not None:
                self.reception.acknowledge()
            self.sendControl(bye)
        if self._producing:
            # Or the connection would stay open for what the producer may still say.
            self._producing = False
            transport.unregisterProducer()
        # A paused transport would not see the peer's close_notify.
        transport.resumeProducing()
        transport.loseConnection()
        if self._timer is None and transport.connected:
            self._timer = self.factory.clock.callLater(seconds, self._closeLate)

    def _closeLate(self) -> None:
        self._timer = None
        self._abort()

    def _abort(self) -> None:
        cast(Any, self.transport).abortConnection()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause(self) -> None:
        """Stop reading."""
        self._stopReading("room")

    def resume(self) -> None:
        """Read on."""
        self._readOn("room")

    def pauseProducing(self) -> None:
        """The peer does not read what we answer: do not read what it asks."""
        self._stopReading("peer")

    def resumeProducing(self) -> None:
        """The peer has read."""
        self._readOn("peer")

    def stopProducing(self) -> None:
        """The transport is gone."""

    def _stopReading(self, why: str) -> None:
        self._waits.add(why)
        self.halt()
        if not self._lost:
            cast(Any, self.transport).pauseProducing()

    def _readOn(self, why: str) -> None:
        self._waits.discard(why)
        if self._waits or self._lost:
            return
        cast(Any, self.transport).resumeProducing()
        self.proceed()

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """What was complete is kept; a part of a frame is not, and said."""
        self._lost = True
        self._stopTimer()
        self._handshakeOver()
        if not self.control and self.reception is not None:
            # A plain peer does not send again what waits here.
            self.proceed()
        self._countHeld(0)
        if self.reception is None:
            if self.worker is None:
                self._log.warn(
                    "refused {address}: no handshake: {reason}",
                    address=self.address,
                    reason=reason.getErrorMessage(),
                )
            return
        self.reception.connectionLost()
        self.factory.gone(self)
        self._log.info(
            "{worker} at {address} is gone: {reason}; {unfinished} octets of an unfinished frame",
            worker=self.worker,
            address=self.address,
            reason=reason.getErrorMessage(),
            unfinished=self.unfinished,
        )


class ListenerFactory(Factory):
    """
    Makes the connections' protocols and knows which stream is whose.

    @ivar connections: those whose handshake is done.
    @ivar handshakes: how many connections there are whose handshake is not.
    @ivar held: octets of unfinished frames, of all connections.
    """

    protocol: Any = ListenerProtocol
    noisy = False

    def __init__(
        self,
        commits: GroupCommit,
        journal: Journal,
        clock: IReactorTime,
        now: Callable[[], str],
        messageOctetsMax: int = MESSAGE_OCTETS_MAX,
        perWorkerMax: int = CONNECTIONS_PER_WORKER_MAX,
        refuseCertificate: Refuse = acceptAll,
    ) -> None:
        """
        @param now: the time as RFC 3339 has it, for records.
        @param refuseCertificate: why a certificate is not accepted, C{None} if it is.
        """
        self.refuseCertificate = refuseCertificate
        self.clock = clock
        self.messageOctetsMax = messageOctetsMax
        self._perWorkerMax = perWorkerMax
        self.connections: set[ListenerProtocol] = set()
        self._commits = commits
        self.handshakes = 0
        self.held = 0
        self._journal = journal
        self._now = now
        self._looks: IDelayedCall | None = None
        self._workers: dict[str, deque[ListenerProtocol]] = {}
        self._owners: dict[tuple[str, str, int], Acknowledged] = {}

    def receptionFor(
        self, line: ListenerProtocol, worker: str, fingerprint: str, address: str
    ) -> Reception:
        """The reception of a connection whose handshake is done."""
        self.connections.add(line)
        lines = self._workers.setdefault(worker, deque())
        lines.append(line)
        if len(lines) > self._perWorkerMax:
            lines[0].close(BYE("limit", "a newer connection of this name is open"))
            self._leave(worker, lines[0])
        if self._looks is None:
            self._looks = self.clock.callLater(FRAME_S / 4, self._look)
        common = (worker, fingerprint, address, line, self._commits, self._now)
        if line.control:
            return Acknowledged(
                *common, self._journal, self.messageOctetsMax, self._opened
            )
        return Plain(*common)

    def _opened(self, stream: tuple[str, str, int], reception: Acknowledged) -> None:
        """A connection opens a stream: an older one of the same must go."""
        older = self._owners.get(stream)
        self._owners[stream] = reception
        if older is not None and older is not reception:
            older.supersede()

    def sweep(self, refuse: Refuse) -> None:
        """Close the connections whose certificates are not accepted any more."""
        for line in list(self.connections):
            reason = refuse(cast(x509.Certificate, line.certificate))
            if reason is not None:
                line.expel(reason)

    def gone(self, line: ListenerProtocol) -> None:
        """A connection is lost."""
        self.connections.discard(line)
        assert line.worker is not None
        self._leave(line.worker, line)
        if isinstance(line.reception, Acknowledged):
            for key in line.reception.opened:
                if self._owners.get(key) is line.reception:
                    del self._owners[key]

    def _leave(self, worker: str, line: ListenerProtocol) -> None:
        lines = self._workers.get(worker)
        if lines is not None and line in lines:
            lines.remove(line)
            if not lines:
                del self._workers[worker]

    def _look(self) -> None:
        """Look at every connection now and then."""
        self._looks = None
        now = self.clock.seconds()
        for line in list(self.connections):
            line.look(now)
        if self.connections:
            self._looks = self.clock.callLater(FRAME_S / 4, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._looks is not None:
            self._looks.cancel()
            self._looks = None


class ConnectionLimit(WrappingFactory):
    """
    Refuse connections beyond a number, before TLS costs anything.

    It wraps the TLS factory, not the other way round: a factory inside TLS that returns
    no protocol leaks the socket.
    """

    protocol = ProtocolWrapper
    noisy = False
    _log = Logger()

    def __init__(self, wrapped: Any, connectionsMax: int = CONNECTIONS_MAX) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.connectionsMax = connectionsMax
        self.handshakes: Callable[[], int] = lambda: 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, or none when there are too many."""
        for count, limit, what in (
            (len(self.protocols), self.connectionsMax, "connections are open"),
            (self.handshakes(), HANDSHAKES_MAX, "handshakes are not done"),
        ):
            if count >= limit:
                self._log.warn(
                    "refused {address}: {limit} {what}",
                    address=showAddress(addr) if addr is not None else "",
                    limit=limit,
                    what=what,
                )
                return None
        return super().buildProtocol(addr)
