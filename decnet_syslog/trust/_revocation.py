"""
Revocation: certificates from the CA that are no longer accepted.

C{crl.pem} contains a certificate revocation list (RFC 5280 section 5) for each CA in C{ca.crt},
signed by that CA. What must be true:

* a list belongs to the key that signed it. Two CAs with the same name have two independent lists,
  with independent numbers;
* a list that cannot be read, is not signed by the CA, is out of date or is older than the one in
  force changes nothing: a revoked certificate stays revoked. The lists of the CAs are judged
  separately;
* the list in force survives a restart, whatever happens to C{crl.pem} meanwhile.

L{decnet_syslog.trust._listfile} describes how a file is read.

We look up certificates by key and serial number ourselves, not through OpenSSL: its check refuses
every peer when a list is missing or out of date, and gives less precise reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ..errors import UserError
from ._issuers import isSigned, keyId, keyIds

__all__ = [
    "CRL_FILE",
    "List",
    "ListMissing",
    "Revocations",
    "makeList",
]

CRL_FILE = "crl.pem"

# The clocks of the CA's machine and the master's differ by minutes.
SKEW = timedelta(hours=1)


class ListMissing(UserError):
    """A CA's list is no longer in the file. The list in force stays valid."""


@dataclass(frozen=True)
class List:
    """
    One CA's list.

    @ivar authority: the signer.
    @ivar number: the CRL number (RFC 5280 section 5.2.3); 0 if there is none.
    @ivar serials: revoked serial numbers and their dates.
    @ivar until: when the list goes out of date; C{None}: never.
    @ivar pem: the list as in the file; several lists that count together, one after the other.
    """

    authority: x509.Certificate
    number: int
    until: datetime | None
    serials: Mapping[int, datetime]
    pem: bytes


@dataclass(frozen=True)
class Revocations:
    """
    The revocations in force.

    @ivar lists: by the L{keyId} of the CA.
    @ivar octets: the whole file.
    @ivar others: lists in the file from other CAs, in PEM.
    """

    lists: Mapping[str, List] = field(default_factory=dict)
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
        """The revoked serial numbers of a CA, and when each was revoked."""
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

    def otherThan(self, authority: x509.Certificate) -> bytes:
        """The lists in the file that are not a CA's own, in PEM."""
        own = keyId(authority)
        kept = [one.pem for key, one in self.lists.items() if key != own]
        return b"".join([pem + b"\n" for pem in (*kept, *self.others)])

    def after(
        self,
        before: Revocations,
        authorities: Sequence[x509.Certificate],
        now: datetime | None = None,
    ) -> tuple[Revocations, UserError | None]:
        """
        The lists to put in force, CA by CA: a CA's list never goes back.

        @param before: the lists in force.
        @param now: if given, a list that is out of date at this time does not replace another.
        @return: the lists, and why some of C{before} stay: L{ListMissing} if that is the only
            reason.
        """
        lists, flaws = dict(self.lists), list[UserError]()
        for key in keyIds(authorities):
            old, new = before.lists.get(key), lists.get(key)
            if new is None and old is None:
                continue
            flaw = _refuses(old, new, now)
            if flaw is None:
                continue
            flaws.append(flaw)
            if old is None:
                del lists[key]
            else:
                lists[key] = old
        if not flaws:
            return self, None
        octets = b"".join([one.pem + b"\n" for one in lists.values()])
        serious = [one for one in flaws if not isinstance(one, ListMissing)]
        return Revocations(lists, octets), (serious or flaws)[0]

    def outdated(self, now: datetime) -> datetime | None:
        """When the first of the lists went out of date; C{None} if none has."""
        ends = [one.until for one in self.lists.values() if one.until is not None]
        return min((end for end in ends if end + SKEW < now), default=None)


def _refuses(
    old: List | None, new: List | None, now: datetime | None
) -> UserError | None:
    """Why a list must not replace another one; C{None} if it may."""
    if new is None:
        return ListMissing("the list of a CA that was there before is missing")
    if now is not None and new.until is not None and new.until + SKEW < now:
        return UserError(f"it is out of date since {new.until:%Y-%m-%d}")
    if old is None:
        return None
    if new.number < old.number:
        return UserError(
            f"list number {new.number} is older than number {old.number}, which is in force"
        )
    if new.number == old.number and not old.serials.keys() <= new.serials.keys():
        return UserError(
            f"list number {new.number} is in force, but this list with the same number omits"
            " revoked certificates"
        )
    return None


def makeList(
    authority: x509.Certificate,
    key: CertificateIssuerPrivateKeyTypes,
    serials: Mapping[int, datetime],
    number: int,
) -> bytes:
    """
    Make a list, in PEM.

    It is valid as long as the CA: an attacker who can replace the file by an old one could also
    remove it. The number identifies an old list.
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
