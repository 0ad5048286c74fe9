"""
The listener: connections in, committed lines out.

Nothing is accepted before the handshake is done and the peer's certificate has given
exactly one usable name. What a connection sends is its L{Reception}'s business; here are
the transport's side of it and the service that wires journal, outputs and port together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
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

# How long a peer may take to answer our close_notify before the connection is cut.
CLOSE_S = 5.0

# Each connection costs about 50 KiB; a fleet is smaller than this, a flood is not.
CONNECTIONS_MAX = 16384


def showAddress(address: IAddress) -> str:
    """An address for logs and records."""
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    return str(address)


@implementer(IHandshakeListener)
class ListenerProtocol(OctetCountedReceiver):
    """
    One connection.

    @ivar reception: once the handshake is done and the name is accepted.
    """

    _log = Logger()
    factory: ListenerFactory

    def __init__(self) -> None:
        self.reception: Reception | None = None
        self.address = ""
        self.worker: str | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Start the clock of the handshake."""
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
        certificate = transport.getPeerCertificate().to_cryptography()
        try:
            self.worker = peerName(certificate)
        except NameRefused as error:
            self._log.warn(
                "refused {address}: {reason}; certificate {fingerprint}",
                address=self.address,
                reason=str(error),
                fingerprint=fingerprint(certificate),
            )
            self.refuse()
            transport.abortConnection()
            return
        self.control = transport.negotiatedProtocol == DELIVERY_PROTOCOL
        self.reception = self.factory.receptionFor(
            self, self.worker, fingerprint(certificate), self.address
        )
        self._log.info(
            "{worker} connected from {address}, {mode}",
            worker=self.worker,
            address=self.address,
            mode="acknowledged" if self.control else "plain RFC 5425",
        )
        if isinstance(self.reception, Acknowledged):
            self.reception.greet()

    def framesReceived(self, messages: list[bytes]) -> None:
        """Hand messages to the reception."""
        assert self.reception is not None
        try:
            self.reception.framesReceived(messages)
        except Violation as violation:
            self._violated(violation)

    def controlReceived(self, line: ControlLine) -> None:
        """Hand a control line to the reception."""
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
        self._log.warn(
            "closing {worker} at {address}: {code}: {text}",
            worker=self.worker,
            address=self.address,
            code=bye.code,
            text=bye.text,
        )
        self.refuse()
        self.goodbye(bye)

    def goodbye(self, bye: BYE) -> None:
        """Send BYE and close_notify; cut the connection if the peer does not answer."""
        transport = cast(Any, self.transport)
        self.refuse()
        if self.control:
            self.sendControl(bye)
        # A paused transport would not see the peer's close_notify.
        transport.resumeProducing()
        transport.loseConnection()
        if self._timer is None and transport.connected:
            self._timer = self.factory.clock.callLater(CLOSE_S, self._closeLate)

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
        cast(Any, self.transport).pauseProducing()

    def resume(self) -> None:
        """Read on."""
        cast(Any, self.transport).resumeProducing()

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """What was complete is kept; a part of a frame is not, and said."""
        self._stopTimer()
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
    ) -> None:
        """
        @param now: the time as RFC 3339 has it, for records.
        """
        self.clock = clock
        self.messageOctetsMax = messageOctetsMax
        self.connections: set[ListenerProtocol] = set()
        self._commits = commits
        self._journal = journal
        self._now = now
        self._owners: dict[tuple[str, str, int], Acknowledged] = {}

    def receptionFor(
        self, line: ListenerProtocol, worker: str, fingerprint: str, address: str
    ) -> Reception:
        """The reception of a connection whose handshake is done."""
        self.connections.add(line)
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

    def gone(self, line: ListenerProtocol) -> None:
        """A connection is lost."""
        self.connections.discard(line)
        owned = [key for key, owner in self._owners.items() if owner is line.reception]
        for key in owned:
            del self._owners[key]


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

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, or none when there are too many."""
        if len(self.protocols) >= self.connectionsMax:
            self._log.warn(
                "refused {address}: {limit} connections are open",
                address=showAddress(addr) if addr is not None else "",
                limit=self.connectionsMax,
            )
            return None
        return super().buildProtocol(addr)
