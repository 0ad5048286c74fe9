"""Octet counting (RFC 5425 section 4.3): ``MSG-LEN SP SYSLOG-MSG``, octets to values.

What must be true:

* a length is checked before a single octet of its message is kept: the decoder never
  holds more than one unfinished frame of ``messageOctetsMax`` octets plus one receive;
* a stream is refused at the first octet that cannot begin or continue a frame, and every
  complete frame before that octet has been handed over by then;
* cost is linear in octets, whatever their division into receives.

A lenient decoder, for peers without the delivery extension, goes on where the stream can still
be followed. DECNET's own forwarder sends a frame of no octets for an empty line, and a frame of
any length for a long one. If its connection were closed for one, it would send the same again
for ever: an attacker who can write one line into its log would stop the log. So an empty frame
is counted and skipped. Of an over-long one the first octets are kept, and the rest is read past.

Where there is a compiled way (``hotpath``), it decodes the first frames of a receive, mostly
all, and its end is the beginning of the rest.

Chosen: one ``bytes`` per receive and a cursor into it. An unfinished frame grows in one
``bytearray`` until its length is there, so a long frame in small pieces is not copied
for each of them. Set aside: resynchronising after an error, or guessing that a stream without a
length is LF-framed (RFC 6587 3.4.2): that is how octets of one message become messages
of their own.

The delivery extension puts control lines between frames. A control line begins with an
upper-case letter and ends in LF, a frame begins with a digit: the first octet decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .. import hotpath

__all__ = [
    "CONTROL_LINE_OCTETS_MAX",
    "FIRST_OCTETS",
    "MESSAGE_OCTETS_MAX",
    "FrameDecoder",
    "FramingError",
    "Lines",
    "Oversize",
    "encodeFrames",
]

# 1 MiB: RFC 5425 asks for 2048 and recommends 8192; honeypots log whole payloads, and
# DECNET's lines stay well below. Bounds what one connection can make us hold.
MESSAGE_OCTETS_MAX = 1024 * 1024

# The longest control line is an OPEN with a file name of 4096 octets (PATH_MAX), each
# octet percent-encoded, and four short fields.
CONTROL_LINE_OCTETS_MAX = 3 * 4096 + 256

# Kept of a frame that is read past.
FIRST_OCTETS = 256

# Digits of a MSG-LEN that is read past: as many as DECNET's own listener takes. What has more
# is no length of a message, so the stream is not octet-counted, or is out of step.
SKIPPED_DIGITS_MAX = 10

# With less to decode, a call of the compiled way costs more than it saves.
COMPILED_OCTETS_MIN = 1024

# Empty frames, any number.
_EMPTY = re.compile(rb"(?:0 )+").match

# Nearly all lines have a hundred to a thousand octets: four octets, looked up, say how
# many the whole frame has. Everything else is decoded step by step.
_COMMON_MAX = 999
_COMMON = {b"%d " % n: 4 + n for n in range(100, _COMMON_MAX + 1)}
_NONE: dict[bytes, int] = {}


@dataclass
class FramingError(Exception):
    """
    The peer sent octets that are not a frame. Nothing after them can be trusted.

    @ivar reason: what is wrong, in words for the log.
    @ivar seen: the first octets of the offence, at most 32.
    """

    reason: str
    seen: bytes

    def __str__(self) -> str:
        return f"{self.reason} (saw {self.seen!r})"


class LengthError(FramingError):
    """
    MSG-LEN is a number over the limit.

    @ivar length: the number, or a lower bound of it when it has too many digits.
    """

    def __init__(self, length: int, limit: int, seen: bytes) -> None:
        super().__init__(
            f"a frame of {length} octets is over the limit of {limit}", seen
        )
        self.length = length


@dataclass(frozen=True, slots=True)
class Oversize:
    """
    A frame over the limit, which a lenient decoder reads past.

    @ivar length: octets that MSG-LEN announces.
    @ivar first: its first L{FIRST_OCTETS} octets.
    """

    length: int
    first: bytes


class Lines(NamedTuple):
    """
    Messages that have no LF, one after the other.

    @ivar octets: of the messages, an LF behind each.
    @ivar number: how many.
    """

    octets: bytes
    number: int

    @property
    def messages(self) -> list[bytes]:
        """Each by itself."""
        return self.octets[:-1].split(b"\n")


class FrameDecoder:
    """
    Take receives, give frames.

    @ivar messageOctetsMax: the longest message accepted.
    @ivar control: whether control lines may stand between frames.
    @ivar lenient: whether empty and over-long frames are skipped instead of refused.
    @ivar empty: empty frames that were skipped; the caller may set it back.
    """

    def __init__(
        self,
        messageOctetsMax: int = MESSAGE_OCTETS_MAX,
        control: bool = False,
        lenient: bool = False,
    ) -> None:
        self.messageOctetsMax = messageOctetsMax
        self.control = control
        self.lenient = lenient
        self.empty = 0
        digits = len(str(messageOctetsMax))
        self._digitsMax = max(digits, SKIPPED_DIGITS_MAX) if lenient else digits
        self._held = bytearray()
        self._needed = 1
        # What is behind a control line, or was received while nobody decoded.
        self._rest = b""
        self._at = 0
        # An over-long frame: its octets still to come; its length until its first octets are
        # complete; and those octets.
        self._past = 0
        self._oversize = 0
        self._first = bytearray()

    @property
    def held(self) -> int:
        """Octets kept of what is not decoded, or not complete yet."""
        return len(self._held) + len(self._rest) - self._at + len(self._first)

    def keep(self, data: bytes) -> None:
        """Take octets without decoding them: the next L{decode} begins with them."""
        self._rest = self._rest[self._at :] + data
        self._at = 0

    def decode(
        self, data: bytes, frames: list[bytes], blocks: list[Lines] | None = None
    ) -> bytes | Oversize | None:
        """
        Take what was received and append the complete messages to C{frames}.

        @param blocks: the first of them may be appended to this instead, as lines: only those
            behind them are in C{frames} then.
        @return: a control line without its LF, or an over-long frame, when one was met: call
            again with C{b""} to go on behind it. C{None} when more octets are needed.
        @raise FramingError: at the first octet that is no frame; every message before it was
            appended. The decoder must not be used again.
        """
        at = 0
        if self._rest:
            data, at = (self._rest + data, self._at) if data else (self._rest, self._at)
            self._rest, self._at = b"", 0
        if self._held:
            self._held += data[at:] if at else data
            at = 0
            if len(self._held) < self._needed:
                return None
            data = bytes(self._held)
            self._held.clear()
        if self._past:
            at, found = self._readPast(data, at)
            if found is not None:
                self._stop(data, at)
                return found
        if blocks is not None and len(data) - at >= COMPILED_OCTETS_MIN:
            at = self._block(data, at, blocks)
        append = frames.append
        find = data.find
        limit = self.messageOctetsMax
        digitsMax = self._digitsMax
        size = len(data)
        common = (_COMMON if limit >= _COMMON_MAX else _NONE).get
        while at < size:
            whole = common(data[at : at + 4])
            if whole is not None:
                end = at + whole
                if end > size:
                    self._keep(data, at, whole)
                    return None
                append(data[at + 4 : end])
                at = end
                continue
            space = find(b" ", at, at + digitsMax + 1)
            digits = data[at:space]
            # bytes.isdigit() is ASCII only; int() alone would take "1_0" and "+5".
            if space < 0 or not digits.isdigit() or data[at] == 0x30:
                if self.control and 0x41 <= data[at] <= 0x5A:
                    return self._controlLine(data, at)
                if self.lenient and data[at] == 0x30:
                    run = _EMPTY(data, at)
                    if run is not None:
                        self.empty += (run.end() - at) // 2
                        at = run.end()
                        continue
                    if at + 1 == size:
                        self._keep(data, at, 2)
                        return None
                self._checkPrefix(data, at)
                self._keep(data, at, size - at + 1)
                return None
            length = int(digits)
            if length > limit:
                if not self.lenient:
                    raise LengthError(length, limit, data[at : at + 32])
                self._past = self._oversize = length
                at, found = self._readPast(data, space + 1)
                if found is not None:
                    self._stop(data, at)
                    return found
                continue
            end = space + 1 + length
            if end > size:
                self._keep(data, at, end - at)
                return None
            append(data[space + 1 : end])
            at = end
        self._needed = 1
        return None

    def _block(self, data: bytes, at: int, blocks: list[Lines]) -> int:
        """Decode in the compiled way, if there is one; where to go on."""
        if hotpath.compiled is None:
            return at
        octets, count, end = hotpath.compiled.lines(data, at, self.messageOctetsMax)
        if count:
            blocks.append(Lines(octets, count))
        return end

    def _keep(self, data: bytes, at: int, needed: int) -> None:
        """Hold what is unfinished until C{needed} octets of it are there."""
        self._held += data[at:]
        self._needed = needed

    def _stop(self, data: bytes, at: int) -> None:
        """Keep the octets that follow an item for the next call."""
        self._needed = 1
        if at < len(data):
            self._rest, self._at = data, at

    def _readPast(self, data: bytes, at: int) -> tuple[int, Oversize | None]:
        """
        Read past octets of an over-long frame.

        @return: where in the data it ends, and the frame if its first octets are complete now.
        """
        found = None
        if self._oversize:
            wanted = min(FIRST_OCTETS, self._oversize)
            self._first += data[at : at + wanted - len(self._first)]
            if len(self._first) == wanted:
                found = Oversize(self._oversize, bytes(self._first))
                self._oversize = 0
                self._first.clear()
        taken = min(self._past, len(data) - at)
        self._past -= taken
        return at + taken, found

    def _controlLine(self, data: bytes, at: int) -> bytes | None:
        end = data.find(b"\n", at, at + CONTROL_LINE_OCTETS_MAX)
        if end >= 0:
            self._stop(data, end + 1)
            return data[at:end]
        if len(data) - at >= CONTROL_LINE_OCTETS_MAX:
            raise FramingError(
                f"a control line of more than {CONTROL_LINE_OCTETS_MAX} octets",
                data[at : at + 32],
            )
        self._keep(data, at, len(data) - at + 1)
        return None

    def _checkPrefix(self, data: bytes, at: int) -> None:
        """Refuse a MSG-LEN that no further octet can mend."""
        seen = data[at : at + 32]
        if data[at] == 0x30:
            raise FramingError("MSG-LEN begins with a zero", seen)
        # No space is in reach, or what is before it is no number.
        prefix = data[at : at + self._digitsMax + 1]
        if not prefix.isdigit():
            raise FramingError("MSG-LEN is not a number followed by a space", seen)
        if len(prefix) > self._digitsMax:
            raise LengthError(int(prefix), self.messageOctetsMax, seen)


class _Prefixes(dict[int, bytes]):
    """MSG-LEN and its space by length: those of common lengths are made once."""

    def __missing__(self, length: int) -> bytes:
        return b"%d " % length


_prefix = _Prefixes((n, b"%d " % n) for n in range(1, 4096)).__getitem__


def encodeFrames(messages: Sequence[bytes]) -> bytes:
    """
    Frame messages for the wire, in one piece of octets.

    @param messages: each of at least one octet: RFC 5425 has no empty message.
    """
    # Prefixes and messages in turns, without a step of Python's for each.
    parts = [b""] * (2 * len(messages))
    parts[0::2] = map(_prefix, map(len, messages))
    parts[1::2] = messages
    return b"".join(parts)
