"""
The forwarder's connection: a protocol, and the factory that makes it again.

The protocol decides by what TLS has negotiated which sender it carries, and is the
transport's side of it: backpressure, deadlines, goodbye. The factory retries for ever; when,
and where, L{decnet_syslog.worker.masters} says.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

from twisted.internet.error import (
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..trust.contexts import DELIVERY_PROTOCOLS, STATE_PROTOCOLS
from ..trust.names import showText
from ..trust.refusals import MASTER_KIND, Told, toldByAlert, toldByCode
from ..wire.control import BYE, HELLO, ControlError, ControlLine
from ..wire.framing import FramingError
from ..wire.protocol import OctetCountedReceiver
from .masters import DELAY_MAX_S, DELAY_MIN_S, Masters
from .session import Session

__all__ = ["ForwarderFactory", "ForwarderProtocol", "kernelUnsent"]

# From connecting to the end of the handshake, in seconds.
HANDSHAKE_S = 15.0

# How long the master may take to answer our close_notify, in seconds.
CLOSE_S = 3.0

# How often deadlines are looked at, in seconds.
WATCH_S = 5.0

# The codes that a master gives for its end of a connection: docs/protocol.rst.
BYE_CODES = (
    "shutdown",
    "superseded",
    "order",
    "position",
    "line-feed",
    "limit",
    "framing",
    "protocol",
    "no-space",
    "journal-went-back",
    "hostname",
    "revoked",
    "not-allowed",
    "wrong-role",
    "name",
    "error",
)

# The number of masters whose last logged refusal is kept: the DNS can name new ones each time.
SAID_MAX = 64

# Another connection has taken our stream: somebody has a copy of our state. Whoever waits
# longer lets the other ship; nothing is lost or repeated meanwhile. Or the master does not
# take our messages until somebody changes something.
DELAY_SUPERSEDED_S = 60.0
_DELAYED = ("superseded", "hostname")


def kernelUnsent(reactor: Any, transport: Any) -> int:
    """
    Octets that the peer's TCP has not acknowledged, ours in user space included.

    @param transport: the TLS transport. Call it in a later turn of the reactor than the
        write: TLS gathers writes until then.
    @return: the kernel's count (SIOCOUTQ); at least 1 while any are in user space.
    """
    tcp = transport.transport
    # A TCP transport is among the writers exactly while it holds octets.
    if tcp in reactor.getWriters():
        return 1
    queued = fcntl.ioctl(tcp.getHandle(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", queued)[0])


@implementer(IHandshakeListener, IPushProducer)
class ForwarderProtocol(OctetCountedReceiver):
    """
    One connection to the master.

    @ivar greeted: whether the master has accepted our certificate, as HELLO shows. Without the
        extension: whether it has left the connection open for a moment.
    @ivar taken: whether the master has taken us.
    @ivar stalled: whether it was cut for want of acknowledgements.
    """

    _log = Logger()
    factory: ForwarderFactory

    def __init__(self) -> None:
        self.session: Session | None = None
        self.paused = False
        self.lastBye: BYE | None = None
        self._tells = False
        self.stalled = False
        self.taken = False
        self.greeted = False
        self._timer: IDelayedCall | None = None
        self._closing = False

    def connectionMade(self) -> None:
        """Start the clock of the handshake."""
        self._timer = self.factory.clock.callLater(
            HANDSHAKE_S, self._late, "no handshake"
        )
        self.factory.connected(self)

    def _late(self, what: str) -> None:
        self._timer = None
        self._log.warn(
            "cutting the connection to the master: {what} in time", what=what
        )
        self._abort()

    def _abort(self) -> None:
        self.refuse()
        cast(Any, self.transport).abortConnection()

    def handshakeCompleted(self) -> None:
        """TLS is up and the master's name is right: see what it speaks."""
        transport = cast(Any, self.transport)
        self._setTimer(WATCH_S, self._watch)
        self.control = transport.negotiatedProtocol in DELIVERY_PROTOCOLS
        self._tells = transport.negotiatedProtocol in STATE_PROTOCOLS
        transport.setTcpKeepAlive(True)
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self.session = self.factory.sessionFor(self)
        if self.session is None:
            self.close(BYE("no-extension", "the master does not acknowledge"))

    def _watch(self) -> None:
        self._timer = None
        if self.session is not None and self.session.stalled:
            self.stalled = True
            self._late("no acknowledgement")
        else:
            self._setTimer(WATCH_S, self._watch)

    def _setTimer(self, delay: float, then: Callable[[], None]) -> None:
        self._stopTimer()
        self._timer = self.factory.clock.callLater(delay, then)

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def framesReceived(self, messages: list[bytes]) -> None:
        """A listener sends no messages."""
        self.frameError(FramingError("a message from the listener", messages[0][:32]))

    def controlReceived(self, line: ControlLine) -> None:
        """Hand a control line to the sender."""
        assert self.session is not None
        if isinstance(line, BYE):
            self.lastBye = line
            if toldByCode(line.code) is not None:
                # The master closes the connection. The factory logs the reason once.
                return
        self.session.controlReceived(line)
        if isinstance(line, HELLO):
            self._greet()

    def _greet(self) -> None:
        if not self.greeted:
            self.greeted = True
            self.factory.greeted(self)

    def haltReading(self) -> None:
        """There is enough that was not read yet."""
        self.halt()
        cast(Any, self.transport).pauseProducing()

    def resumeReading(self) -> None:
        """Decode again."""
        cast(Any, self.transport).resumeProducing()
        self.proceed()

    def unsent(self) -> int:
        """Octets written that the peer's TCP has not acknowledged."""
        return kernelUnsent(self.factory.clock, self.transport)

    def frameError(self, error: FramingError | ControlError) -> None:
        """What the master sent cannot be read. A plain peer need not send anything."""
        self._log.error("cannot read what the master sent: {error}", error=str(error))
        self.close(BYE("framing", str(error)))

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The transport has handed everything to the kernel."""
        self.paused = False
        self.pump()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self.paused = True

    def pump(self) -> None:
        """Send what there is."""
        if self.session is not None and not self._closing:
            self.session.pump()

    def tell(self, lines: Iterable[ControlLine]) -> bool:
        """
        Say how we are, if the master can hear it now.

        @return: whether it was said. A master that does not read would make it pile up.
        """
        if (
            not self._tells
            or self._closing
            or self.paused
            or self.session is None
            or not self.session.isGreeted
        ):
            return False
        self.sendControl(*lines)
        return True

    def writeOctets(self, octets: bytes) -> None:
        """Write, unless the connection is closing."""
        if not self._closing:
            cast(Any, self.transport).write(octets)

    def accepted(self) -> None:
        """The master has taken us: the next failure is a new one."""
        self._greet()
        self.taken = True
        self.factory.resetDelay()

    def close(self, bye: BYE) -> None:
        """
        Say why and close, with a deadline.

        The order matters: what is written after close would be dropped, and a registered
        producer would keep the connection open.
        """
        if self._closing:
            return
        self._closing = True
        self.refuse()
        transport = cast(Any, self.transport)
        if self.control:
            self.sendControl(bye)
        if self.session is not None:
            transport.unregisterProducer()
        transport.loseConnection()
        self._setTimer(CLOSE_S, self._closeLate)

    def _closeLate(self) -> None:
        self._timer = None
        self._abort()

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """Go back to what is acknowledged; the factory connects again."""
        self._stopTimer()
        if self.session is not None:
            self.session.connectionLost()
        self.factory.lost(self, reason)


def _endOf(
    line: ForwarderProtocol, refused: str | None, told: Told | None, reason: Failure
) -> str:
    """Why a connection has ended, as one of a fixed number of words."""
    if refused is not None:
        return "certificate"
    if line.lastBye is not None:
        code = line.lastBye.code
        return f"bye-{code}" if code in BYE_CODES else "bye-other"
    if told is not None:
        return "alert"
    if line.stalled:
        return "stalled"
    if line.session is None:
        return "handshake"
    return "closed" if reason.check(ConnectionDone) else "lost"


def _toldBy(line: ForwarderProtocol, reason: Failure) -> Told | None:
    """The reason why the master refuses our certificate, if it sent one."""
    if line.lastBye is not None:
        return toldByCode(line.lastBye.code)
    return toldByAlert(reason.value)


def _failureOf(reason: Failure) -> str:
    """Why there was no connection, as one of a fixed number of words."""
    for kind, word in (
        (ConnectionRefusedError, "refused"),
        (TimeoutError, "timeout"),
        (DNSLookupError, "dns"),
        (NoRouteError, "unreachable"),
    ):
        if reason.check(kind):
            return word
    return "other"


class ForwarderFactory(ReconnectingClientFactory):
    """
    Connects again for ever.

    @ivar line: the connection there is, or C{None}.
    @ivar ends: attempts and connections that have ended, by reason.
    @ivar refusals: how often the master refused our certificate, or we refused its, by kind
        (L{decnet_syslog.trust.refusals}).
    @ivar why: why there is no connection, as of the last that ended.
    """

    protocol: Any = ForwarderProtocol
    noisy = False
    # Both: ReconnectingClientFactory copies one to the other in its class body.
    initialDelay: Any = DELAY_MIN_S
    delay: Any = DELAY_MIN_S
    maxDelay: Any = DELAY_MAX_S
    clock: Any
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        sessionFor: Callable[[ForwarderProtocol], Session | None],
        refusal: Callable[[], str | None],
        masters: Masters,
        connected: Callable[[ForwarderProtocol], None] = lambda line: None,
    ) -> None:
        """
        @param sessionFor: what a connection carries; C{None} to refuse the master.
        @param refusal: the reason and the remedy if our TLS refused the master's certificate.
        @param masters: told how connections end; says where the next one goes, and when.
        @param connected: called when a master has accepted us.
        """
        self.clock = clock
        self.sessionFor = sessionFor
        self.line: ForwarderProtocol | None = None
        self.ends: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.why = "connecting"
        self._connected = connected
        # The last logged refusal of each master. A repeated refusal is counted, not logged.
        self._said: dict[str, str] = {}
        self._refusal = refusal
        self._masters = masters
        self._superseded = False
        self._whenLost: list[Callable[[], None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, unless we are stopping."""
        if not self.continueTrying:
            return None
        return super().buildProtocol(addr)

    def connected(self, line: ForwarderProtocol) -> None:
        """TCP is up."""
        self.line = line

    def lost(self, line: ForwarderProtocol, reason: Failure) -> None:
        """A connection is gone: remember why, TLS does not tell the connector."""
        if self.line is line:
            self.line = None
        self._superseded = line.lastBye is not None and line.lastBye.code in _DELAYED
        refused = self._refusal() if line.session is None else None
        told = None if refused is not None else _toldBy(line, reason)
        self.ends[_endOf(line, refused, told, reason)] += 1
        self.why = refused or str(told or reason.getErrorMessage())
        if refused is not None:
            self.refusals[MASTER_KIND] += 1
            self._sayOnce(f"this worker refuses its certificate: {refused}")
        elif told is not None:
            self.refusals[told.kind] += 1
            text = (
                f" (it says: {showText(line.lastBye.text, 200)})"
                if line.lastBye
                else ""
            )
            self._sayOnce(f"{told.reason}{text}; {told.remedy}")
        elif self.continueTrying:
            self._log.warn(
                "no connection to the master {master}: {why}",
                master=str(self._masters.current),
                why=self.why,
            )
        waiting, self._whenLost = self._whenLost, []
        for call in waiting:
            call()

    def _sayOnce(self, why: str) -> None:
        """
        Log a refusal, unless it was logged already and nothing has changed since.
        """
        master = str(self._masters.current)
        if self._said.get(master) == why:
            return
        if len(self._said) >= SAID_MAX:
            self._said.clear()
        self._said[master] = why
        self._log.warn(
            "no connection to the master {master}: {reason}. Trying again; this reason is logged"
            " once, and counted",
            event="refused",
            master=master,
            reason=why,
        )

    def greeted(self, line: ForwarderProtocol) -> None:
        """The master has accepted us."""
        self._said.pop(str(self._masters.current), None)
        self._connected(line)

    def whenLost(self, call: Callable[[], None]) -> None:
        """Call when the connection is gone."""
        self._whenLost.append(call)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """Nobody answers."""
        self.ends[_failureOf(reason)] += 1
        self.why = reason.getErrorMessage()
        self._log.warn(
            "cannot connect to the master {master}: {why}",
            master=str(self._masters.current),
            why=self.why,
        )
        super().clientConnectionFailed(connector, reason)  # type: ignore[no-untyped-call]

    def retry(self, connector: Any = None) -> None:
        """
        Connect again, when and where the masters' series say.

        The original's own jitter exceeds its maximum, and can make a delay negative.
        """
        if not self.continueTrying:
            return
        self.retries += 1
        self.delay = max(self._masters.failed(), 0.001)
        if self._superseded:
            self.delay += DELAY_SUPERSEDED_S
        connector = connector or self.connector
        self.connector = connector
        self._log.info(
            "connecting to {master} in {delay:.1f} s",
            master=str(self._masters.current),
            delay=self.delay,
        )

        def again() -> None:
            self._callID = None
            connector.connect()

        self._callID = self.clock.callLater(self.delay, again)

    def resetDelay(self) -> None:
        """The master has taken us. Unlike the original this never undoes L{stopTrying}."""
        self._masters.taken()
        self.retries = 0
