"""
Issuing: make keys and certificates.

New keys are ECDSA P-256; a CA with an RSA key works as well. A worker's certificate is valid
for clients only and the master's for servers only, so that neither can impersonate the other;
names are checked too. An operator's certificate, for access to the status, has an extended key
usage of its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import UserError
from ._issuers import digestOf, identifierOf
from ._roles import OPERATOR_USAGE

__all__ = [
    "CERTIFICATE_DAYS",
    "Signer",
    "alternatives",
    "issue",
    "makeAuthority",
    "makeKey",
    "namesOf",
    "pemOfKey",
    "usagesOf",
]

CA_DAYS = 3650
CERTIFICATE_DAYS = 825

# The extended key usages of each role.
_USAGES = {
    "master": [ExtendedKeyUsageOID.SERVER_AUTH],
    "worker": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "operator": [ExtendedKeyUsageOID.CLIENT_AUTH, OPERATOR_USAGE],
}

# A certificate is valid from this long ago, because the clocks of a fleet differ by minutes.
BACKDATE = timedelta(hours=1)


@dataclass(frozen=True)
class Signer:
    """An authority's certificate and its key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes


def usagesOf(role: str) -> list[x509.ObjectIdentifier]:
    """The extended key usages of a role's certificates."""
    return list(_USAGES[role])


def pemOfKey(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """A private key in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """The subject alternative names of a certificate."""
    try:
        found = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    return list(found.value)


def namesOf(texts: Sequence[str]) -> list[x509.GeneralName]:
    """
    DNS names and addresses.

    @raise UserError: a text is neither.
    """
    return [_alternative(text) for text in dict.fromkeys(texts)]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise UserError(
            f"--san {name!a} is neither an address nor a DNS name"
        ) from None


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def makeKey() -> ec.EllipticCurvePrivateKey:
    """Make a private key."""
    return ec.generate_private_key(ec.SECP256R1())


def makeAuthority(name: str, unique: bool = False) -> Signer:
    """
    Make a CA.

    @param unique: whether to append a part of the key's digest to the name.
    """
    key = makeKey()
    now = datetime.now(timezone.utc)
    public = key.public_key()
    if unique:
        name = f"{name} {digestOf(public)[:8]}"
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_keyUsage(authority=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(public), critical=False
        )
        .sign(key, SHA256())
    )
    return Signer(certificate, key)


def issue(
    signer: Signer,
    key: CertificatePublicKeyTypes,
    name: str,
    names: Sequence[x509.GeneralName],
    role: str,
    days: int,
) -> x509.Certificate:
    """
    Make a certificate.

    @param key: the public key of its holder.
    @param name: the CN.
    @param names: subject alternative names.
    @param role: C{master}, C{worker} or C{operator}.
    """
    now = datetime.now(timezone.utc)
    by = signer.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(by.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(min(now + timedelta(days=days), by.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_keyUsage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES[role]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            # OpenSSL rejects the issuer if this differs from the CA's own key identifier.
            x509.AuthorityKeyIdentifier(identifierOf(by), None, None),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
    edwards = isinstance(signer.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(signer.key, None if edwards else SHA256())


def _keyUsage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
