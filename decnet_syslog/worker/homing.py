"""
Going back to a master that is preferred.

Who has been taken by another master stays there, until one that comes before it in the order
of preference is back: now and then a connection is made to it, TLS and all, and ended. Only
then is the connection that there is given up, so nobody waits for a master that is away, and
one with a wrong certificate is never returned to. Lines that are under way are acknowledged
or sent again, as after any end of a connection; to a master that does not acknowledge they
are settled first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any, cast

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..trust.contexts import DELIVERY_PROTOCOLS
from ..wire.control import BYE, HELLO, ControlLine
from ..wire.protocol import OctetCountedReceiver
from .forwarder import ForwarderFactory
from .masters import Address, Masters
from .plain import SETTLE_S

__all__ = ["RETURN_S", "Homing"]

# How often a preferred master is looked for, in seconds; up to half as much is added, so that
# a fleet does not return in one instant.
RETURN_S = 300.0

# What it may take, name and handshake included.
PROBE_S = 15.0


@implementer(IHandshakeListener)
class _Probe(OctetCountedReceiver):
    """
    Checks whether a master accepts us, says goodbye and closes.

    A completed handshake is not enough: under TLS 1.3 the master has not seen our certificate yet,
    and with the extension it sends its refusal after the handshake. HELLO shows acceptance. Without
    the extension, the master has accepted us if it leaves the connection open for a moment.
    """

    def __init__(self, clock: IReactorTime, done: Deferred[str | None]) -> None:
        """
        @param done: fires with C{None} if the master is back, or with why it is not.
        """
        self._clock = clock
        self._done: Deferred[str | None] | None = done
        self._settling: IDelayedCall | None = None

    def handshakeCompleted(self) -> None:
        """The master's certificate is right."""
        transport: Any = self.transport
        self.control = transport.negotiatedProtocol in DELIVERY_PROTOCOLS
        if not self.control:
            self._settling = self._clock.callLater(SETTLE_S, self._isBack)

    def controlReceived(self, line: ControlLine) -> None:
        """The first word: HELLO, or why it does not accept us."""
        self.refuse()
        if isinstance(line, HELLO):
            bye = BYE("shutdown", "the forwarder sees that this master is back")
            self.sendControl(bye)
            self._isBack()
            return
        said = f"{line.code}: {line.text!a}" if isinstance(line, BYE) else "no HELLO"
        self._end(said)

    def _isBack(self) -> None:
        self._settling = None
        self._end(None)

    def _end(self, why: str | None) -> None:
        cast(Any, self.transport).loseConnection()
        self._fire(why)

    def connectionLost(self, reason: Failure = Failure(Exception("closed"))) -> None:  # noqa: B008
        """It is not."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self.failed(reason)

    def failed(self, reason: Failure) -> None:
        """Nobody answers, or somebody else."""
        self._fire(reason.getErrorMessage())

    def cut(self) -> None:
        """It has taken too long."""
        cast(Any, self.transport).abortConnection()

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


class Homing:
    """Looks for a master that is preferred to the one we are connected to."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        masters: Masters,
        factory: ForwarderFactory,
        endpoint: Callable[[Address], IStreamClientEndpoint],
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        @param endpoint: of a connection to a master, TLS included.
        """
        self._clock = clock
        self._masters = masters
        self._factory = factory
        self._endpoint = endpoint
        self._random = random
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Look now and then."""
        wait = RETURN_S * (1 + self._random() / 2)
        self._timer = self._clock.callLater(wait, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        done = self._seek()
        done.addErrback(
            lambda failure: self._log.failure("cannot look for a master", failure)
        )
        done.addBoth(lambda _: None if self._stopped else self.start())

    @inlineCallbacks
    def _seek(self) -> Generator[Deferred[Any], Any, None]:
        line = self._factory.line
        if line is None or not line.taken:
            return
        for address in self._masters.preferred:
            why = yield self._probe(address)
            if self._stopped or self._factory.line is not line:
                return
            if why is not None:
                self._log.info(
                    "{master} is preferred, and is not back: {why}",
                    master=str(address),
                    why=why,
                )
                continue
            if not line.control and line.session is not None and line.session.inFlight:
                # It acknowledges nothing: what is under way would come twice. Next time.
                return
            self._log.info("going back to {master}", master=str(address))
            self._masters.moveTo(address)
            line.close(BYE("shutdown", "the forwarder goes to another master"))
            return

    def _probe(self, address: Address) -> Deferred[str | None]:
        """Fire with C{None} if a master answers there, or with why not."""
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

    def _late(self, connecting: Deferred[Any], probe: _Probe) -> None:
        connecting.cancel()
        if probe.transport is not None:
            probe.cut()
