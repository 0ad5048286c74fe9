"""
Chains: whether the other end would believe a bundle, asked of OpenSSL by a handshake in memory.

What a handshake refuses is more than can be listed here: signatures, dates and uses of every
certificate of the chain, constraints, key sizes, digests. So nothing is listed: the bundle is
shown to a peer that trusts what the bundle itself trusts, and has the flags and the ciphers that
our ends have. That peer's certificate is made for the occasion, and nobody looks at it.

Set aside: C{X509StoreContext}, which knows no use of a certificate and no level of security.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509, X509StoreFlags

from .roles import serves

__all__ = ["EXPIRED", "NOT_YET", "UNKNOWN", "Flaw", "findFlaw"]

EXPIRED = lib.X509_V_ERR_CERT_HAS_EXPIRED
NOT_YET = lib.X509_V_ERR_CERT_NOT_YET_VALID

# Nobody that is trusted has signed it.
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

# A flight and its answer, and once more, is all of a handshake; and one to be sure.
ROUNDS = 6

RECEIVE_OCTETS = 2**16


@dataclass(frozen=True)
class Flaw:
    """
    Why a chain is not believed.

    @ivar error: OpenSSL's number.
    @ivar certificate: the one that it is about.
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
    certificate: x509.Certificate, key: Any, chain: Sequence[x509.Certificate]
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
    key: Any,
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> Flaw | None:
    """
    What keeps the other end from believing a certificate.

    It is shown as a client's if it is good for clients, else as a server's.

    @param chain: what is sent with it.
    @param authorities: who the other end trusts.
    @param now: its time.
    @raise Exception: the certificate or the key is not for TLS at all.
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
    """Whether both ends are content: neither has refused the other, or is still waiting."""
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
