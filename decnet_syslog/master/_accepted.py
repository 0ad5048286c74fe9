"""
The connections that the ports have accepted: everything between a port and a listener's protocols.

The factory of a port must exist before the journal is open, because the ports are bound before
twistd gives up its rights. So the listener's own factory is added later (L{serve}).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    ILoggingContext,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from zope.interface import implementer

from ..limits import Limits
from ..reactors import IReactor
from ..receiving import (
    ConnectionLimit,
    ListenerFactory,
    ListenerTLSFactory,
    Network,
    ProxiedFactory,
)
from ._ports import connectionsAllowed

__all__ = ["AcceptedConnections"]

# How long connections may take to end when we stop, in seconds.
STOP_S = 3.0


class AcceptedConnections:
    """
    A limit on their number, a balancer's header if there is one, and TLS.

    @ivar factory: the factory for the ports.
    """

    def __init__(
        self, reactor: IReactor, limits: Limits, proxies: Sequence[Network]
    ) -> None:
        """
        @param proxies: the networks of balancers; none: connections come from the workers.
        """
        self._reactor = reactor
        self._limit = ConnectionLimit(
            _Later(),
            replace(limits, connections=connectionsAllowed(limits.connections)),
        )
        self.factory: ConnectionLimit | ProxiedFactory = self._limit
        self._proxied: ProxiedFactory | None = None
        if proxies:
            self.factory = self._proxied = ProxiedFactory(self._limit, proxies, reactor)

    def serve(
        self, factory: ListenerFactory, context: IOpenSSLServerConnectionCreator
    ) -> None:
        """Pass connections to a factory, through TLS. Call this before a port listens."""
        tls = ListenerTLSFactory(context, False, factory, self._reactor)
        self._limit.handshakes = factory.handshakes
        self._limit.wrappedFactory = tls

    def useLimits(self, limits: Limits) -> None:
        """Use other limits. The number of connections stays as it is."""
        self._limit.limits = replace(limits, connections=self._limit.limits.connections)

    def stop(self) -> None:
        """Close connections whose balancer has not sent its header."""
        if self._proxied is not None:
            self._proxied.stop()

    def gone(self) -> Deferred[None]:
        """Fire when every connection has ended, or C{STOP_S} is over."""
        done: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + STOP_S

        def look() -> None:
            if not self._limit.protocols:
                done.callback(None)
            elif self._reactor.seconds() >= deadline:
                for connection in list(self._limit.protocols):
                    connection.abortConnection()
                done.callback(None)
            else:
                self._reactor.callLater(0.02, look)

        look()
        return done


@implementer(ILoggingContext, IProtocolFactory)
class _Later:
    """Stands for the TLS factory until the journal is open."""

    def logPrefix(self) -> str:
        """The prefix of log lines about the port."""
        return "decnet-listener"

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def buildProtocol(self, addr: IAddress | None) -> None:
        """Never called: it is replaced before the reactor runs."""
