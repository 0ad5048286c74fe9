"""
The listener's log of handshakes: the refused peer, the end that refused, and the remedy.
"""

from __future__ import annotations

from cryptography import x509
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..trust import (
    MASTER_REFUSED,
    Objection,
    alertOf,
    describeCertificate,
    eventOf,
    remedyOnMaster,
)
from ..wire import diagnoseHandshake

__all__ = ["HandshakeLog"]


class HandshakeLog:
    """
    Logs the end of a handshake.

    @ivar address: the peer's address.
    """

    _log = Logger()

    def __init__(self, address: str) -> None:
        self.address = address

    def late(self, seconds: float) -> None:
        """The handshake has taken too long."""
        self._log.warn(
            "refused {address}: {reason}",
            event="refused",
            address=self.address,
            reason=f"no handshake in {seconds:g} s",
        )

    def turnedAway(self, objection: Objection, certificate: x509.Certificate) -> None:
        """A certificate from our CA is not accepted."""
        subject, print_ = describeCertificate(certificate)
        self._log.warn(
            "refused {address}: {reason}; certificate {subject} {fingerprint}; {remedy}",
            event=eventOf(objection.code),
            address=self.address,
            reason=str(objection),
            subject=subject,
            fingerprint=print_,
            remedy=remedyOnMaster(objection.code, objection),
        )

    def failed(self, reason: Failure) -> None:
        """The handshake failed; one end refused the other."""
        alert = alertOf(reason.value)
        if alert is not None and alert in MASTER_REFUSED:
            self._log.warn(
                "refused {address}: it refuses our certificate ({reason}); {remedy}",
                event="refused",
                address=self.address,
                reason=f"handshake: {alert}",
                remedy=MASTER_REFUSED[alert],
            )
            return
        text = reason.getErrorMessage()
        remedy = diagnoseHandshake(text)
        self._log.warn(
            "refused {address}: no handshake: {reason}{remedy}",
            event="refused",
            address=self.address,
            reason=text,
            remedy=f"; {remedy}" if remedy else "",
        )

    def completed(self, worker: str, mode: str, unknownVersions: list[str]) -> None:
        """
        A worker is connected.

        @param mode: whether its lines are acknowledged, in words.
        @param unknownVersions: versions of the extension that only the worker speaks.
        """
        self._log.info(
            "{worker} connected from {address}, {mode}",
            worker=worker,
            address=self.address,
            mode=mode,
        )
        if unknownVersions:
            self._log.warn(
                "{worker} at {address} offers {versions}, which this listener does not"
                " speak: its lines are not acknowledged; upgrade decnet_syslog here",
                worker=worker,
                address=self.address,
                versions=", ".join(unknownVersions),
            )
