"""
Names: the name in a certificate, and rules for it.

The worker's name is its only provenance, and it becomes a part of paths. So a certificate has
exactly one usable name or is refused; nothing is trimmed or mapped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from ..errors import UserError
from ..untrusted import escapeUntrusted

__all__ = [
    "MASTER_NAME",
    "NameRefused",
    "checkHolder",
    "checkName",
    "fingerprint",
    "peerName",
]

MASTER_NAME = "decnet-master"


# ub-common-name of RFC 5280; even with a suffix it is a valid file name everywhere.
NAME_CHARACTERS_MAX = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*\Z")


@dataclass
class NameRefused(Exception):
    """
    A certificate without exactly one usable CN.

    @ivar reason: the reason.
    @ivar seen: the CNs, without control characters.
    """

    reason: str
    seen: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.seen}"


def checkName(name: str) -> None:
    """
    Refuse a name that cannot be a worker's.

    @raise NameRefused: it is empty, too long, or has a character with a special meaning in a
        path, a pattern, a log or a page.
    """
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise NameRefused(
            f"a name has 1 to {NAME_CHARACTERS_MAX} characters", escapeUntrusted(name)
        )
    if _NAME.match(name) is None:
        raise NameRefused(
            "a name has only letters, digits and . _ - @ +, and begins with a letter or digit",
            escapeUntrusted(name),
        )


def peerName(certificate: x509.Certificate) -> str:
    """
    The one usable CN of a certificate.

    @raise NameRefused: there is none, more than one, or an unusable one.
    """
    try:
        subject = certificate.subject
    except Exception as error:
        # The library parses the subject lazily; for an odd one it raises ValueError, TypeError or
        # other errors.
        raise NameRefused(
            "a certificate's subject cannot be read", escapeUntrusted(str(error))
        ) from None
    names = [
        attribute.value if isinstance(attribute.value, str) else repr(attribute.value)
        for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if len(names) != 1:
        seen = ", ".join([escapeUntrusted(name) for name in names[:4]]) or "none"
        raise NameRefused(
            f"a certificate must have exactly one CN, this one has {len(names)}", seen
        )
    checkName(names[0])
    return names[0]


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 fingerprint in the form of RFC 5425 section 4.2.2."""
    return "sha-256:" + ":".join(
        [f"{octet:02X}" for octet in certificate.fingerprint(SHA256())]
    )


def checkHolder(name: str) -> None:
    """
    Check the name of a worker or an operator.

    @raise UserError: no certificate can have it, or it is the master's.
    """
    try:
        checkName(name)
    except NameRefused as error:
        raise UserError(f"cannot enroll: {error}") from None
    if name == MASTER_NAME:
        raise UserError(f"{MASTER_NAME} is the master's own name: choose another")
