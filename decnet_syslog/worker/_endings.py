"""
Why a connection to a master ended, or could not be made.

The status page has one counter for each word (docs/watching.rst), so the set of words is fixed:
a master cannot add any.
"""

from __future__ import annotations

from twisted.internet.error import (
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.python.failure import Failure

from ..trust import Told, toldByAlert, toldByCode
from ._protocol import ForwarderProtocol

__all__ = ["BYE_CODES", "endOf", "failureOf", "textOf", "toldBy"]

# The codes that a master gives when it ends a connection: docs/protocol.rst.
BYE_CODES = (
    "shutdown",
    "superseded",
    "order",
    "position",
    "line-feed",
    "limit",
    "framing",
    "protocol",
    "no-space",
    "journal-went-back",
    "hostname",
    "revoked",
    "not-allowed",
    "wrong-role",
    "name",
    "error",
)


def endOf(
    connection: ForwarderProtocol,
    refused: str | None,
    told: Told | None,
    reason: Failure,
) -> str:
    """Why a connection ended, as one of a fixed set of words."""
    if refused is not None:
        return "certificate"
    if connection.lastBye is not None:
        code = connection.lastBye.code
        return f"bye-{code}" if code in BYE_CODES else "bye-other"
    if told is not None:
        return "alert"
    if connection.stalled:
        return "stalled"
    if connection.session is None:
        return "handshake"
    return "closed" if reason.check(ConnectionDone) else "lost"


def toldBy(connection: ForwarderProtocol, reason: Failure) -> Told | None:
    """Why the master refuses our certificate, if it sent a reason."""
    if connection.lastBye is not None:
        return toldByCode(connection.lastBye.code)
    return toldByAlert(reason.value)


def failureOf(reason: Failure) -> str:
    """Why a connection could not be made, as one of a fixed set of words."""
    for kind, word in (
        (ConnectionRefusedError, "refused"),
        (TimeoutError, "timeout"),
        (DNSLookupError, "dns"),
        (NoRouteError, "unreachable"),
    ):
        if reason.check(kind):
            return word
    return "other"


def textOf(reason: Failure) -> str:
    """Twisted's text for the end of a connection, as a part of a sentence of ours."""
    return reason.getErrorMessage().rstrip(".")
