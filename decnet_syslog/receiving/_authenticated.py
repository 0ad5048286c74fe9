"""
One connection of the listener: its acceptance, by the peer's certificate, and its end.

What must be true: nothing is accepted before the handshake is done and the peer's certificate has
given exactly one usable name. A peer that is refused, then or later, is told why, if it understands
that, and has a bounded time to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..transports import ITLSConnection
from ..trust import (
    DELIVERY_PROTOCOLS,
    NameRefused,
    Objection,
    fingerprint,
    isReported,
    peerName,
    turnedAway,
)
from ..wire import BYE, OctetCountedReceiver
from ._connectionlimits import showAddress
from ._handshake import HandshakeLog

if TYPE_CHECKING:
    from ._factory import ListenerFactory

__all__ = ["AuthenticatedProtocol"]

# The length of the text of a BYE: it may quote the peer's own words.
BYE_CHARACTERS_MAX = 500

# The time for a peer's answer to our close_notify; then the connection is cut.
CLOSE_S = 5.0

# The same for a peer whose certificate is not accepted any more.
EXPEL_S = 0.25

# The same for a peer that was never accepted.
TURN_AWAY_S = 2.0

# The event that operators see for a code of BYE; "refused" for all other codes.
_EVENTS = {
    "limit": "limit",
    "superseded": "superseded",
    "no-space": "limit",
    "journal-went-back": "went-back",
}


@implementer(IHandshakeListener)
class AuthenticatedProtocol(OctetCountedReceiver):
    """
    A connection whose peer is accepted or refused.

    @ivar worker: the peer's name, once it is accepted.
    @ivar certificate: the peer's certificate, from then on.
    """

    _log = Logger()
    factory: ListenerFactory
    transport: ITLSConnection

    def __init__(self) -> None:
        self.address = ""
        self.worker: str | None = None
        self.certificate: x509.Certificate | None = None
        self._timer: IDelayedCall | None = None
        self._handshaking = True
        self._isTurnedAway = False
        # Whether the transport has a producer of ours.
        self._producing = False

    def connectionMade(self) -> None:
        """Start the timer of the handshake."""
        self._peer = self.transport.getPeer()
        self.factory.handshakes.begun(self._peer)
        self.address = showAddress(self._peer)
        self._handshakeLog = HandshakeLog(self.address)
        self._timer = self.factory.clock.callLater(
            self.factory.limits.handshakeSeconds, self._handshakeLate
        )

    def _handshakeLate(self) -> None:
        self._timer = None
        self._handshakeLog.late(self.factory.limits.handshakeSeconds)
        self.refuse()
        self._abort()

    def handshakeCompleted(self) -> None:
        """Take the peer's name from its certificate, or refuse it."""
        transport = self.transport
        self._stopTimer()
        certificate = transport.getPeerCertificate().to_cryptography()
        self.control = transport.negotiatedProtocol in DELIVERY_PROTOCOLS
        objection = self._objection(certificate)
        if objection is not None:
            self._turnAway(objection, certificate)
            return
        self._handshakeOver()
        self.worker = peerName(certificate)
        self.certificate = certificate
        self.accepted(self.worker, certificate)

    def accepted(self, worker: str, certificate: x509.Certificate) -> None:
        """The peer is accepted: its octets may be received from now on."""

    def _objection(self, certificate: x509.Certificate) -> Objection | None:
        """The reason to refuse a certificate, found by the handshake or since then."""
        found = turnedAway(self._handle())
        if found is not None:
            return Objection(found.code, found.reason)
        try:
            peerName(certificate)
        except NameRefused as error:
            return Objection("name", str(error))
        # The allow-list or the revocation lists may have changed since the handshake.
        return self.factory.refuseCertificate(certificate)

    def _turnAway(self, objection: Objection, certificate: x509.Certificate) -> None:
        """
        Send the reason to a peer with a certificate from our CA that is not accepted, and close.

        No octet is accepted. The connection counts as an unfinished handshake until it is lost, so
        a refused peer can hold no more resources than a stranger.
        """
        self._isTurnedAway = True
        self._handshakeLog.turnedAway(objection, certificate)
        self.refuse()
        if self.control:
            self.goodbye(
                BYE(objection.code, objection[:BYE_CHARACTERS_MAX]), TURN_AWAY_S
            )
        else:
            self._abort()

    def _handshakeOver(self) -> None:
        if self._handshaking:
            self._handshaking = False
            self.factory.handshakes.over(self._peer)

    def close(self, bye: BYE) -> None:
        """Send the reason, if the peer understands it, and close. Nothing more is received."""
        # The text may quote the peer's own words.
        bye = BYE(bye.code, bye.text[:BYE_CHARACTERS_MAX])
        self._log.warn(
            "closing {worker} at {address}: {code}: {reason}",
            event=_EVENTS.get(bye.code, "refused"),
            worker=self.worker,
            address=self.address,
            code=bye.code,
            reason=bye.text,
        )
        self.refuse()
        self.goodbye(bye)

    def expel(self, objection: Objection) -> None:
        """The certificate is not accepted any more: nothing more is received."""
        self._log.warn(
            "closing {worker} at {address}: {reason}; what it sent before is kept;"
            " certificate {fingerprint}",
            event="revoked",
            worker=self.worker,
            address=self.address,
            reason=str(objection),
            fingerprint=fingerprint(cast(x509.Certificate, self.certificate)),
        )
        self.goodbye(BYE(objection.code, str(objection)), EXPEL_S)

    def acknowledge(self) -> None:
        """Send the acknowledgements that are due, because nothing may follow BYE."""

    def goodbye(self, bye: BYE, seconds: float = CLOSE_S) -> None:
        """
        Send BYE and close_notify.

        @param seconds: the time for the peer's answer; then the connection is cut.
        """
        transport = self.transport
        self.refuse()
        if self.control:
            self.acknowledge()
            self.sendControl(bye)
        if self._producing:
            # Otherwise the connection would stay open for further output of the producer.
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
        self.transport.abortConnection()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """Log the failure of a handshake, unless its reason was logged."""
        self._stopTimer()
        self._handshakeOver()
        if (
            self.worker is None
            and not self._isTurnedAway
            and not isReported(self._handle())
        ):
            self._handshakeLog.failed(reason)

    def _handle(self) -> SSL.Connection:
        return self.transport.getHandle()
