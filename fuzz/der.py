"""
Certificates with arbitrary octets as subject, and PEM around anything: handmade DER.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timezone
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

__all__ = [
    "AUTHORITY",
    "BEGIN",
    "END",
    "attribute",
    "authority",
    "certificate",
    "element",
    "elements",
    "key",
    "keyOf",
    "oids",
    "otherKeys",
    "pem",
]

SEQUENCE, SET, OID = 0x30, 0x31, 0x06

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = datetime(2036, 1, 1, tzinfo=timezone.utc)

# The numbers are arbitrary: nothing here is secret, and every run must see the same
# octets.
_SCALARS = {"ca": 0x0C0FFEE, "worker": 0x0DECAF}

AUTHORITY = "fuzz ca"


@cache
def key(whose: str) -> ec.EllipticCurvePrivateKey:
    """A key, always the same one."""
    return ec.derive_private_key(_SCALARS[whose], ec.SECP256R1())


def keyOf(whose: str) -> bytes:
    """The key as PKCS #8 in DER."""
    return key(whose).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@cache
def otherKeys() -> tuple[bytes, ...]:
    """Keys on unsupported curves, or useless for TLS."""
    keys = (
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)),
        x25519.X25519PrivateKey.from_private_bytes(bytes(range(32))),
        ec.derive_private_key(5, ec.SECP384R1()),
    )
    return tuple(
        [
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            for key in keys
        ]
    )


def element(tag: int, content: bytes) -> bytes:
    """A DER element."""
    count = len(content)
    if count < 0x80:
        return bytes([tag, count]) + content
    length = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def attribute(oid: bytes, tag: int, value: bytes) -> bytes:
    """An RDN with one attribute."""
    pair = element(OID, oid) + element(tag, value)
    return element(SET, element(SEQUENCE, pair))


def elements(octets: bytes) -> list[bytes]:
    """The contents of consecutive elements."""
    found, at = [], 0
    while at < len(octets):
        length, at = octets[at + 1], at + 2
        if length >= 0x80:
            count = length - 0x80
            length, at = int.from_bytes(octets[at : at + count], "big"), at + count
        found.append(octets[at : at + length])
        at += length
    return found


def oids(name: bytes) -> list[bytes]:
    """The OIDs of a name's attributes, in DER."""
    (rdns,) = elements(name)
    return [elements(pair)[0] for rdn in elements(rdns) for pair in elements(rdn)]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@cache
def authority() -> x509.Certificate:
    """The certificate of a CA. Its signature differs from process to process."""
    return (
        x509.CertificateBuilder()
        .subject_name(_name(AUTHORITY))
        .issuer_name(_name(AUTHORITY))
        .public_key(key("ca").public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key("ca"), SHA256())
    )


def certificate(subject: bytes) -> bytes:
    """
    A certificate signed by the CA, in DER.

    @param subject: the concatenated RDNs.
    """
    # SHA-256 with ECDSA; UTCTime.
    algorithm = element(SEQUENCE, element(OID, bytes.fromhex("2a8648ce3d040302")))
    validity = b"".join(
        [
            element(0x17, f"{when:%y%m%d%H%M%SZ}".encode("ascii"))
            for when in (BEGIN, END)
        ]
    )
    spki = (
        key("worker")
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    issuer = authority().subject.public_bytes()
    toBeSigned = element(
        SEQUENCE,
        element(0xA0, element(0x02, b"\2"))
        + element(0x02, b"\5")
        + algorithm
        + issuer
        + element(SEQUENCE, validity)
        + element(SEQUENCE, subject)
        + spki,
    )
    signature = key("ca").sign(toBeSigned, ec.ECDSA(SHA256()))
    return element(SEQUENCE, toBeSigned + algorithm + element(0x03, b"\0" + signature))


def pem(label: str, der: bytes) -> bytes:
    """DER as PEM."""
    text = b64encode(der).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    rows = [f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]
    return "\n".join(rows).encode("ascii")
