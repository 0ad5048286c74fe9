"""
Files of revocation lists: C{crl.pem}, and its copy with the journal.

If a file has several lists from one key (files that were concatenated), the highest number wins;
lists with equal numbers are merged.

A list from a CA that is not in C{ca.crt} is ignored, because C{ca.crt} and C{crl.pem} cannot change
in the same instant. But a list that claims to be from a CA in C{ca.crt} without its signature makes
the whole file invalid. The claim is its key identifier; or its issuer name, if it has no key
identifier, or if that CA has no other list in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509

from ..errors import UserError
from ._files import readBounded
from ._issuers import canonicalName, identifierOf, keyId, keyIds
from ._revocation import SKEW, List, Revocations

__all__ = ["parseLists", "readLists"]

# A hundred thousand entries; a longer file is something else.
FILE_OCTETS_MAX = 8 * 1024 * 1024

_BEGIN = b"-----BEGIN X509 CRL-----"
_END = b"-----END X509 CRL-----"

# Extensions that may be critical. Other critical extensions (delta lists, partial lists) mean that
# the list is not complete.
_UNDERSTOOD = (x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid)


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

    @raise UserError: it claims to be from a CA of C{authorities}.
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
) -> tuple[str, List] | _Other:
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
                    "it is not a complete list (it has the critical extension"
                    f" {extension.oid.dotted_string})"
                )
        begins = crl.last_update_utc
        if begins > datetime.now(timezone.utc) + SKEW:
            raise UserError(
                f"it is not valid before {begins:%Y-%m-%d %H:%M} UTC: check the clocks of the CA's"
                " machine and of this one"
            )
        serials = {one.serial_number: one.revocation_date_utc for one in crl}
        made = List(authority, _number(crl), crl.next_update_utc, serials, pem)
        return keyId(authority), made
    except UserError:
        raise
    except Exception:
        # The library raises ValueError and others, such as InvalidVersion.
        raise UserError("it cannot be read as a revocation list") from None


def _together(one: List, other: List) -> List:
    """Combine two lists from one CA."""
    if one.number != other.number:
        return max(one, other, key=lambda each: each.number)
    ends = [each.until for each in (one, other) if each.until is not None]
    serials = {**one.serials, **other.serials}
    pem = one.pem + b"\n" + other.pem
    return List(one.authority, one.number, min(ends, default=None), serials, pem)


def parseLists(octets: bytes, authorities: Sequence[x509.Certificate]) -> Revocations:
    """
    The lists of a file.

    @raise UserError: the file is not valid; the message says why.
    """
    lists: dict[str, List] = {}
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

    @raise UserError: the file cannot be read, or is not valid.
    """
    octets = readBounded(path, FILE_OCTETS_MAX)
    if octets is None:
        return Revocations()
    return parseLists(octets, authorities)
