"""
A batch as a message: its subject, its headers, its body.

What must be true:

* a message stands alone: who sent the octets, where they belong in the file, and the
  position of the stream behind them. So the last message of a subject is the position;
* nothing of a peer becomes a token of a subject, a wildcard or a line of a header: what is
  not a letter, a digit, C{_} or C{-} is written C{%XX}, an octet each;
* what was committed is what is read: L{encode} and L{decode} are inverse, whatever packs
  the body.

C{docs/jetstream.rst} has the format for those who read the stream themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from ..master.values import Batch, Deposit, Grant, Known, cutName
from ..wire.record import Provenance
from .packing import NotPacked, Pack, never, unpack

__all__ = [
    "ATTEMPT",
    "HEADERS_OCTETS_MAX",
    "Entry",
    "Foreign",
    "Position",
    "allOf",
    "decode",
    "encode",
    "pieces",
    "streamsOf",
    "subjectOf",
]

# What the headers take at most, subject and protocol included: a path of 4096 octets is
# three times as long when all of it is escaped.
HEADERS_OCTETS_MAX = 16 * 1024

# The header that tells a message from every other, whatever its sequence.
ATTEMPT = "Decnet-Attempt"

# Octets of a message, if its lines are not longer. A grant fetches the last message of its
# subject, so it is not as much as a server takes; a commit costs a round trip, so it is
# not little.
PIECE_OCTETS = 128 * 1024

# A peer without the extension has no streams.
PLAIN = "plain"

_SAFE = re.compile(rb"[^A-Za-z0-9_-]")
_TEXT = re.compile(rb"[^\x21-\x24\x26-\x7e]")
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")


class Foreign(Exception):
    """A message that is none of ours. Its text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Position:
    """
    Where a stream is behind a message.

    @ivar base: end of the last gap; C{crc} is of the octets [base, offset).
    """

    offset: int
    base: int
    crc: int

    def behind(self, deposit: Deposit) -> Position:
        """Where the stream is behind a deposit that starts here."""
        if deposit.reason is not None:
            return Position(deposit.end, deposit.end, 0)
        return Position(deposit.end, self.base, crc32(deposit.octets, self.crc))


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A message of the journal.

    @ivar batch: C{None} for one that only says where a stream begins.
    @ivar attempt: 32 hex digits; of this message, however often it was sent.
    """

    seq: int
    worker: str
    stream: str | None
    generation: int
    name: str | None
    position: Position
    attempt: str
    batch: Batch | None

    def grant(self) -> Grant | None:
        """What names its stream, and gives no right."""
        if self.stream is None:
            return None
        return Grant(0, 0, self.stream, self.generation, 0, 0, 0)

    def known(self) -> Known:
        """As C{LIST} wants it."""
        at = self.position
        assert self.stream is not None
        name = cutName(self.name or "")
        return Known(self.stream, self.generation, at.offset, at.base, at.crc, name)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _escaped(pattern: re.Pattern[bytes], text: str) -> str:
    return pattern.sub(lambda match: b"%%%02X" % match[0][0], _octets(text)).decode()


def _unescaped(value: str) -> str:
    octets = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value.encode())
    return octets.decode("utf-8", "surrogateescape")


def subjectOf(prefix: str, worker: str, grant: Grant | None) -> str:
    """Where the batches of a stream go, or of a peer that has none."""
    if grant is None:
        return f"{prefix}.{_escaped(_SAFE, worker)}.{PLAIN}"
    stream = _escaped(_SAFE, grant.stream)
    return f"{prefix}.{_escaped(_SAFE, worker)}.{stream}.{grant.generation}"


def streamsOf(prefix: str, worker: str) -> str:
    """All streams of a worker."""
    return f"{prefix}.{_escaped(_SAFE, worker)}.*.*"


def allOf(prefix: str) -> str:
    """Everything there is."""
    return f"{prefix}.>"


def pieces(deposit: Deposit, most: int) -> Iterator[Deposit]:
    """
    Cut a deposit behind lines, or messages.

    A prefix of it that is committed while the rest is not is what the peer has sent, and
    the position is behind it: as if the rest had not arrived.

    @param most: octets of a piece; more only if one line is longer.
    """
    if deposit.lengths is not None:
        yield from _messagePieces(deposit, deposit.lengths, most)
        return
    octets, at = deposit.octets, 0
    while len(octets) - at > most:
        cut = octets.rfind(b"\n", at, at + most) + 1 or octets.find(b"\n", at) + 1
        if not cut or cut == len(octets):
            break
        yield _part(deposit, at, cut)
        at = cut
    yield _part(deposit, at, len(octets)) if at else deposit


def _part(deposit: Deposit, start: int, end: int) -> Deposit:
    octets = deposit.octets[start:end]
    if deposit.grant is None:
        return replace(deposit, octets=octets, lines=-1)
    first = deposit.start
    return replace(
        deposit, start=first + start, end=first + end, octets=octets, lines=-1
    )


def _messagePieces(
    deposit: Deposit, lengths: Sequence[int], most: int
) -> Iterator[Deposit]:
    # Each with the digits before it, see _framed.
    start = end = first = weight = 0
    for index, length in enumerate(lengths):
        cost = length + len(str(length)) + 1
        if weight and weight + cost > most:
            yield replace(
                _part(deposit, start, end), lengths=tuple(lengths[first:index])
            )
            start, first, weight = end, index, 0
        end += length
        weight += cost
    rest = tuple(lengths[first:])
    yield replace(_part(deposit, start, end), lengths=rest) if first else deposit


def _framed(octets: bytes, lengths: Sequence[int]) -> bytes:
    """Messages as RFC 5425 frames: one of them has a line feed inside."""
    parts: list[bytes] = []
    at = 0
    for length in lengths:
        parts += [b"%d " % length, octets[at : at + length]]
        at += length
    return b"".join(parts)


def _unframed(body: bytes) -> tuple[bytes, tuple[int, ...]]:
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 12)
        digits = body[at:space]
        if space < 0 or not digits.isdigit():
            raise Foreign("the body is not framed")
        at = space + 1 + int(digits)
        if at > len(body):
            raise Foreign("the body is cut short")
        parts.append(body[space + 1 : at])
    return b"".join(parts), tuple(map(len, parts))


def encode(
    deposit: Deposit, position: Position, attempt: str, pack: Pack = never
) -> tuple[dict[str, str], bytes]:
    """
    The headers and the body of a deposit.

    @param position: behind it; of a peer without streams, all 0.
    @param pack: as of L{decnet_syslog.nats.packing}.
    """
    who = deposit.provenance
    headers = {
        ATTEMPT: attempt,
        "Decnet-Worker": _escaped(_TEXT, who.worker),
        "Decnet-Fingerprint": _escaped(_TEXT, who.fingerprint),
        "Decnet-Address": _escaped(_TEXT, who.address),
        "Decnet-Received-At": _escaped(_TEXT, who.receivedAt),
        "Decnet-Marks": str(int(who.marks)),
    }
    if who.log is not None:
        # Empty or not: a header without a value is none to some clients.
        headers["Decnet-Log"] = "=" + _escaped(_TEXT, who.log)
    if deposit.grant is not None:
        headers |= {
            "Decnet-Stream": _escaped(_TEXT, deposit.grant.stream),
            "Decnet-Generation": str(deposit.grant.generation),
            "Decnet-Start": str(deposit.start),
            "Decnet-End": str(position.offset),
            "Decnet-Base": str(position.base),
            "Decnet-Crc": f"{position.crc:08x}",
        }
    elif deposit.reason is not None:
        # A message that was too long: how long it was.
        headers |= {"Decnet-Start": "0", "Decnet-End": str(deposit.end)}
    body = deposit.octets
    if deposit.reason is not None:
        headers["Decnet-Gap"] = "=" + _escaped(_TEXT, deposit.reason)
    elif deposit.lengths is not None:
        headers["Decnet-Framing"] = "octet-counted"
        body = _framed(body, deposit.lengths)
    packed = pack(body)
    if packed is not None:
        headers["Decnet-Encoding"] = "zstd"
        return headers, packed
    return headers, body


def _number(headers: Mapping[str, str], name: str) -> int:
    value = headers.get(name, "")
    if not value.isascii() or not value.isdigit():
        raise Foreign(f"{name} is no number")
    return int(value)


def _text(headers: Mapping[str, str], name: str) -> str:
    try:
        return _unescaped(headers[name])
    except KeyError:
        raise Foreign(f"no {name}") from None


def _optional(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else _unescaped(value[1:])


def decode(seq: int, headers: Mapping[str, str], body: bytes) -> Entry:
    """
    What a message says.

    @param seq: its sequence in the JetStream stream, which is the batch's.
    @raise Foreign: it is none of ours.
    @raise JournalBlocked: it is, but cannot be unpacked by this program.
    """
    provenance = Provenance(
        _text(headers, "Decnet-Worker"),
        _text(headers, "Decnet-Fingerprint"),
        _text(headers, "Decnet-Address"),
        _text(headers, "Decnet-Received-At"),
        _optional(headers, "Decnet-Log"),
        _number(headers, "Decnet-Marks") == 1,
    )
    attempt = _text(headers, ATTEMPT)
    stream, generation, start = None, 0, 0
    position = Position(0, 0, 0)
    if "Decnet-Stream" in headers:
        stream = _text(headers, "Decnet-Stream")
        generation = _number(headers, "Decnet-Generation")
        start = _number(headers, "Decnet-Start")
        try:
            crc = int(_text(headers, "Decnet-Crc"), 16)
        except ValueError:
            raise Foreign("Decnet-Crc is no checksum") from None
        position = Position(
            _number(headers, "Decnet-End"), _number(headers, "Decnet-Base"), crc
        )
    elif "Decnet-End" in headers:
        position = Position(_number(headers, "Decnet-End"), 0, 0)
    reason = _optional(headers, "Decnet-Gap")
    # Of a message whose headers were asked for there is none.
    if body and "Decnet-Encoding" in headers:
        try:
            body = unpack(_text(headers, "Decnet-Encoding"), body)
        except NotPacked as error:
            raise Foreign(f"the body is not packed: {error}") from None
    lengths: tuple[int, ...] | None = None
    if "Decnet-Framing" in headers:
        body, lengths = _unframed(body)
    batch = None
    if reason is not None or body or lengths:
        batch = Batch(
            seq,
            provenance,
            stream,
            generation,
            start,
            position.offset,
            body,
            lengths,
            reason,
        )
    return Entry(
        seq,
        provenance.worker,
        stream,
        generation,
        provenance.log,
        position,
        attempt,
        batch,
    )
