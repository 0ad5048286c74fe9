"""
Records for tests: rendered as one piece of octets, and made without the product's renderers.

L{record} is the oracle for all code paths of L{decnet_syslog.wire._record}.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from decnet_syslog.wire._decnet import read
from decnet_syslog.wire._hostname import contradicts
from decnet_syslog.wire._provenance import Provenance, provenanceFields, wholeSeconds
from decnet_syslog.wire._record import MISMATCH, renderLines, renderRuns

__all__ = ["record", "renderRecords"]


def record(
    message: bytes, provenance: Provenance, offset: int | None
) -> dict[str, object]:
    """
    The record of a message, member by member.

    @param offset: the message's offset in the worker's file; C{None} if there is no file.
    """
    try:
        text, whole = message.decode("utf-8"), True
    except UnicodeDecodeError:
        text, whole = message.decode("utf-8", "replace"), False
    now = wholeSeconds(provenance.receivedAt)
    reading = read(text)
    if reading is None:
        reading = (now, "-", "-", "unparsed", "Unknown", {}, text)
    stamp, decky, service, event, attacker, fields, msg = reading
    made: dict[str, object] = {
        "timestamp": stamp or now,
        "decky": decky,
        "service": service,
        "event_type": event,
        "attacker_ip": attacker,
        "fields": fields,
        "msg": msg,
        "raw_line": text,
        **provenanceFields(provenance, offset),
    }
    if provenance.flagHostnameMismatch and contradicts(decky, provenance.worker):
        made[MISMATCH] = True
    if not whole:
        made["raw_base64"] = b64encode(message).decode("ascii")
    return made


def renderRecords(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> bytes:
    """
    Render messages with L{renderRuns}, and check that L{renderLines} renders the same
    for messages that are lines.
    """
    made = b"".join(renderRuns(messages, provenance, start))
    if messages and not any(b"\n" in message for message in messages):
        lines = b"".join([message + b"\n" for message in messages])
        again = b"".join(renderLines(lines, provenance, start))
        assert again == made, (again, made)
    return made
