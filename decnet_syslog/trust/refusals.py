"""
Refusals: what an end is told when the other one does not accept its certificate, in words for
people: why, and what to do.

Two things can be told: an alert of TLS, which ends a handshake (RFC 8446 section 6.2), and, with
the delivery extension, C{BYE} with a code behind it (docs/protocol.rst).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from OpenSSL import SSL

from .verification import Refusal

__all__ = [
    "CODES",
    "KINDS",
    "MASTER_KIND",
    "MASTER_REFUSED",
    "Told",
    "alertOf",
    "remedyFor",
    "toldByAlert",
    "toldByCode",
]

# The kind of a refusal of a master's certificate by a worker.
MASTER_KIND = "master"


@dataclass(frozen=True)
class Told:
    """
    Why a master does not accept a worker's certificate.

    @ivar kind: one of a fixed number of words, for metrics.
    @ivar reason: in words.
    @ivar remedy: what to do.
    """

    kind: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


_ENROLL = 'make a bundle for it on the master ("decnet-syslog enroll") and copy it here'

_REVOKED = Told(
    "revoked",
    "this worker's certificate is revoked",
    "somebody has shut it out: ask why; if it may send again,"
    f" {_ENROLL}; lines wait in its files meanwhile",
)

# The codes of BYE by which a master refuses a certificate.
CODES: Mapping[str, Told] = {
    "revoked": _REVOKED,
    "not-allowed": Told(
        "not-allowed",
        "this worker is not on the master's allow-list",
        "add its name or fingerprint to the file that the listener has as --allow",
    ),
    "wrong-role": Told(
        "usage",
        "this certificate is not a worker's",
        f"it is an operator's, a CA's or a server's: {_ENROLL}",
    ),
    "name": Told(
        "name",
        "the name in this certificate cannot be a worker's",
        f"choose one of letters, digits and . _ - @ +, and {_ENROLL}",
    ),
}

_AUTHORITY = Told(
    "authority",
    "the master does not trust the CA that has made this worker's certificate",
    "the CA was replaced, or this is another master's bundle: make one on this master"
    ' ("decnet-syslog enroll") and copy it here',
)

# Alerts, in OpenSSL's words. What says less comes later.
_ALERTS: Mapping[str, Told] = {
    "certificate revoked": _REVOKED,
    "unknown ca": _AUTHORITY,
    "certificate expired": Told(
        "expired",
        "this worker's certificate has expired, by the master's clock",
        f"look at both clocks, and {_ENROLL}",
    ),
    "unsupported certificate": CODES["wrong-role"],
    "certificate required": Told(
        "certificate",
        "the master asks for a certificate and got none",
        "look at worker.crt",
    ),
    "access denied": CODES["not-allowed"],
    **{
        alert: Told(
            "certificate",
            f"the master refuses this worker's certificate ({alert})",
            "its log has the reason, with the fingerprint",
        )
        for alert in (
            "bad certificate",
            "certificate unknown",
            "decrypt error",
            # A listener of ours before version 1.1 says this for every refusal of its own.
            "internal error",
        )
    },
}

# Every kind.
KINDS = tuple(
    sorted({MASTER_KIND, *[told.kind for told in (*CODES.values(), *_ALERTS.values())]})
)

# Alerts by which a forwarder refuses a master, and what to do on the master's side.
_NAME = (
    "the name that it expects (its --master-name) is not one of master/worker.crt, or that is not"
    " for servers; see the forwarder's log"
)
MASTER_REFUSED: Mapping[str, str] = {
    "bad certificate": _NAME,
    "certificate unknown": _NAME,
    "unsupported certificate": _NAME,
    "unknown ca": "its ca.crt does not have the CA that has made master/worker.crt: copy it there,"
    " or enrol it here",
    "certificate expired": "master/worker.crt has expired, by its clock: renew it",
    "certificate revoked": "it has a list that revokes master/worker.crt: renew it",
}


def remedyFor(refusal: Refusal, name: str) -> str:
    """
    What to do when a worker refuses who answers in the place of the master.

    @param name: that the master must have.
    """
    reason = refusal.reason
    if any(w in reason for w in ("master's name", "not for servers", "purpose")):
        return (
            f"who answers there is not {name}: look where --master-host leads; if it is the"
            " master and its certificate has another name, give that with --master-name"
        )
    if "expired" in reason:
        return "renew the master's certificate and reload the listener"
    if "not yet valid" in reason:
        return "set this machine's clock"
    if any(w in reason for w in ("issuer", "self", "signature")):
        return (
            "another CA has signed it: copy ca.crt of the master here, or enrol this worker"
            " with the master's CA"
        )
    return "make the master's identity anew, with the CA that this worker knows"


def alertOf(error: BaseException | None) -> str | None:
    """The alert by which the other end has closed TLS, in OpenSSL's words; C{None}: by none."""
    if not isinstance(error, SSL.Error) or not error.args:
        return None
    try:
        said = str(error.args[0][-1][-1])
    except (IndexError, TypeError):
        return None
    _, found, alert = said.partition(" alert ")
    return alert if found else None


def toldByAlert(error: BaseException | None) -> Told | None:
    """What the other end has said by an alert, if that is about our certificate."""
    return _ALERTS.get(alertOf(error) or "")


def toldByCode(code: str) -> Told | None:
    """What the code of a C{BYE} says, if that is about our certificate."""
    return CODES.get(code)
