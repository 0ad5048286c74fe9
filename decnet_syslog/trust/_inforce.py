"""
The revocation lists in force, and the two files that they come from.

A revoked certificate must stay revoked when the listener starts again and C{crl.pem} is broken or
missing: a copy of the lists in force is kept with the journal. If one of the two files is damaged
and the other has no list from a CA, the revocations of that CA are unknown. Then the listener
does not start, and a running listener does not begin to trust that CA. Refused lines stay in the
workers' files; accepted lines of a revoked worker could not be taken back.

A CA whose list is older than the one in force, or gone, keeps the one in force; the lists of the
other CAs in the file are used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from twisted.logger import Logger

from ..errors import UserError
from ._bundles import Bundle
from ._filechanges import Watched
from ._files import replaceFile
from ._listfile import readLists
from ._revocation import ListMissing, Revocations

__all__ = ["InForce", "utcNow"]


def utcNow() -> datetime:
    """The present time."""
    return datetime.now(timezone.utc)


class InForce:
    """
    The lists in force.

    @ivar revocations: the lists.
    """

    _log = Logger()

    def __init__(
        self,
        bundle: Bundle,
        crl: Path,
        saved: Path,
        now: Callable[[], datetime] = utcNow,
    ) -> None:
        """
        @param bundle: the master's; its authorities sign the lists.
        @param crl: C{crl.pem}; nothing is revoked until it exists for the first time.
        @param saved: the copy of the lists in force.
        @raise UserError: the revocations of a CA are unknown.
        """
        self._crl = crl
        self._saved = saved
        self._now = now
        self._authorities = bundle.authorities
        # CAs that are no longer trusted, whose lists may still be in the file.
        self._retired: tuple[x509.Certificate, ...] = ()
        self._watched = Watched([crl])
        self._watchedSaved = Watched([saved])
        self._saidOutdated = False
        # In force but not saved yet: reported once, tried again at each look.
        self._unsaved = False
        self._saidUnsaved = False
        self.revocations = self._firstLists()

    def _firstLists(self) -> Revocations:
        """
        The lists on disk.

        @raise UserError: a file is damaged and the other one lacks the list of a CA.
        """
        damaged = ""
        try:
            saved = readLists(self._saved, self._authorities)
        except UserError as error:
            damaged = f"{self._saved}: {error}"
            self._alarm(self._saved, error)
            saved = Revocations()
        lists, flaw = self._read(saved, self._authorities)
        if flaw is not None:
            self._alarm(self._crl, flaw)
            if not isinstance(flaw, ListMissing):
                damaged = f"{self._crl}: {flaw}"
        if damaged and lists.unknownOf(self._authorities):
            raise UserError(
                f"the revoked certificates are unknown: {damaged}; copy crl.pem from the CA to"
                f" {self._crl}, or, if nothing was ever revoked, remove the damaged file"
            )
        self._save(lists)
        return lists

    def _read(
        self,
        before: Revocations,
        authorities: tuple[x509.Certificate, ...],
        now: datetime | None = None,
    ) -> tuple[Revocations, UserError | None]:
        """
        The lists to put in force, and why some of C{before} stay.

        @param now: see L{Revocations.after}.
        """
        try:
            every = (*authorities, *self._authorities, *self._retired)
            lists = readLists(self._crl, every)
            if lists.others and not lists.lists:
                raise UserError("it is not signed by the CA")
        except UserError as error:
            return before, error
        return lists.after(before, authorities, now)

    def use(self, bundle: Bundle) -> None:
        """
        Use other certificates for the master.

        C{crl.pem} may already have the list of a CA that is trusted only from now on.

        @raise UserError: the file is damaged and the revocations of that CA are unknown.
        """
        lists, flaw = self._read(self.revocations, bundle.authorities)
        damaged = flaw is not None and not isinstance(flaw, ListMissing)
        if damaged and lists.unknownOf(bundle.authorities):
            raise UserError(
                f"{self._crl}: {flaw}: the revocations of a CA in"
                f" {bundle.directory / 'ca.crt'} are unknown; copy crl.pem from the CA"
                " again"
            )
        gone = [ca for ca in self._authorities if ca not in bundle.authorities]
        self._retired, self._authorities = tuple(gone), bundle.authorities
        self._enforceNew(lists)

    def reloadIfChanged(self) -> bool:
        """Read the file again if it changed. Whether other lists are now in force."""
        changed = self._watched.changed() and self._newLists()
        if self._watchedSaved.changed():
            # We changed it, or it was damaged: write the lists in memory again if they differ.
            self._unsaved = True
        if self._unsaved:
            self._saveAgain()
        ended = self.revocations.outdated(self._now())
        if ended is not None and not self._saidOutdated:
            self._saidOutdated = True
            self._log.error(
                "the revocation list {file} stays in force, but {reason}. Copy a newer crl.pem"
                " from the CA",
                event="reload-refused",
                file=str(self._crl),
                reason=f"it is out of date since {ended:%Y-%m-%d}",
            )
        return changed

    def _newLists(self) -> bool:
        lists, flaw = self._read(self.revocations, self._authorities, self._now())
        if flaw is not None:
            self._alarm(self._crl, flaw)
        return self._enforceNew(lists)

    def _enforceNew(self, lists: Revocations) -> bool:
        """Put lists in force, unless they are in force already."""
        if lists.lists == self.revocations.lists:
            return False
        # In force first: a full disk must not keep a compromised worker accepted.
        self.revocations = lists
        self._unsaved = True
        self._saidOutdated = False
        self._log.info(
            "the new revocation list {file} is in force: {count} revoked certificates",
            event="reloaded",
            file=str(self._crl),
            count=sum([len(one.serials) for one in lists.lists.values()]),
        )
        return True

    def _save(self, lists: Revocations) -> None:
        try:
            same = self._saved.exists() and self._saved.read_bytes() == lists.octets
        except OSError:
            same = False
        if lists.octets and not same:
            replaceFile(self._saved, lists.octets, 0o600)

    def _saveAgain(self) -> None:
        try:
            self._save(self.revocations)
        except UserError as error:
            if not self._saidUnsaved:
                self._saidUnsaved = True
                self._log.error(
                    "the new revocation list {file} is in force, but cannot be saved: {reason}."
                    " Trying again; until then, a restart depends on this file alone",
                    event="reload-refused",
                    file=str(self._crl),
                    reason=str(error),
                )
            return
        self._unsaved = self._saidUnsaved = False

    def _alarm(self, path: Path, flaw: UserError) -> None:
        self._log.error(
            "the revocation list {file} is not used, the previous one stays in force: {reason}."
            " Copy crl.pem from the CA again",
            event="reload-refused",
            file=str(path),
            reason=str(flaw),
        )
