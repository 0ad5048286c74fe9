"""
The DECNET record: a message as a line of JSON.

The keys C{timestamp, decky, service, event_type, attacker_ip, fields, msg, raw_line,
source_worker} and their values are what DECNET's own parser gives, and what its consumers
read. Where that parser contradicts RFC 5424 (escaped brackets, several SD-ELEMENTs, a
bracket in the text) this one follows the RFC. What that parser drops has a record here,
too, with C{event_type} "unparsed".

What must be true: a record never fails, whatever the octets; it is a function of its
arguments (a record that is rendered again after a crash is the same octets); it is one
line of ASCII (a reader that takes U+2028 or U+0085 for a line end sees none); and its
cost is linear in the octets.

Everything before C{source_worker} comes from the message, so it is what somebody on a
machine under attack wrote. Everything from there on is ours.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .rfc5424 import MessageError, parseStructuredData

__all__ = ["Provenance", "record", "renderRecords"]

# DECNET's services write their parameters in this element; others are not theirs.
SD_ID = "relay@55555"

# Where the attacker's address is looked for, the first that is there.
ADDRESS_NAMES = (
    "src_ip",
    "src",
    "client_ip",
    "remote_ip",
    "remote_addr",
    "target_ip",
    "ip",
)

_HEADER = re.compile(r"<[0-9]{1,3}>1 (\S+) (\S+) (\S+) (\S+) (\S+) (.+)\Z", re.DOTALL)
# A message that rsyslog has wrapped: the inner version "1" has become the APP-NAME.
_INNER = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T\S+) (\S+) (\S+) (\S+) (\S+) (.+)\Z", re.DOTALL
)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z"
)
_ADDRESS_PORT = re.compile(
    r"([0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})\Z"
)
_IN_TEXT = re.compile(r"(?<!\S)\S?(" + "|".join(ADDRESS_NAMES) + r"|rhost)=(\S+)")
_ANY_ADDRESS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Provenance:
    """
    Who sent a message: what the connection knows of it.

    @ivar worker: the CN of the peer's certificate.
    @ivar fingerprint: of the certificate, RFC 5425 section 4.2.2.
    @ivar address: where it connected from.
    @ivar receivedAt: RFC 3339, UTC, with microseconds and "Z".
    @ivar log: the file, as the worker names it; hostile text.
    """

    worker: str
    fingerprint: str
    address: str
    receivedAt: str
    log: str | None


def _time(text: str) -> str:
    """A timestamp as DECNET shows it: local to its own offset, whole seconds."""
    match = _TIME.match(text)
    if match is None:
        return text
    shown = f"{match[1]} {match[2] or '00:00:00'}"
    try:
        datetime.fromisoformat(shown)
    except ValueError:
        return text
    return shown


def _structuredData(text: str) -> tuple[dict[str, str], str]:
    """The parameters of DECNET's own element, and the text behind all elements."""
    if text.startswith("-"):
        return {}, text[1:].lstrip()
    if not text.startswith("["):
        return {}, text
    try:
        elements, end = parseStructuredData(text, 0)
    except MessageError:
        return {}, text
    if end < len(text) and text[end] != " ":
        return {}, text
    fields: dict[str, str] = {}
    for element in elements:
        if element.id == SD_ID:
            fields.update(element.params)
    return fields, text[end:].strip()


def _attacker(fields: dict[str, str], msg: str) -> str:
    """The attacker's address. Adds C{remote_port} to the fields if it had one."""
    for name in ADDRESS_NAMES:
        if name in fields:
            address = fields[name]
            pair = _ADDRESS_PORT.match(address)
            if pair is None:
                return address
            fields.setdefault("remote_port", pair[2])
            return pair[1].strip("[]")
    if not msg:
        return "Unknown"
    if "=" in msg:
        found: dict[str, str] = {}
        for name, address in _IN_TEXT.findall(msg):
            found.setdefault(name, address)
        for name in (*ADDRESS_NAMES, "rhost"):
            if name in found:
                pair = _ADDRESS_PORT.match(found[name])
                return found[name] if pair is None else pair[1].strip("[]")
    anywhere = _ANY_ADDRESS.search(msg)
    return "Unknown" if anywhere is None else anywhere[0]


def _parse(
    text: str, receivedAt: str
) -> tuple[str, str, str, str, str, dict[str, str], str]:
    """timestamp, decky, service, event_type, attacker_ip, fields, msg."""
    header = _HEADER.match(text)
    if header is None:
        now = receivedAt[:19].replace("T", " ")
        return now, "-", "-", "unparsed", "Unknown", {}, text
    stamp, decky, service, process, event, rest = header.groups()
    fields, msg = _structuredData(rest)
    if service == "1" and process == event == "-" and rest.startswith("- "):
        inner = _INNER.match(msg)
        if inner is not None:
            stamp, decky, service, _, event, rest = inner.groups()
            fields, msg = _structuredData(rest)
    if event == "-" and msg.startswith("CMD "):
        event = "command"
    return _time(stamp), decky, service, event, _attacker(fields, msg), fields, msg


def _text(message: bytes) -> tuple[str, bool]:
    """A message's text, and whether that is all of it."""
    try:
        return message.decode("utf-8"), True
    except UnicodeDecodeError:
        return message.decode("utf-8", "replace"), False


def _logName(log: str) -> str:
    """A file name as text: its octets need not be UTF-8."""
    return log.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def record(
    message: bytes, provenance: Provenance, offset: int | None
) -> dict[str, object]:
    """
    The record of a message.

    @param offset: of the message in the worker's file.
    """
    text, whole = _text(message)
    stamp, decky, service, event, attacker, fields, msg = _parse(
        text, provenance.receivedAt
    )
    made: dict[str, object] = {
        "timestamp": stamp,
        "decky": decky,
        "service": service,
        "event_type": event,
        "attacker_ip": attacker,
        "fields": fields,
        "msg": msg,
        "raw_line": text,
        **ours(provenance, offset),
    }
    if not whole:
        made["raw_base64"] = b64encode(message).decode("ascii")
    return made


def ours(provenance: Provenance, offset: int | None) -> dict[str, object]:
    """What a record has from us."""
    return {
        "source_worker": provenance.worker,
        "source_fingerprint": provenance.fingerprint,
        "source_address": provenance.address,
        "source_log": None if provenance.log is None else _logName(provenance.log),
        "source_offset": offset,
        "received_at": provenance.receivedAt,
    }


# What json.dumps uses for a string when it writes ASCII only.
_quote = json.encoder.encode_basestring_ascii


def renderRecords(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> bytes:
    """
    The records of messages that follow one another, a line of JSON each.

    @param start: offset of the first in the worker's file; each is followed by one LF.
    """
    tail = ours(provenance, 0)
    head, received = tail.copy(), tail["received_at"]
    del head["source_offset"], head["received_at"]
    before = f', {json.dumps(head)[1:-1]}, "source_offset": '
    after = f', "received_at": {_quote(str(received))}'
    quote = _quote
    offset = start
    lines = []
    for message in messages:
        text, whole = _text(message)
        stamp, decky, service, event, attacker, fields, msg = _parse(
            text, provenance.receivedAt
        )
        members = ", ".join([f"{quote(k)}: {quote(v)}" for k, v in fields.items()])
        exact = (
            "" if whole else f', "raw_base64": "{b64encode(message).decode("ascii")}"'
        )
        lines.append(
            f'{{"timestamp": {quote(stamp)}, "decky": {quote(decky)},'
            f' "service": {quote(service)}, "event_type": {quote(event)},'
            f' "attacker_ip": {quote(attacker)}, "fields": {{{members}}},'
            f' "msg": {quote(msg)}, "raw_line": {quote(text)}'
            f"{before}{'null' if offset is None else offset}{after}{exact}}}\n"
        )
        if offset is not None:
            offset += len(message) + 1
    return "".join(lines).encode("ascii")
