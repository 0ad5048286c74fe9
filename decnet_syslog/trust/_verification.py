"""
Verification: OpenSSL verifies the peer's chain of certificates, then we may refuse it as well.

Invariants, all fail-closed:

* OpenSSL's refusal is final. We can refuse more certificates, never accept more;
* every refusal is reported with the peer's address and the reason. Later only "certificate
  verify failed" is known;
* the peer learns the reason too. OpenSSL derives the alert from its verification error, and
  sends "internal error" if a callback refuses without setting one. So we set the error:
  C{certificate_revoked} for a revoked certificate, C{bad_certificate} for a bad name, a wrong
  role or a missing entry in the allow-list. A wrong signature becomes C{unknown_ca}: an issuer
  with our CA's name and another key is another CA.

With the delivery extension the listener can explain more than an alert does. If our CA signed
the certificate, and OpenSSL accepts it, and only we refuse it, then the handshake completes.
The connection keeps the refusal (L{turnedAway}); its protocol sends C{BYE}, accepts no octet, and
closes. Only protocols that call L{turnedAway} may enable this (C{hears}). A certificate from
another CA never gets that far.

pyOpenSSL's callback cannot set an error. So our own callback wraps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IAddress

from ..boundaries import Foreign
from ..untrusted import escapeUntrusted
from ._gathering import GatheringConnection
from ._names import fingerprint
from ._roles import Objection

__all__ = [
    "Judge",
    "Refusal",
    "describeCertificate",
    "errorText",
    "isReported",
    "turnedAway",
    "verifyWith",
]

# Why a certificate is not accepted; None if it is.
Judge: TypeAlias = Callable[[x509.Certificate], Objection | None]

# The OpenSSL error for each code of ours. It selects the alert.
_ERRORS = {
    "revoked": lib.X509_V_ERR_CERT_REVOKED,
    "not-allowed": lib.X509_V_ERR_CERT_REJECTED,
    "wrong-role": lib.X509_V_ERR_CERT_REJECTED,
    "name": lib.X509_V_ERR_CERT_REJECTED,
}

# OpenSSL errors whose alert would mislead: for a bad signature it is "decrypt error".
_BETTER = {
    lib.X509_V_ERR_CERT_SIGNATURE_FAILURE: (
        lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    ),
}


@dataclass(frozen=True)
class Refusal:
    """
    A certificate that was refused.

    @ivar address: the peer's address.
    @ivar reason: in words; includes the issuer's name if the issuer's certificate is the cause.
    @ivar subject: the subject of the peer's certificate, without control characters.
    @ivar code: the code of the L{Objection}; empty if OpenSSL refused the certificate.
    """

    address: str
    reason: str
    subject: str
    fingerprint: str
    code: str = ""

    def __str__(self) -> str:
        return f"certificate {self.subject} refused: {self.reason} ({self.fingerprint})"


def _address(connection: SSL.Connection) -> str:
    peer: IAddress = connection.get_app_data().transport.getPeer()
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    return str(peer) if host is None else f"{host}:{port}"


def describeCertificate(certificate: X509 | x509.Certificate | None) -> tuple[str, str]:
    """A certificate's subject and fingerprint, for the log."""
    try:
        assert certificate is not None
        if isinstance(certificate, X509):
            certificate = certificate.to_cryptography()
        print_ = fingerprint(certificate)
    except Exception:
        # A hostile certificate must not get past the check by breaking the report.
        return "unreadable", "unknown"
    try:
        return escapeUntrusted(certificate.subject.rfc4514_string()), print_
    except Exception:
        return "unreadable", print_


def _refusal(
    connection: SSL.Connection,
    leaf: X509 | None,
    certificate: X509,
    depth: int,
    reason: str,
    code: str,
) -> Refusal:
    """
    @param leaf: the peer's own certificate.
    @param certificate: the refused certificate of its chain, C{depth} steps above the leaf.
    """
    subject, print_ = describeCertificate(leaf)
    if depth:
        reason = f"{reason} (the certificate of {describeCertificate(certificate)[0]}, its issuer)"
    try:
        address = _address(connection)
    except Exception:
        address = "unknown"
    return Refusal(address, reason, subject, print_, code)


def errorText(error: int) -> str:
    """An error of OpenSSL's verification, in its words."""
    text = ffi.string(lib.X509_verify_cert_error_string(error))
    assert isinstance(text, bytes)
    return text.decode("ascii", "replace")


def turnedAway(connection: SSL.Connection) -> Refusal | None:
    """
    The reason not to serve a peer although its handshake completed.

    @return: C{None} for an accepted peer, and on contexts without C{hears}.
    """
    if isinstance(connection, GatheringConnection):
        refusal = connection.refusal
        assert refusal is None or isinstance(refusal, Refusal)
        return refusal
    return None


def isReported(connection: object) -> bool:
    """Whether a refusal of the peer's certificate has ended the handshake, and was reported."""
    return isinstance(connection, GatheringConnection) and connection.isReported


def _leafOf(chain: Foreign) -> X509:
    """The leaf of the chain that OpenSSL is verifying."""
    found = lib.X509_STORE_CTX_get0_cert(chain)
    lib.X509_up_ref(found)
    anyKind: Foreign = X509
    made: X509 = anyKind._from_raw_x509_ptr(found)
    return made


def verifyWith(
    context: SSL.Context,
    mode: int,
    refuse: Judge,
    refused: Callable[[Refusal], None],
    refuseIssuer: Judge = lambda certificate: None,
    hears: Callable[[SSL.Connection], bool] = lambda connection: False,
) -> None:
    """
    Install verification in a context that no connection has used yet.

    @param mode: flags for pyOpenSSL's C{set_verify}.
    @param refuse: judges the peer's certificate.
    @param refused: called with each refusal that ends a handshake.
    @param refuseIssuer: judges every other certificate of the chain.
    @param hears: whether the peer of this connection gets C{BYE} instead of an alert.
    """
    # The error of the callback's latest refusal. OpenSSL calls back in our own thread.
    errors = [0]
    # The peer's own certificate: the refused one may be an issuer's.
    leaf: list[X509 | None] = [None]

    def report(connection: SSL.Connection, refusal: Refusal) -> None:
        refused(refusal)
        if isinstance(connection, GatheringConnection):
            connection.isReported = True

    def verify(
        connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int
    ) -> bool:
        # An exception here would go to the reactor and leave the peer connected.
        errors[0] = lib.X509_V_ERR_CERT_REJECTED
        try:
            if not ok:
                errors[0] = _BETTER.get(error, error)
                reason = errorText(error)
                report(
                    connection,
                    _refusal(connection, leaf[0], certificate, depth, reason, ""),
                )
                return False
            judge = refuse if depth == 0 else refuseIssuer
            objection = judge(certificate.to_cryptography())
            if objection is None:
                return True
            errors[0] = _ERRORS[objection.code]
            refusal = _refusal(
                connection, leaf[0], certificate, depth, str(objection), objection.code
            )
            if isinstance(connection, GatheringConnection) and hears(connection):
                connection.refusal = connection.refusal or refusal
                return True
            report(connection, refusal)
        except Exception:
            return False
        return False

    context.set_verify(mode, verify)
    anyContext: Foreign = context
    inner = anyContext._verify_callback

    @ffi.callback("int (*)(int, X509_STORE_CTX *)", error=0)  # type: ignore[untyped-decorator]
    def outer(ok: int, chain: Foreign) -> int:
        leaf[0] = _leafOf(chain)
        accepted: int = inner(ok, chain)
        leaf[0] = None
        if not accepted:
            lib.X509_STORE_CTX_set_error(chain, errors[0])
        return accepted

    # The context keeps our callback alive, and that one keeps pyOpenSSL's alive.
    anyContext._verify_callback = outer
    lib.SSL_CTX_set_verify(anyContext._context, mode, outer)
