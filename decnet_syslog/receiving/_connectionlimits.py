"""
Limits on connections, checked before TLS costs anything.

A stranger can open connections and never finish a handshake. So unfinished handshakes are
limited, in total and per network: an attacker with one machine cannot shut out a fleet.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper

from ..limits import Limits
from ..transports import RefusingFactory

__all__ = [
    "ConnectionLimit",
    "Handshakes",
    "showAddress",
]

# A host with one IPv6 address usually has the whole network.
IPV6_NETWORK_BITS = 64


def showAddress(address: IAddress) -> str:
    """An address for logs and records."""
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    return str(address)


def neighbourhood(address: IAddress | None) -> str:
    """The key under which an address is counted: the address, or its IPv6 network."""
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

    @ivar count: their number.
    """

    def __init__(self) -> None:
        self.count = 0
        self._from: Counter[str] = Counter()

    def begun(self, address: IAddress) -> None:
        """A connection was accepted."""
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
        """The number of unfinished handshakes from an address's network."""
        return self._from[neighbourhood(address)]


class ConnectionLimit(RefusingFactory[ProtocolWrapper]):
    """
    Refuse connections beyond a number, before TLS costs anything.

    It wraps the TLS factory, not the other way round: a factory inside TLS that returns
    no protocol leaks the socket.

    @ivar limits: the limits on connections and on handshakes.
    @ivar handshakes: the unfinished handshakes.
    """

    protocol = ProtocolWrapper
    noisy = False
    _log = Logger()

    def __init__(self, wrapped: IProtocolFactory, limits: Limits) -> None:
        super().__init__(wrapped)
        self.limits = limits
        self.handshakes = Handshakes()

    def accepts(self, addr: IAddress | None) -> bool:
        """Whether no limit is reached."""
        handshakes, limits = self.handshakes, self.limits
        for count, limit, what in (
            (len(self.protocols), limits.connections, "connections are open"),
            (handshakes.count, limits.handshakes, "handshakes are unfinished"),
            (
                handshakes.countFrom(addr),
                limits.handshakesPerAddress,
                "handshakes from its address are unfinished",
            ),
        ):
            if count >= limit:
                self._log.warn(
                    "refused {address}: {reason}",
                    event="limit",
                    address=showAddress(addr) if addr is not None else "",
                    reason=f"{limit} {what}",
                )
                return False
        return True
