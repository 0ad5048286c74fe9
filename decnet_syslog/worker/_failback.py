"""
Failback to a preferred master.

Once accepted by a master, the forwarder stays with it until a master earlier in the order of
preference is back. To find out, it makes a full test connection, TLS included, from time to
time. It gives up its connection only when that test succeeded: so it never waits for a master
that is away, and never returns to one with a wrong certificate. Lines in flight are
acknowledged, or sent again, as after any end of a connection. With a master that does not
acknowledge, the forwarder changes only while no line is in flight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..sending import SETTLE_S
from ..transports import ITLSConnection
from ..trust import DELIVERY_PROTOCOLS
from ..wire import BYE, HELLO, ControlLine, OctetCountedReceiver
from ._endings import textOf
from ._forwarder import ForwarderFactory
from ._masterselector import Address, MasterSelector

__all__ = ["RETURN_S", "Failback"]

# How often the preferred masters are tested, in seconds. A random part of up to half as much is
# added, so that a fleet does not return all at once.
RETURN_S = 300.0

# The longest that a test may take, in seconds: name lookup and handshake included.
PROBE_S = 15.0


@implementer(IHandshakeListener)
class _Probe(OctetCountedReceiver):
    """
    Checks whether a master accepts us, says goodbye and closes.

    A completed handshake is not enough: under TLS 1.3 the master has not seen our certificate yet,
    and with the extension it sends its refusal after the handshake. HELLO shows acceptance. Without
    the extension, the master has accepted us if it leaves the connection open for a moment.
    """

    transport: ITLSConnection

    def __init__(self, clock: IReactorTime, done: Deferred[str | None]) -> None:
        """
        @param done: fires with C{None} if the master is back, or with the reason why not.
        """
        self._clock = clock
        self._done: Deferred[str | None] | None = done
        self._settling: IDelayedCall | None = None

    def handshakeCompleted(self) -> None:
        """TLS accepted the master's certificate."""
        self.control = self.transport.negotiatedProtocol in DELIVERY_PROTOCOLS
        if not self.control:
            self._settling = self._clock.callLater(SETTLE_S, self._isBack)

    def controlReceived(self, line: ControlLine) -> None:
        """The first control line: HELLO, or the reason why the master refuses us."""
        self.refuse()
        if isinstance(line, HELLO):
            bye = BYE("shutdown", "the forwarder checked that this master is back")
            self.sendControl(bye)
            self._isBack()
            return
        said = f"{line.code}: {line.text!a}" if isinstance(line, BYE) else "no HELLO"
        self._end(said)

    def _isBack(self) -> None:
        self._settling = None
        self._end(None)

    def _end(self, why: str | None) -> None:
        self.transport.loseConnection()
        self._fire(why)

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """The master is not back."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self.failed(reason)

    def failed(self, reason: Failure) -> None:
        """No connection, or not to a master with the right certificate."""
        self._fire(textOf(reason))

    def cut(self) -> None:
        """The test took too long."""
        self.transport.abortConnection()

    def _fire(self, why: str | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done.callback(why)


class _One(Factory):
    """Makes one probe."""

    noisy = False

    def __init__(self, probe: _Probe) -> None:
        self._probe = probe

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The probe."""
        return self._probe


class Failback:
    """Looks for a master that is preferred to the present one."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        masters: MasterSelector,
        factory: ForwarderFactory,
        endpoint: Callable[[Address], IStreamClientEndpoint],
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        @param endpoint: makes the endpoint for a connection to a master, TLS included.
        """
        self._clock = clock
        self._masters = masters
        self._factory = factory
        self._endpoint = endpoint
        self._random = random
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Look from time to time."""
        wait = RETURN_S * (1 + self._random() / 2)
        self._timer = self._clock.callLater(wait, self._look)

    def stop(self) -> None:
        """Stop looking."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        done = self._seek()
        done.addErrback(
            lambda failure: self._log.failure(
                "cannot test the preferred masters; trying again later", failure
            )
        )
        done.addBoth(lambda _: None if self._stopped else self.start())

    @inlineCallbacks
    def _seek(self) -> Generator[Deferred[str | None], str | None, None]:
        connection = self._factory.connection
        if connection is None or not connection.isAccepted:
            return
        for address in self._masters.preferred:
            why = yield self._probe(address)
            if self._stopped or self._factory.connection is not connection:
                return
            if why is not None:
                self._log.info(
                    "the preferred master {master} is not back: {why}",
                    master=str(address),
                    why=why,
                )
                continue
            if (
                not connection.control
                and connection.session is not None
                and connection.session.inFlight
            ):
                # Without acknowledgements, lines in flight would be sent twice. Try next time.
                return
            self._log.info(
                "the preferred master {master} is back; returning to it",
                master=str(address),
            )
            self._masters.moveTo(address)
            connection.close(BYE("shutdown", "the forwarder moves to another master"))
            return

    def _probe(self, address: Address) -> Deferred[str | None]:
        """Fire with C{None} if this master accepts us, or with the reason why not."""
        done: Deferred[str | None] = Deferred()
        probe = _Probe(self._clock, done)
        connecting = self._endpoint(address).connect(_One(probe))
        connecting.addErrback(probe.failed)
        late = self._clock.callLater(PROBE_S, self._late, connecting, probe)

        def over(why: str | None) -> str | None:
            if late.active():
                late.cancel()
            return why

        return done.addCallback(over)

    def _late(self, connecting: Deferred[IProtocol], probe: _Probe) -> None:
        connecting.cancel()
        if probe.transport is not None:
            probe.cut()
