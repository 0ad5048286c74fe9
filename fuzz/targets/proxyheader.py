"""
L{decnet_syslog.wire._proxyheader}: the result is the same octet by octet, bounded, and
equal to that of Twisted's parser for headers that both accept.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.protocols.haproxy._v2parser import V2Parser

from decnet_syslog.wire._proxyheader import (
    HEADER_OCTETS_MAX,
    SIGNATURE,
    ProxyError,
    ProxyHeader,
    parseProxyHeader,
)

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

# Split octet by octet, the cost is proportional to the length.
OCTETS_MAX = 256
OPAQUE = False

_IPV4 = b"\x00\x0c\xcb\x00\x71\x05\xc0\x00\x02\x09\x13\x88\x19\x72"
_IPV6 = b"\x00\x24" + b"\x20\x01\x0d\xb8" + b"\x00" * 28 + b"\x13\x88\x19\x72"

WORDS = (
    *(SIGNATURE, SIGNATURE[:5], b"\x21\x11", b"\x21\x21", b"\x20\x00", b"\x21\x00"),
    *(b"\x21\x31", b"\x11\x11", b"\x00\x0c", b"\x00\x24", b"\x07\xf0", b"\x07\xf1"),
    *(b"\x16\x03\x01", b"PROXY TCP4 ", b"\x00" * 12, b"\x03\x00\x04abcd"),
)

SEEDS = (
    SIGNATURE + b"\x21\x11" + _IPV4 + b"\x16\x03\x01",
    SIGNATURE + b"\x21\x21" + _IPV6,
    SIGNATURE + b"\x20\x00\x00\x00" + b"\x16",
)


def _result(octets: bytes) -> ProxyHeader | str | None:
    try:
        return parseProxyHeader(octets)
    except ProxyError as error:
        return str(error)


def run(octets: bytes) -> None:
    """Any octets, and any after the signature."""
    for data in (octets, SIGNATURE + octets):
        whole = _result(data)
        first: ProxyHeader | str | None = None
        for end in range(1, len(data) + 1):
            first = _result(data[:end])
            if first is not None:
                break
        assert first == whole, (first, whole)
        if whole is None:
            assert len(data) < HEADER_OCTETS_MAX
        if not isinstance(whole, ProxyHeader):
            continue
        assert whole.octets == end <= HEADER_OCTETS_MAX
        theirs: Any = V2Parser.parse(data[: whole.octets])
        if whole.source is None:
            assert theirs.source is None
        else:
            host, port = whole.source
            assert ip_address(theirs.source.host) == ip_address(host)
            assert theirs.source.port == port
