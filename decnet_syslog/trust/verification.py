"""
Verification: OpenSSL judges a peer's chain of certificates, and we judge after it.

What must be true, in every case fail-closed:

* OpenSSL's refusal is final: we add refusals and take none back;
* every refusal is reported, with where the peer is, and why: afterwards only "certificate
  verify failed" is left;
* the peer is told why, too. OpenSSL sends the alert that belongs to the error of its
  verification, and "internal error" for a refusal that a callback has added without one. So
  ours come with an error: C{certificate_revoked} for what is revoked, C{bad_certificate} for a
  name, a role or the allow-list. A signature that is not the CA's is C{unknown_ca}: who has the
  name of a CA of ours and not its key is another CA.

A peer with the delivery extension can hear more than an alert. A certificate that our CA has
signed, that OpenSSL accepts, and that we refuse all the same, does not end the handshake then:
the connection carries the refusal (L{turnedAway}), and whoever has the connection says it with
C{BYE}, takes no octet, and closes. Who does not ask L{turnedAway} must not allow this
(C{hears}). A certificate of another CA never gets that far.

pyOpenSSL's callback cannot say an error. So it is called from one of ours, which can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IAddress

from .gathering import GatheringConnection
from .names import fingerprint, showText
from .roles import Objection

__all__ = ["Judge", "Refusal", "errorText", "turnedAway", "verifyWith"]

# Why a certificate is not accepted; None if it is.
Judge: TypeAlias = Callable[[x509.Certificate], Objection | None]

# Of our own refusals the errors of OpenSSL's, for their alerts.
_ERRORS = {
    "revoked": lib.X509_V_ERR_CERT_REVOKED,
    "not-allowed": lib.X509_V_ERR_CERT_REJECTED,
    "wrong-role": lib.X509_V_ERR_CERT_REJECTED,
    "name": lib.X509_V_ERR_CERT_REJECTED,
}

# Errors of OpenSSL's whose alert would say too little: of the signature it says that a decryption
# has failed.
_BETTER = {
    lib.X509_V_ERR_CERT_SIGNATURE_FAILURE: (
        lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    ),
}


@dataclass(frozen=True)
class Refusal:
    """
    A certificate that was refused.

    @ivar address: who came with it, or where we had connected to.
    @ivar reason: in words; of an issuer's certificate with its name.
    @ivar subject: the peer's certificate's, shown without control characters.
    @ivar code: as of L{Objection}; empty if OpenSSL has refused it.
    """

    address: str
    reason: str
    subject: str
    fingerprint: str
    code: str = ""

    def __str__(self) -> str:
        return f"certificate {self.subject} refused: {self.reason} ({self.fingerprint})"


def _address(connection: Any) -> str:
    peer: IAddress = connection.get_app_data().transport.getPeer()
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    return str(peer) if host is None else f"{host}:{port}"


def _shown(certificate: X509 | None) -> tuple[str, str]:
    """A certificate's subject and fingerprint."""
    try:
        assert certificate is not None
        parsed = certificate.to_cryptography()
        return showText(parsed.subject.rfc4514_string()), fingerprint(parsed)
    except Exception:
        # A hostile certificate must not get past the check by breaking the report.
        return "unreadable", "unknown"


def _refusal(
    connection: Any,
    leaf: X509 | None,
    certificate: X509,
    depth: int,
    reason: str,
    code: str,
) -> Refusal:
    """
    @param leaf: the peer's own.
    @param certificate: the one of its chain that is refused, C{depth} above it.
    """
    subject, print_ = _shown(leaf)
    if depth:
        reason = f"{reason} (the certificate of {_shown(certificate)[0]}, its issuer)"
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
    Why the peer of a connection must not be served although its handshake is done.

    Only where C{hears} has allowed it; C{None} everywhere else, and for who is accepted.
    """
    if isinstance(connection, GatheringConnection):
        refusal = connection.refusal
        assert refusal is None or isinstance(refusal, Refusal)
        return refusal
    return None


def _leafOf(chain: Any) -> X509:
    """Of a chain that is being verified the certificate that it is about."""
    found = lib.X509_STORE_CTX_get0_cert(chain)
    lib.X509_up_ref(found)
    anyKind: Any = X509
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
    Verify the peers of a context, which no connection has used yet.

    @param mode: pyOpenSSL's flags of C{set_verify}.
    @param refuse: asked of the peer's certificate.
    @param refused: told of each refusal, but of those that L{turnedAway} returns.
    @param refuseIssuer: asked of each other one of its chain.
    @param hears: whether a peer is told why behind its handshake.
    """
    # The error of the refusal that the callback has just made. OpenSSL calls in our thread.
    errors = [0]
    # What the peer is: the certificate that is refused may be one above it.
    leaf: list[X509 | None] = [None]

    def verify(
        connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int
    ) -> bool:
        # An exception here would go to the reactor and leave the peer connected.
        errors[0] = lib.X509_V_ERR_CERT_REJECTED
        try:
            if not ok:
                errors[0] = _BETTER.get(error, error)
                reason = errorText(error)
                refused(_refusal(connection, leaf[0], certificate, depth, reason, ""))
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
            refused(refusal)
        except Exception:
            return False
        return False

    context.set_verify(mode, verify)
    inner: Any = context._verify_callback

    @ffi.callback("int (*)(int, X509_STORE_CTX *)", error=0)  # type: ignore[untyped-decorator]
    def outer(ok: int, chain: Any) -> int:
        leaf[0] = _leafOf(chain)
        accepted: int = inner(ok, chain)
        leaf[0] = None
        if not accepted:
            lib.X509_STORE_CTX_set_error(chain, errors[0])
        return accepted

    # The context keeps what OpenSSL calls, as pyOpenSSL has it keep its own; and ours keeps that.
    anyContext: Any = context
    anyContext._verify_callback = outer
    lib.SSL_CTX_set_verify(anyContext._context, mode, outer)
