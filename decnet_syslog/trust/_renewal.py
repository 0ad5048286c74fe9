"""
Renewal: certificates that are replaced on disk are used for new connections.

The files of a new bundle must match, and its certificate must be valid now, for the same use, and
have the same name as the one in use. Otherwise it is refused once, with the reason, and the old one
stays in use. If C{use} refuses it for a reason outside the files, it is offered again at each look.
Open connections stay open, with the certificate that they began with.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from twisted.logger import Logger

from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._bundles import BUNDLE_FILES, Bundle, BundleError
from ._filechanges import Watched
from ._names import NameRefused, fingerprint, peerName
from ._roles import serves

__all__ = ["Renewal"]


class Renewal:
    """
    Watches the directory of a bundle.

    @ivar bundle: the bundle in use.
    """

    _log = Logger()

    def __init__(
        self,
        bundle: Bundle,
        usage: x509.ObjectIdentifier,
        use: Callable[[Bundle], None],
    ) -> None:
        """
        @param usage: the extended key usage that the certificate must have.
        @param use: uses a bundle for new connections.
        """
        self.bundle = bundle
        self._usage = usage
        self._use = use
        self._watched = Watched([bundle.directory / name for name in BUNDLE_FILES])
        # The bundle that C{use} refused, for a reason outside its files.
        self._waiting: Bundle | None = None
        self._said = ""

    def reloadIfChanged(self) -> None:
        """Use the files if they are new and valid."""
        if self._watched.changed():
            self._waiting, self._said = None, ""
            try:
                bundle = Bundle.load(self.bundle.directory)
                self._check(bundle)
            except UserError as error:
                self._refused(error)
                return
            self._waiting = bundle
        if self._waiting is not None:
            self._offer(self._waiting)

    def _refused(self, error: UserError) -> None:
        if str(error) != self._said:
            self._said = str(error)
            self._log.error(
                "the new certificate is not used, the old one stays in use: {reason}",
                event="reload-refused",
                reason=str(error),
            )

    def _offer(self, bundle: Bundle) -> None:
        try:
            self._use(bundle)
        except UserError as error:
            self._refused(error)
            return
        self._waiting = None
        self.bundle = bundle
        self._log.info(
            "using the new certificate {fingerprint}, valid until {until:%Y-%m-%d}, for new"
            " connections",
            event="reloaded",
            fingerprint=fingerprint(bundle.certificate),
            until=bundle.certificate.not_valid_after_utc,
        )

    def _check(self, bundle: Bundle) -> None:
        path = bundle.directory / "worker.crt"
        try:
            new, old = peerName(bundle.certificate), peerName(self.bundle.certificate)
        except NameRefused as error:
            raise BundleError(path, str(error), "copy the right certificate") from None
        if new != old:
            raise BundleError(
                path,
                f"is for {escapeUntrusted(new)}, not {escapeUntrusted(old)}",
                "restart to change the name",
            )
        if not serves(bundle.certificate, self._usage):
            raise BundleError(
                path, "is not valid for this end", "copy the right certificate"
            )
