"""
One connection of the listener whose peer is accepted: what arrives on it, and when it is read.

L{AuthenticatedProtocol} accepts the peer, and ends the connection. A L{ReceiverSession} handles the
octets of the connection; L{FlowControl} says when it is read, L{Deadlines} when it is closed
because the peer sends too slowly. L{SkippedLog} says what an operator reads about skipped frames.
"""

from __future__ import annotations

from cryptography import x509
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..trust import (
    HISTORY_PROTOCOLS,
    LAG_PROTOCOL,
    STATE_PROTOCOLS,
    fingerprint,
)
from ..untrusted import escapeUntrusted
from ..wire import (
    BYE,
    ControlError,
    ControlLine,
    FramingError,
    Lines,
    Oversize,
    diagnose,
    firstContradiction,
)
from ._acked import AckedSession
from ._authenticated import AuthenticatedProtocol
from ._deadlines import Deadlines
from ._flowcontrol import FlowControl, Pause
from ._holding import Held
from ._keepalive import keepAlive
from ._plain import PlainSession
from ._session import ReceiverSession, Violation
from ._skipped import SkippedLog

__all__ = ["ListenerProtocol"]

# Every connection may hold an unfinished frame of this size. When all together hold
# Limits.unfinished, none may hold more.
HELD_ALWAYS = 64 * 1024


@implementer(IPushProducer)
class ListenerProtocol(AuthenticatedProtocol):
    """
    One connection.

    @ivar session: C{None} until the handshake is done and the name is accepted.
    @ivar reports: whether the peer reports its state, also when it has no lines to send.
    @ivar history: whether the peer receives marks of the journal's history.
    @ivar tellsLag: whether reports say when they were made, and the peer hears what holds it back.
    @ivar heard: the time of its last octets.
    """

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self.session: ReceiverSession | None = None
        self.reports = self.history = self.tellsLag = False
        self.heard = 0.0
        self._heldBefore = 0

    def connectionMade(self) -> None:
        """Prepare to read, and start the timer of the handshake."""
        super().connectionMade()
        limits = self.factory.limits
        self.MAX_LENGTH = limits.message
        self._deadlines = Deadlines(self.factory.clock, limits)
        self._flow = FlowControl(
            self, self._deadlines.resumed, self.factory.clock, self._pausing
        )

    def accepted(self, worker: str, certificate: x509.Certificate) -> None:
        """Begin the session of the peer."""
        transport = self.transport
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
            self, worker, fingerprint(certificate), self.address
        )
        self._skipped = SkippedLog(self.factory.seldom, worker, self.address)
        self._handshakeLog.completed(
            worker,
            "acknowledged" if self.control else "plain RFC 5425",
            getattr(transport.getHandle(), "unknownVersions", []),
        )
        self._deadlines.begin()
        self.session.start()
        if self.factory.rateLimiter.isThrottled(worker):
            self.pause(Pause.RATE)
        if isinstance(self.session, AckedSession):
            self.session.greet()

    def acknowledge(self) -> None:
        """Send the acknowledgements that are due."""
        if self.session is not None:
            self.session.acknowledge()

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
        raise Violation("hostname", f"a message of {escapeUntrusted(hostname)}")

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
        super().connectionLost(reason)
        if not self.control and self.session is not None:
            # A plain peer does not send the waiting messages again.
            self.proceed()
        self._countHeld(0)
        if self.session is None:
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
