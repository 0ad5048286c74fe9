"""Certificates of hostile peers, from a CA that the listener trusts or from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CLIENT", "SERVER", "Papers", "issue", "key", "shortKey", "strangersCA"]

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Papers:
    """
    The certificate that a peer presents, with its key.

    @ivar chain: certificates sent after its own.
    """

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()


@cache
def key(which: str) -> ec.EllipticCurvePrivateKey:
    """A key, always the same one for the same word."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def shortKey() -> rsa.RSAPrivateKey:
    """A key of 1024 bits, a size of former times."""
    return rsa.generate_private_key(65537, 1024)


def issue(
    by: Papers | None,
    names: Sequence[str],
    *,
    usages: Sequence[Any] = (CLIENT,),
    authority: bool = False,
    days: tuple[float, float] = (-1, 30),
    critical: x509.ObjectIdentifier | None = None,
    own: Any = None,
    kind: _ASN1Type | None = None,
) -> Papers:
    """
    Sign a certificate.

    @param by: the signer; C{None}: self-signed.
    @param names: its CNs.
    @param days: the validity period, relative to now.
    @param critical: an unknown extension, marked critical.
    @param own: its key.
    @param kind: the string type of the CNs.
    """
    own = own or key("peer")
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name, kind, _validate=False)
            for name in names
        ]
    )
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if critical is not None:
        unknown = x509.UnrecognizedExtension(critical, b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    signer = own if by is None else by.key
    return Papers(builder.sign(signer, SHA256()), own)


@cache
def strangersCA() -> Papers:
    """A different CA with our CA's name."""
    return issue(None, ["DECNET CA"], usages=(), authority=True, own=key("stranger"))
