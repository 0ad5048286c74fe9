"""
Bundles for many workers, in one directory: C{DIR/NAME}, or C{DIR/NAME.tar}.

A run that was interrupted is continued by the same command. C{worker.crt} is the last file of a
bundle (L{Authority.enroll}): a bundle without it is begun anew, under another certificate. A tar
file is made from the bundle C{DIR/.NAME}, which is removed after the tar file is on disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from ..durable import syncDirectory
from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._authority import Authority
from ._bundles import BUNDLE_FILES
from ._files import makeDirectory, replaceFile
from ._issuers import keyIds
from ._names import NameRefused, checkName
from ._parcels import makeTar, readParcel

__all__ = [
    "NAMES_OCTETS_MAX",
    "Bundles",
    "Holder",
    "expiring",
    "lockedOut",
    "readNames",
]

NAMES_OCTETS_MAX = 1024 * 1024

# Names that an error message lists.
SHOWN_MAX = 8


@dataclass(frozen=True)
class Holder:
    """
    Somebody who has certificates.

    @ivar role: C{worker} or C{operator}.
    @ivar until: the end of the one that is valid longest.
    """

    name: str
    role: str
    until: datetime


def readNames(octets: bytes, what: str) -> list[str]:
    """
    The names of a list: one on each line; empty lines and those that begin with C{#} are ignored.

    @param what: the list, for errors.
    @raise UserError: a name is unusable or there twice, or there is none.
    """
    try:
        lines = octets.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{what}: it is not a list of names in UTF-8") from None
    names: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip(" \t\r")
        if not name or name.startswith("#"):
            continue
        try:
            checkName(name)
        except NameRefused as error:
            raise UserError(f"{what}, line {number}: {error}") from None
        if name in names:
            raise UserError(
                f"{what}, line {number}: {name} is on line {names[name]} already"
            )
        names[name] = number
    if not names:
        raise UserError(f"{what}: it has no names; give one on each line")
    return list(names)


def _holders(entries: Iterable[dict[str, str]]) -> list[Holder]:
    """Each holder in a list of certificates, except the master, by name."""
    latest: dict[tuple[str, str], datetime] = {}
    for entry in entries:
        if entry["role"] != "master":
            who = (entry["name"], entry["role"])
            until = datetime.fromisoformat(entry["not_after"].replace("Z", "+00:00"))
            latest[who] = max(until, latest.get(who, until))
    return [Holder(*who, until) for who, until in sorted(latest.items())]


def expiring(
    authority: Authority, limit: datetime
) -> tuple[list[Holder], list[Holder]]:
    """
    Those whose newest certificate expires soon.

    @param limit: not later than this.
    @return: those whose certificate is still valid; and those whose last one has expired, and was
        not revoked.
    """
    good = _holders(authority.good())
    valid = {(one.name, one.role) for one in good}
    revoked = authority.revoked()
    keys = keyIds(authority.authorities())
    every = _holders(
        entry
        for entry in authority.enrolled()
        if entry["authority"] in keys
        and (entry["authority"], int(entry["serial"], 16)) not in revoked
    )
    gone = [one for one in every if (one.name, one.role) not in valid]
    return [one for one in good if one.until <= limit], gone


def lockedOut(authority: Authority, names: Iterable[str]) -> set[str]:
    """
    Those names whose newest certificate was revoked.

    A holder whose older certificates were revoked after a renewal is not locked out.
    """
    revoked = authority.revoked()
    # The list has the oldest first.
    newest = {entry["name"]: entry for entry in authority.enrolled()}
    return {
        name
        for name in names
        if (entry := newest.get(name)) is not None
        and (entry["authority"], int(entry["serial"], 16)) in revoked
    }


class Bundles:
    """
    The directory of bundles.

    @ivar directory: where it is.
    """

    def __init__(self, authority: Authority, directory: Path, tar: bool) -> None:
        """
        @param tar: make a tar file of each.
        """
        self.directory = directory
        self._authority = authority
        self._tar = tar

    def place(self, name: str) -> Path:
        """Where the bundle of a name is, or will be."""
        return self.directory / (f"{name}.tar" if self._tar else name)

    def _work(self, name: str) -> Path:
        return self.directory / (f".{name}" if self._tar else name)

    def isInterrupted(self, name: str) -> bool:
        """Whether a bundle was begun and is not complete."""
        work = self._work(name)
        return work.is_dir() and (self._tar or not (work / "worker.crt").exists())

    def interrupted(self, others: Iterable[Holder]) -> list[Holder]:
        """
        Those whose bundle was begun here and is not complete.

        @param others: known names, which are left out.
        """
        known = set(others)
        return [
            one
            for one in _holders(self._authority.good())
            if one not in known and self.isInterrupted(one.name)
        ]

    def made(self, name: str) -> x509.Certificate | None:
        """
        The certificate of a complete bundle; C{None} if there is none.

        @raise UserError: something else is in its place.
        """
        place = self.place(name)
        if not place.exists() or self.isInterrupted(name):
            return None
        files = readParcel(str(place))
        try:
            return x509.load_pem_x509_certificates(files["worker.crt"])[0]
        except ValueError:
            raise UserError(
                f"{place}: worker.crt is not a certificate: move it elsewhere"
            ) from None

    def check(self, names: Sequence[str], after: datetime | None = None) -> list[str]:
        """
        Those names that have no complete bundle here.

        @param after: a bundle that does not outlive this moment is an old one.
        @raise UserError: a bundle here is an old one, or not from a valid certificate of its name.
        """
        serials = {
            (entry["name"], int(entry["serial"], 16))
            for entry in self._authority.good()
        }
        left, wrong = [], []
        for name in names:
            certificate = self.made(name)
            if certificate is None:
                left.append(name)
            elif (name, certificate.serial_number) not in serials or (
                after is not None and certificate.not_valid_after_utc <= after
            ):
                wrong.append(str(self.place(name)))
        if wrong:
            shown = ", ".join(wrong[:SHOWN_MAX]) + (
                ", ..." if wrong[SHOWN_MAX:] else ""
            )
            raise UserError(
                f"{shown}: an old bundle, or another's, is in the place of the new one: move it"
                " away, or give another --out"
            )
        return left

    def make(self, name: str, role: str, days: int) -> x509.Certificate:
        """
        Make a bundle; on disk when this returns.

        @raise UserError: it cannot be made.
        """
        makeDirectory(self.directory)
        work = self._work(name)
        if self.isInterrupted(name):
            self._clear(work)
        certificate = self._authority.enroll(name, work, days=days, role=role)
        if self._tar:
            replaceFile(self.place(name), makeTar(readParcel(str(work))), 0o600)
            shutil.rmtree(work)
        try:
            syncDirectory(self.directory)
        except OSError as error:
            raise UserError(
                f"cannot write {self.directory}: {error.strerror}"
            ) from None
        return certificate

    def _clear(self, work: Path) -> None:
        """Remove an incomplete bundle, if it has nothing else."""
        names = {path.name for path in work.iterdir()}
        if others := names - {*BUNDLE_FILES, ".worker.crt.new"}:
            raise UserError(
                f"{work} contains {escapeUntrusted(min(others))}, which is not part of a bundle:"
                " move it elsewhere"
            )
        shutil.rmtree(work)
