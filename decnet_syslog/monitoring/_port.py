"""Limits on connections to the status port."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper

from ..boundaries import Foreign
from ..transports import RefusingFactory
from ..trust import RefuseChain, chainOf, peerName

__all__ = ["OperatorPort", "StatusPort", "isLoopback"]

# Enough for a scraper, an operator, and a few attempts.
CONNECTIONS_MAX = 32

# Connections that have not shown a certificate: all of them, and those from one address (or /64).
# Anybody may be able to connect to this port.
STRANGERS_MAX = 64
STRANGERS_PER_ADDRESS_MAX = 8


def isLoopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class StatusPort(RefusingFactory[ProtocolWrapper]):
    """A bounded number of connections to a site."""

    protocol = ProtocolWrapper
    noisy = False

    def accepts(self, addr: IAddress | None) -> bool:
        """Whether there are not too many."""
        return len(self.protocols) < CONNECTIONS_MAX


class OperatorPort(StatusPort):
    """
    The same over TLS, for operators on other machines.

    The handshake decides whether a certificate is accepted, and L{sweep} checks again later. A
    stranger who begins no handshake, or many, does not take an operator's place.
    """

    _log = Logger()

    def accepts(self, addr: IAddress | None) -> bool:
        """Whether there are not too many."""
        strangers = [p for p in self.protocols if _certificate(p) is None]
        network = _network(addr)
        near = [p for p in strangers if _network(p.getPeer()) == network]
        return (
            len(strangers) < STRANGERS_MAX
            and len(near) < STRANGERS_PER_ADDRESS_MAX
            and len(self.protocols) - len(strangers) < CONNECTIONS_MAX
        )

    def sweep(self, refuse: RefuseChain) -> None:
        """Close the connections whose certificates are no longer accepted."""
        for protocol in list(self.protocols):
            certificate = _certificate(protocol)
            if certificate is None:
                continue
            reason = refuse(chainOf(protocol.wrappedProtocol))
            if reason is None:
                continue
            peer = protocol.getPeer()
            self._log.warn(
                "closed the status connection of operator {operator} from {address}: {reason}",
                event="revoked",
                operator=peerName(certificate),
                address=f"{peer.host}:{peer.port}",
                reason=reason,
            )
            protocol.abortConnection()


def _network(address: Foreign) -> object:
    """An address for counting: an IPv6 host has its whole /64, so that network counts."""
    try:
        number = ipaddress.IPv6Address(address.host.partition("%")[0])
    except ValueError:
        return address.host
    return number.ipv4_mapped or ipaddress.IPv6Network((number, 64), strict=False)


def _certificate(protocol: Foreign) -> x509.Certificate | None:
    """The peer's certificate, once it has sent an accepted one."""
    certificate = protocol.wrappedProtocol.getPeerCertificate()
    return None if certificate is None else certificate.to_cryptography()
