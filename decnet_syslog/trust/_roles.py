"""
Roles: the purpose of a certificate from the CA. A master's is for servers, a worker's for clients;
an operator's is for clients, too, and in addition marked as an operator's. Each is refused in the
place of another, and no certificate has two roles.

A refusal is an L{Objection}: a reason in words for the log, and a code for the refused peer.
"""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from ..untrusted import escapeUntrusted
from ._names import NameRefused, peerName

__all__ = [
    "OPERATOR_USAGE",
    "Objection",
    "eventOf",
    "refuseMaster",
    "refuseOperator",
    "refuseOwn",
    "refuseWorker",
    "role",
    "serves",
]

# The extended key usage of operators is our own: a UUID, which X.667 makes an OID without a
# registration. Browsers and a server's OpenSSL require the usage for clients as well.
OPERATOR_USAGE = x509.ObjectIdentifier("2.25.56664903083111726116958250708218158963")


class Objection(str):
    """
    The reason why a certificate from the CA is not accepted, in words.

    @ivar code: the code in C{BYE}: C{revoked}, C{not-allowed}, C{wrong-role} or C{name}.
    """

    __slots__ = ("code",)
    code: str

    def __new__(cls, code: str, reason: str) -> Objection:
        """Words with a code."""
        made = super().__new__(cls, reason)
        made.code = code
        return made


def eventOf(code: str) -> str:
    """The kind of event for the code of a refusal; the code is empty if OpenSSL refused."""
    return "revoked" if code in ("revoked", "not-allowed") else "refused"


def role(value: str) -> str:
    """
    A role that a user names.

    @raise ValueError: it is neither C{worker} nor C{operator}.
    """
    if value not in ("worker", "operator"):
        raise ValueError(f"{value!r} is neither worker nor operator")
    return value


def _unreadable(error: Exception) -> Objection:
    # The library parses extensions lazily, and raises many kinds of errors.
    return Objection("wrong-role", f"it cannot be read: {escapeUntrusted(str(error))}")


def serves(certificate: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    """Whether the certificate's extended key usage, if it has any, includes a usage."""
    try:
        usages = certificate.extensions.get_extension_for_class(
            x509.ExtendedKeyUsage
        ).value
    except x509.ExtensionNotFound:
        return True
    return usage in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _isAuthority(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(
            x509.BasicConstraints
        ).value
    except x509.ExtensionNotFound:
        return False
    return basic.ca


def refuseWorker(certificate: x509.Certificate) -> Objection | None:
    """Why a certificate from the CA is not a worker's."""
    try:
        peerName(certificate)
        if _isAuthority(certificate):
            return Objection("wrong-role", "it is a CA's certificate, not a worker's")
        if not serves(certificate, ExtendedKeyUsageOID.CLIENT_AUTH):
            return Objection("wrong-role", "it is not for clients")
        if _isOperators(certificate):
            return Objection(
                "wrong-role", "it is an operator's certificate, not a worker's"
            )
    except NameRefused as error:
        return Objection("name", str(error))
    except Exception as error:
        return _unreadable(error)
    return None


def _isOperators(certificate: x509.Certificate) -> bool:
    """Whether a certificate is explicitly an operator's; one for any usage is not."""
    try:
        usages = certificate.extensions.get_extension_for_class(
            x509.ExtendedKeyUsage
        ).value
    except x509.ExtensionNotFound:
        return False
    return OPERATOR_USAGE in usages


def refuseOperator(certificate: x509.Certificate) -> Objection | None:
    """Why a certificate from the CA is not an operator's."""
    try:
        peerName(certificate)
        if _isAuthority(certificate) or not _isOperators(certificate):
            return Objection("wrong-role", "it is not an operator's certificate")
        if not serves(certificate, ExtendedKeyUsageOID.CLIENT_AUTH):
            return Objection("wrong-role", "it is not for clients")
    except NameRefused as error:
        return Objection("name", str(error))
    except Exception as error:
        return _unreadable(error)
    return None


def refuseOwn(certificate: x509.Certificate, own: x509.Certificate) -> Objection | None:
    """Why a certificate is the listener's own: a worker must not be the master."""
    try:
        name = peerName(own)
    except NameRefused:
        name = ""
    if certificate == own or peerName(certificate) == name:
        return Objection("name", "it is the master's own, or has the master's name")
    return None


def refuseMaster(certificate: x509.Certificate, name: str) -> Objection | None:
    """Why a certificate from the CA is not the master's."""
    try:
        if not serves(certificate, ExtendedKeyUsageOID.SERVER_AUTH):
            return Objection("wrong-role", "it is not for servers")
        try:
            ipaddress.ip_address(name)
        except ValueError:
            verify_certificate_hostname(certificate, name)
        else:
            verify_certificate_ip_address(certificate, name)
    except Exception:
        # Any failure to verify means: not verified.
        return Objection("name", f"it does not have the master's name {name}")
    return None
