"""
Refusals: the reason and the remedy to log when the other end refuses a certificate.

The refusing end reports its reason in one of two ways: by a TLS alert that ends the handshake (RFC
8446 section 6.2), or, with the delivery extension, by C{BYE} with a code after the handshake
(docs/protocol.rst).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from OpenSSL import SSL

from ._verification import Refusal

__all__ = [
    "CODES",
    "KINDS",
    "MASTER_KIND",
    "MASTER_REFUSED",
    "Told",
    "alertOf",
    "remedyFor",
    "remedyOnMaster",
    "toldByAlert",
    "toldByCode",
]

# The kind of a refusal of a master's certificate by a worker.
MASTER_KIND = "master"


@dataclass(frozen=True)
class Told:
    """
    The reason why a master refuses a worker's certificate.

    @ivar kind: a word from a fixed set, for metrics.
    @ivar reason: the reason in words.
    @ivar remedy: the remedy in words.
    """

    kind: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


_ENROLL = (
    'run "decnet-syslog enroll" for it on the master and copy the certificates here'
)

_REVOKED = Told(
    "revoked",
    "this worker's certificate is revoked",
    "ask the master's operator why. If the worker may send again,"
    f" {_ENROLL}. Its lines stay in its files until then",
)

# The codes of BYE by which a master refuses a certificate.
CODES: Mapping[str, Told] = {
    "revoked": _REVOKED,
    "not-allowed": Told(
        "not-allowed",
        "this worker is not on the master's allow-list",
        "add its name or fingerprint to the listener's --allow file",
    ),
    "wrong-role": Told(
        "usage",
        "this certificate is not a worker's",
        f"it is an operator's, a CA's or a server's: {_ENROLL}",
    ),
    "name": Told(
        "name",
        "the name in this certificate cannot be a worker's",
        f"choose a name of letters, digits and . _ - @ +, and {_ENROLL}",
    ),
}

_AUTHORITY = Told(
    "authority",
    "the master does not trust the CA that issued this worker's certificate",
    "the CA was replaced, or the certificate comes from another master: run"
    ' "decnet-syslog enroll" on this master and copy the certificates here',
)

# Alerts, in OpenSSL's words.
_ALERTS: Mapping[str, Told] = {
    "certificate revoked": _REVOKED,
    "unknown ca": _AUTHORITY,
    "certificate expired": Told(
        "expired",
        "this worker's certificate has expired, by the master's clock",
        f"check both clocks, and {_ENROLL}",
    ),
    "unsupported certificate": CODES["wrong-role"],
    "certificate required": Told(
        "certificate",
        "the master requires a certificate but received none",
        "check worker.crt",
    ),
    "access denied": CODES["not-allowed"],
    **{
        alert: Told(
            "certificate",
            f"the master refuses this worker's certificate ({alert})",
            "the master's log has the reason, with the fingerprint",
        )
        for alert in (
            "bad certificate",
            "certificate unknown",
            "decrypt error",
            # Older listeners of ours send this for each refusal of their own.
            "internal error",
        )
    },
}

# Every kind.
KINDS = tuple(
    sorted({MASTER_KIND, *[told.kind for told in (*CODES.values(), *_ALERTS.values())]})
)

_OTHER_CA = "its certificate is from another CA: enroll it with this master's CA"

# The remedies for the listener's log, by code.
_ON_MASTER: Mapping[str, str] = {
    "revoked": 'if it may send again, enroll it again ("decnet-syslog enroll NAME --out DIR")',
    "not-allowed": "if it may send, add its name or fingerprint to the --allow file",
    "wrong-role": "it needs a worker's certificate: make one with"
    ' "decnet-syslog enroll NAME --out DIR"',
    "name": "enroll it with a name of letters, digits and . _ - @ +",
}

# The same by the words of a reason: OpenSSL's, or a role's.
_BY_WORDS = (
    (
        "operator's certificate",
        'make an operator\'s certificate ("decnet-syslog enroll NAME --role operator --out DIR")',
    ),
    (
        "expired",
        "renew it: enroll the worker again, or replace the CA (docs/trust.rst)",
    ),
    ("not yet valid", "check the clocks of the CA's machine and of this one"),
    ("purpose", _ON_MASTER["wrong-role"]),
    ("issuer", _OTHER_CA),
    ("self-signed", _OTHER_CA),
    ("signature", _OTHER_CA),
)

# Alerts by which a forwarder refuses the master, and the remedy on the master's side.
_NAME = (
    "master/worker.crt does not have the name that the forwarder expects (--master-name), or is"
    " not valid for servers; see the forwarder's log"
)
MASTER_REFUSED: Mapping[str, str] = {
    "bad certificate": _NAME,
    "certificate unknown": _NAME,
    "unsupported certificate": _NAME,
    "unknown ca": "its ca.crt does not contain the CA that issued master/worker.crt: add it there,"
    " or enroll the worker here",
    "certificate expired": "master/worker.crt has expired by the worker's clock: renew it",
    "certificate revoked": "the worker has a list that revokes master/worker.crt: renew it",
}


def remedyFor(refusal: Refusal, name: str) -> str:
    """
    The remedy when a worker refuses the certificate of the peer at the master's address.

    @param name: the expected name of the master.
    """
    reason = refusal.reason
    if any(w in reason for w in ("master's name", "not for servers", "purpose")):
        return (
            f"the peer at that address is not {name}: check --master-host; if it is the master and"
            " its certificate has another name, give that name with --master-name"
        )
    if "expired" in reason:
        return "renew the master's certificate and reload the listener"
    if "not yet valid" in reason:
        return "set this machine's clock"
    if any(w in reason for w in ("issuer", "self", "signature")):
        return (
            "it comes from another CA: copy ca.crt of the master here, or enroll this worker with"
            " the master's CA"
        )
    return "make the master's certificate again, with the CA in this worker's ca.crt"


def remedyOnMaster(code: str, reason: str) -> str:
    """
    The remedy for the listener's log when it refuses a certificate.

    @param code: the code of the L{Objection}; empty if OpenSSL refused the certificate.
    """
    if code in _ON_MASTER and "not an operator's" not in reason:
        return _ON_MASTER[code]
    for words, remedy in _BY_WORDS:
        if words in reason:
            return remedy
    return _ON_MASTER["wrong-role"]


def alertOf(error: BaseException | None) -> str | None:
    """The alert by which the peer ended TLS, in OpenSSL's words; C{None} if there was none."""
    if not isinstance(error, SSL.Error) or not error.args:
        return None
    try:
        said = str(error.args[0][-1][-1])
    except (IndexError, TypeError):
        return None
    _, found, alert = said.partition(" alert ")
    return alert if found else None


def toldByAlert(error: BaseException | None) -> Told | None:
    """The meaning of the peer's alert, if it concerns our certificate."""
    return _ALERTS.get(alertOf(error) or "")


def toldByCode(code: str) -> Told | None:
    """The meaning of a C{BYE} code, if it concerns our certificate."""
    return CODES.get(code)
