"""Answers of JetStream as values."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from ..untrusted import escapeUntrusted
from ._bus import NatsMessage

__all__ = [
    "FULL",
    "NAME_TAKEN",
    "NOT_YET",
    "NO_MESSAGE",
    "NO_STREAM",
    "WRONG_SEQUENCE",
    "Delivery",
    "StoredMessage",
    "errorOf",
    "nanoseconds",
    "parseHeaders",
]

# The error codes of JetStream that we handle.
NO_MESSAGE = 10037
NO_STREAM = 10059
NAME_TAKEN = 10058

# Errors of a cluster that has no leader yet, or does not know its nodes: incomplete, no peers, not
# assigned, not available, not the leader.
NOT_YET = (10004, 10005, 10007, 10008, 10009)

# Errors that mean "no room": the store has failed ("maximum bytes exceeded"), or the limits of the
# account or the server are reached.
FULL = (10077, 10002, 10023, 10047)

# Newer servers use the second code while another message of the subject is in progress.
WRONG_SEQUENCE = (10071, 10164)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """
    A message in the stream, mostly the last one of its subject.

    @ivar time: when it was stored, in nanoseconds, by the clock of a node.
    """

    seq: int
    time: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message from a consumer, with sequence and time as of L{StoredMessage}."""

    seq: int
    time: int
    message: NatsMessage


def nanoseconds(text: str) -> int:
    """Parse a time of JetStream: RFC 3339, UTC, with up to nine digits of a fraction."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


def errorOf(answer: Mapping[str, object]) -> tuple[int, str] | None:
    """Return the code and the text of the error in an answer of JetStream, if there is one."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return None
    words = escapeUntrusted(str(error.get("description", "")), 200, "readable")
    return int(error.get("err_code", 0)), words


def parseHeaders(encoded: str | None) -> dict[str, str]:
    """Parse headers as C{STREAM.MSG.GET} returns them."""
    headers = {}
    for line in (
        base64.b64decode(encoded or "").decode("utf-8", "replace").split("\r\n")
    ):
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers
