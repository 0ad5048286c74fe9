"""
Addresses of attackers, in the forms in which services and free texts write them.

L{ipaddress} of the standard library decides whether a text is an address. A host and a port are
separated only where a single reading is possible::

    203.0.113.7:51234               203.0.113.7             51234
    [2001:db8::1]:22                2001:db8::1             22
    2001:db8::1:49255               2001:db8::1             49255   a group has at most 4 digits
    2001:db8:0:0:0:0:0:1:22         2001:db8:0:0:0:0:0:1    22      there are at most 8 groups
    ::ffff:192.0.2.1:22             ::ffff:192.0.2.1        22      IPv4 stands at the end
    fe80::1%eth0:49255              fe80::1%eth0            49255   an interface has no colon
    2001:db8::1:22                  2001:db8::1:22                  the whole is an address
    [2001:db8::1]                   2001:db8::1

DECNET's own parser takes the last group of any IPv6 address as a port, and a time of day after
C{from} as an address.

What must be true: the cost is linear in the octets, whatever they are; and the result is the same
in every release of Python, because a record that is rendered again must be the same. So the text
of an address is never changed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

__all__ = ["firstAddress", "firstIPv4", "isAddress", "leadingAddress", "splitAddress"]

# An IPv6 address that contains an IPv4 one has 45 characters, an interface's name 15; and a port.
ADDRESS_CHARACTERS_MAX = 80

# Cached addresses: attackers come back.
KNOWN_MAX = 4096

PORT_MAX = 65535

_INTERFACE = re.compile(r"[0-9A-Za-z_.@-]{1,16}\Z")
_IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
# Anything that may prove to be an address, with or without a port.
_LIKE = (
    r"\[[0-9A-Fa-f:.]{2,46}(?:%[0-9A-Za-z_.-]{1,16})?\](?::[0-9]{1,5})?"
    r"|[0-9A-Fa-f:.]{2,64}(?:%[0-9A-Za-z_.-]{1,16}(?::[0-9]{1,5})?)?"
)
_LEADING = re.compile(rf"[\"'(<{{]{{0,2}}({_LIKE})(?![0-9A-Za-z_%])")
# sshd: "from 192.0.2.1 port 5 on 10.0.0.2"; PAM: "rhost=192.0.2.1".
_ANCHOR = re.compile(r"\b(?:from|rhost[:=]|client[:=]|src[:=])\s*", re.IGNORECASE)
# Not a part of a version or of an object identifier.
_ANYWHERE = re.compile(rf"(?<!\w)(?<![0-9]\.){_IPV4}(?!\w|\.[0-9])")

# Characters that may surround a word in a text.
_AROUND = "\"'`,;()<>{}"


@lru_cache(maxsize=KNOWN_MAX)
def _isAddress(text: str) -> bool:
    """Whether a text is an address; C{ipaddress} accepts any text as an interface."""
    address, percent, interface = text.partition("%")
    if percent and not _INTERFACE.match(interface):
        return False
    try:
        ip_address(address if percent and ":" in address else text)
    except ValueError:
        return False
    return True


def isAddress(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    return len(text) <= ADDRESS_CHARACTERS_MAX and _isAddress(text)


def splitAddress(address: str) -> tuple[str, str | None]:
    """Separate the host and the port, if there is one, of an address that a service wrote."""
    if address.startswith("[") and address.endswith("]"):
        inside = address[1:-1]
        return (inside if isAddress(inside) else address), None
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        return address, None
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        # The whole comes first: if it can be an address, it is one.
        if isAddress(address) or not isAddress(host):
            return address, None
        isPort = len(port) <= 5 and int(port) <= PORT_MAX
        return (host, port) if isPort else (address, None)
    bare = host.strip("[]")
    return (bare, port) if bare else (address, None)


def _judged(like: str) -> str | None:
    """The address in a text that looks like one, without punctuation at the end of a sentence."""
    for text in (like, like[:-1], like[:-2]):
        host, _ = splitAddress(text)
        if isAddress(host):
            return host
        if text[-1:] not in (":", "."):
            break
    return None


def leadingAddress(text: str) -> str:
    """
    The address at the beginning of a word, without the characters around it.

    @return: the word without the characters around it, if there is no address.
    """
    like = _LEADING.match(text)
    address = None if like is None else _judged(like[1])
    return address or text.strip(_AROUND) or text


def firstAddress(text: str) -> str | None:
    """The first address after a word that announces one."""
    for anchor in _ANCHOR.finditer(text):
        like = _LEADING.match(text, anchor.end())
        address = None if like is None else _judged(like[1])
        if address is not None and address != "::":
            return address
    return None


def firstIPv4(text: str) -> str | None:
    """The first IPv4 address of a text."""
    for found in _ANYWHERE.finditer(text):
        if isAddress(found[0]):
            return found[0]
    return None
