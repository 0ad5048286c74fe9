"""
Provenance: the sender of a message, and the members of its record that come from the connection.

These members are ours: everything before C{source_worker} in a record comes from the message, and
a program on a machine under attack wrote it.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote

from ..values import value

__all__ = [
    "Provenance",
    "jsonAfterOffset",
    "jsonBeforeOffset",
    "provenanceFields",
    "replaceSurrogates",
    "wholeSeconds",
]

# Cached members per sender's file: for a single line they would take longer than the line itself.
SOURCES_MAX = 1024

_SURROGATES = re.compile("[\ud800-\udfff]")


@value
class Provenance:
    """
    The sender of a message, as the connection knows it.

    @ivar worker: the CN of the peer's certificate.
    @ivar fingerprint: the certificate's fingerprint, RFC 5425 section 4.2.2.
    @ivar address: the peer's address.
    @ivar receivedAt: RFC 3339, UTC, with microseconds and "Z".
    @ivar log: the file's name at the worker; hostile text.
    @ivar flagHostnameMismatch: whether a record shows that its HOSTNAME is not the worker's.
        This is decided when the message arrives: a record that is rendered again must have the
        same octets, although the configuration may have changed.

    No member has a default: a journal that forgot it would return the default, and no test would
    see the difference.
    """

    worker: str
    fingerprint: str
    address: str
    receivedAt: str
    log: str | None
    flagHostnameMismatch: bool


def replaceSurrogates(text: str) -> str:
    """Text that every JSON reader accepts: stray octets of a file name are surrogates."""
    return _SURROGATES.sub("\ufffd", text)


def wholeSeconds(receivedAt: str) -> str:
    """The time of arrival in DECNET's form."""
    return receivedAt[:19].replace("T", " ")


def _sourceFields(
    worker: str, fingerprint: str, address: str, log: str | None
) -> dict[str, object]:
    """
    The members that we add before the offset. The list is complete: later versions add members
    only to the end (docs/compatibility.rst).
    """
    return {
        "source_worker": replaceSurrogates(worker),
        "source_fingerprint": replaceSurrogates(fingerprint),
        "source_address": replaceSurrogates(address),
        "source_log": None if log is None else replaceSurrogates(log),
    }


def _arrivalFields(provenance: Provenance) -> dict[str, str]:
    """
    The members that we add after the offset, on every path. A new member for a fact in the
    provenance belongs here, at the end.
    """
    return {"received_at": provenance.receivedAt}


def provenanceFields(provenance: Provenance, offset: int | None) -> dict[str, object]:
    """The members of a record that we add."""
    who = provenance
    return {
        **_sourceFields(who.worker, who.fingerprint, who.address, who.log),
        "source_offset": offset,
        **_arrivalFields(who),
    }


def jsonBeforeOffset(provenance: Provenance) -> bytes:
    """The JSON of a record from the end of C{raw_line} to the offset."""
    who = provenance
    return _jsonBefore(who.worker, who.fingerprint, who.address, who.log)


# Without the time of arrival, which differs from batch to batch.
@lru_cache(maxsize=SOURCES_MAX)
def _jsonBefore(worker: str, fingerprint: str, address: str, log: str | None) -> bytes:
    head = _sourceFields(worker, fingerprint, address, log)
    # The quote ends raw_line, which is the last member before ours.
    return f'", {json.dumps(head)[1:-1]}, "source_offset": '.encode("ascii")


def jsonAfterOffset(provenance: Provenance) -> str:
    """The JSON of a record after the offset, without its end."""
    members = _arrivalFields(provenance).items()
    return "".join([f', "{name}": {_quote(text)}' for name, text in members])
