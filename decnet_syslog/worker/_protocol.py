"""
One connection of the forwarder to a master.

The protocol chooses its sender by what TLS negotiated, and serves it as the transport's side:
backpressure, deadlines, goodbye.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..reactors import IReactor
from ..sending import Session
from ..transports import ITLSConnection
from ..trust import DELIVERY_PROTOCOLS, LAG_PROTOCOL, STATE_PROTOCOLS, toldByCode
from ..wire import (
    BYE,
    HELLO,
    ControlError,
    ControlLine,
    FramingError,
    OctetCountedReceiver,
)

if TYPE_CHECKING:
    from ._forwarder import ForwarderFactory

__all__ = ["CLOSE_S", "HANDSHAKE_S", "ForwarderProtocol", "kernelUnsent"]

# From the TCP connection to the end of the handshake, in seconds.
HANDSHAKE_S = 15.0

# How long the master may take to answer our close_notify, in seconds.
CLOSE_S = 3.0

# How often deadlines are checked, in seconds.
WATCH_S = 5.0


def kernelUnsent(reactor: IReactor, transport: ITLSConnection) -> int:
    """
    Octets that the peer's TCP has not acknowledged, including those still in user space.

    @param transport: the TLS transport. Call this in a later turn of the reactor than the
        write: TLS collects writes until then.
    @return: the kernel's count (SIOCOUTQ); at least 1 while octets are in user space.
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

    @ivar greeted: whether the master has accepted our certificate. HELLO shows it; without the
        extension, a connection that stays open for a moment does.
    @ivar isAccepted: whether the master has answered an OPEN; without the extension, as C{greeted}.
    @ivar tellsLag: whether the master takes reports that say when they were made.
    @ivar stalled: whether it was cut because no acknowledgement came.
    """

    _log = Logger()
    factory: ForwarderFactory
    transport: ITLSConnection

    def __init__(self) -> None:
        self.session: Session | None = None
        self.paused = False
        self.lastBye: BYE | None = None
        self._tells = self.tellsLag = False
        self._isReportDue = False
        self.stalled = False
        self.isAccepted = False
        self.greeted = False
        self._timer: IDelayedCall | None = None
        self._closing = False

    def connectionMade(self) -> None:
        """Start the deadline of the handshake."""
        self._timer = self.factory.clock.callLater(
            HANDSHAKE_S, self._late, "no handshake"
        )
        self.factory.connected(self)

    def _late(self, what: str) -> None:
        self._timer = None
        self._log.warn(
            "cutting the connection to the master: {what} in time. Connecting again",
            what=what,
        )
        self._abort()

    def _abort(self) -> None:
        self.refuse()
        self.transport.abortConnection()

    def handshakeCompleted(self) -> None:
        """TLS accepted the master's certificate: choose the sender by the negotiated protocol."""
        transport = self.transport
        self._setTimer(WATCH_S, self._watch)
        self.control = transport.negotiatedProtocol in DELIVERY_PROTOCOLS
        self._tells = transport.negotiatedProtocol in STATE_PROTOCOLS
        self.tellsLag = transport.negotiatedProtocol == LAG_PROTOCOL
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
        """A listener never sends messages."""
        self.frameError(FramingError("a message from the listener", messages[0][:32]))

    def controlReceived(self, line: ControlLine) -> None:
        """Pass a control line to the sender."""
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
        """Stop decoding: the sender has enough unread lines."""
        self.halt()
        self.transport.pauseProducing()

    def resumeReading(self) -> None:
        """Decode again."""
        self.transport.resumeProducing()
        self.proceed()

    def unsent(self) -> int:
        """Octets written that the peer's TCP has not acknowledged."""
        return kernelUnsent(self.factory.clock, self.transport)

    def frameError(self, error: FramingError | ControlError) -> None:
        """The octets from the master are neither frames nor control lines."""
        self._log.error(
            "cannot read the master's octets ({error}): closing the connection and trying"
            " again. Check that --master-host is a syslog receiver",
            error=str(error),
        )
        self.close(BYE("framing", str(error)))

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The transport has passed everything to the kernel."""
        self.paused = False
        if self._isReportDue:
            self.factory.reportDue(self)
        if self.session is not None and not self._closing:
            self.session.resumed()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self.paused = True

    def pump(self) -> None:
        """Send new octets."""
        if self.session is not None and not self._closing:
            self.session.pump()

    def tell(self, lines: Callable[[], Iterable[ControlLine]]) -> bool:
        """
        Send a report, if the master accepts one now, before everything that waits to be written.

        With a master that does not read, reports would pile up. So while the transport is full
        none is made, and the newest one is sent as soon as there is room.

        @param lines: makes the report.
        @return: whether it was sent.
        """
        if not self._tells or self._closing or not self.greeted:
            return False
        if self.paused:
            self._isReportDue = True
            return False
        self._isReportDue = False
        self.sendControl(*lines())
        return True

    def writeOctets(self, octets: bytes) -> None:
        """Write, unless the connection is closing."""
        if not self._closing:
            self.transport.write(octets)

    def accepted(self) -> None:
        """The master accepted us: the next failure begins a new series of delays."""
        self._greet()
        self.isAccepted = True
        self.factory.resetDelay()

    def close(self, bye: BYE) -> None:
        """
        Send the reason and close, with a deadline.

        The order matters: octets written after the close would be dropped, and a registered
        producer would keep the connection open.
        """
        if self._closing:
            return
        self._closing = True
        self.refuse()
        transport = self.transport
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
        """Return to the acknowledged positions; the factory connects again."""
        self._stopTimer()
        if self.session is not None:
            self.session.connectionLost()
        self.factory.lost(self, reason)
