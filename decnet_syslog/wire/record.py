"""
The DECNET record: a message as a line of JSON.

The keys C{timestamp, decky, service, event_type, attacker_ip, fields, msg, raw_line,
source_worker} and their values are what DECNET's consumers read; the rooms below say where
they come from (L{decnet_syslog.wire.decnet}). What DECNET's own parser drops has a record
here, too, with C{event_type} "unparsed".

What must be true: a record never fails, whatever the octets; it is a function of its
arguments (a record that is rendered again after a crash is the same octets); it is one
line of ASCII (a reader that takes U+2028 or U+0085 for a line end sees none); and its
cost is linear in the octets.

Two ways lead to the same octets. The exact one, L{record}, takes anything. Most messages
are of one shape: one element of DECNET's, printable ASCII, no backslash. Such a message is
recognized with one match, and what needs no escape is copied, not encoded. A test holds
that nobody can tell them apart. Set aside: C{orjson} and its like, one dependency more for
the time that the match takes.

Everything before C{source_worker} comes from the message, so it is what somebody on a
machine under attack wrote. Everything from there on is ours.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .decnet import ADDRESS_NAMES, SD_ID, Reading, read, splitAddress
from .rfc5424 import FULL_DATE

__all__ = ["Provenance", "ours", "record", "renderRecords", "shown", "wholeSeconds"]

# Parameter lists whose JSON is kept ready. A service has a handful of them; an attacker
# who makes up names only makes his own messages slower.
TEMPLATES_MAX = 1024

# So few that what they need stays in the processor's cache and is not mapped anew each time.
RUN_MESSAGES = 256

_TEXT = r"[ !#-\[\]-~]"  # printable, without " and backslash
_WORD = r"[!#-\[\]-~]+"
# 32 parameters: more than any service writes, and sre keeps a trail of each.
_COMMON = re.compile(
    rf"<[0-9]+>1 (?!0000|.....02-29)({FULL_DATE})"
    r"T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    rf" ({_WORD}) ({_WORD}) {_WORD} (?!- )({_WORD})"
    rf' \[{SD_ID}((?: [A-Za-z0-9_.-]+="{_TEXT}*"){{1,32}})\]'
    r"(?: (?! )([ -\[\]-~]+)(?<! ))?\Z"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


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


def shown(text: str) -> str:
    """Text that every JSON reader takes: a file name's stray octets are surrogates."""
    return _SURROGATES.sub("\ufffd", text)


def wholeSeconds(receivedAt: str) -> str:
    """The time of arrival in the form that DECNET shows times in."""
    return receivedAt[:19].replace("T", " ")


def ours(provenance: Provenance, offset: int | None) -> dict[str, object]:
    """What a record has from us."""
    log = provenance.log
    return {
        "source_worker": shown(provenance.worker),
        "source_fingerprint": shown(provenance.fingerprint),
        "source_address": shown(provenance.address),
        "source_log": None if log is None else shown(log),
        "source_offset": offset,
        "received_at": provenance.receivedAt,
    }


def _read(message: bytes, receivedAt: str) -> tuple[Reading, str, bool]:
    """What a message says, its text, and whether that is all of it."""
    try:
        text, whole = message.decode("utf-8"), True
    except UnicodeDecodeError:
        text, whole = message.decode("utf-8", "replace"), False
    reading = read(text)
    if reading is None:
        now = wholeSeconds(receivedAt)
        reading = (now, "-", "-", "unparsed", "Unknown", {}, text)
    return reading, text, whole


def record(
    message: bytes, provenance: Provenance, offset: int | None
) -> dict[str, object]:
    """
    The record of a message.

    @param offset: of the message in the worker's file; C{None} if it came from none.
    """
    reading, text, whole = _read(message, provenance.receivedAt)
    stamp, decky, service, event, attacker, fields, msg = reading
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


@lru_cache(maxsize=TEMPLATES_MAX)
def _template(names: tuple[str, ...]) -> tuple[list[str] | None, int, bool]:
    """
    The JSON of parameters with these names.

    @param names: what a message has around the values: C{" name="} before each, and
        nothing behind the last.
    @return: what JSON has in the same places; where, between them, the attacker's address
        is; whether its port may be added. The first is C{None} where only the exact way
        knows.
    """
    plain = [name[1:-1] for name in names[:-1]]
    if len(set(plain)) == len(plain):
        for name in ADDRESS_NAMES:
            if name in plain:
                around = [f'", "{one}": "' for one in plain]
                around[0] = around[0].removeprefix('", ')
                which = 2 * plain.index(name) + 1
                return [*around, '"'], which, "remote_port" not in plain
    return None, 0, False


# What json.dumps uses for a string when it writes ASCII only.
_quote = json.encoder.encode_basestring_ascii


def _exact(message: bytes, receivedAt: str) -> tuple[str, str]:
    """The members of a record before and behind ours, the exact way."""
    quote = _quote
    reading, text, whole = _read(message, receivedAt)
    stamp, decky, service, event, attacker, fields, msg = reading
    members = ", ".join([f"{quote(k)}: {quote(v)}" for k, v in fields.items()])
    behind = "" if whole else f', "raw_base64": "{b64encode(message).decode("ascii")}"'
    return (
        f'{{"timestamp": {quote(stamp)}, "decky": {quote(decky)},'
        f' "service": {quote(service)}, "event_type": {quote(event)},'
        f' "attacker_ip": {quote(attacker)}, "fields": {{{members}}},'
        f' "msg": {quote(msg)}, "raw_line": {quote(text)}'
    ), behind


def _render(
    messages: Sequence[bytes], receivedAt: str, before: str, start: int | None
) -> bytes:
    """The records of a run of messages. See L{renderRecords}."""
    after = f', "received_at": {_quote(receivedAt)}'
    # One character for each octet, all messages at once. Only those of the common shape
    # are used so: they are ASCII.
    joined = b"\n".join(messages).decode("latin-1")
    texts = joined.split("\n")
    if len(texts) == len(messages):
        escaped = joined.replace('"', '\\"').split("\n")
    else:
        # A message that came from no file can have an LF in it.
        texts = [message.decode("latin-1") for message in messages]
        escaped = [text.replace('"', '\\"') for text in texts]
    common = _COMMON.match
    offset: int | str = "null" if start is None else start
    lines = []
    for text, raw in zip(texts, escaped, strict=True):
        attacker = "Unknown"
        match = common(text)
        if match is not None:
            date, time, decky, service, event, params, msg = match.groups("")
            pieces = params.split('"')
            around, which, portMissing = _template(tuple(pieces[::2]))
            if around is not None:
                attacker = pieces[which]
                pieces[::2] = around
                fields = "".join(pieces)
                if ":" in attacker:
                    attacker, port = splitAddress(attacker)
                    if port is not None and portMissing:
                        fields = f'{fields}, "remote_port": "{port}"'
        if attacker == "Unknown":
            made, behind = _exact(text.encode("latin-1"), receivedAt)
            lines.append(f"{made}{before}{offset}{after}{behind}}}\n")
        else:
            if '"' in msg:
                msg = msg.replace('"', '\\"')
            lines.append(
                f'{{"timestamp": "{date} {time}", "decky": "{decky}",'
                f' "service": "{service}", "event_type": "{event}",'
                f' "attacker_ip": "{attacker}", "fields": {{{fields}}},'
                f' "msg": "{msg}", "raw_line": "{raw}"'
                f"{before}{offset}{after}}}\n"
            )
        if start is not None:
            start += len(text) + 1
            offset = start
    return "".join(lines).encode("ascii")


def renderRecords(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> bytes:
    """
    The records of messages that follow one another, a line of JSON each.

    @param start: offset of the first in the worker's file; each is followed by one LF.
        C{None}: they came from no file, and C{source_offset} is null.
    """
    head = ours(provenance, None)
    del head["source_offset"], head["received_at"]
    before = f', {json.dumps(head)[1:-1]}, "source_offset": '
    runs = []
    for at in range(0, len(messages), RUN_MESSAGES):
        run = messages[at : at + RUN_MESSAGES]
        runs.append(_render(run, provenance.receivedAt, before, start))
        if start is not None:
            start += sum(map(len, run)) + len(run)
    return b"".join(runs)
