"""
Admission: whose certificate the listener accepts, now.

A certificate must be a worker's (L{decnet_syslog.trust.roles.refuseWorker}), not be
the master's own, not be revoked, and, if there is an allow-list, be on it. An operator's,
who looks at the status, is judged likewise, but for the allow-list. The revocation list
and the allow-list are files that are read again when they change. A file that cannot be
believed is said, once, and what was in force stays in force.

What is revoked must stay so when the listener starts again and C{crl.pem} is broken or
gone: a copy of the list in force is kept beside the journal. If one of the two files is damaged
and the other has no list from a CA, the revocations of that CA are unknown. Then the listener
does not start, and a running listener does not begin to trust that CA. Refused lines stay in the
workers' files; accepted lines of a revoked worker could not be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.logger import Logger

from ..errors import UserError
from .allowlist import AllowList, readAllowList
from .bundles import Bundle
from .files import replaceFile
from .issuers import isSigned, keyIds
from .revocation import ListMissing, Revocations, readLists
from .roles import Objection, refuseOperator, refuseOwn, refuseWorker
from .watching import Watched

__all__ = ["Admission"]


def _utcNow() -> datetime:
    return datetime.now(timezone.utc)


class Admission:
    """
    Who may send.

    @ivar bundle: the master's, in use.
    """

    _log = Logger()

    def __init__(
        self,
        bundle: Bundle,
        crl: Path,
        saved: Path,
        allow: Path | None = None,
        now: Any = _utcNow,
    ) -> None:
        """
        @param crl: the revocation list; nothing is revoked while there never was one.
        @param saved: where the list in force is kept.
        @param allow: the allow-list.
        @raise UserError: a file cannot be believed, and nothing else is known.
        """
        self.bundle = bundle
        self._crl = crl
        self._saved = saved
        self._allow = allow
        self._now = now
        self._watched = Watched([crl])
        self._watchedSaved = Watched([saved])
        self._watchedAllow = None if allow is None else Watched([allow])
        self._saidOutdated = False
        # In force, and its copy is not written: said once, tried at each look.
        self._unsaved: Revocations | None = None
        self._saidUnsaved = False
        # CAs that were trusted before the last change of the bundle.
        self._retired: tuple[x509.Certificate, ...] = ()
        self._keysOf: Bundle | None = None
        self._keys: list[str] = []
        self._revocations = self._firstLists()
        self._allowed: AllowList | None = None
        if allow is not None:
            try:
                self._allowed = readAllowList(allow)
            except UserError as error:
                raise UserError(f"the allow-list {allow}: {error}; mend it") from None

    def _firstLists(self) -> Revocations:
        """
        The lists on disk.

        @raise UserError: a file is damaged and the other one lacks the list of a CA: its
            revocations are unknown.
        """
        damaged = ""
        try:
            saved = readLists(self._saved, self.bundle.authorities)
        except UserError as error:
            damaged = f"{self._saved}: {error}"
            self._alarm(self._saved, str(error))
            saved = Revocations()
        lists, flaw = self._read(saved, self.bundle)
        if flaw is not None:
            self._alarm(self._crl, str(flaw))
            if not isinstance(flaw, ListMissing):
                damaged = f"{self._crl}: {flaw}"
        if damaged and lists.unknownOf(self.bundle.authorities):
            raise UserError(
                f"the revoked certificates cannot be known: {damaged}; copy crl.pem from the CA"
                f" to {self._crl}, or, if nothing was ever revoked, remove the damaged file"
            )
        if flaw is None:
            self._save(lists)
        return lists

    def _read(
        self, before: Revocations, bundle: Bundle
    ) -> tuple[Revocations, UserError | None]:
        """
        The lists in C{crl.pem} if the file is valid; else the previous lists and the error.
        """
        try:
            # The file may still have the list of a CA that was trusted until now.
            every = (*bundle.authorities, *self.bundle.authorities, *self._retired)
            lists = readLists(self._crl, every)
            if lists.others and not lists.lists:
                raise UserError("it is not signed by the CA")
            lists.checkNewer(before, bundle.authorities)
        except UserError as error:
            return before, error
        return lists, None

    def _save(self, lists: Revocations) -> None:
        try:
            same = self._saved.exists() and self._saved.read_bytes() == lists.octets
        except OSError:
            same = False
        if lists.octets and not same:
            replaceFile(self._saved, lists.octets, 0o600)

    def _saveUnsaved(self) -> None:
        if self._watchedSaved.changed():
            # Changed by us, or damaged: write the list in memory again if it differs.
            self._unsaved = self._revocations
        if self._unsaved is None:
            return
        try:
            self._save(self._unsaved)
        except UserError as error:
            if not self._saidUnsaved:
                self._saidUnsaved = True
                self._log.error(
                    "the revocation list {file} is in force; no copy of it is kept yet:"
                    " {reason}",
                    event="reload-refused",
                    file=str(self._crl),
                    reason=str(error),
                )
            return
        self._unsaved, self._saidUnsaved = None, False

    def refuse(self, certificate: x509.Certificate) -> Objection | None:
        """Why a certificate that the CA has signed is not accepted; C{None} if it is."""
        reason = refuseWorker(certificate) or self._refuseAny(certificate)
        if reason is not None:
            return reason
        if self._allowed is not None and not self._allowed.allows(certificate):
            return Objection("not-allowed", "it is not on the allow-list")
        return None

    def refuseOperator(self, certificate: x509.Certificate) -> Objection | None:
        """The same of an operator's. The allow-list is of those who send."""
        return refuseOperator(certificate) or self._refuseAny(certificate)

    def _refuseAny(self, certificate: x509.Certificate) -> Objection | None:
        """What keeps out everybody, whoever they are."""
        own = refuseOwn(certificate, self.bundle.certificate)
        since = self._revocations.since(certificate)
        if own is not None or since is None:
            return own
        return Objection("revoked", f"it was revoked on {since:%Y-%m-%d %H:%M:%S} UTC")

    def refuseIssuer(self, certificate: x509.Certificate) -> Objection | None:
        """Why a certificate between a worker's and the CA's is not accepted."""
        since = self._revocations.since(certificate)
        if since is None:
            return None
        return Objection(
            "revoked",
            f"it was revoked on {since:%Y-%m-%d %H:%M:%S} UTC, and with it what it has signed",
        )

    @property
    def standing(self) -> object:
        """Another value when what L{excludes} and L{allowedNames} say may have changed."""
        return self._revocations, self._allowed, self.bundle

    @property
    def allowedNames(self) -> frozenset[str]:
        """Those that the allow-list names, if there is one."""
        return frozenset() if self._allowed is None else self._allowed.names

    def excludes(self, name: str, print_: str, serial: int, key: str = "") -> bool:
        """
        Whether a certificate that our CA has made, by its list, is not accepted.

        @param key: the L{keyId} of its issuer; empty if unknown.
        """
        if self._keysOf is not self.bundle:
            # Called for each of up to ten thousand workers.
            self._keysOf, self._keys = self.bundle, keyIds(self.bundle.authorities)
        ours = self._keys
        if key and key not in ours:
            return True
        lists = self._revocations.lists
        if any(serial in lists[one].serials for one in ours if one in lists):
            return True
        return self._allowed is not None and not self._allowed.allowsNamed(name, print_)

    def refuseOpen(self, chain: Sequence[x509.Certificate]) -> Objection | None:
        """
        As L{refuse}, of a connection whose certificate was accepted earlier.

        @param chain: it, and those by which it was.
        """
        return self._refuseChain(chain) or self.refuse(chain[0])

    def refuseOpenOperator(self, chain: Sequence[x509.Certificate]) -> Objection | None:
        """The same of an operator's."""
        return self._refuseChain(chain) or self.refuseOperator(chain[0])

    def _refuseChain(self, chain: Sequence[x509.Certificate]) -> Objection | None:
        def isOf(authorities: Iterable[x509.Certificate]) -> bool:
            return any(isSigned(one, by) for by in authorities for one in chain)

        if isOf(self._retired) and not isOf(self.bundle.authorities):
            return Objection("revoked", "its CA is not trusted any more")
        for issuer in chain[1:]:
            reason = self.refuseIssuer(issuer)
            if reason is not None:
                return reason
        return None

    def use(self, bundle: Bundle) -> None:
        """
        The master has another bundle.

        C{crl.pem} may already have the list of a CA that is trusted only from now on.

        @raise UserError: the file is damaged and the revocations of that CA are unknown.
        """
        lists, flaw = self._read(self._revocations, bundle)
        if flaw is not None:
            damaged = not isinstance(flaw, ListMissing)
            if damaged and lists.unknownOf(bundle.authorities):
                raise UserError(
                    f"{self._crl}: {flaw}: the revocations of a CA in"
                    f" {bundle.directory / 'ca.crt'} cannot be known; copy crl.pem from the CA"
                    " again"
                )
        elif lists.octets != self._revocations.octets or (
            lists.lists.keys() != self._revocations.lists.keys()
        ):
            self._enforce(lists)
        gone = [ca for ca in self.bundle.authorities if ca not in bundle.authorities]
        self._retired = tuple(gone)
        self.bundle = bundle

    def look(self) -> bool:
        """Read again what has changed. Whether somebody may be refused who was not."""
        changed = self._watched.changed() and self._newLists()
        self._saveUnsaved()
        if self._watchedAllow is not None and self._watchedAllow.changed():
            changed = self._newAllowList() or changed
        ended = self._revocations.outdated(self._now())
        if ended is not None and not self._saidOutdated:
            self._saidOutdated = True
            self._alarm(self._crl, f"it is out of date since {ended:%Y-%m-%d}")
        return changed

    def _newLists(self) -> bool:
        lists, flaw = self._read(self._revocations, self.bundle)
        ended = lists.outdated(self._now())
        if flaw is None and ended is not None:
            flaw = UserError(f"it is out of date since {ended:%Y-%m-%d}")
        if flaw is not None:
            self._alarm(self._crl, str(flaw))
            return False
        self._enforce(lists)
        return True

    def _enforce(self, lists: Revocations) -> None:
        """Put lists in force."""
        # In force first: a full disk must not keep a worker that was broken into.
        self._revocations = self._unsaved = lists
        self._saidOutdated = False
        self._log.warn(
            "the revocation list {file} is in force: {count} certificates",
            event="reloaded",
            file=str(self._crl),
            count=sum([len(one.serials) for one in lists.lists.values()]),
        )

    def _newAllowList(self) -> bool:
        assert self._allow is not None
        try:
            self._allowed = readAllowList(self._allow)
        except UserError as error:
            self._alarm(self._allow, str(error))
            return False
        self._log.warn(
            "the allow-list {file} is in force: {count} entries",
            event="reloaded",
            file=str(self._allow),
            count=len(self._allowed.entries),
        )
        return True

    def _alarm(self, path: Path, reason: str) -> None:
        self._log.error(
            "{file} is not used, what was in force stays: {reason}",
            event="reload-refused",
            file=str(path),
            reason=reason,
        )
