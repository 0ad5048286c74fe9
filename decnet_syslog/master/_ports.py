"""
The ports of a listener: bound before twistd gives up its rights, open when the journal is.

A service manager may have bound them for us. No peer can connect before L{ListenerPorts.listen}.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import cast

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.protocol import ServerFactory

from ..notify import adoptedSockets
from ..openfiles import LISTENER_DESCRIPTORS, raiseOpenFiles
from ..reactors import IReactor

__all__ = ["ListenerPorts", "boundSocket", "connectionsAllowed"]

# A fleet that reconnects after our restart arrives within a second.
BACKLOG = 1024


def connectionsAllowed(wantedConnections: int) -> int:
    """The number of connections, after raising the limit on descriptors as far as possible."""
    allowed = raiseOpenFiles(wantedConnections + LISTENER_DESCRIPTORS)
    return max(1, min(wantedConnections, allowed - LISTENER_DESCRIPTORS))


def boundSocket(host: str, port: int, shared: bool) -> socket.socket:
    """
    Bind a socket for connections that does not listen yet.

    @param shared: whether other processes of this user may bind the same port: the kernel
        distributes the connections.
    @raise OSError: the port cannot be bound.
    """
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
        host or "0.0.0.0",
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


class ListenerPorts:
    """Our own port, or those that the service manager has bound."""

    def __init__(self, reactor: IReactor, host: str, port: int, shared: bool) -> None:
        """
        @param shared: whether other listeners of this user may have the same port.
        """
        self._reactor = reactor
        self._host = host
        self._portNumber = port
        self._shared = shared
        self._isOwn = False
        self._sockets: list[int] = []
        self._ports: list[IListeningPort] = []

    @property
    def addresses(self) -> list[IAddress]:
        """The addresses of the listening ports."""
        return [port.getHost() for port in self._ports]

    def bind(self) -> None:
        """
        Take the sockets of the service manager, or bind our own port.

        @raise SystemExit: the port cannot be bound.
        """
        self._sockets = adoptedSockets()
        self._isOwn = not self._sockets
        if self._isOwn:
            self._sockets = [self._bind()]

    def close(self) -> None:
        """Close the sockets that do not listen yet."""
        while self._sockets:
            os.close(self._sockets.pop())

    def stop(self) -> Deferred[list[object]]:
        """Accept no more connections."""
        return gatherResults(
            [maybeDeferred(port.stopListening) for port in self._ports]
        )

    def listen(self, factory: IProtocolFactory) -> None:
        """
        Accept connections.

        @raise SystemExit: another program listens on our port.
        """
        if self._isOwn:
            with socket.socket(fileno=os.dup(self._sockets[0])) as own:
                try:
                    own.listen(BACKLOG)
                except OSError as error:
                    raise self._noPort(error) from None
        while self._sockets:
            self._ports.append(self._adopt(self._sockets.pop(0), factory))

    def _bind(self) -> int:
        """
        Bind our own port without listening: no peer can connect before the journal is open.

        @return: the socket's descriptor.
        @raise SystemExit: the port cannot be bound.
        """
        try:
            return boundSocket(self._host, self._portNumber, self._shared).detach()
        except OSError as error:
            raise self._noPort(error) from None

    def _noPort(self, error: OSError) -> SystemExit:
        remedy = "choose another --port, or stop the program that uses it"
        if error.errno == errno.EADDRNOTAVAIL:
            remedy = "give an address of this machine as --host, or 0.0.0.0 for all"
        elif isinstance(error, socket.gaierror):
            remedy = "give an IP address of this machine as --host, or 0.0.0.0 for all"
        elif error.errno == errno.EACCES:
            remedy = "choose a --port above 1023, or start as root with twistd --uid"
        return SystemExit(
            f"decnet-listener: cannot listen on {self._host} port {self._portNumber}:"
            f" {error.strerror or error}; {remedy}"
        )

    def _adopt(self, descriptor: int, factory: IProtocolFactory) -> IListeningPort:
        """
        Listen on an open socket, for example one from the service manager.

        @raise SystemExit: it is not a TCP socket.
        """
        with socket.socket(fileno=os.dup(descriptor)) as given:
            family, kind = given.family, given.type
        if family not in (socket.AF_INET, socket.AF_INET6) or kind != (
            socket.SOCK_STREAM
        ):
            raise SystemExit(
                "decnet-listener: the service manager's socket is not for TCP: set"
                " ListenStream= in its unit to a port"
            )
        os.set_blocking(descriptor, False)
        port: IListeningPort = self._reactor.adoptStreamPort(
            descriptor,
            family,
            cast(ServerFactory, factory),
        )
        # The reactor has its own descriptor now.
        os.close(descriptor)
        return port
