"""
Connections through a balancer: the PROXY header gives the worker's address, before TLS.

Requirements:

* only balancers on the list may send the header. Any other peer is refused before an octet is
  read, and so is a balancer that sends no header;
* the TLS layer gets a connection only after its header: limits, logs and records have the
  worker's address from the beginning;
* a header is limited by L{HEADER_S} and by
  L{HEADER_OCTETS_MAX<decnet_syslog.wire._proxyheader.HEADER_OCTETS_MAX>}, and connections without
  a header count towards the limit;
* health checks cause no log lines: connections of the balancer's own (LOCAL), or without a
  header, that end without another octet.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IReactorTime,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from ..transports import RefusingFactory
from ..wire import ProxyError, ProxyHeader, parseProxyHeader
from ._connectionlimits import ConnectionLimit, showAddress

__all__ = ["ProxiedFactory", "parseNetworks"]

# A balancer sends the header in the first segment, for a connection that it has accepted.
HEADER_S = 5.0

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parseNetworks(text: str) -> list[Network]:
    """
    Addresses and networks, separated by commas.

    @raise ValueError: a word is no address or network; the text says which.
    """
    found: list[Network] = []
    for word in text.split(","):
        try:
            found.append(ipaddress.ip_network(word.strip()))
        except ValueError as error:
            raise ValueError(
                f"{error}: give an address or a network, such as 192.0.2.7 or 192.0.2.0/24"
            ) from None
    return found


class _Proxied(ProtocolWrapper):
    """One connection: a header, then the octets of the worker that it names."""

    factory: ProxiedFactory
    transport: ITCPTransport
    _log = Logger()

    def __init__(self, factory: ProxiedFactory) -> None:
        # The wrapped protocol is made after the header.
        super().__init__(factory, None)  # type: ignore[arg-type]
        self._held = b""
        self._header: ProxyHeader | None = None
        self._peer: IAddress | None = None
        self._timer: IDelayedCall | None = None

    def logPrefix(self) -> str:
        """The prefix before the wrapped protocol is known."""
        return "PROXY"

    def makeConnection(self, transport: ITransport) -> None:
        """Wait for the header."""
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)  # type: ignore[no-untyped-call]
        self.factory.waiting.add(self)
        self._timer = self.factory.clock.callLater(HEADER_S, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._header is None:
            self._refuse(f"no PROXY header in {HEADER_S:.0f} s")
        else:
            # A health check that does not end by itself.
            self.cut()

    def _refuse(self, reason: str) -> None:
        self._log.warn(
            "refused {address}: {reason}",
            event="refused",
            address=showAddress(self.transport.getPeer()),
            reason=reason,
        )
        self.cut()

    def cut(self) -> None:
        """End it at once."""
        self._over()
        self.transport.abortConnection()

    def _over(self) -> None:
        """The header was read, or the connection is over."""
        self.factory.waiting.discard(self)
        self._held = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dataReceived(self, data: bytes) -> None:
        """Read the header, and pass on the octets after it."""
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
        elif self in self.factory.waiting:
            self._held += data
            try:
                self._look()
            except ProxyError as error:
                self._refuse(str(error))

    def _look(self) -> None:
        """
        Try to read the header.

        @raise ProxyError: the octets are no header.
        """
        if self._header is None:
            self._header = parseProxyHeader(self._held)
            if self._header is None:
                return
            self._held = self._held[self._header.octets :]
        if self._header.source is not None:
            self._peer = _address(*self._header.source)
        elif not self._held:
            # A health check.
            return
        rest = self._held
        self._over()
        protocol = self.factory.limit.buildProtocol(self.getPeer())
        if protocol is None:
            self.cut()
            return
        self.wrappedProtocol = protocol
        protocol.makeConnection(self)
        if rest:
            protocol.dataReceived(rest)

    def getPeer(self) -> IAddress:
        """The address of the peer that connected to the balancer."""
        return self._peer or self.transport.getPeer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the loss on to the wrapped protocol, if there is one."""
        self.factory.unregisterProtocol(self)  # type: ignore[no-untyped-call]
        unread = bool(self._held)
        if self in self.factory.waiting:
            self._over()
            if unread:
                self._log.warn(
                    "refused {address}: {reason}",
                    event="refused",
                    address=showAddress(self.getPeer()),
                    reason="it closed in the middle of its PROXY header",
                )
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.connectionLost(reason)
            # The reference cycle would wait for the garbage collector.
            self.wrappedProtocol = None  # type: ignore[assignment]


def _address(host: str, port: int) -> IAddress:
    kind = IPv6Address if ":" in host else IPv4Address
    address: IAddress = kind("TCP", host, port)
    return address


class ProxiedFactory(RefusingFactory[_Proxied]):
    """
    Accepts connections from balancers only, and reads their headers.

    @ivar waiting: connections without a header yet.
    """

    protocol = _Proxied
    noisy = False
    _log = Logger()

    def __init__(
        self,
        limit: ConnectionLimit,
        networks: Iterable[Network],
        clock: IReactorTime,
    ) -> None:
        """
        @param networks: the networks of the balancers.
        """
        super().__init__(limit)
        self.limit = limit
        self.clock = clock
        self.waiting: set[_Proxied] = set()
        self._networks = tuple(networks)

    def trusts(self, address: IAddress | None) -> bool:
        """Whether an address is a balancer's."""
        host = getattr(address, "host", "").partition("%")[0]
        try:
            number = ipaddress.ip_address(host)
        except ValueError:
            return False
        if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped:
            number = number.ipv4_mapped
        return any(number in network for network in self._networks)

    def wrap(self, addr: IAddress | None) -> _Proxied:
        """Make a protocol that reads the header first."""
        return _Proxied(self)

    def accepts(self, addr: IAddress | None) -> bool:
        """Whether the peer is a balancer, and no limit is reached."""
        open_ = len(self.waiting) + len(self.limit.protocols)
        if not self.trusts(addr):
            event, reason = "refused", "it is not a balancer named by --proxy-protocol"
        elif open_ >= self.limit.limits.connections:
            event = "limit"
            reason = f"{self.limit.limits.connections} connections are open"
        else:
            return True
        self._log.warn(
            "refused {address}: {reason}",
            event=event,
            address=showAddress(addr) if addr is not None else "",
            reason=reason,
        )
        return False

    def stop(self) -> None:
        """Close the connections that wait for a header."""
        for line in list(self.waiting):
            line.cut()
