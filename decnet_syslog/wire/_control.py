"""The control lines of the delivery extension, ``decnet-syslog``: octets to values and back.

The grammar (docs/protocol.rst is its description for implementers)::

    line    = verb *(SP field) LF            ; CONTROL_LINE_OCTETS_MAX octets at most
    stream  = 32 hexdigits, lower case       ; chosen at random by the forwarder
    number  = "0" / nonzero *digit           ; at most 2^63 - 1
    crc32   = 8 hexdigits, lower case        ; zlib's CRC-32
    name    = 1*(unreserved / pct-encoded)   ; octets other than A-Z a-z 0-9 - . _ / as %XX
    token   = 32 hexdigits, lower case       ; chosen at random by the listener

    listener -> forwarder
      HELLO 1 journal message-octets-max streams-max
      RESUME stream generation offset base crc32
      KNOWN stream generation offset base crc32 name       ; answers LIST, one a stream
      LISTED                                               ; no more KNOWN
      ACK stream generation offset
    forwarder -> listener
      LIST
      OPEN stream generation start name
      CLOSE stream generation
      AT stream generation offset
      EMPTY count
      LAST
      SKIP octets reason
    forwarder -> listener, decnet-syslog/1.1 and /2
      STATE stream generation size position age
      TROUBLE kind name reason
      BEAT files behind age
    forwarder -> listener, decnet-syslog/2.1 instead of STATE and BEAT
      LAG stream generation size ages                      ; ages = position:age *("," position:age)
      REPORT clock files behind age
    listener -> forwarder, decnet-syslog/2.1
      LIMIT octets reason text
    listener -> forwarder, decnet-syslog/2
      HELLO 2 journal message-octets-max streams-max number token
      HISTORY kept                                         ; or "lost": answers SEEN
      MARK number token
    forwarder -> listener, decnet-syslog/2
      SEEN number token
    either
      BYE code text

A value is a frozen dataclass named like its verb; its fields are in the order of the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, ClassVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ._framing import CONTROL_LINE_OCTETS_MAX

__all__ = [
    "ACK",
    "AGES_MAX",
    "AT",
    "BEAT",
    "BYE",
    "CLOSE",
    "EMPTY",
    "HELLO",
    "HELLO2",
    "HISTORY",
    "KNOWN",
    "LAG",
    "LAST",
    "LIMIT",
    "LIST",
    "LISTED",
    "MARK",
    "NAMES_OCTETS_MAX",
    "NUMBER_MAX",
    "OPEN",
    "REPORT",
    "RESUME",
    "SEEN",
    "SKIP",
    "STATE",
    "TROUBLE",
    "ControlError",
    "ControlLine",
    "encodeControl",
    "octetsOf",
    "parseControl",
]

# SQLite's and every peer's signed 64-bit integer.
NUMBER_MAX = 2**63 - 1

# The names of all streams that a connection has open, in octets: a listener keeps them.
NAMES_OCTETS_MAX = 1024 * 1024

# Points of one file's ages: enough to follow 10 % steps over a factor of four.
AGES_MAX = 16

_STREAM = re.compile(rb"[0-9a-f]{32}\Z")
_NUMBER = re.compile(rb"(?:0|[1-9][0-9]{0,18})\Z")
_CRC = re.compile(rb"[0-9a-f]{8}\Z")
_NAME = re.compile(rb"(?:[A-Za-z0-9._/-]|%[0-9A-F]{2})+\Z")
_WORD = re.compile(rb"[a-z][a-z0-9-]{0,31}\Z")


@dataclass
class ControlError(Exception):
    """
    A control line that does not match the grammar.

    @ivar reason: the reason.
    @ivar seen: the first octets of the line, at most 80.
    """

    reason: str
    seen: bytes

    def __str__(self) -> str:
        return f"{self.reason} (saw {self.seen!r})"


@dataclass(frozen=True, slots=True)
class ControlLine:
    """A line between frames. Each subclass is a verb."""

    kinds: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class HELLO(ControlLine):
    """
    The listener's first line: the identity of its journal, the longest message that it accepts,
    and the number of streams that a connection may have open.
    """

    version: int
    journal: str
    messageOctetsMax: int
    streamsMax: int
    kinds: ClassVar[tuple[str, ...]] = ("number", "stream", "number", "number")


@dataclass(frozen=True, slots=True)
class HELLO2(HELLO):
    """HELLO of version 2, which also reports the end of the journal, as L{MARK}."""

    number: int
    token: str
    kinds: ClassVar[tuple[str, ...]] = (*HELLO.kinds, "number", "stream")


@dataclass(frozen=True, slots=True)
class MARK(ControlLine):
    """
    The present end of the journal: everything that the listener acknowledged is before it.

    @ivar number: only grows while the journal keeps its history.
    @ivar token: distinguishes histories with the same number, 32 hex digits.
    """

    number: int
    token: str
    kinds: ClassVar[tuple[str, ...]] = ("number", "stream")


@dataclass(frozen=True, slots=True)
class SEEN(ControlLine):
    """The newest mark of this journal that the forwarder received. Asks whether it still holds."""

    number: int
    token: str
    kinds: ClassVar[tuple[str, ...]] = ("number", "stream")


@dataclass(frozen=True, slots=True)
class HISTORY(ControlLine):
    """The answer to SEEN: whether the journal still has everything before that mark."""

    kept: bool
    kinds: ClassVar[tuple[str, ...]] = ("kept",)


@dataclass(frozen=True, slots=True)
class RESUME(ControlLine):
    """The octets that the listener holds durably, with the CRC-32 of [base, offset)."""

    stream: str
    generation: int
    offset: int
    base: int
    crc: int
    kinds: ClassVar[tuple[str, ...]] = ("stream", "number", "number", "number", "crc")


@dataclass(frozen=True, slots=True)
class KNOWN(ControlLine):
    """One stream of this worker that the listener holds."""

    stream: str
    generation: int
    offset: int
    base: int
    crc: int
    name: str
    kinds: ClassVar[tuple[str, ...]] = (
        "stream",
        "number",
        "number",
        "number",
        "crc",
        "name",
    )


@dataclass(frozen=True, slots=True)
class LISTED(ControlLine):
    """The end of the KNOWN lines."""


@dataclass(frozen=True, slots=True)
class ACK(ControlLine):
    """Everything before C{offset} survives a power cut of the master."""

    stream: str
    generation: int
    offset: int
    kinds: ClassVar[tuple[str, ...]] = ("stream", "number", "number")


@dataclass(frozen=True, slots=True)
class LIST(ControlLine):
    """Ask for the streams of this worker that the listener holds."""


@dataclass(frozen=True, slots=True)
class OPEN(ControlLine):
    """Ask for the position of a stream; C{start} is where an unknown stream begins."""

    stream: str
    generation: int
    start: int
    name: str
    kinds: ClassVar[tuple[str, ...]] = ("stream", "number", "number", "name")


@dataclass(frozen=True, slots=True)
class CLOSE(ControlLine):
    """The end of a stream on this connection; it may be opened again."""

    stream: str
    generation: int
    kinds: ClassVar[tuple[str, ...]] = ("stream", "number")


@dataclass(frozen=True, slots=True)
class AT(ControlLine):
    """The following frames belong to this stream, from this offset."""

    stream: str
    generation: int
    offset: int
    kinds: ClassVar[tuple[str, ...]] = ("stream", "number", "number")


@dataclass(frozen=True, slots=True)
class EMPTY(ControlLine):
    """C{count} empty lines, which no frame can carry: one octet each, the LF."""

    count: int
    kinds: ClassVar[tuple[str, ...]] = ("number",)


@dataclass(frozen=True, slots=True)
class LAST(ControlLine):
    """The next frame is the last line of its file and has no LF there."""


@dataclass(frozen=True, slots=True)
class SKIP(ControlLine):
    """A gap: this number of octets will never arrive, with the reason."""

    octets: int
    reason: str
    kinds: ClassVar[tuple[str, ...]] = ("number", "word")


@dataclass(frozen=True, slots=True)
class STATE(ControlLine):
    """
    How much of a file is delivered: C{position} of C{size} octets are acknowledged.

    @ivar age: age of the oldest line that is not acknowledged, in milliseconds; 0: none.
    """

    stream: str
    generation: int
    size: int
    position: int
    age: int
    kinds: ClassVar[tuple[str, ...]] = (
        "stream",
        "number",
        "number",
        "number",
        "number",
    )


@dataclass(frozen=True, slots=True)
class TROUBLE(ControlLine):
    """A file that cannot be delivered now, and why."""

    kind: str
    name: str
    reason: str
    kinds: ClassVar[tuple[str, ...]] = ("word", "name", "name")


@dataclass(frozen=True, slots=True)
class BEAT(ControlLine):
    """
    The forwarder is alive. Ends the report that the preceding STATE and TROUBLE lines began.

    @ivar files: the number of followed files.
    @ivar behind: octets of all files that are not acknowledged.
    @ivar age: age of the oldest line that is not acknowledged, in milliseconds; 0: none.
    """

    files: int
    behind: int
    age: int
    kinds: ClassVar[tuple[str, ...]] = ("number", "number", "number")


@dataclass(frozen=True, slots=True)
class LAG(ControlLine):
    """
    How much of a file is delivered, and how old its undelivered lines are.

    @ivar ages: positions with the age of the octet there, in milliseconds, in the order of the
        file. The first position is the acknowledged one; the age at the last one holds up to
        C{size}. Between two positions, ages are interpolated. Age 0 at the first: no complete line
        waits.
    """

    stream: str
    generation: int
    size: int
    ages: tuple[tuple[int, int], ...]
    kinds: ClassVar[tuple[str, ...]] = ("stream", "number", "number", "ages")

    @property
    def position(self) -> int:
        """The octets that are acknowledged."""
        return self.ages[0][0]

    @property
    def age(self) -> int:
        """The age of the oldest line that is not acknowledged, in milliseconds; 0: none."""
        return self.ages[0][1]


@dataclass(frozen=True, slots=True)
class REPORT(ControlLine):
    """
    The forwarder is alive. Ends the report that the preceding LAG and TROUBLE lines began.

    @ivar clock: when the forwarder looked at its files, in milliseconds on a clock of its own that
        never goes back.
    @ivar files: the number of followed files.
    @ivar behind: octets of all files that are not acknowledged.
    @ivar age: age of the oldest line that is not acknowledged, in milliseconds; 0: none.
    """

    clock: int
    files: int
    behind: int
    age: int
    kinds: ClassVar[tuple[str, ...]] = ("number", "number", "number", "number")


@dataclass(frozen=True, slots=True)
class LIMIT(ControlLine):
    """
    Whether the listener holds this worker back, and why.

    @ivar octets: how many octets may be unacknowledged; 0: as many as the forwarder likes.
    @ivar reason: C{none}, or what holds the worker back.
    @ivar text: the reason for people; C{-}: none.
    """

    octets: int
    reason: str
    text: str
    kinds: ClassVar[tuple[str, ...]] = ("number", "word", "name")


@dataclass(frozen=True, slots=True)
class BYE(ControlLine):
    """The reason why the sender of this line is about to close."""

    code: str
    text: str
    kinds: ClassVar[tuple[str, ...]] = ("word", "name")


_VERBS: dict[bytes, type[ControlLine]] = {
    verb.__name__.encode("ascii"): verb
    for verb in (
        HELLO,
        MARK,
        SEEN,
        HISTORY,
        RESUME,
        KNOWN,
        LISTED,
        ACK,
        LIST,
        OPEN,
        CLOSE,
        AT,
        EMPTY,
        LAST,
        SKIP,
        STATE,
        TROUBLE,
        BEAT,
        LAG,
        REPORT,
        LIMIT,
        BYE,
    )
}


# The forms of HELLO, by the version that they begin with.
_HELLOS: dict[bytes, type[HELLO]] = {b"1": HELLO, b"2": HELLO2}

_NAMED: list[tuple[bytes, type[ControlLine]]] = [*_VERBS.items(), (b"HELLO", HELLO2)]

# Verb and (name, kind) of the fields: made once, because every line needs them.
_LAYOUTS = {
    kind: (
        verb,
        [(f.name, k) for f, k in zip(fields(kind), kind.kinds, strict=True)],
    )
    for verb, kind in _NAMED
}

_KNOWN_VERSIONS = " and ".join(version.decode("ascii") for version in _HELLOS)
_HISTORIES = {b"kept": True, b"lost": False}


def octetsOf(name: str) -> int:
    """The length of a name in octets."""
    return len(name.encode("utf-8", "surrogateescape"))


def _parseNumber(field: bytes) -> int:
    if not _NUMBER.match(field) or int(field) > NUMBER_MAX:
        raise ValueError("number")
    return int(field)


def _parseAges(field: bytes) -> tuple[tuple[int, int], ...]:
    """Positions that do not go back, each with an age."""
    points = field.split(b",")
    if len(points) > AGES_MAX:
        raise ValueError("ages")
    ages: list[tuple[int, int]] = []
    for point in points:
        at, colon, age = point.partition(b":")
        if not colon or (ages and _parseNumber(at) < ages[-1][0]):
            raise ValueError("ages")
        ages.append((_parseNumber(at), _parseNumber(age)))
    return tuple(ages)


def _parseField(kind: str, field: bytes) -> int | str | tuple[tuple[int, int], ...]:
    if kind == "number" and _NUMBER.match(field) and int(field) <= NUMBER_MAX:
        return int(field)
    if kind == "stream" and _STREAM.match(field):
        return field.decode("ascii")
    if kind == "crc" and _CRC.match(field):
        return int(field, 16)
    if kind == "word" and _WORD.match(field):
        return field.decode("ascii")
    if kind == "ages":
        return _parseAges(field)
    if kind == "kept" and field in _HISTORIES:
        return _HISTORIES[field]
    if kind == "name" and _NAME.match(field):
        # surrogateescape: a file name is octets, and must come back unchanged.
        return unquote_to_bytes(field).decode("utf-8", "surrogateescape")
    raise ValueError(kind)


def parseControl(line: bytes) -> ControlLine:
    """
    Parse one control line, without its LF.

    @raise ControlError: an unknown verb, a wrong number of fields or a malformed field.
    """
    verb, *found = line.split(b" ")
    kind = _VERBS.get(verb)
    if kind is None:
        raise ControlError("an unknown control line", line[:80])
    if kind is HELLO:
        kind = _helloOf(found, line)
    if len(found) != len(kind.kinds):
        raise ControlError(
            f"{kind.__name__} takes {len(kind.kinds)} fields, not {len(found)}",
            line[:80],
        )
    try:
        values = [_parseField(*pair) for pair in zip(kind.kinds, found, strict=True)]
    except ValueError as error:
        raise ControlError(
            f"{kind.__name__} has a malformed {error}", line[:80]
        ) from None
    return kind(*values)


def _helloOf(found: list[bytes], line: bytes) -> type[HELLO]:
    """
    The form of a HELLO line.

    @raise ControlError: the listener's release has another HELLO.
    """
    version = found[0] if found and _NUMBER.match(found[0]) else None
    if version is None:
        raise ControlError("HELLO without a version", line[:80])
    kind = _HELLOS.get(version)
    if kind is None:
        raise ControlError(
            f"HELLO has version {version.decode('ascii')}, this program knows"
            f" {_KNOWN_VERSIONS}: upgrade decnet_syslog at the older of the two ends",
            line[:80],
        )
    if len(found) != len(kind.kinds):
        raise ControlError(
            f"HELLO {version.decode('ascii')} takes {len(kind.kinds)} fields, not"
            f" {len(found)}: upgrade decnet_syslog at the other end",
            line[:80],
        )
    return kind


def _encodeField(kind: str, value: Any) -> bytes:
    if kind == "kept":
        return b"kept" if value else b"lost"
    if kind == "ages":
        return b",".join([b"%d:%d" % point for point in value])
    if kind == "crc":
        return b"%08x" % int(value)
    if kind == "name":
        octets = str(value).encode("utf-8", "surrogateescape")
        # "~" is unreserved for quote_from_bytes but not in our grammar.
        return quote_from_bytes(octets, safe="/").replace("~", "%7E").encode("ascii")
    return str(value).encode("ascii")


def encodeControl(value: ControlLine) -> bytes:
    """Render a control line, including its LF."""
    verb, layout = _LAYOUTS[type(value)]
    parts = [verb]
    for name, kind in layout:
        field = getattr(value, name)
        parts.append(b"%d" % field if kind == "number" else _encodeField(kind, field))
    line = b" ".join(parts) + b"\n"
    assert len(line) <= CONTROL_LINE_OCTETS_MAX, line[:80]
    return line
