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

Several ways lead to the same octets. The exact one, L{record}, takes anything. Most
messages are of one shape: a fraction in the time, one element of DECNET's, printable ASCII,
no backslash. Such a message is cut at its quotes. What is around its values repeats from
message to message, so it is checked and turned into JSON once and looked up from then on;
the values need no escape and are copied. Where there is a compiled way (``hotpath``), such
messages are left to it. Tests hold that nobody can tell the three ways apart. Set aside:
one regular expression for such a message, which took as long as all the rest, and C{orjson}
and its like, one dependency more.

Everything before C{source_worker} comes from the message, so it is what somebody on a
machine under attack wrote. Everything from there on is ours.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from .. import hotpath
from .addresses import splitAddress
from .decnet import ADDRESS_NAMES, SD_ID, read
from .hostname import contradicts
from .rfc5424 import FULL_DATE

__all__ = [
    "MISMATCH",
    "Provenance",
    "ours",
    "record",
    "renderLines",
    "renderRuns",
    "shown",
    "wholeSeconds",
]

# Seconds, and as many shapes, that are known. A run of messages has a handful; an attacker
# who makes up new ones has all forgotten now and then, which costs less than they did.
KNOWN_MAX = 4096

# Senders' files whose members of a record are kept: of a line in a batch of its own they
# would take longer than the line.
SOURCES_MAX = 1024

# A longer shape is not kept: an entry takes some five times its octets.
SHAPE_OCTETS_MAX = 1024

# More than any service writes.
PARAMS_MAX = 32
PIECES_MAX = 2 * PARAMS_MAX + 1

# So few that what they need stays in the processor's cache and is not mapped anew each time.
RUN_MESSAGES = 128

# The member of a record whose HOSTNAME is not the worker's.
MISMATCH = "hostname_mismatch"
_MARK = f', "{MISMATCH}": true'

# What JSON has as it is: printable, without backslash. (Quotes are seen to.)
_PLAIN = bytes(set(range(0x20, 0x7F)) - {0x5C})
# What comes before the fraction.
_SECOND = re.compile(
    rf"<[0-9]{{1,3}}>1 (?!0000|.....02-29)({FULL_DATE})"
    r"T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
)
_WORD = r"[!#-~]+"
_NAME = r"[A-Za-z0-9_.-]+"
# What comes behind it, without the values.
_SHAPE = re.compile(
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    rf" ({_WORD}) ({_WORD}) {_WORD} (?!- )({_WORD})"
    rf' \[{SD_ID} ({_NAME}(?:="" {_NAME}){{0,{PARAMS_MAX - 1}}})='
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
    @ivar marks: whether a record shows that its HOSTNAME is not the worker's. It is settled
        when the message comes: a record that is rendered again is the same octets, whatever
        was configured meanwhile.
    """

    worker: str
    fingerprint: str
    address: str
    receivedAt: str
    log: str | None
    marks: bool = False


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


# timestamp, decky, service, event_type, attacker_ip, fields, msg.
_Members = tuple[str, str, str, str, str, dict[str, str], str]


def _read(message: bytes, receivedAt: str) -> tuple[_Members, str, bool]:
    """The members of a message's record, its text, and whether the text is complete."""
    try:
        text, whole = message.decode("utf-8"), True
    except UnicodeDecodeError:
        text, whole = message.decode("utf-8", "replace"), False
    reading = read(text)
    if reading is None:
        now = wholeSeconds(receivedAt)
        return (now, "-", "-", "unparsed", "Unknown", {}, text), text, whole
    stamp = reading[0] or wholeSeconds(receivedAt)
    return (stamp, *reading[1:]), text, whole


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
    if provenance.marks and contradicts(decky, provenance.worker):
        made[MISMATCH] = True
    if not whole:
        made["raw_base64"] = b64encode(message).decode("ascii")
    return made


# What is around the values, in JSON: the members from the second to the attacker's address;
# the pieces from there to the text; where, between them, that address is; whether its port
# may be added; the HOSTNAME.
_Shape = tuple[bytes, list[bytes], int, bool, str]
_shapes: dict[tuple[bytes, ...], _Shape] = {}
_seconds: dict[bytes, bytes] = {}

_K = TypeVar("_K")
_V = TypeVar("_V")


def _keep(known: dict[_K, _V], key: _K, value: _V) -> _V:
    """Remember what was found out; all else is forgotten when it has become too much."""
    if len(known) >= KNOWN_MAX:
        known.clear()
    known[key] = value
    return value


def _newSecond(text: bytes) -> bytes | None:
    """How a record begins whose message begins so; C{None} if that is not common."""
    match = _SECOND.fullmatch(text.decode("ascii"))
    if match is None:
        return None
    made = f'{{"timestamp": "{match[1]} {match[2]}", "decky": "'
    return _keep(_seconds, text, made.encode("ascii"))


def _newShape(around: tuple[bytes, ...]) -> _Shape | None:
    """
    The shape of a message that has this around its values; C{None} if it is not common.

    @param around: C{+00:00 decky service procid event [relay@55555 name=}, then C{ name=}
        for each value but the first.
    """
    text = b'""'.join(around).decode("ascii")
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    decky, service, event, params = match.groups()
    names = params.split('="" ')
    address = next((name for name in ADDRESS_NAMES if name in names), None)
    if address is None or len(set(names)) != len(names):
        return None
    head = (
        f'{decky}", "service": "{service}", "event_type": "{event}", "attacker_ip": "'
    )
    inside = '", "fields": {' + ", ".join([f'"{name}": "|"' for name in names])
    shape = (
        head.encode("ascii"),
        f'{inside}}}, "msg": "'.encode("ascii").split(b"|"),
        2 * names.index(address) + 1,
        "remote_port" not in names,
        decky,
    )
    return _keep(_shapes, around, shape) if len(text) <= SHAPE_OCTETS_MAX else shape


def _common(
    message: bytes,
    made: list[bytes],
    before: bytes,
    offset: bytes,
    after: bytes,
    marked: bytes,
    worker: str | None,
) -> bool:
    """
    Add the record of a message to what is made, if it is of the common shape.

    @param message: of nothing but L{_PLAIN}.
    @param before: what comes from the end of C{raw_line} to the offset.
    @param marked: instead of C{after}, when the HOSTNAME is not the worker's.
    @param worker: whose HOSTNAME it should be; C{None}: that is not marked.
    @return: whether it is; else nothing is added.
    """
    # Around a value, a value, and so on; the last has the element's end and the text.
    pieces = message.split(b'"', PIECES_MAX)
    text = pieces[-1]
    if len(pieces) % 2 == 0 or (text[:2] != b"] " and text != b"]"):
        # The text has quotes, too: it begins at the first end that is not in a value.
        ends = [at for at in range(2, len(pieces), 2) if pieces[at][:2] == b"] "]
        if not ends or len(pieces) > PIECES_MAX:
            return False
        text = b'\\"'.join(pieces[ends[0] :])
        pieces[ends[0] :] = [text]
    raw = b'\\"'.join(pieces)
    header = pieces[0]
    first, _, rest = header.partition(b".")
    second = _seconds.get(first) or _newSecond(first)
    pieces[0] = rest.lstrip(b"0123456789")
    if second is None:
        # A time without a fraction: of 19 octets, behind the first space.
        at = header.find(b" ") + 20
        first, pieces[0] = header[:at], header[at:]
        second = _seconds.get(first) or _newSecond(first)
        if second is None:
            return False
    elif pieces[0] == rest:
        return False
    around = tuple(pieces[:-1:2])
    shape = _shapes.get(around) or _newShape(around)
    if shape is None:
        return False
    head, inside, which, portMissing, decky = shape
    attacker = pieces[which]
    pieces[::2] = inside
    if 0x3A in attacker or 0x5B in attacker:
        host, port = splitAddress(attacker.decode("ascii"))
        attacker = host.encode("ascii")
        if port is not None and portMissing:
            pieces[-1] = f'", "remote_port": "{port}"}}, "msg": "'.encode("ascii")
    if attacker == b"Unknown":
        return False
    made += (
        second,
        head,
        attacker,
        b"".join(pieces),
        text[2:].strip(),
        b'", "raw_line": "',
        raw,
        before,
        offset,
        marked if worker is not None and contradicts(decky, worker) else after,
    )
    return True


# What json.dumps uses for a string when it writes ASCII only.
_quote = json.encoder.encode_basestring_ascii


def _exact(message: bytes, receivedAt: str, worker: str | None) -> tuple[str, str]:
    """The members of a record before and behind ours, the exact way."""
    quote = _quote
    reading, text, whole = _read(message, receivedAt)
    stamp, decky, service, event, attacker, fields, msg = reading
    members = ", ".join([f"{quote(k)}: {quote(v)}" for k, v in fields.items()])
    behind = "" if whole else f', "raw_base64": "{b64encode(message).decode("ascii")}"'
    if worker is not None and contradicts(decky, worker):
        behind = _MARK + behind
    return (
        f'{{"timestamp": {quote(stamp)}, "decky": {quote(decky)},'
        f' "service": {quote(service)}, "event_type": {quote(event)},'
        f' "attacker_ip": {quote(attacker)}, "fields": {{{members}}},'
        f' "msg": {quote(msg)}, "raw_line": {quote(text)}'
    ), behind


def _last(receivedAt: str) -> str:
    """The last member of every record, from the offset on."""
    return f', "received_at": {_quote(receivedAt)}'


def _ends(last: str) -> tuple[bytes, bytes]:
    """How records end: those of the worker's HOSTNAME, and those of another's."""
    return f"{last}}}\n".encode("ascii"), f"{last}{_MARK}}}\n".encode("ascii")


def _render(
    messages: Sequence[bytes], provenance: Provenance, before: bytes, start: int | None
) -> bytes:
    """The records of a run of messages. See L{renderRuns}."""
    receivedAt = provenance.receivedAt
    worker = provenance.worker if provenance.marks else None
    last = _last(receivedAt)
    after, marked = _ends(last)
    # Of all at once; of each only if there is something else in one.
    plain = not b"".join(messages).translate(None, _PLAIN)
    offset = b"null"
    made: list[bytes] = []
    for message in messages:
        if start is not None:
            offset = b"%d" % start
            start += len(message) + 1
        if (plain or not message.translate(None, _PLAIN)) and _common(
            message, made, before, offset, after, marked, worker
        ):
            continue
        members, behind = _exact(message, receivedAt, worker)
        end = f"{last}{behind}}}\n"
        made += (members[:-1].encode("ascii"), before, offset, end.encode("ascii"))
    return b"".join(made)


@lru_cache(maxsize=SOURCES_MAX)
def _before(worker: str, fingerprint: str, address: str, log: str | None) -> bytes:
    """What comes from the end of C{raw_line} to the offset."""
    head = ours(Provenance(worker, fingerprint, address, "", log), None)
    del head["source_offset"], head["received_at"]
    # The quote ends raw_line, which is the last member before ours.
    return f'", {json.dumps(head)[1:-1]}, "source_offset": '.encode("ascii")


def renderRuns(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> Iterator[bytes]:
    """
    The records of messages that follow one another, a line of JSON each, in pieces that
    are whole records.

    @param start: offset of the first in the worker's file; each is followed by one LF.
        C{None}: they came from no file, and C{source_offset} is null.
    """
    before = _before(
        provenance.worker, provenance.fingerprint, provenance.address, provenance.log
    )
    for at in range(0, len(messages), RUN_MESSAGES):
        run = messages[at : at + RUN_MESSAGES]
        yield _render(run, provenance, before, start)
        if start is not None:
            start += sum(map(len, run)) + len(run)


def renderLines(
    lines: bytes, provenance: Provenance, start: int | None
) -> Iterator[bytes]:
    """
    The records of lines that follow one another, as L{renderRuns} makes them.

    @param lines: the messages, each with its LF.
    @param start: offset of the first in the worker's file; C{None}: they came from no file.
    """
    if hotpath.compiled is None:
        yield from renderRuns(lines[:-1].split(b"\n"), provenance, start)
        return
    who = provenance
    before = _before(who.worker, who.fingerprint, who.address, who.log)
    # Surrogates, which no certificate has, are kept: they are in no HOSTNAME.
    worker = who.worker.lower().encode("utf-8", "surrogatepass") if who.marks else None
    renderer = hotpath.compiled.renderer(
        before, *_ends(_last(who.receivedAt)), worker, start
    )
    at = 0
    # How many lines to render in Python when the compiled way takes none: more and more, so
    # that lines of another shape do not pay for a call that is in vain.
    run = 1
    while at < len(lines):
        made, count, at = renderer.records(lines, at)
        if count:
            yield made
            run = max(1, run // 2) if count < run else 1
        if at == len(lines):
            break
        end = at
        for _ in range(run):
            end = lines.index(b"\n", end) + 1
            if end == len(lines):
                break
        messages = lines[at : end - 1].split(b"\n")
        yield _render(messages, who, before, None if start is None else start + at)
        at = end
        run = min(2 * run, RUN_MESSAGES)
