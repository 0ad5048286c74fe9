"""
One connection of the listener, from its acceptance to its end.

Nothing is accepted before the handshake is done and the peer's certificate has given
exactly one usable name. A L{ReceiverSession} handles the octets of a connection;
L{FlowControl} says when it is read, L{Deadlines} when it is closed because the peer sends too
slowly.
L{HandshakeLog} and L{SkippedLog} say what an operator reads about it.

This module is long because each method is one thing that can happen to a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..transports import ITLSConnection
from ..trust import (
    DELIVERY_PROTOCOLS,
    HISTORY_PROTOCOLS,
    LAG_PROTOCOL,
    STATE_PROTOCOLS,
    NameRefused,
    Objection,
    fingerprint,
    isReported,
    peerName,
    showText,
    turnedAway,
)
from ..wire import (
    BYE,
    ControlError,
    ControlLine,
    FramingError,
    Lines,
    OctetCountedReceiver,
    Oversize,
    diagnose,
    firstContradiction,
)
from ._acked import AckedSession
from ._connectionlimits import showAddress
from ._deadlines import Deadlines
from ._flowcontrol import FlowControl, Pause
from ._handshake import HandshakeLog
from ._holding import Held
from ._keepalive import keepAlive
from ._plain import PlainSession
from ._session import ReceiverSession, Violation
from ._skipped import SkippedLog

if TYPE_CHECKING:
    from ._factory import ListenerFactory

__all__ = ["ListenerProtocol"]

# The length of the text of a BYE: it may quote the peer's own words.
BYE_CHARACTERS_MAX = 500

# The time for a peer's answer to our close_notify; then the connection is cut.
CLOSE_S = 5.0

# The same for a peer whose certificate is not accepted any more.
EXPEL_S = 0.25

# The same for a peer that was never accepted.
TURN_AWAY_S = 2.0

# Every connection may hold an unfinished frame of this size. When all together hold
# Limits.unfinished, none may hold more.
HELD_ALWAYS = 64 * 1024

# The event that operators see for a code of BYE; "refused" for all other codes.
_EVENTS = {
    "limit": "limit",
    "superseded": "superseded",
    "no-space": "limit",
    "journal-went-back": "went-back",
}


@implementer(IHandshakeListener, IPushProducer)
class ListenerProtocol(OctetCountedReceiver):
    """
    One connection.

    @ivar session: C{None} until the handshake is done and the name is accepted.
    @ivar certificate: the peer's certificate, from then on.
    @ivar reports: whether the peer reports its state, also when it has no lines to send.
    @ivar history: whether the peer receives marks of the journal's history.
    @ivar tellsLag: whether reports say when they were made, and the peer hears what holds it back.
    @ivar heard: the time of its last octets.
    """

    _log = Logger()
    factory: ListenerFactory
    transport: ITLSConnection

    def __init__(self) -> None:
        self.session: ReceiverSession | None = None
        self.address = ""
        self.worker: str | None = None
        self.reports = self.history = self.tellsLag = False
        self.heard = 0.0
        self.certificate: x509.Certificate | None = None
        self._timer: IDelayedCall | None = None
        self._handshaking = True
        self._isTurnedAway = False
        self._producing = False
        self._heldBefore = 0

    def connectionMade(self) -> None:
        """Start the timer of the handshake."""
        self._peer = self.transport.getPeer()
        self.factory.handshakes.begun(self._peer)
        self.address = showAddress(self._peer)
        self._handshakeLog = HandshakeLog(self.address)
        limits = self.factory.limits
        self.MAX_LENGTH = limits.message
        self._deadlines = Deadlines(self.factory.clock, limits)
        self._flow = FlowControl(
            self, self._deadlines.resumed, self.factory.clock, self._pausing
        )
        self._timer = self.factory.clock.callLater(
            limits.handshakeSeconds, self._handshakeLate
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
        assert self.worker is not None
        self.certificate = certificate
        self.heard = self.factory.clock.seconds()
        self.lenient = not self.control
        self.reports = transport.negotiatedProtocol in STATE_PROTOCOLS
        self.history = transport.negotiatedProtocol in HISTORY_PROTOCOLS
        self.tellsLag = transport.negotiatedProtocol == LAG_PROTOCOL
        keepAlive(transport, self.factory.limits.peerSeconds)
        if self.control:
            # A plain peer is sent no octets, so only others can fail to read them.
            transport.registerProducer(self, True)
            self._producing = True
        self.session = self.factory.sessionFor(
            self, self.worker, fingerprint(certificate), self.address
        )
        self._skipped = SkippedLog(self.factory.seldom, self.worker, self.address)
        self._handshakeLog.completed(
            self.worker,
            "acknowledged" if self.control else "plain RFC 5425",
            getattr(transport.getHandle(), "unknownVersions", []),
        )
        self._deadlines.begin()
        self.session.start()
        if self.factory.rateLimiter.isThrottled(self.worker):
            self.pause(Pause.RATE)
        if isinstance(self.session, AckedSession):
            self.session.greet()

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

    def dataReceived(self, data: bytes) -> None:
        """Decode, and count the octets of an unfinished frame and of the worker."""
        self._deadlines.received()
        self.heard = self.factory.clock.seconds()
        super().dataReceived(data)
        factory = self.factory
        if factory.rateLimiter.rate and not self._refused:
            factory.received(self, len(data))
        decoder = self._decoder
        held = 0 if decoder is None or self._refused else decoder.held
        if held or self._heldBefore:
            self._countHeld(held)
        if self._heldBefore > HELD_ALWAYS and factory.held > factory.limits.unfinished:
            self._violated(
                Violation("limit", "too many octets of unfinished frames are held")
            )

    def _countHeld(self, held: int) -> None:
        self.factory.held += held - self._heldBefore
        self._heldBefore = held
        self._deadlines.holds(held)

    def checkDeadlines(self, now: float) -> None:
        """Close the connection if a frame does not end, or the peer has sent nothing at all."""
        if self._flow.isPaused or self._refused:
            return
        violation = self._deadlines.exceeded(now)
        if violation is not None:
            self._violated(violation)

    @property
    def isRead(self) -> bool:
        """Whether the peer reads our octets."""
        return self._flow.isPeerReading

    @property
    def reading(self) -> bool:
        """
        Whether we read what the peer sends, or would if the peer read our answers. Otherwise
        its silence is our fault.
        """
        return not self._flow.isSilenceOurs

    def linesReceived(self, lines: Lines) -> None:
        """Hand lines to the session."""
        if self.factory.rejects:
            super().linesReceived(lines)
            return
        self._deadlines.frameEnded()
        assert self.session is not None
        try:
            self.session.linesReceived(lines)
        except Violation as violation:
            self._violated(violation)

    def framesReceived(self, messages: list[bytes]) -> None:
        """Hand messages to the session."""
        self._deadlines.frameEnded()
        assert self.session is not None
        try:
            if self.factory.rejects:
                self._framesOfHost(self.session, messages)
            else:
                self.session.framesReceived(messages)
        except Violation as violation:
            self._violated(violation)

    def _framesOfHost(self, session: ReceiverSession, messages: list[bytes]) -> None:
        """
        Hand over messages up to the first that names another machine.

        @raise Violation: there is one. It is neither accepted nor acknowledged, so the
            forwarder still has it.
        """
        assert self.worker is not None
        found = firstContradiction(messages, self.worker)
        if found is None:
            session.framesReceived(messages)
            return
        at, hostname = found
        if at:
            session.framesReceived(messages[:at])
        raise Violation("hostname", f"a message of {showText(hostname)}")

    def controlReceived(self, line: ControlLine) -> None:
        """Hand a control line to the session."""
        self._deadlines.frameEnded()
        assert isinstance(self.session, AckedSession)
        try:
            self.session.controlReceived(line)
        except Violation as violation:
            self._violated(violation)

    def oversizeReceived(self, frame: Oversize) -> None:
        """Pass on a message over the limit, for a gap record."""
        self._deadlines.frameEnded()
        assert isinstance(self.session, PlainSession)
        self.session.oversizeReceived(frame)
        self._skipped.oversize(frame.length, self.MAX_LENGTH)

    def emptyFramesReceived(self, count: int) -> None:
        """Count empty frames."""
        worker = self.worker
        assert worker is not None
        self._deadlines.frameEnded()
        self.factory.emptyFrames[worker] += count
        self._skipped.empty(count)

    def frameError(self, error: FramingError | ControlError) -> None:
        """The framing is broken: keep complete frames, send the reason, and close."""
        text = str(error)
        if self.lenient:
            text = f"{text}: {diagnose(error.seen)}"
        self._violated(Violation("framing", text))

    def _violated(self, violation: Violation) -> None:
        self.close(BYE(violation.code, violation.text))

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

    def goodbye(self, bye: BYE, seconds: float = CLOSE_S) -> None:
        """
        Send BYE and close_notify.

        @param seconds: the time for the peer's answer; then the connection is cut.
        """
        transport = self.transport
        self.refuse()
        if self.control:
            if self.session is not None:
                self.session.acknowledge()
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

    @property
    def flow(self) -> FlowControl:
        """When the connection is read."""
        return self._flow

    def _pausing(self) -> None:
        if self.worker is not None:
            self.factory.holding.pausing(self)

    def tellHeld(self, held: Held) -> None:
        """Tell the peer what holds it back, if it understands it."""
        if isinstance(self.session, AckedSession):
            self.session.tellHeld(held)

    def pause(self, why: Pause) -> None:
        """Stop reading, unless the connection is closing: it must see the peer's close_notify."""
        if not self._refused:
            self._flow.pause(why)

    def resume(self, why: Pause) -> None:
        """A reason is gone: read on, unless there is another one."""
        self._flow.resume(why)

    def pauseProducing(self) -> None:
        """The peer does not read our answers: do not read its requests."""
        self._flow.pause(Pause.PEER)

    def resumeProducing(self) -> None:
        """The peer reads again."""
        self._flow.resume(Pause.PEER)
        if self.session is not None:
            self.session.peerReads()

    def stopProducing(self) -> None:
        """The transport is gone."""

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """Keep complete frames. Drop an unfinished one, and log its length."""
        self._flow.isLost = True
        self._stopTimer()
        self._handshakeOver()
        if not self.control and self.session is not None:
            # A plain peer does not send the waiting messages again.
            self.proceed()
        self._countHeld(0)
        if self.session is None:
            if not self._isTurnedAway and not isReported(self._handle()):
                self._handshakeLog.failed(reason)
            return
        self.session.connectionLost()
        self.factory.gone(self)
        self._log.info(
            "{worker} at {address} is gone: {reason}; {unfinished} octets of an unfinished frame",
            worker=self.worker,
            address=self.address,
            # Twisted ends its texts with a full stop.
            reason=reason.getErrorMessage().rstrip("."),
            unfinished=self.unfinished,
        )

    def _handle(self) -> SSL.Connection:
        return self.transport.getHandle()
