"""
Who may connect at all: decided before TLS costs anything.

A stranger can open connections and never finish a handshake. So these have a number, and
one neighbourhood has a part of it: whoever has one machine cannot keep a fleet out.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from .limits import Limits

__all__ = [
    "ConnectionLimit",
    "Handshakes",
    "showAddress",
]

# Whoever has one IPv6 address has the network that it is in.
IPV6_NETWORK_BITS = 64


def showAddress(address: IAddress) -> str:
    """An address for logs and records."""
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    return str(address)


def neighbourhood(address: IAddress | None) -> str:
    """What counts as one address."""
    host = getattr(address, "host", "")
    if not isinstance(address, IPv6Address):
        return str(host)
    number = ipaddress.IPv6Address(host.partition("%")[0])
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    return str(int(number) >> (128 - IPV6_NETWORK_BITS))


class Handshakes:
    """
    Connections that are not authenticated yet.

    @ivar count: of all.
    """

    def __init__(self) -> None:
        self.count = 0
        self._from: Counter[str] = Counter()

    def begun(self, address: IAddress) -> None:
        """A connection is there."""
        self.count += 1
        self._from[neighbourhood(address)] += 1

    def over(self, address: IAddress) -> None:
        """It is authenticated, or gone."""
        self.count -= 1
        near = neighbourhood(address)
        self._from[near] -= 1
        if not self._from[near]:
            del self._from[near]

    def countFrom(self, address: IAddress | None) -> int:
        """How many there are from an address's neighbourhood."""
        return self._from[neighbourhood(address)]


class ConnectionLimit(WrappingFactory):
    """
    Refuse connections beyond a number, before TLS costs anything.

    It wraps the TLS factory, not the other way round: a factory inside TLS that returns
    no protocol leaks the socket.

    @ivar limits: of connections, and of handshakes.
    @ivar handshakes: of the listener behind it.
    """

    protocol = ProtocolWrapper
    noisy = False
    _log = Logger()

    def __init__(self, wrapped: Any, limits: Limits) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.limits = limits
        self.handshakes = Handshakes()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, or none when there are too many."""
        handshakes, limits = self.handshakes, self.limits
        for count, limit, what in (
            (len(self.protocols), limits.connections, "connections are open"),
            (handshakes.count, limits.handshakes, "handshakes are not done"),
            (
                handshakes.countFrom(addr),
                limits.handshakesPerAddress,
                "handshakes of its address are not done",
            ),
        ):
            if count >= limit:
                self._log.warn(
                    "refused {address}: {reason}",
                    event="limit",
                    address=showAddress(addr) if addr is not None else "",
                    reason=f"{limit} {what}",
                )
                return None
        return super().buildProtocol(addr)
