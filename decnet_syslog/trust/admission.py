"""
Admission: whose certificate the listener accepts, now.

A certificate must be a worker's (L{decnet_syslog.trust.roles.refuseWorker}), not be
the master's own, not be revoked, and, if there is an allow-list, be on it. An operator's,
who looks at the status, is judged likewise, but for the allow-list. The revocation list
(L{decnet_syslog.trust.inforce}) and the allow-list are files that are read again when they
change. A file that cannot be believed is said, once, and what was in force stays in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from twisted.logger import Logger

from ..errors import UserError
from .allowlist import AllowList, readAllowList
from .bundles import Bundle
from .inforce import InForce, utcNow
from .issuers import isSigned, keyIds
from .roles import Objection, refuseOperator, refuseOwn, refuseWorker
from .watching import Watched

__all__ = ["Admission"]


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
        now: Callable[[], datetime] = utcNow,
    ) -> None:
        """
        @param crl: the revocation list; nothing is revoked while there never was one.
        @param saved: where the list in force is kept.
        @param allow: the allow-list.
        @raise UserError: a file cannot be believed, and nothing else is known.
        """
        self.bundle = bundle
        self._allow = allow
        self._watchedAllow = None if allow is None else Watched([allow])
        # CAs that were trusted before the last change of the bundle.
        self._retired: tuple[x509.Certificate, ...] = ()
        self._keysOf: Bundle | None = None
        self._keys: list[str] = []
        self._inForce = InForce(bundle, crl, saved, now)
        self._allowed: AllowList | None = None
        if allow is not None:
            try:
                self._allowed = readAllowList(allow)
            except UserError as error:
                raise UserError(f"the allow-list {allow}: {error}; mend it") from None

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
        since = self._inForce.revocations.since(certificate)
        if own is not None or since is None:
            return own
        return Objection("revoked", f"it was revoked on {since:%Y-%m-%d %H:%M:%S} UTC")

    def refuseIssuer(self, certificate: x509.Certificate) -> Objection | None:
        """Why a certificate between a worker's and the CA's is not accepted."""
        since = self._inForce.revocations.since(certificate)
        if since is None:
            return None
        return Objection(
            "revoked",
            f"it was revoked on {since:%Y-%m-%d %H:%M:%S} UTC, and with it what it has signed",
        )

    @property
    def standing(self) -> object:
        """Another value when what L{excludes} and L{allowedNames} say may have changed."""
        return self._inForce.revocations, self._allowed, self.bundle

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
        lists = self._inForce.revocations.lists
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

        @raise UserError: the revocations of one of its CAs are unknown.
        """
        self._inForce.use(bundle)
        gone = [ca for ca in self.bundle.authorities if ca not in bundle.authorities]
        self._retired = tuple(gone)
        self.bundle = bundle

    def look(self) -> bool:
        """Read again what has changed. Whether somebody may be refused who was not."""
        changed = self._inForce.look()
        if self._watchedAllow is not None and self._watchedAllow.changed():
            changed = self._newAllowList() or changed
        return changed

    def _newAllowList(self) -> bool:
        assert self._allow is not None
        try:
            self._allowed = readAllowList(self._allow)
        except UserError as error:
            self._log.error(
                "{file} is not used, what was in force stays: {reason}",
                event="reload-refused",
                file=str(self._allow),
                reason=str(error),
            )
            return False
        self._log.warn(
            "the allow-list {file} is in force: {count} entries",
            event="reloaded",
            file=str(self._allow),
            count=len(self._allowed.entries),
        )
        return True
