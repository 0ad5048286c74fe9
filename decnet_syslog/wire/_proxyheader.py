"""
The header of the PROXY protocol, version 2: the address behind a balancer's connection.

Source: U{https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt}, section 2.2. This module
turns octets into a value; other modules decide which peers may send such a header.

Set aside: L{twisted.protocols.haproxy}. It refuses a header whose first 16 octets arrive in two
segments, also accepts version 1 (a line of text without a length), holds up to 64 KiB of a header,
waits for it without a time limit, and accepts it from every peer.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

__all__ = ["HEADER_OCTETS_MAX", "ProxyError", "ProxyHeader", "parseProxyHeader"]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

# Signature, version and command, family and transport, length.
_FIXED_OCTETS = 16

# Two addresses and their ports take 36 octets; the rest is for what a balancer adds (a name, an id
# of up to 128, facts about TLS). HAProxy itself never sends more than a segment.
HEADER_OCTETS_MAX = 2048

_LOCAL = 0x20
_PROXY = 0x21

_UNSPECIFIED = 0x00
# TCP over IPv4 and IPv6: the octets of an address.
_ADDRESS_OCTETS = {0x11: 4, 0x21: 16}


@dataclass
class ProxyError(Exception):
    """The octets are not a header that we accept."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ProxyHeader:
    """
    One header.

    @ivar source: address and port of the balancer's client; C{None} if the balancer connects for
        itself (a health check) or does not report it.
    @ivar octets: length of the header, signature included.
    """

    source: tuple[str, int] | None
    octets: int


def parseProxyHeader(data: bytes) -> ProxyHeader | None:
    """
    Read a header from the first octets of a connection.

    @param data: all octets received so far.
    @return: C{None}: the header is incomplete.
    @raise ProxyError: it is not a header, or not for a TCP connection.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ProxyError("not a header of the PROXY protocol, version 2")
    if len(data) < _FIXED_OCTETS:
        return None
    command, family = data[12], data[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyError(f"a PROXY header of version and command {command:#04x}")
    octets = _FIXED_OCTETS + int.from_bytes(data[14:16], "big")
    if octets > HEADER_OCTETS_MAX:
        raise ProxyError(f"a PROXY header of {octets} octets")
    if command == _PROXY and family not in (_UNSPECIFIED, *_ADDRESS_OCTETS):
        raise ProxyError(f"a PROXY header of family and transport {family:#04x}")
    size = _ADDRESS_OCTETS.get(family, 0) if command == _PROXY else 0
    if octets < _FIXED_OCTETS + 2 * (size + 2) and size:
        raise ProxyError(f"a PROXY header of {octets} octets has no room for addresses")
    if len(data) < octets:
        return None
    if not size:
        return ProxyHeader(None, octets)
    at = _FIXED_OCTETS
    address = ipaddress.ip_address(data[at : at + size])
    port = int.from_bytes(data[at + 2 * size : at + 2 * size + 2], "big")
    return ProxyHeader((str(address), port), octets)
