"""
Connections that come through a balancer: the worker's own address, before TLS.

What must be true:

* only who is on the list may say whose connection it is; everybody else is refused before
  an octet is read, and who is on the list and does not say it is refused, too;
* nothing behind here sees a connection before its header has been read: limits, logs and
  records have the worker's address from the first moment;
* a header has C{HEADER_S} and L{HEADER_OCTETS_MAX}; connections that have not said theirs
  count as connections;
* a balancer may look whether we are there as often as it likes: a connection of its own
  (LOCAL), or without a header, that ends without another octet is nobody's news.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from ..wire.proxyheader import ProxyError, ProxyHeader, parseProxyHeader
from .door import ConnectionLimit, showAddress

__all__ = ["ProxiedFactory", "parseNetworks"]

# A balancer says it with the first segment of a connection that it has accepted already.
HEADER_S = 5.0

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parseNetworks(text: str) -> list[Network]:
    """
    Addresses and networks, separated by commas.

    @raise ValueError: with what is wrong.
    """
    found: list[Network] = []
    for word in text.split(","):
        try:
            found.append(ipaddress.ip_network(word.strip()))
        except ValueError as error:
            raise ValueError(
                f"{error}: say an address or a network, as 192.0.2.7 or 192.0.2.0/24"
            ) from None
    return found


class _Proxied(ProtocolWrapper):
    """One connection: a header, and then whose connection it is."""

    factory: ProxiedFactory
    _log = Logger()

    def __init__(self, factory: ProxiedFactory) -> None:
        # There is nothing behind it before its header.
        super().__init__(factory, None)  # type: ignore[arg-type]
        self._held = b""
        self._header: ProxyHeader | None = None
        self._peer: IAddress | None = None
        self._timer: IDelayedCall | None = None

    def logPrefix(self) -> str:
        """What is behind it is not known at first."""
        return "PROXY"

    def makeConnection(self, transport: Any) -> None:
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
            # A health check that does not end is none of ours.
            self.cut()

    def _refuse(self, reason: str) -> None:
        transport: Any = self.transport
        self._log.warn(
            "refused {address}: {reason}",
            event="refused",
            address=showAddress(transport.getPeer()),
            reason=reason,
        )
        self.cut()

    def cut(self) -> None:
        """End it at once."""
        self._over()
        transport: Any = self.transport
        transport.abortConnection()

    def _over(self) -> None:
        """The header is read, or will not be."""
        self.factory.waiting.discard(self)
        self._held = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dataReceived(self, data: bytes) -> None:
        """Read the header; pass on what is behind it."""
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
        See whose connection it is.

        @raise ProxyError: what has come is no header.
        """
        if self._header is None:
            self._header = parseProxyHeader(self._held)
            if self._header is None:
                return
            self._held = self._held[self._header.octets :]
        if self._header.source is not None:
            self._peer = _address(*self._header.source)
        elif not self._held:
            # A balancer that only looks.
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
        """Who has connected to the balancer."""
        transport: Any = self.transport
        peer: IAddress = self._peer or transport.getPeer()
        return peer

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell who is behind it, if there is somebody."""
        self.factory.unregisterProtocol(self)  # type: ignore[no-untyped-call]
        unread = bool(self._held)
        if self in self.factory.waiting:
            self._over()
            if unread:
                self._log.warn(
                    "refused {address}: {reason}",
                    event="refused",
                    address=showAddress(self.getPeer()),
                    reason="gone in the middle of its PROXY header",
                )
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.connectionLost(reason)
            # They know each other, and would wait for the garbage collector.
            self.wrappedProtocol = None  # type: ignore[assignment]


def _address(host: str, port: int) -> IAddress:
    kind = IPv6Address if ":" in host else IPv4Address
    address: IAddress = kind("TCP", host, port)
    return address


class ProxiedFactory(WrappingFactory[_Proxied]):
    """
    Takes connections of balancers only, and knows for whom they come.

    @ivar waiting: connections that have not said it.
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
        @param networks: where the balancers are.
        """
        super().__init__(limit)  # type: ignore[no-untyped-call]
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

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, unless it is a stranger's or there are too many."""
        open_ = len(self.waiting) + len(self.limit.protocols)
        if not self.trusts(addr):
            event, reason = "refused", "it is no balancer of --proxy-protocol"
        elif open_ >= self.limit.limits.connections:
            event = "limit"
            reason = f"{self.limit.limits.connections} connections are open"
        else:
            return _Proxied(self)
        self._log.warn(
            "refused {address}: {reason}",
            event=event,
            address=showAddress(addr) if addr is not None else "",
            reason=reason,
        )
        return None

    def stop(self) -> None:
        """Wait for no header any more."""
        for line in list(self.waiting):
            line.cut()
