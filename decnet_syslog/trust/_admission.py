"""
Admission: the certificates that the listener accepts now.

An accepted certificate is a worker's (L{decnet_syslog.trust._roles.refuseWorker}), is not the
master's own, is not revoked, and is on the allow-list if there is one. The same rules, except the
allow-list, apply to an operator's certificate, which gives access to the status. The revocation
list (L{decnet_syslog.trust._inforce}) and the allow-list are files, which are read again when they
change. If a file is not valid, that is reported once, and the previous list stays in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from twisted.logger import Logger

from ..errors import UserError
from ._allowlist import AllowList, readAllowList
from ._bundles import Bundle
from ._filechanges import Watched
from ._inforce import InForce, utcNow
from ._issuers import isSigned, keyIds
from ._roles import Objection, refuseOperator, refuseOwn, refuseWorker

__all__ = ["Admission"]


class Admission:
    """
    The rules of admission that are in force.

    @ivar bundle: the master's certificates in use.
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
        @param crl: the revocation list; nothing is revoked until it exists for the first time.
        @param saved: the copy of the list in force.
        @param allow: the allow-list.
        @raise UserError: a file is not valid, and no earlier version is known.
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
                raise UserError(
                    f"the allow-list {allow}: {error}; correct it"
                ) from None

    def refuse(self, certificate: x509.Certificate) -> Objection | None:
        """Why a worker's certificate from the CA is not accepted; C{None} if it is."""
        reason = refuseWorker(certificate) or self._refuseAny(certificate)
        if reason is not None:
            return reason
        if self._allowed is not None and not self._allowed.allows(certificate):
            return Objection("not-allowed", "it is not on the allow-list")
        return None

    def refuseOperator(self, certificate: x509.Certificate) -> Objection | None:
        """The same for an operator's certificate. The allow-list does not concern operators."""
        return refuseOperator(certificate) or self._refuseAny(certificate)

    def _refuseAny(self, certificate: x509.Certificate) -> Objection | None:
        """The reasons that apply to every role."""
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
            f"it was revoked on {since:%Y-%m-%d %H:%M:%S} UTC, and so is every certificate that it"
            " signed",
        )

    @property
    def standing(self) -> object:
        """A value that changes whenever L{excludes} or L{allowedNames} may change."""
        return self._inForce.revocations, self._allowed, self.bundle

    @property
    def allowedNames(self) -> frozenset[str]:
        """The names on the allow-list, if there is one."""
        return frozenset() if self._allowed is None else self._allowed.names

    def excludes(self, name: str, print_: str, serial: int, key: str = "") -> bool:
        """
        Whether a certificate from the CA's list of issued certificates is not accepted.

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
        As L{refuse}, for an open connection whose certificate was accepted earlier.

        @param chain: the certificate, and those up to the CA that verified it.
        """
        return self._refuseChain(chain) or self.refuse(chain[0])

    def refuseOpenOperator(self, chain: Sequence[x509.Certificate]) -> Objection | None:
        """The same for an operator's certificate."""
        return self._refuseChain(chain) or self.refuseOperator(chain[0])

    def _refuseChain(self, chain: Sequence[x509.Certificate]) -> Objection | None:
        def isOf(authorities: Iterable[x509.Certificate]) -> bool:
            return any(isSigned(one, by) for by in authorities for one in chain)

        if isOf(self._retired) and not isOf(self.bundle.authorities):
            return Objection("revoked", "its CA is no longer trusted")
        for issuer in chain[1:]:
            reason = self.refuseIssuer(issuer)
            if reason is not None:
                return reason
        return None

    def use(self, bundle: Bundle) -> None:
        """
        Use other certificates for the master.

        @raise UserError: the revocations of one of its CAs are unknown.
        """
        self._inForce.use(bundle)
        gone = [ca for ca in self.bundle.authorities if ca not in bundle.authorities]
        self._retired = tuple(gone)
        self.bundle = bundle

    def reloadIfChanged(self) -> bool:
        """Read changed files again. Whether a certificate may now be refused that was accepted."""
        changed = self._inForce.reloadIfChanged()
        if self._watchedAllow is not None and self._watchedAllow.changed():
            changed = self._newAllowList() or changed
        return changed

    def _newAllowList(self) -> bool:
        assert self._allow is not None
        try:
            self._allowed = readAllowList(self._allow)
        except UserError as error:
            self._log.error(
                "the new allow-list {file} is not valid, the old one stays in force: {reason}."
                " Correct the file",
                event="reload-refused",
                file=str(self._allow),
                reason=str(error),
            )
            return False
        self._log.info(
            "the new allow-list {file} is in force: {count} entries",
            event="reloaded",
            file=str(self._allow),
            count=len(self._allowed.entries),
        )
        return True
