"""The meaning of a failed handshake for the operator of a worker, and the remedy."""

from __future__ import annotations

from OpenSSL import SSL

from ..trust import Refusal, remedyFor, toldByAlert

__all__ = ["explainAlert", "explainRefusal"]


def explainRefusal(refusal: Refusal, name: str) -> tuple[str, str]:
    """Why we do not accept the peer's certificate, and the remedy."""
    return f"the peer's {refusal}", remedyFor(refusal, name)


_ALERTS = (
    (
        "handshake failure",
        "the two ends have no cipher in common",
        "the master must support TLS 1.2 with ECDHE and AEAD, or TLS 1.3",
    ),
    (
        "protocol version",
        "the two ends have no version of TLS in common",
        "the master must support TLS 1.2 or newer",
    ),
)

_OTHER = (
    "wrong version number",
    "packet length too long",
    "http request",
    "unknown protocol",
    "record layer failure",
    "bad record type",
)


def explainAlert(error: SSL.Error) -> tuple[str, str]:
    """The meaning of a TLS error here, and the remedy."""
    reasons = error.args[0] if error.args else ()
    text = "; ".join([str(entry[-1]) for entry in reasons]) or "TLS ended"
    if any(word in text for word in _OTHER):
        return (
            f"the peer does not speak TLS ({text})",
            "find the program on that port; rsyslog and syslog-ng need TLS on it",
        )
    told = toldByAlert(error)
    if told is not None:
        return f"{told.reason} ({text})", told.remedy
    if "alert" in text:
        for word, meaning, cure in _ALERTS:
            if word in text:
                return f"{meaning} ({text})", cure
    return text, "see the master's log"
