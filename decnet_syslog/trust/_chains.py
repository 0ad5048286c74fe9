"""
Chains: find out by a handshake in memory whether the other end would accept a bundle.

A handshake checks signatures, dates and usages of each certificate in the chain, constraints, key
sizes and digests. This module does not repeat these rules. It presents the bundle to a peer in
memory that trusts the bundle's own authorities, with the verification flags of our ends. The peer
uses a temporary certificate that is not verified.

Set aside: C{X509StoreContext}, which checks neither the purpose nor the security level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509, X509StoreFlags

from ..boundaries import Foreign
from ._roles import serves

__all__ = ["EXPIRED", "NOT_YET", "UNKNOWN", "Flaw", "findFlaw"]

EXPIRED = lib.X509_V_ERR_CERT_HAS_EXPIRED
NOT_YET = lib.X509_V_ERR_CERT_NOT_YET_VALID

# No trusted authority signed the certificate.
UNKNOWN = frozenset(
    [
        lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
        lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        lib.X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
        lib.X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
        lib.X509_V_ERR_CERT_SIGNATURE_FAILURE,
        lib.X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY,
        lib.X509_V_ERR_CERT_UNTRUSTED,
    ]
)

# A TLS 1.2 handshake takes two round trips. More rounds do no harm.
ROUNDS = 6

RECEIVE_OCTETS = 2**16


@dataclass(frozen=True)
class Flaw:
    """
    The reason why a chain does not verify.

    @ivar error: OpenSSL's error number.
    @ivar certificate: the certificate with the error.
    """

    error: int
    certificate: x509.Certificate


@cache
def _throwaway() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    name = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=36500))
        .sign(key, SHA256())
    )
    return made, key


def _contextOf(
    certificate: x509.Certificate,
    key: Foreign,
    chain: Sequence[x509.Certificate],
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    for one in chain:
        context.add_extra_chain_cert(one)
    return context


def findFlaw(
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    key: Foreign,
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> Flaw | None:
    """
    The reason why the other end would refuse a certificate.

    A certificate that is valid for clients is presented by a client, another one by a server.

    @param chain: the certificates that are sent with it.
    @param authorities: the authorities that the other end trusts.
    @param now: the other end's time.
    @raise Exception: the certificate or the key does not work with TLS.
    """
    found: list[Flaw] = []

    def verify(
        connection: SSL.Connection, which: X509, error: int, depth: int, ok: int
    ) -> bool:
        if not ok:
            found.append(Flaw(error, which.to_cryptography()))
        return bool(ok)

    made, throwaway = _throwaway()
    shown = _contextOf(certificate, key, chain)
    judge = _contextOf(made, throwaway, ())
    store = judge.get_cert_store()
    assert store is not None
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now)
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    judge.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
    ends = [SSL.Connection(shown, None), SSL.Connection(judge, None)]
    if not serves(certificate, ExtendedKeyUsageOID.CLIENT_AUTH):
        ends.reverse()
    client, server = ends
    client.set_connect_state()
    server.set_accept_state()
    isDone = _shakeHands(client, server)
    if not found and not isDone:
        raise SSL.Error("no handshake")
    return found[0] if found else None


def _shakeHands(client: SSL.Connection, server: SSL.Connection) -> bool:
    """Whether the handshake completed at both ends."""
    done = set()
    for _ in range(ROUNDS):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
                done.add(one)
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return False
            try:
                other.bio_write(one.bio_read(RECEIVE_OCTETS))
            except SSL.WantReadError:
                pass
    return len(done) == 2
