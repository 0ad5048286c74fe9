"""
Revocation: certificates of the CA that are not to be believed any more.

A certificate revocation list (RFC 5280 section 5) in C{crl.pem}, one for each CA of
C{ca.crt}, signed by it. What must be true:

* a list belongs to the key that signed it. Two CAs with the same name have two independent
  lists, with independent numbers;
* a list that cannot be read, is not signed by the CA, is out of date or is older than
  the one in force changes nothing: what was revoked stays revoked;
* the list in force survives a restart, whatever becomes of C{crl.pem} meanwhile.

If a file has several lists from one key (files that were concatenated), the highest number wins;
lists with equal numbers are merged.

A list from a CA that is not in C{ca.crt} is ignored, because C{ca.crt} and C{crl.pem} cannot change
in the same instant. But a list that claims to be from a CA in C{ca.crt} without its signature makes
the whole file invalid. The claim is its key identifier; or its issuer name, if it has no key
identifier, or if that CA has no other list in the file.

Certificates are looked up here by key and serial number, not by OpenSSL: its check
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

from ..errors import UserError
from .issuers import canonicalName, identifierOf, isSigned, keyId, keyIds

__all__ = [
    "CRL_FILE",
    "ListMissing",
    "Revocations",
    "makeList",
    "otherLists",
    "parseLists",
    "readLists",
]

CRL_FILE = "crl.pem"

# A hundred thousand entries; a file that is longer is something else.
FILE_OCTETS_MAX = 8 * 1024 * 1024

# Clocks of the CA's machine and of the master's differ by minutes.
SKEW = timedelta(hours=1)

_BEGIN = b"-----BEGIN X509 CRL-----"
_END = b"-----END X509 CRL-----"

# Extensions that may be critical. Other critical extensions (delta lists, partial lists) mean that
# the list is not complete.
_UNDERSTOOD = (x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid)


class ListMissing(UserError):
    """A CA's list is no longer in the file. The list in force stays valid."""


@dataclass(frozen=True)
class _List:
    """
    One CA's list.

    @ivar authority: the signer.
    @ivar number: the CRL number (RFC 5280 section 5.2.3); 0 if there is none.
    @ivar serials: revoked serial numbers and their dates.
    """

    authority: x509.Certificate
    number: int
    until: datetime | None
    serials: Mapping[int, datetime]


@dataclass(frozen=True)
class Revocations:
    """
    What is revoked.

    @ivar lists: by the L{keyId} of the CA.
    @ivar octets: the whole file.
    @ivar others: lists in the file from other CAs, in PEM.
    """

    lists: Mapping[str, _List] = field(default_factory=dict)
    octets: bytes = b""
    others: Sequence[bytes] = ()

    def since(self, certificate: x509.Certificate) -> datetime | None:
        """When a certificate was revoked; C{None} if it was not."""
        serial = certificate.serial_number
        for one in self.lists.values():
            when = one.serials.get(serial)
            if when is not None and isSigned(certificate, one.authority):
                return when
        return None

    def serials(self, authority: x509.Certificate) -> Mapping[int, datetime]:
        """Of a CA: the serial numbers, and when each was revoked."""
        found = self.lists.get(keyId(authority))
        return {} if found is None else found.serials

    def number(self, authority: x509.Certificate) -> int:
        """The number of a CA's list; 0 if there is none."""
        found = self.lists.get(keyId(authority))
        return 0 if found is None else found.number

    def unknownOf(
        self, authorities: Sequence[x509.Certificate]
    ) -> list[x509.Certificate]:
        """The CAs without a list."""
        return [ca for ca in authorities if not self.lists.keys() & keyIds([ca])]

    def checkNewer(
        self, before: Revocations, authorities: Sequence[x509.Certificate]
    ) -> None:
        """
        Refuse to go back.

        @raise ListMissing: a CA's list is gone.
        @raise UserError: a list has a lower number, or the same number and fewer entries.
        """
        for key in keyIds(authorities):
            old, new = before.lists.get(key), self.lists.get(key)
            if old is None:
                continue
            if new is None:
                raise ListMissing("the list of a CA is missing that was there before")
            if new.number < old.number:
                raise UserError(
                    f"list number {new.number} is older than number {old.number}, which is"
                    " in force"
                )
            if new.number == old.number and not old.serials.keys() <= (
                new.serials.keys()
            ):
                raise UserError(
                    f"list number {new.number} is in force, and this one with the same number"
                    " leaves out revoked certificates"
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


def _number(crl: x509.CertificateRevocationList) -> int:
    try:
        extension = crl.extensions.get_extension_for_class(x509.CRLNumber)
    except x509.ExtensionNotFound:
        return 0
    return extension.value.crl_number


@dataclass(frozen=True)
class _Other:
    """
    A list that none of the CAs signed.

    @ivar like: the CAs with the name of its issuer.
    """

    pem: bytes
    like: Sequence[x509.Certificate]


def _signer(
    crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """The CA that signed a list, if any."""
    for authority in authorities:
        try:
            key: object = authority.public_key()
            if crl.is_signature_valid(key):  # type: ignore[arg-type]
                return authority
        except Exception:
            # A key of another kind cannot verify it.
            continue
    return None


def _ofOther(
    pem: bytes,
    crl: x509.CertificateRevocationList,
    authorities: Sequence[x509.Certificate],
) -> _Other:
    """
    Classify a list that none of the CAs signed.

    @raise UserError: it claims to be from one of them.
    """
    issuer = canonicalName(crl.issuer)
    like = [ca for ca in authorities if canonicalName(ca.subject) == issuer]
    try:
        identifier = crl.extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier
        ).value.key_identifier
    except x509.ExtensionNotFound:
        identifier = None
    if identifier is None:
        isOurs = bool(like)
    else:
        isOurs = identifier in [identifierOf(ca) for ca in authorities]
    if isOurs:
        raise UserError("it is not signed by the CA")
    return _Other(pem, like)


def _parse(
    pem: bytes, authorities: Sequence[x509.Certificate]
) -> tuple[str, _List] | _Other:
    """
    A list and the L{keyId} of its CA.

    @raise UserError: it is not valid.
    """
    try:
        crl = x509.load_pem_x509_crl(pem)
        authority = _signer(crl, authorities)
        if authority is None:
            return _ofOther(pem, crl, authorities)
        for extension in crl.extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                raise UserError(
                    "it is not a whole list (it has the critical extension"
                    f" {extension.oid.dotted_string})"
                )
        serials = {one.serial_number: one.revocation_date_utc for one in crl}
        made = _List(authority, _number(crl), crl.next_update_utc, serials)
        return keyId(authority), made
    except UserError:
        raise
    except Exception:
        # The library raises ValueError and others, such as InvalidVersion.
        raise UserError("it cannot be read as a revocation list") from None


def _together(one: _List, other: _List) -> _List:
    """Combine two lists from one CA."""
    if one.number != other.number:
        return max(one, other, key=lambda each: each.number)
    ends = [each.until for each in (one, other) if each.until is not None]
    serials = {**one.serials, **other.serials}
    return _List(one.authority, one.number, min(ends, default=None), serials)


def parseLists(octets: bytes, authorities: Sequence[x509.Certificate]) -> Revocations:
    """
    The lists of a file.

    @raise UserError: it cannot be believed; with what is wrong.
    """
    lists: dict[str, _List] = {}
    others = []
    for pem in _split(octets):
        found = _parse(pem, authorities)
        if isinstance(found, _Other):
            others.append(found)
            continue
        key, made = found
        lists[key] = _together(lists[key], made) if key in lists else made
    for other in others:
        # A known name with another key: from a CA with the same name, or damaged.
        if any(not lists.keys() & keyIds([ca]) for ca in other.like):
            raise UserError("it is not signed by the CA")
    return Revocations(lists, octets, [other.pem for other in others])


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
    """The lists of a file from other CAs, unchanged."""
    for pem in _split(octets) if octets else ():
        found = _parse(pem, authorities)
        if isinstance(found, _Other) or found[0] != keyId(authority):
            yield pem + b"\n"
