"""
A batch as a message: its subject, its headers, its body.

What must be true:

* a message is complete: it has the sender of the octets, their place in the file, and the stream's
  position after them. So the last message of a subject is the position;
* text of a peer cannot produce another token of a subject, a wildcard or a header line. In subjects
  each octet that is not a letter, a digit, C{_} or C{-} is written as C{%XX};
* the octets that were committed are read back: L{encode} and L{decode} are inverse, whatever the
  compression.

C{docs/jetstream.rst} describes the format for other programs that read the stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from ..journal import Batch, Deposit, StreamLease, StreamPosition, cutName
from ..wire import Provenance
from ._packing import NotPacked, Pack, never, unpack

__all__ = [
    "ATTEMPT",
    "HEADERS_OCTETS_MAX",
    "Entry",
    "MessagePosition",
    "UnrecognizedMessage",
    "allOf",
    "decode",
    "encode",
    "streamsOf",
    "subjectOf",
]

# Maximum size of the headers, including subject and protocol. A path of 4096 octets can become
# three times as long when it is escaped.
HEADERS_OCTETS_MAX = 16 * 1024

# The header that identifies a message, whatever its sequence.
ATTEMPT = "Decnet-Attempt"

# A peer without the extension has no streams.
PLAIN = "plain"

_SAFE = re.compile(rb"[^A-Za-z0-9_-]")
_TEXT = re.compile(rb"[^\x21-\x24\x26-\x7e]")
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")


class UnrecognizedMessage(Exception):
    """A message of another program. The text gives the reason."""


@dataclass(frozen=True, slots=True)
class MessagePosition:
    """
    The position of a stream after a message.

    @ivar offset: octets of the file, including gaps.
    @ivar base: the end of the last gap.
    @ivar crc: the CRC-32 of the octets [base, offset).
    """

    offset: int
    base: int
    crc: int

    def behind(self, deposit: Deposit) -> MessagePosition:
        """The position after a deposit that starts at this one."""
        if deposit.reason is not None:
            return MessagePosition(deposit.end, deposit.end, 0)
        return MessagePosition(deposit.end, self.base, crc32(deposit.octets, self.crc))


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A message of the journal.

    @ivar batch: C{None} for a message that has only a position.
    @ivar attempt: 32 hex digits, the same each time that this message is sent.
    """

    seq: int
    worker: str
    stream: str | None
    generation: int
    name: str | None
    position: MessagePosition
    attempt: str
    batch: Batch | None

    def grant(self) -> StreamLease | None:
        """A grant that only identifies the stream."""
        if self.stream is None:
            return None
        return StreamLease(0, 0, self.stream, self.generation, 0, 0, 0)

    def known(self) -> StreamPosition:
        """The stream as of the answer to C{LIST}."""
        at = self.position
        assert self.stream is not None
        name = cutName(self.name or "")
        return StreamPosition(
            self.stream, self.generation, at.offset, at.base, at.crc, name
        )


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _escaped(pattern: re.Pattern[bytes], text: str) -> str:
    return pattern.sub(lambda match: b"%%%02X" % match[0][0], _octets(text)).decode()


def _unescaped(value: str) -> str:
    octets = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value.encode())
    return octets.decode("utf-8", "surrogateescape")


def subjectOf(prefix: str, worker: str, grant: StreamLease | None) -> str:
    """The subject for the batches of a stream, or of a peer without streams."""
    if grant is None:
        return f"{prefix}.{_escaped(_SAFE, worker)}.{PLAIN}"
    stream = _escaped(_SAFE, grant.stream)
    return f"{prefix}.{_escaped(_SAFE, worker)}.{stream}.{grant.generation}"


def streamsOf(prefix: str, worker: str) -> str:
    """The subjects of all streams of a worker."""
    return f"{prefix}.{_escaped(_SAFE, worker)}.*.*"


def allOf(prefix: str) -> str:
    """All subjects."""
    return f"{prefix}.>"


def _framed(octets: bytes, lengths: Sequence[int]) -> bytes:
    """Encode messages as RFC 5425 frames, because one of them contains a line feed."""
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
            raise UnrecognizedMessage("the body is not framed")
        at = space + 1 + int(digits)
        if at > len(body):
            raise UnrecognizedMessage("the body is cut short")
        parts.append(body[space + 1 : at])
    return b"".join(parts), tuple(map(len, parts))


def encode(
    deposit: Deposit, position: MessagePosition, attempt: str, pack: Pack = never
) -> tuple[dict[str, str], bytes]:
    """
    Make the headers and the body for a deposit.

    @param position: the position after the deposit; all 0 for a peer without streams.
    @param pack: as of L{decnet_syslog.nats._packing}.
    """
    who = deposit.provenance
    headers = {
        ATTEMPT: attempt,
        "Decnet-Worker": _escaped(_TEXT, who.worker),
        "Decnet-Fingerprint": _escaped(_TEXT, who.fingerprint),
        "Decnet-Address": _escaped(_TEXT, who.address),
        "Decnet-Received-At": _escaped(_TEXT, who.receivedAt),
        "Decnet-Marks": str(int(who.flagHostnameMismatch)),
    }
    if who.log is not None:
        # The prefix keeps the value non-empty: some clients ignore a header without a value.
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
        # A message that was too long: its length.
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
        raise UnrecognizedMessage(f"{name} is not a number")
    return int(value)


def _text(headers: Mapping[str, str], name: str) -> str:
    try:
        return _unescaped(headers[name])
    except KeyError:
        raise UnrecognizedMessage(f"no {name}") from None


def _optional(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else _unescaped(value[1:])


def decode(seq: int, headers: Mapping[str, str], body: bytes) -> Entry:
    """
    Decode a message.

    @param seq: its sequence in the JetStream stream, which becomes the batch's.
    @raise UnrecognizedMessage: another program has published it.
    @raise JournalBlocked: this program cannot unpack it.
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
    position = MessagePosition(0, 0, 0)
    if "Decnet-Stream" in headers:
        stream = _text(headers, "Decnet-Stream")
        generation = _number(headers, "Decnet-Generation")
        start = _number(headers, "Decnet-Start")
        try:
            crc = int(_text(headers, "Decnet-Crc"), 16)
        except ValueError:
            raise UnrecognizedMessage("Decnet-Crc is not a checksum") from None
        position = MessagePosition(
            _number(headers, "Decnet-End"), _number(headers, "Decnet-Base"), crc
        )
    elif "Decnet-End" in headers:
        position = MessagePosition(_number(headers, "Decnet-End"), 0, 0)
    reason = _optional(headers, "Decnet-Gap")
    # There is no body if only headers were requested.
    if body and "Decnet-Encoding" in headers:
        try:
            body = unpack(_text(headers, "Decnet-Encoding"), body)
        except NotPacked as error:
            raise UnrecognizedMessage(f"the body cannot be unpacked: {error}") from None
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
