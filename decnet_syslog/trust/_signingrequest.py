"""
Certificate requests (PKCS #10, RFC 2986): a worker's key gets a certificate and stays where it is.

A request is hostile input. The authority takes only the public key from it and decides itself on
the name, the alternative names, the extensions and the validity. It refuses a request that asks for
anything else, with the reason, instead of issuing an unexpected certificate.

The proof that the requester has the private key is the request's own signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._issuers import spki
from ._issuing import usagesOf

__all__ = ["REQUEST_OCTETS_MAX", "makeRequest", "readRequest"]

# A request with the largest key that is accepted has about 5,000 octets.
REQUEST_OCTETS_MAX = 16 * 1024

# Smaller moduli are weak, and larger ones cost the other end time in each handshake.
RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_REQUEST = (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")


class _Refused(Exception):
    """A request that gets no certificate. Its text is the reason."""


def makeRequest(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """
    Make a request.

    @param name: the worker's name.
    @return: PEM.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)


def readRequest(
    octets: bytes,
    name: str,
    names: Sequence[str],
    role: str,
    taken: Iterable[x509.Certificate],
) -> CertificatePublicKeyTypes:
    """
    Check a request.

    @param octets: PEM, bounded by the caller.
    @param name: the only name that it may ask for.
    @param names: the alternative names that the certificate will have.
    @param role: C{worker} or C{operator}.
    @param taken: certificates whose keys no worker can have.
    @return: its public key.
    @raise UserError: the reason why it is refused, in one line.
    """
    try:
        request = _parse(octets)
        _checkName(request, name)
        key = _checkKey(request, taken)
        _checkSignature(request)
        _checkExtensions(request, {name, *names}, role)
    except _Refused as error:
        raise UserError(f"the request is refused: {error}") from None
    return key


def _parse(octets: bytes) -> x509.CertificateSigningRequest:
    labels = _BEGIN.findall(octets)
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        raise _Refused(
            "it contains a private key, which must never leave the worker; make a new key"
            ' with "decnet-syslog request NAME --new-key"'
        )
    if len(labels) != 1 or labels[0] not in _REQUEST:
        raise _Refused(
            'it is not one certificate request in PEM; "decnet-syslog request NAME" makes one'
        )
    try:
        return x509.load_pem_x509_csr(octets)
    except Exception:
        # Mostly a ValueError; of a version that is none, another.
        raise _Refused(
            "it cannot be parsed; copy it again, or make another with"
            ' "decnet-syslog request NAME"'
        ) from None


T = TypeVar("T")


def _lazily(parse: Callable[[], T], what: str) -> T:
    """A part of a request. They are parsed on access, and the library has many errors."""
    try:
        return parse()
    except Exception as error:
        raise _Refused(
            f"its {what} cannot be read: {escapeUntrusted(str(error))}"
        ) from None


def _checkName(request: x509.CertificateSigningRequest, name: str) -> None:
    subject = _lazily(lambda: request.subject, "subject")
    asked = [
        one.value if isinstance(one.value, str) else repr(one.value)
        for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if len(asked) != 1:
        raise _Refused(f"it asks for {len(asked)} names (CN), not one")
    if asked[0] != name:
        raise _Refused(
            f"it asks for the name {escapeUntrusted(asked[0])}, not {escapeUntrusted(name)}:"
            " enroll it under its own name, or make the request again"
        )


def _checkKey(
    request: x509.CertificateSigningRequest, taken: Iterable[x509.Certificate]
) -> CertificatePublicKeyTypes:
    key: CertificatePublicKeyTypes = _lazily(request.public_key, "key")
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise _Refused(
                f"its RSA key has {key.key_size} bits, not {RSA_BITS_MIN} to {RSA_BITS_MAX}"
            )
        numbers = key.public_numbers()
        if numbers.e < 65537 or not numbers.e % 2 or not numbers.n % 2:
            raise _Refused("its RSA key is weak: use the public exponent 65537")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise _Refused(
                f"its key is on the curve {key.curve.name}, not P-256, P-384 or P-521"
            )
    else:
        raise _Refused("its key is neither ECDSA nor RSA, which every TLS end accepts")
    if _lazily(lambda: spki(key), "key") in [spki(one.public_key()) for one in taken]:
        raise _Refused("its key is the CA's or the master's own, which no worker has")
    return key


def _checkSignature(request: x509.CertificateSigningRequest) -> None:
    algorithm = _lazily(lambda: request.signature_hash_algorithm, "signature algorithm")
    if not isinstance(algorithm, SHA256 | SHA384 | SHA512):
        name = "none" if algorithm is None else algorithm.name
        raise _Refused(f"it is signed with the hash {name}, not SHA-256 or stronger")
    if not _lazily(lambda: request.is_signature_valid, "signature"):
        raise _Refused(
            "its signature is not by its own key: the request was changed in transit, or its"
            " sender does not have the private key"
        )


def _checkExtensions(
    request: x509.CertificateSigningRequest, names: set[str], role: str
) -> None:
    """Refuse a request for anything that the certificate will not have."""
    for extension in _lazily(lambda: list(request.extensions), "extensions"):
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            if value.ca:
                raise _Refused("it asks for a CA's certificate")
        elif isinstance(value, x509.KeyUsage):
            if value.key_cert_sign or value.crl_sign:
                raise _Refused("it asks for a CA's key usage, to sign certificates")
        elif isinstance(value, x509.ExtendedKeyUsage):
            if not set(value) <= set(usagesOf(role)):
                other = next(one for one in value if one not in usagesOf(role))
                raise _Refused(
                    f"it asks for the key usage {other.dotted_string}, which {role}s do not have"
                )
        elif isinstance(value, x509.SubjectAlternativeName):
            for one in value:
                if str(one.value) not in names:
                    raise _Refused(
                        f"it asks for the other name {escapeUntrusted(str(one.value))}:"
                        " --san allows it"
                    )
        elif not isinstance(value, x509.SubjectKeyIdentifier):
            raise _Refused(
                f"it asks for the extension {extension.oid.dotted_string}, which this CA does"
                " not issue"
            )
