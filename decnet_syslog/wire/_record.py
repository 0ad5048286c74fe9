"""
The DECNET record: a message as a line of JSON.

DECNET's consumers read the keys C{timestamp, decky, service, event_type, attacker_ip, fields, msg,
raw_line, source_worker} and their values; L{decnet_syslog.wire._decnet} describes where the values
come from. Messages that DECNET's own parser drops get a record here, too, with C{event_type}
"unparsed".

What must be true: a record never fails, whatever the octets; it is a function of its arguments (a
record that is rendered again after a crash has the same octets); it is one line of ASCII (a reader
that treats U+2028 or U+0085 as a line end sees none); and its cost is linear in the octets.

Several code paths lead to the same octets. The exact path, L{_exact}, accepts anything. The fast
path (L{decnet_syslog.wire._commonrecord}) accepts most messages, which have one shape. If the
compiled path (``hotpath``) is available, it renders such messages. Tests compare all three paths
with an oracle that makes a dictionary. Set aside: C{orjson} and the like, one more dependency.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as _quote

from .. import hotpath
from ._commonrecord import addCommon
from ._decnet import read
from ._hostname import contradicts
from ._provenance import (
    Provenance,
    jsonAfterOffset,
    jsonBeforeOffset,
    wholeSeconds,
)

__all__ = ["MISMATCH", "renderLines", "renderRuns"]

# Few enough that their memory stays in the processor's cache and is not mapped again each time.
RUN_MESSAGES = 128

# The member of a record whose HOSTNAME is not the worker's.
MISMATCH = "hostname_mismatch"
_MARK = f', "{MISMATCH}": true'

# Characters that JSON contains unescaped: printable, without backslash. (Quotes are handled.)
_PLAIN = bytes(set(range(0x20, 0x7F)) - {0x5C})


def _exact(message: bytes, receivedAt: str, worker: str | None) -> tuple[str, str]:
    """The members of a record before and after ours, by the exact path."""
    quote = _quote
    try:
        text, whole = message.decode("utf-8"), True
    except UnicodeDecodeError:
        text, whole = message.decode("utf-8", "replace"), False
    reading = read(text) or ("", "-", "-", "unparsed", "Unknown", {}, text)
    stamp, decky, service, event, attacker, fields, msg = reading
    stamp = stamp or wholeSeconds(receivedAt)
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


def _ends(last: str) -> tuple[bytes, bytes]:
    """The ends of records, for the worker's own HOSTNAME and for another one."""
    return f"{last}}}\n".encode("ascii"), f"{last}{_MARK}}}\n".encode("ascii")


def _render(
    messages: Sequence[bytes], provenance: Provenance, before: bytes, start: int | None
) -> bytes:
    """The records of a run of messages. See L{renderRuns}."""
    receivedAt = provenance.receivedAt
    worker = provenance.worker if provenance.flagHostnameMismatch else None
    last = jsonAfterOffset(provenance)
    after, marked = _ends(last)
    # Check all messages at once; only if that fails, check each one.
    plain = not b"".join(messages).translate(None, _PLAIN)
    offset = b"null"
    made: list[bytes] = []
    for message in messages:
        if start is not None:
            offset = b"%d" % start
            start += len(message) + 1
        if (plain or not message.translate(None, _PLAIN)) and addCommon(
            message, made, before, offset, after, marked, worker
        ):
            continue
        members, behind = _exact(message, receivedAt, worker)
        end = f"{last}{behind}}}\n"
        made += (members[:-1].encode("ascii"), before, offset, end.encode("ascii"))
    return b"".join(made)


def renderRuns(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> Iterator[bytes]:
    """
    The records of consecutive messages, one line of JSON each, in pieces that contain whole
    records.

    @param start: offset of the first message in the worker's file; one LF follows each message.
        C{None}: there is no file, and C{source_offset} is null.
    """
    before = jsonBeforeOffset(provenance)
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
    before = jsonBeforeOffset(who)
    # A name with surrogates, which no certificate has, equals no HOSTNAME.
    worker = (
        who.worker.lower().encode("utf-8", "surrogatepass")
        if who.flagHostnameMismatch
        else None
    )
    renderer = hotpath.compiled.renderer(
        before, *_ends(jsonAfterOffset(who)), worker, start
    )
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
