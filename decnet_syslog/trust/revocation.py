"""
Revocation: certificates of the CA that are not to be believed any more.

A certificate revocation list (RFC 5280 section 5) in C{crl.pem}, one for each CA of
C{ca.crt}, signed by it. What must be true:

* a list that cannot be read, is not signed by the CA, is out of date or is older than
  the one in force changes nothing: what was revoked stays revoked;
* the list in force survives a restart, whatever becomes of C{crl.pem} meanwhile.

Certificates are looked up here by issuer and serial number, not by OpenSSL: its check
refuses everybody when a list is missing or out of date, and can say less about why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ..durable import syncDirectory
from ..errors import UserError

__all__ = [
    "CRL_FILE",
    "Revocations",
    "makeList",
    "otherLists",
    "parseLists",
    "readLists",
    "replaceFile",
]

CRL_FILE = "crl.pem"

# A hundred thousand entries; a file that is longer is something else.
FILE_OCTETS_MAX = 8 * 1024 * 1024

# Clocks of the CA's machine and of the master's differ by minutes.
SKEW = timedelta(hours=1)

_BEGIN = b"-----BEGIN X509 CRL-----"
_END = b"-----END X509 CRL-----"


@dataclass(frozen=True)
class _List:
    """
    One CA's list.

    @ivar number: of RFC 5280 section 5.2.3; 0 if it has none.
    """

    number: int
    until: datetime | None
    serials: Mapping[int, datetime]


@dataclass(frozen=True)
class Revocations:
    """
    What is revoked, by the CA's subject (DER).

    @ivar octets: of the file it is from.
    """

    lists: Mapping[bytes, _List] = field(default_factory=dict)
    octets: bytes = b""

    def since(self, certificate: x509.Certificate) -> datetime | None:
        """When a certificate was revoked; C{None} if it was not."""
        found = self.lists.get(certificate.issuer.public_bytes())
        return None if found is None else found.serials.get(certificate.serial_number)

    def serials(self, authority: x509.Certificate) -> Mapping[int, datetime]:
        """Of a CA: the serial numbers, and when each was revoked."""
        found = self.lists.get(authority.subject.public_bytes())
        return {} if found is None else found.serials

    def number(self, authority: x509.Certificate) -> int:
        """The number of a CA's list; 0 if there is none."""
        found = self.lists.get(authority.subject.public_bytes())
        return 0 if found is None else found.number

    def checkNewer(
        self, before: Revocations, authorities: Sequence[x509.Certificate]
    ) -> None:
        """
        Refuse to go back.

        @raise UserError: the list of one of the CAs is gone, or has a lower number.
        """
        for subject in [ca.subject.public_bytes() for ca in authorities]:
            old, new = before.lists.get(subject), self.lists.get(subject)
            if old is None:
                continue
            if new is None:
                raise UserError("the list of a CA is missing that was there before")
            if new.number < old.number:
                raise UserError(
                    f"list number {new.number} is older than number {old.number}, which is"
                    " in force"
                )

    def outdated(self, now: datetime) -> datetime | None:
        """When the first of the lists went out of date; C{None} if none has."""
        ends = [one.until for one in self.lists.values() if one.until is not None]
        return min((end for end in ends if end + SKEW < now), default=None)


def _split(octets: bytes) -> list[bytes]:
    """The lists of a PEM file."""
    parts = octets.split(_END)
    found = [part[part.index(_BEGIN) :] + _END for part in parts[:-1] if _BEGIN in part]
    if not found or len(found) != len(parts) - 1 or _BEGIN in parts[-1]:
        raise UserError("it has no certificate revocation list in PEM")
    return found


def _serials(crl: x509.CertificateRevocationList) -> dict[int, datetime]:
    return {one.serial_number: one.revocation_date_utc for one in crl}


def _number(crl: x509.CertificateRevocationList) -> int:
    try:
        extension = crl.extensions.get_extension_for_class(x509.CRLNumber)
    except x509.ExtensionNotFound:
        return 0
    return extension.value.crl_number


def _signer(
    crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]
) -> x509.Certificate:
    """
    The CA that a list is from.

    @raise UserError: it is from none of them.
    """
    for authority in authorities:
        if authority.subject == crl.issuer:
            key: object = authority.public_key()
            try:
                if crl.is_signature_valid(key):  # type: ignore[arg-type]
                    return authority
            except TypeError:
                continue
    raise UserError("it is not signed by the CA")


def parseLists(octets: bytes, authorities: Sequence[x509.Certificate]) -> Revocations:
    """
    The lists of a file.

    @raise UserError: it cannot be believed; with what is wrong.
    """
    lists: dict[bytes, _List] = {}
    for pem in _split(octets):
        try:
            crl = x509.load_pem_x509_crl(pem)
            made = _List(_number(crl), crl.next_update_utc, _serials(crl))
        except (ValueError, TypeError, x509.UnsupportedGeneralNameType):
            raise UserError("it cannot be read as a revocation list") from None
        authority = _signer(crl, authorities)
        lists[authority.subject.public_bytes()] = made
    return Revocations(lists, octets)


def readLists(path: Path, authorities: Sequence[x509.Certificate]) -> Revocations:
    """
    The lists of a file; nothing is revoked if there is no such file.

    @raise UserError: it cannot be read, or not be believed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Revocations()
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "rb") as file:
            octets = file.read(FILE_OCTETS_MAX + 1)
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from None
    if len(octets) > FILE_OCTETS_MAX:
        raise UserError(f"it is longer than {FILE_OCTETS_MAX} octets")
    return parseLists(octets, authorities)


def makeList(
    authority: x509.Certificate,
    key: CertificateIssuerPrivateKeyTypes,
    serials: Mapping[int, datetime],
    number: int,
) -> bytes:
    """
    A list, in PEM.

    It is good for as long as the CA is: who can replace the file to bring an old one back
    could as well remove it. The number is what shows an older one.
    """
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now - SKEW)
        .next_update(max(authority.not_valid_after_utc, now + SKEW))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                authority.public_key()  # type: ignore[arg-type]
            ),
            critical=False,
        )
    )
    for serial, when in sorted(serials.items()):
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(when)
            .build()
        )
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    crl = builder.sign(key, None if edwards else SHA256())
    return crl.public_bytes(Encoding.PEM)


def otherLists(
    octets: bytes, authority: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> Iterable[bytes]:
    """The lists of a file that are another CA's, as they are."""
    for pem in _split(octets) if octets else ():
        crl = x509.load_pem_x509_crl(pem)
        if _signer(crl, authorities) != authority:
            yield pem + b"\n"


def replaceFile(path: Path, octets: bytes, mode: int = 0o644) -> None:
    """
    Replace a file in one step, on disk when this returns: nobody sees half of it.

    @raise UserError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, flags, mode), "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        syncDirectory(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
