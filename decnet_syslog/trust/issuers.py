"""
Issuers: which authority has signed what.

An authority is its key. Two of one name are two (every C{ca init} makes the same name), and one
whose certificate was renewed, or is named in another kind of string, is still one. So a
signature is what counts; names, where they are asked for, are compared as RFC 5280 section 7.1
and OpenSSL do: the kind of string, the case of ASCII letters and the number of spaces make no
difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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

# Of each relative distinguished name the set of its attributes: type, and value.
CanonicalName: TypeAlias = tuple[frozenset[tuple[str, str | bytes]], ...]

# What OpenSSL takes for a space in a name, whatever the locale.
_SPACES = re.compile("[ \t\n\v\f\r]+")

# Of ASCII letters only: OpenSSL leaves the others as they are.
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def canonicalName(name: x509.Name) -> CanonicalName:
    """A name in the form in which it is compared."""

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


def spki(key: object) -> bytes:
    """A public key as a certificate has it: SubjectPublicKeyInfo, DER."""
    anyKey: Any = key
    octets: bytes = anyKey.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


def digestOf(key: object) -> str:
    """A public key's SHA-256, of its SubjectPublicKeyInfo, in 64 hexadecimal digits."""
    return sha256(spki(key)).hexdigest()


def keyId(certificate: x509.Certificate) -> str:
    """Which key a certificate is of, as L{digestOf} has it."""
    return digestOf(certificate.public_key())


def keyIds(certificates: Iterable[x509.Certificate]) -> list[str]:
    """The keys of certificates, each once, but those that cannot be read."""
    found = []
    for certificate in certificates:
        try:
            found.append(keyId(certificate))
        except Exception:
            # A key of a kind that the library does not have has signed nothing.
            continue
    return list(dict.fromkeys(found))


def identifierOf(authority: x509.Certificate) -> bytes:
    """How a CA's key is named in what it signs: as it names it itself, else by its SHA-1."""
    try:
        return authority.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value.digest
    except x509.ExtensionNotFound:
        key: Any = authority.public_key()
        return x509.SubjectKeyIdentifier.from_public_key(key).digest


def isSigned(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether the key of one certificate has signed another, whatever the names are."""
    octets, signature = certificate.tbs_certificate_bytes, certificate.signature
    try:
        key: Any = by.public_key()
        how: Any = certificate.signature_algorithm_parameters
        if isinstance(key, rsa.RSAPublicKey):
            digest: Any = certificate.signature_hash_algorithm
            key.verify(signature, octets, how, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, octets, how)
        else:
            key.verify(signature, octets)
    except Exception:
        # Whatever it is that cannot be verified is not verified.
        return False
    return True


def isIssued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether an authority has made a certificate: it has signed it, and is named in it."""
    try:
        named = canonicalName(certificate.issuer) == canonicalName(by.subject)
    except Exception:
        # Names are parsed only now, and the library has many errors.
        return False
    return named and isSigned(certificate, by)
