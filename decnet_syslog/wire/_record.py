"""
The DECNET record: a message as a line of JSON.

DECNET's consumers read the keys C{timestamp, decky, service, event_type, attacker_ip, fields, msg,
raw_line, source_worker} and their values; L{decnet_syslog.wire._decnet} describes where the values
come from. Messages that DECNET's own parser drops get a record here, too, with C{event_type}
"unparsed".

What must be true: a record never fails, whatever the octets; it is a function of its arguments (a
record that is rendered again after a crash has the same octets); it is one line of ASCII (a reader
that treats U+2028 or U+0085 as a line end sees none); and its cost is linear in the octets.

Several code paths lead to the same octets. The exact path, L{record}, accepts anything. Most
messages have one shape: a fraction in the time, one element of DECNET's, printable ASCII, no
backslash. The fast path splits such a message at its quotes. The parts around its values repeat
from message to message, so they are checked and turned into JSON once and looked up from then on;
the values need no escape and are copied. If the compiled path (``hotpath``) is available, it
renders such messages. Tests check that all three paths give the same octets. Set aside: a regular
expression for such a message, which took as long as everything else together, and C{orjson} and
the like, one more dependency.

Everything before C{source_worker} comes from the message: somebody on a machine under attack wrote
it. Everything from there on is ours.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from .. import hotpath
from ..values import value
from ._addresses import splitAddress
from ._decnet import ADDRESS_NAMES, SD_ID, read
from ._hostname import contradicts
from ._rfc5424 import FULL_DATE

__all__ = [
    "MISMATCH",
    "Provenance",
    "provenanceFields",
    "record",
    "renderLines",
    "renderRuns",
    "replaceSurrogates",
    "wholeSeconds",
]

# Cached seconds, and cached shapes. A run of messages has a handful; an attacker who invents new
# ones empties the cache now and then, which costs us less than them.
KNOWN_MAX = 4096

# Cached members per sender's file: for a single line they would take longer than the line itself.
SOURCES_MAX = 1024

# A longer shape is not cached: an entry takes about five times its octets.
SHAPE_OCTETS_MAX = 1024

# More parameters than any service writes.
PARAMS_MAX = 32
PIECES_MAX = 2 * PARAMS_MAX + 1

# Few enough that their memory stays in the processor's cache and is not mapped again each time.
RUN_MESSAGES = 128

# The member of a record whose HOSTNAME is not the worker's.
MISMATCH = "hostname_mismatch"
_MARK = f', "{MISMATCH}": true'

# Characters that JSON contains unescaped: printable, without backslash. (Quotes are handled.)
_PLAIN = bytes(set(range(0x20, 0x7F)) - {0x5C})
# The part before the fraction.
_SECOND = re.compile(
    rf"<[0-9]{{1,3}}>1 (?!0000|.....02-29)({FULL_DATE})"
    r"T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
)
_WORD = r"[!#-~]+"
_NAME = r"[A-Za-z0-9_.-]+"
# The part after the fraction, without the values.
_SHAPE = re.compile(
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    rf" ({_WORD}) ({_WORD}) {_WORD} (?!- )({_WORD})"
    rf' \[{SD_ID} ({_NAME}(?:="" {_NAME}){{0,{PARAMS_MAX - 1}}})='
)
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

    @param offset: the message's offset in the worker's file; C{None} if there is no file.
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
        **provenanceFields(provenance, offset),
    }
    if provenance.flagHostnameMismatch and contradicts(decky, provenance.worker):
        made[MISMATCH] = True
    if not whole:
        made["raw_base64"] = b64encode(message).decode("ascii")
    return made


# The JSON around the values: the members from the second to the attacker's address; the pieces from
# there to the text; the index of that address among them; whether its port may be added; the
# HOSTNAME.
_Shape = tuple[bytes, list[bytes], int, bool, str]
_shapes: dict[tuple[bytes, ...], _Shape] = {}
_seconds: dict[bytes, bytes] = {}

_K = TypeVar("_K")
_V = TypeVar("_V")


def _keep(known: dict[_K, _V], key: _K, value: _V) -> _V:
    """Add to a cache; a full cache is emptied first."""
    if len(known) >= KNOWN_MAX:
        known.clear()
    known[key] = value
    return value


def _newSecond(text: bytes) -> bytes | None:
    """The beginning of a record for the beginning of a message; C{None} if it is uncommon."""
    match = _SECOND.fullmatch(text.decode("ascii"))
    if match is None:
        return None
    made = f'{{"timestamp": "{match[1]} {match[2]}", "decky": "'
    return _keep(_seconds, text, made.encode("ascii"))


def _newShape(around: tuple[bytes, ...]) -> _Shape | None:
    """
    The shape for the parts around a message's values; C{None} if it is uncommon.

    @param around: C{+00:00 decky service procid event [relay@55555 name=}, then C{ name=} for each
        further value.
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
    Add the record of a message to C{made}, if the message has the common shape.

    @param message: contains only L{_PLAIN}.
    @param before: the part from the end of C{raw_line} to the offset.
    @param marked: used instead of C{after} if the HOSTNAME is not the worker's.
    @param worker: the expected HOSTNAME; C{None}: do not mark.
    @return: whether the record was added; otherwise C{made} is unchanged.
    """
    # Parts alternate with values; the last part has the element's end and the text.
    pieces = message.split(b'"', PIECES_MAX)
    text = pieces[-1]
    if len(pieces) % 2 == 0 or (text[:2] != b"] " and text != b"]"):
        # The text has quotes, too: it begins at the first end that is not within a value.
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
        # A time without a fraction: 19 octets after the first space.
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


# The function that json.dumps uses for a string when it writes ASCII only.
_quote = json.encoder.encode_basestring_ascii


def _exact(message: bytes, receivedAt: str, worker: str | None) -> tuple[str, str]:
    """The members of a record before and after ours, by the exact path."""
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


def _last(provenance: Provenance) -> str:
    """The JSON of every record after the offset, without its end."""
    members = _arrivalFields(provenance).items()
    return "".join([f', "{name}": {_quote(value)}' for name, value in members])


def _ends(last: str) -> tuple[bytes, bytes]:
    """The ends of records, for the worker's own HOSTNAME and for another one."""
    return f"{last}}}\n".encode("ascii"), f"{last}{_MARK}}}\n".encode("ascii")


def _render(
    messages: Sequence[bytes], provenance: Provenance, before: bytes, start: int | None
) -> bytes:
    """The records of a run of messages. See L{renderRuns}."""
    receivedAt = provenance.receivedAt
    worker = provenance.worker if provenance.flagHostnameMismatch else None
    last = _last(provenance)
    after, marked = _ends(last)
    # Check all messages at once; only if that fails, check each one.
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
    """The part from the end of C{raw_line} to the offset."""
    head = _sourceFields(worker, fingerprint, address, log)
    # The quote ends raw_line, which is the last member before ours.
    return f'", {json.dumps(head)[1:-1]}, "source_offset": '.encode("ascii")


def renderRuns(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> Iterator[bytes]:
    """
    The records of consecutive messages, one line of JSON each, in pieces that contain whole
    records.

    @param start: offset of the first message in the worker's file; one LF follows each message.
        C{None}: there is no file, and C{source_offset} is null.
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
    The records of consecutive lines, as L{renderRuns} makes them.

    @param lines: the messages, each with its LF.
    @param start: offset of the first line in the worker's file; C{None}: there is no file.
    """
    if hotpath.compiled is None:
        yield from renderRuns(lines[:-1].split(b"\n"), provenance, start)
        return
    who = provenance
    before = _before(who.worker, who.fingerprint, who.address, who.log)
    # A name with surrogates, which no certificate has, equals no HOSTNAME.
    worker = (
        who.worker.lower().encode("utf-8", "surrogatepass")
        if who.flagHostnameMismatch
        else None
    )
    renderer = hotpath.compiled.renderer(before, *_ends(_last(who)), worker, start)
    at = 0
    # The number of lines to render in Python after the compiled module has stopped. It doubles
    # each time, so that lines of another shape cost few calls in vain.
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
