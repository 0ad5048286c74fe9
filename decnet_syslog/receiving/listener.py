"""
The listener: connections in, committed lines out.

Nothing is accepted before the handshake is done and the peer's certificate has given
exactly one usable name. A L{Reception} handles the octets of a connection; this module has
the connection itself and the factory that makes it.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from cryptography import x509
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..journal.groupcommit import GroupCommit
from ..journal.promise import JournalPromise
from ..limits import DEFAULTS, Limits
from ..trust.contexts import (
    DELIVERY_PROTOCOLS,
    HISTORY_PROTOCOL,
    STATE_PROTOCOLS,
    RefuseChain,
    chainOf,
    isReported,
    turnedAway,
)
from ..trust.names import NameRefused, fingerprint, peerName, showText
from ..trust.refusals import MASTER_REFUSED, alertOf, remedyOnMaster
from ..trust.roles import Objection, eventOf
from ..trust.verification import shown
from ..wire.control import BYE, ControlError, ControlLine
from ..wire.diagnosis import diagnose, diagnoseHandshake
from ..wire.framing import FramingError, Lines, Oversize
from ..wire.hostname import firstContradiction
from ..wire.protocol import OctetCountedReceiver
from ..wire.report import Report
from .acked import Acknowledged
from .connectionlimits import Handshakes, showAddress
from .ratelimits import Pacing
from .reception import Plain, Reception, Violation
from .registry import Roster
from .seldom import Seldom

__all__ = ["HOSTNAME_POLICIES", "ListenerFactory", "ListenerProtocol"]

# The length of the text of a BYE: it may quote the peer's own words.
BYE_CHARACTERS_MAX = 500

# The time for a peer's answer to our close_notify; then the connection is cut.
CLOSE_S = 5.0

# The same for a peer whose certificate is not accepted any more.
EXPEL_S = 0.25

# The same for a peer that was never accepted.
TURN_AWAY_S = 2.0

# The policies for a message whose HOSTNAME is not its worker's: mark its record, do nothing,
# or refuse the message.
HOSTNAME_POLICIES = ("tag", "accept", "reject")

# Every connection may hold an unfinished frame of this size. When all together hold
# Limits.unfinished, none may hold more.
HELD_ALWAYS = 64 * 1024

# How often late frames and silent peers are looked for, in seconds; at least four times in
# Limits.frameSeconds.
LOOK_S = 15.0

# The number of TCP probes to a peer that has been silent for half of Limits.peerSeconds.
KEEPALIVE_PROBES = 4

# The event that operators see for a code of BYE; "refused" for all other codes.
_EVENTS = {
    "limit": "limit",
    "superseded": "superseded",
    "no-space": "limit",
    "journal-went-back": "went-back",
}

# The reason why a certificate is not accepted; None if it is.
Refuse: TypeAlias = Callable[[x509.Certificate], Objection | None]


def acceptAll(certificate: x509.Certificate) -> Objection | None:
    """Accept every certificate that the CA has signed."""
    return None


def keepAlive(transport: Any, seconds: float) -> None:
    """
    Let TCP detect that a peer's host is gone.

    @param seconds: the time without an answer after which TCP gives up.
    """
    # TLS wraps the TCP transport.
    tcp: Any = transport.transport
    # Tests in memory have no socket.
    hasSocket: bool = ISystemHandle.providedBy(tcp)
    if hasSocket:
        tcp.setTcpKeepAlive(True)
        setTimeouts(tcp.getHandle(), seconds)


def setTimeouts(handle: socket.socket, seconds: float) -> None:
    """See L{keepAlive}; options that the system lacks are left out."""
    idle = max(1, int(seconds / 2))
    for name, value in (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", max(1, idle // KEEPALIVE_PROBES)),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", int(seconds * 1000)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)


@implementer(IHandshakeListener, IPushProducer)
class ListenerProtocol(OctetCountedReceiver):
    """
    One connection.

    @ivar reception: C{None} until the handshake is done and the name is accepted.
    @ivar certificate: the peer's certificate, from then on.
    @ivar reports: whether the peer reports its state, also when it has no lines to send.
    @ivar history: whether the peer receives marks of the journal's history.
    @ivar heard: the time of its last octets.
    """

    _log = Logger()
    factory: ListenerFactory

    def __init__(self) -> None:
        self.reception: Reception | None = None
        self.address = ""
        self.worker: str | None = None
        self.reports = self.history = False
        self.heard = 0.0
        self.certificate: x509.Certificate | None = None
        self._timer: IDelayedCall | None = None
        self._handshaking = True
        self._turnedAway = False
        self._lost = False
        self._producing = False
        # The reasons why we do not read: "room", the reception is full; "peer", the peer does
        # not read; "rate", it sends too fast.
        self._waits: set[str] = set()
        self._heldBefore = 0
        self._frameSince: float | None = None
        # The beginning of the wait for its first octet.
        self._silentSince: float | None = None

    def connectionMade(self) -> None:
        """Start the timer of the handshake."""
        self._peer = cast(Any, self.transport).getPeer()
        self.factory.handshakes.begun(self._peer)
        self.address = showAddress(self._peer)
        limits = self.factory.limits
        self.MAX_LENGTH = limits.message
        self._timer = self.factory.clock.callLater(
            limits.handshakeSeconds, self._handshakeLate
        )

    def _handshakeLate(self) -> None:
        self._timer = None
        self._log.warn(
            "refused {address}: {reason}",
            event="refused",
            address=self.address,
            reason=f"no handshake in {self.factory.limits.handshakeSeconds:g} s",
        )
        self.refuse()
        self._abort()

    def handshakeCompleted(self) -> None:
        """Take the peer's name from its certificate, or refuse it."""
        transport = cast(Any, self.transport)
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
        self.history = transport.negotiatedProtocol == HISTORY_PROTOCOL
        keepAlive(transport, self.factory.limits.peerSeconds)
        if self.control:
            # A plain peer is sent no octets, so only others can fail to read them.
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
        unknown = getattr(transport.getHandle(), "unknownVersions", ())
        if unknown:
            self._log.warn(
                "{worker} at {address} offers {versions}, which this listener does not"
                " speak: its lines are not acknowledged; upgrade decnet_syslog here",
                worker=self.worker,
                address=self.address,
                versions=", ".join(unknown),
            )
        self._silentSince = self.factory.clock.seconds()
        self.reception.start()
        if self.factory.pacing.owes(self.worker):
            self.hold()
        if isinstance(self.reception, Acknowledged):
            self.reception.greet()

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
        self._turnedAway = True
        subject, print_ = shown(certificate)
        self._log.warn(
            "refused {address}: {reason}; certificate {subject} {fingerprint}; {remedy}",
            event=eventOf(objection.code),
            address=self.address,
            reason=str(objection),
            subject=subject,
            fingerprint=print_,
            remedy=remedyOnMaster(objection.code, objection),
        )
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
        self._silentSince = None
        self.heard = self.factory.clock.seconds()
        super().dataReceived(data)
        factory = self.factory
        if factory.pacing.rate and not self._refused:
            factory.received(self, len(data))
        held = 0 if self._refused else self.unfinished
        if held or self._heldBefore:
            self._countHeld(held)
        if self._heldBefore > HELD_ALWAYS and factory.held > factory.limits.unfinished:
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
        """Close the connection if a frame does not end, or the peer has sent nothing at all."""
        if self._waits or self._refused:
            return
        limits = self.factory.limits
        since, most = self._frameSince, limits.frameSeconds
        if since is not None and now - since >= most:
            self._violated(
                Violation("limit", f"a frame that has not ended in {most:g} s")
            )
        since, most = self._silentSince, limits.silenceSeconds
        if most and since is not None and now - since >= most:
            self._violated(Violation("limit", f"not one octet in {most:g} s"))

    @property
    def isRead(self) -> bool:
        """Whether the peer reads what we send."""
        return "peer" not in self._waits

    @property
    def reading(self) -> bool:
        """
        Whether we read what the peer sends, or would if the peer read our answers. Otherwise
        its silence is our fault.
        """
        return not self._waits - {"peer"}

    def linesReceived(self, lines: Lines) -> None:
        """Hand lines to the reception."""
        if self.factory.rejects:
            super().linesReceived(lines)
            return
        self._frameSince = None
        assert self.reception is not None
        try:
            self.reception.linesReceived(lines)
        except Violation as violation:
            self._violated(violation)

    def framesReceived(self, messages: list[bytes]) -> None:
        """Hand messages to the reception."""
        self._frameSince = None
        assert self.reception is not None
        try:
            if self.factory.rejects:
                self._framesOfHost(self.reception, messages)
            else:
                self.reception.framesReceived(messages)
        except Violation as violation:
            self._violated(violation)

    def _framesOfHost(self, reception: Reception, messages: list[bytes]) -> None:
        """
        Hand over messages up to the first that names another machine.

        @raise Violation: there is one. It is neither accepted nor acknowledged, so the
            forwarder still has it.
        """
        assert self.worker is not None
        found = firstContradiction(messages, self.worker)
        if found is None:
            reception.framesReceived(messages)
            return
        at, hostname = found
        if at:
            reception.framesReceived(messages[:at])
        raise Violation("hostname", f"a message of {showText(hostname)}")

    def controlReceived(self, line: ControlLine) -> None:
        """Hand a control line to the reception."""
        self._frameSince = None
        assert isinstance(self.reception, Acknowledged)
        try:
            self.reception.controlReceived(line)
        except Violation as violation:
            self._violated(violation)

    def oversizeReceived(self, frame: Oversize) -> None:
        """Pass on a message over the limit, for a gap record."""
        self._frameSince = None
        assert isinstance(self.reception, Plain)
        self.reception.oversizeReceived(frame)
        count = self.factory.seldom.occurred((self.worker, "oversize"))
        if count:
            self._log.warn(
                "{worker} at {address}: skipped a message of {octets} octets ({count} since the"
                " last such line): {reason}; a gap record has its length and its first octets;"
                " --max-message raises the limit",
                event="gap",
                worker=self.worker,
                address=self.address,
                octets=frame.length,
                count=count,
                reason=f"over the limit of {self.MAX_LENGTH}",
            )

    def emptyFramesReceived(self, count: int) -> None:
        """Count empty frames."""
        worker = self.worker
        assert worker is not None
        self._frameSince = None
        self.factory.emptyFrames[worker] += count
        count = self.factory.seldom.occurred((worker, "empty"), count)
        if count:
            self._log.warn(
                "{worker} at {address}: skipped {count} empty frames (MSG-LEN 0) since the last"
                " such line: {reason}",
                event="skipped",
                worker=worker,
                address=self.address,
                count=count,
                reason="an empty line in its log, if it is DECNET's forwarder",
            )

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
        transport = cast(Any, self.transport)
        self.refuse()
        if self.control:
            if self.reception is not None:
                self.reception.acknowledge()
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
        cast(Any, self.transport).abortConnection()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hold(self) -> None:
        """Stop reading: the worker has exceeded its rate."""
        if not self._refused:
            self._stopReading("rate")

    def letGo(self) -> None:
        """The worker may send again."""
        self._readOn("rate")

    def pause(self) -> None:
        """Stop reading."""
        self._stopReading("room")

    def resume(self) -> None:
        """Read on."""
        self._readOn("room")

    def pauseProducing(self) -> None:
        """The peer does not read our answers: do not read its requests."""
        self._stopReading("peer")

    def resumeProducing(self) -> None:
        """The peer reads again."""
        self._readOn("peer")
        if self.reception is not None:
            self.reception.peerReads()

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
        if self._frameSince is not None:
            # The frame could not end while we did not read.
            self._frameSince = self.factory.clock.seconds()
        cast(Any, self.transport).resumeProducing()
        self.proceed()

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """Keep complete frames. Drop an unfinished one, and log its length."""
        self._lost = True
        self._stopTimer()
        self._handshakeOver()
        if not self.control and self.reception is not None:
            # A plain peer does not send the waiting messages again.
            self.proceed()
        self._countHeld(0)
        if self.reception is None:
            if not self._turnedAway and not isReported(self._handle()):
                self._noHandshake(reason)
            return
        self.reception.connectionLost()
        self.factory.gone(self)
        self._log.info(
            "{worker} at {address} is gone: {reason}; {unfinished} octets of an unfinished frame",
            worker=self.worker,
            address=self.address,
            # Twisted ends its texts with a full stop.
            reason=reason.getErrorMessage().rstrip("."),
            unfinished=self.unfinished,
        )

    def _handle(self) -> Any:
        return cast(Any, self.transport).getHandle()

    def _noHandshake(self, reason: Failure) -> None:
        """Log why a handshake failed, and which end refused the other."""
        alert = alertOf(reason.value)
        if alert is not None and alert in MASTER_REFUSED:
            self._log.warn(
                "refused {address}: it refuses our certificate ({reason}); {remedy}",
                event="refused",
                address=self.address,
                reason=f"handshake: {alert}",
                remedy=MASTER_REFUSED[alert],
            )
            return
        text = reason.getErrorMessage()
        remedy = diagnoseHandshake(text)
        self._log.warn(
            "refused {address}: no handshake: {reason}{remedy}",
            event="refused",
            address=self.address,
            reason=text,
            remedy=f"; {remedy}" if remedy else "",
        )


class ListenerFactory(Factory):
    """
    Makes the protocols of connections, and has the registry of streams.

    @ivar limits: the listener's limits.
    @ivar connections: the connections with a complete handshake.
    @ivar handshakes: the connections without one.
    @ivar rejects: whether messages that name another machine are refused.
    @ivar held: octets of unfinished frames, all connections together.
    @ivar emptyFrames: the number of skipped frames of each worker since the start.
    @ivar seldom: limits the log lines that peers can cause.
    @ivar reported: called with worker and report when a forwarder reports its state.
    """

    protocol: Any = ListenerProtocol
    noisy = False

    def __init__(
        self,
        commits: GroupCommit,
        journal: JournalPromise,
        clock: IReactorTime,
        now: Callable[[], str],
        limits: Limits = DEFAULTS,
        refuseCertificate: Refuse = acceptAll,
        onHostnameMismatch: str = "tag",
    ) -> None:
        """
        @param now: returns the time for records, in the format of RFC 3339.
        @param onHostnameMismatch: one of L{HOSTNAME_POLICIES}.
        @param refuseCertificate: returns the reason why a certificate is not accepted, or
            C{None}.
        """
        self.refuseCertificate = refuseCertificate
        self.clock = clock
        self.limits = limits
        self._lookSeconds = min(LOOK_S, limits.frameSeconds / 4)
        self.rejects = onHostnameMismatch == "reject"
        self._marks = onHostnameMismatch != "accept"
        self.roster = Roster(limits.connectionsPerWorker)
        self.pacing = Pacing(clock, limits.rate, self._paid)
        self.connections: set[ListenerProtocol] = set()
        self._commits = commits
        self.handshakes = Handshakes()
        self.held = 0
        self.emptyFrames: Counter[str] = Counter()
        self.seldom = Seldom(clock)
        self._journal = journal
        self._now = now
        self._looks: IDelayedCall | None = None
        self.reported: Callable[[str, Report], None] = lambda worker, report: None

    def receptionFor(
        self, line: ListenerProtocol, worker: str, fingerprint: str, address: str
    ) -> Reception:
        """Make the reception of a connection with a complete handshake."""
        self.connections.add(line)
        self.roster.join(worker, line)
        if self._looks is None:
            self._looks = self.clock.callLater(self._lookSeconds, self._look)
        common = (worker, fingerprint, address, line, self._commits, self._now)
        if line.control:
            return Acknowledged(
                *common,
                self._journal,
                self.limits,
                self.roster,
                self._marks,
                self.reported if line.reports else None,
                line.history,
            )
        return Plain(*common, self._marks)

    def received(self, line: ListenerProtocol, octets: int) -> None:
        """Count a worker's octets, and stop reading it for a while if there are too many."""
        worker = line.worker
        assert worker is not None
        if self.pacing.spend(worker, octets):
            for member in self.roster.of(worker):
                member.hold()

    def _paid(self, worker: str) -> None:
        for member in self.roster.of(worker):
            member.letGo()

    def sweep(self, refuse: RefuseChain) -> None:
        """Close the connections whose certificates are not accepted any more."""
        for line in list(self.connections):
            reason = refuse(chainOf(line.transport))
            if reason is not None:
                line.expel(reason)

    def journalWentBack(self) -> None:
        """The journal went back: close all connections that have positions."""
        for line in list(self.connections):
            if isinstance(line.reception, Acknowledged):
                line.reception.journalWentBack()

    def gone(self, line: ListenerProtocol) -> None:
        """A connection is lost."""
        self.connections.discard(line)
        assert line.worker is not None
        if self.roster.leave(line.worker, line):
            self.pacing.forget(line.worker)
        if isinstance(line.reception, Acknowledged):
            self.roster.gone(line.reception)

    def _look(self) -> None:
        """Check every connection periodically."""
        self._looks = None
        now = self.clock.seconds()
        for line in list(self.connections):
            line.look(now)
        if self.connections:
            self._looks = self.clock.callLater(self._lookSeconds, self._look)

    def stop(self) -> None:
        """Stop the periodic checks."""
        if self._looks is not None:
            self._looks.cancel()
            self._looks = None
        self.pacing.stop()
