"""Names of hosts and domains, and ports, as an operator gives them."""

from __future__ import annotations

import re

from twisted.internet.abstract import isIPAddress, isIPv6Address

__all__ = ["checkHost", "checkName", "isNumeric", "portElsewhere", "portNumber"]

# RFC 1035 section 2.3.4, in octets: a label, and a name without the root's dot.
LABEL_OCTETS_MAX = 63
NAME_OCTETS_MAX = 253

# More than a name of the DNS may have by RFC 1123: container networks have underscores.
_LABEL = re.compile(r"[0-9A-Za-z_-]+")


def isNumeric(name: str) -> bool:
    """Whether a name has the form of an IPv4 address; its numbers may be too large."""
    return re.fullmatch(r"[0-9]+(?:\.[0-9]+){3}", name) is not None


def checkName(name: str) -> None:
    """
    Check the name of a host or of a domain: the DNS could answer for it. A dot may be at its end.

    @raise ValueError: it cannot be one; the text is a phrase that tells why.
    """
    labels = name.removesuffix(".").split(".")
    if "" in labels:
        raise ValueError("a name has no empty part between its dots")
    octets = 0
    for label in labels:
        try:
            encoded = label.encode("idna").decode("ascii")
        except UnicodeError:
            # It is too long, or has a character that is in no name.
            encoded = ""
        if not _LABEL.fullmatch(encoded) or len(encoded) > LABEL_OCTETS_MAX:
            raise ValueError(
                f"a part between dots has at most {LABEL_OCTETS_MAX} letters, digits,"
                " hyphens and underscores"
            )
        octets += len(encoded) + 1
    if octets - 1 > NAME_OCTETS_MAX:
        raise ValueError(f"a name has at most {NAME_OCTETS_MAX} characters")


def checkHost(host: str) -> None:
    """
    Check a host to listen on: an address, or a name.

    @raise ValueError: it is neither; the text has the reason and the remedy.
    """
    if isIPAddress(host) or isIPv6Address(host):
        return
    try:
        if isNumeric(host):
            raise ValueError("its numbers are from 0 to 255")
        checkName(host)
    except ValueError as error:
        raise ValueError(
            f"{host[:80]!r} is not an address ({error}): give an IP address of this machine,"
            " without a port, or 0.0.0.0 for all"
        ) from None


def portNumber(value: str, least: int = 0) -> int:
    """A TCP port to listen on; 0: any that is free."""
    number = int(value) if re.fullmatch(r"[0-9]{1,5}", value) else -1
    if not least <= number < 65536:
        raise ValueError(
            f"{value[:80]!r} is not a port: a number from {least} to 65535"
        )
    return number


def portElsewhere(value: str) -> int:
    """A TCP port to connect to."""
    return portNumber(value, 1)
