"""
Issuers: which authority signed a certificate.

A key identifies an authority. Two authorities can share a name (C{ca init} always uses the same
one); and one authority can renew its certificate, or encode its name in another string type. So
signatures decide. Where names matter, they are compared as in RFC 5280 section 7.1 and OpenSSL:
string type, case of ASCII letters and repeated spaces are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..boundaries import Foreign

__all__ = [
    "CanonicalName",
    "canonicalName",
    "digestOf",
    "identifierOf",
    "isIssued",
    "isSigned",
    "keyId",
    "keyIds",
    "spki",
]

# For each relative distinguished name, the set of its attributes (type, value).
CanonicalName: TypeAlias = tuple[frozenset[tuple[str, str | bytes]], ...]

# OpenSSL's white space in names, in every locale.
_SPACES = re.compile("[ \t\n\v\f\r]+")

# OpenSSL ignores the case of ASCII letters only.
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def canonicalName(name: x509.Name) -> CanonicalName:
    """The canonical form of a name, for comparison."""

    def canonical(value: str | bytes) -> str | bytes:
        if isinstance(value, bytes):
            return value
        return _SPACES.sub(" ", value).strip(" ").translate(_LOWER)

    return tuple(
        [
            frozenset([(one.oid.dotted_string, canonical(one.value)) for one in rdn])
            for rdn in name.rdns
        ]
    )


def spki(key: PublicKeyTypes) -> bytes:
    """A public key as DER SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def digestOf(key: PublicKeyTypes) -> str:
    """The SHA-256 of a public key's SubjectPublicKeyInfo, 64 hexadecimal digits."""
    return sha256(spki(key)).hexdigest()


def keyId(certificate: x509.Certificate) -> str:
    """The L{digestOf} of a certificate's key."""
    return digestOf(certificate.public_key())


def keyIds(certificates: Iterable[x509.Certificate]) -> list[str]:
    """The L{keyId} of each certificate, without duplicates and unreadable keys."""
    found = []
    for certificate in certificates:
        try:
            found.append(keyId(certificate))
        except Exception:
            # The library does not support this kind of key, so nothing can verify against it.
            continue
    return list(dict.fromkeys(found))


def identifierOf(authority: x509.Certificate) -> bytes:
    """The key identifier of an authority: its own extension, or else the key's SHA-1."""
    try:
        return authority.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(authority.public_key()).digest


def isSigned(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether a certificate's key signed another certificate; names are ignored."""
    octets, signature = certificate.tbs_certificate_bytes, certificate.signature
    try:
        key: Foreign = by.public_key()
        how: Foreign = certificate.signature_algorithm_parameters
        if isinstance(key, rsa.RSAPublicKey):
            digest: Foreign = certificate.signature_hash_algorithm
            key.verify(signature, octets, how, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, octets, how)
        else:
            key.verify(signature, octets)
    except Exception:
        # Any failure to verify means: not verified.
        return False
    return True


def isIssued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether an authority issued a certificate: the signature verifies and the names match."""
    try:
        named = canonicalName(certificate.issuer) == canonicalName(by.subject)
    except Exception:
        # The library parses names lazily and raises many kinds of errors.
        return False
    return named and isSigned(certificate, by)
