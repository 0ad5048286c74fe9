"""
Revoking at the CA: new lists in C{crl.pem}, each with a higher number than the one before.

What must be true: a list is on disk before its number is. A process that dies in between leaves a
list that is newer than its number, and the next command corrects the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509

from ..errors import UserError
from ._files import replaceFile
from ._issuers import keyId
from ._issuing import Signer
from ._listfile import readLists
from ._listnumbers import ListNumbers
from ._revocation import CRL_FILE, Revocations, makeList

__all__ = ["beginList", "bySigner", "readRevocations", "revokeSerials"]


def readRevocations(
    directory: Path, authorities: Sequence[x509.Certificate]
) -> Revocations:
    """
    The lists of a CA's C{crl.pem}.

    @raise UserError: the file is not valid.
    """
    path = directory / CRL_FILE
    try:
        return readLists(path, authorities)
    except UserError as error:
        raise UserError(
            f"{path}: {error}; repair it, or restore it from a backup"
        ) from None


def bySigner(
    serials: Iterable[int],
    key: str,
    issued: Iterable[Mapping[str, str]],
    signers: set[str],
) -> dict[str, list[int]]:
    """
    The serial numbers that each signer must revoke.

    @param key: the L{keyId} of the CA that issued them all. If empty, C{issued} shows it, and
        every signer revokes a number that is not listed there.
    @param issued: the certificates issued here.
    @param signers: the L{keyId}s of the trusted signers.
    @raise UserError: revocation would have no effect.
    """
    makers: dict[int, set[str]] = {}
    for entry in issued:
        makers.setdefault(int(entry["serial"], 16), set()).add(entry["authority"])
    wanted: dict[str, list[int]] = {}
    for serial in serials:
        of = {key} if key else makers.get(serial, signers)
        if not of & signers:
            raise UserError(
                f"serial {serial:x} is from a CA that was replaced: it is refused already, and"
                " no list can revoke it"
            )
        for one in of & signers:
            wanted.setdefault(one, []).append(serial)
    return wanted


def revokeSerials(
    directory: Path, before: Revocations, signer: Signer, serials: Sequence[int]
) -> list[int]:
    """
    Write a list with further serial numbers, unless it has them all.

    The caller holds the lock.

    @param before: the present lists.
    @return: the serial numbers that were not revoked before.
    @raise UserError: the present list is older than one that this CA has signed.
    """
    ListNumbers(directory).check(
        keyId(signer.certificate), before.number(signer.certificate)
    )
    known = before.serials(signer.certificate)
    new = [serial for serial in dict.fromkeys(serials) if serial not in known]
    if new:
        _write(directory, before, signer, new)
    return new


def beginList(directory: Path, before: Revocations, signer: Signer) -> None:
    """
    Make an empty list if there are only lists of other CAs: a listener does not accept a
    C{crl.pem} without a list from a CA that it trusts.

    The caller holds the lock.

    @param before: the present lists.
    """
    numbers, key = ListNumbers(directory), keyId(signer.certificate)
    number = before.number(signer.certificate)
    if before.octets and before.unknownOf([signer.certificate]):
        numbers.check(key, number)
        _write(directory, before, signer, [])
    elif before.octets:
        # The process may have died between a list and its number.
        numbers.note(key, number)


def _write(
    directory: Path, before: Revocations, signer: Signer, new: Sequence[int]
) -> None:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    known = {**before.serials(signer.certificate), **dict.fromkeys(new, now)}
    number = before.number(signer.certificate) + 1
    made = makeList(signer.certificate, signer.key, known, number)
    replaceFile(directory / CRL_FILE, made + before.otherThan(signer.certificate))
    # After the list: if we die in between, the list is newer than its number here.
    ListNumbers(directory).note(keyId(signer.certificate), number)
