"""
A connector over an endpoint.

L{ReconnectingClientFactory} needs an object with C{connect()}, and the reactor's own connectors
resolve IPv4 names only. This one uses an endpoint (so both address families are tried, and the
fastest address wins). It makes a new endpoint for each connection, so that the next connection
uses a renewed certificate or a new address.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..boundaries import Foreign

__all__ = ["EndpointConnector"]


class EndpointConnector:
    """
    Connects a factory, as often as asked.
    """

    def __init__(
        self,
        endpoint: Callable[[], IStreamClientEndpoint],
        factory: Foreign,
    ) -> None:
        """
        @param endpoint: makes the endpoint for one connection.
        @param factory: a client factory with C{clientConnectionFailed} and
            C{clientConnectionLost}.
        """
        self._endpoint = endpoint
        self._factory = factory
        self._connecting: Deferred[IProtocol] | None = None

    def connect(self) -> None:
        """Start one attempt."""
        try:
            self._connecting = self._endpoint().connect(_Once(self._factory, self))
        except Exception:
            self._failed(Failure())
            return
        self._connecting.addCallbacks(self._connected, self._failed)

    def stopConnecting(self) -> None:
        """Cancel the attempt under way, if any."""
        if self._connecting is not None:
            self._connecting.cancel()

    def _connected(self, protocol: object) -> None:
        self._connecting = None

    def _failed(self, failure: Failure) -> None:
        self._connecting = None
        self._factory.clientConnectionFailed(self, failure)


@implementer(IProtocolFactory)
class _Once:
    """Adapts the factory to an endpoint: reports the end of the protocol to it."""

    noisy = False

    def __init__(self, factory: Foreign, connector: EndpointConnector) -> None:
        self._factory = factory
        self._connector = connector

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def buildProtocol(self, addr: IAddress) -> Foreign:
        """The factory's protocol, with its end reported to the factory."""
        protocol = self._factory.buildProtocol(addr)
        if protocol is None:
            return None
        original = protocol.connectionLost

        def connectionLost(reason: Failure) -> None:
            original(reason)
            self._factory.clientConnectionLost(self._connector, reason)

        protocol.connectionLost = connectionLost
        return protocol
