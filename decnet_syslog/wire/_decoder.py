"""Received octets to frames and control lines.

What must be true:

* a length is checked before any octet of its message is kept: the decoder never holds more than one
  unfinished frame of ``messageOctetsMax`` octets plus one receive;
* a stream is refused at the first octet that cannot begin or continue a frame, and by then every
  complete frame before that octet has been returned;
* the cost is linear in the octets, however they are divided into receives.

A lenient decoder, for peers without the delivery extension, continues where the stream can still be
followed. DECNET's own forwarder sends an empty frame for an empty line, and a frame of any length
for a long one. If that closed its connection, it would send the same again for ever: an attacker
who can write one line into its log would stop the log. So an empty frame is counted and skipped. Of
an over-long frame the first octets are kept and the rest is discarded.

If the compiled path (``hotpath``) is available, it decodes the first frames of a receive, usually
all; the Python path continues where it ends.

Chosen: one ``bytes`` per receive and a cursor into it. An unfinished frame grows in one
``bytearray`` until it is complete, so a long frame in small pieces is not copied for each piece.
Set aside: resynchronising after an error, or guessing that a stream without a length is LF-framed
(RFC 6587 3.4.2): both turn octets of one message into separate messages.
"""

from __future__ import annotations

import re

from .. import hotpath
from ._framing import (
    CONTROL_LINE_OCTETS_MAX,
    FIRST_OCTETS,
    MESSAGE_OCTETS_MAX,
    FramingError,
    LengthError,
    Lines,
    Oversize,
)

__all__ = ["FrameDecoder"]

# Digits in the MSG-LEN of a frame that is discarded: as many as DECNET's own listener accepts. A
# number with more digits is not a length, so the stream is not octet-counted, or is out of step.
SKIPPED_DIGITS_MAX = 10

# With fewer octets to decode, a call of the compiled path costs more than it saves.
COMPILED_OCTETS_MIN = 1024

# Any number of empty frames.
_EMPTY = re.compile(rb"(?:0 )+").match

# Nearly all lines have a hundred to a thousand octets: a lookup of the first four octets gives the
# length of the whole frame. Everything else is decoded step by step.
_COMMON_MAX = 999
_COMMON = {b"%d " % n: 4 + n for n in range(100, _COMMON_MAX + 1)}
_NONE: dict[bytes, int] = {}


class FrameDecoder:
    """
    Decodes receives into frames.

    @ivar messageOctetsMax: the longest message accepted.
    @ivar control: whether control lines may stand between frames.
    @ivar lenient: whether empty and over-long frames are skipped instead of refused.
    @ivar empty: the number of empty frames that were skipped; the caller may reset it.
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
        # Octets after a control line, or received while decoding was halted.
        self._rest = b""
        self._at = 0
        # An over-long frame: its octets still to come; its length, until its first octets are
        # complete; and those first octets.
        self._past = 0
        self._oversize = 0
        self._first = bytearray()

    @property
    def held(self) -> int:
        """Octets kept because they are not decoded or not complete yet."""
        return len(self._held) + len(self._rest) - self._at + len(self._first)

    def only(self, data: bytes) -> bytes | None:
        """
        The message of a receive that is exactly one frame of a common length, the usual receive
        from a worker that logs now and then; C{None}: L{decode} it.
        """
        if (
            _COMMON.get(data[:4]) != len(data)
            or self._held
            or self._rest
            or self._past
            or self.messageOctetsMax < _COMMON_MAX
        ):
            return None
        return data[4:]

    def keep(self, data: bytes) -> None:
        """Keep octets without decoding them: the next L{decode} begins with them."""
        self._rest = self._rest[self._at :] + data
        self._at = 0

    def decode(
        self, data: bytes, frames: list[bytes], blocks: list[Lines] | None = None
    ) -> bytes | Oversize | None:
        """
        Take received octets and append the complete messages to C{frames}.

        @param blocks: if given, the first messages may be appended here instead, as lines; then
            C{frames} has only the messages after them.
        @return: a control line without its LF, or an over-long frame, if the decoder met one: call
            again with C{b""} to continue after it. C{None} when more octets are needed.
        @raise FramingError: at the first octet that is not part of a frame; every message before
            that octet was appended. The decoder must not be used again.
        """
        at = 0
        if self._rest:
            data, at = (self._rest + data, self._at) if data else (self._rest, self._at)
            self._rest, self._at = b"", 0
        if self._held:
            if len(self._held) + len(data) - at < self._needed:
                self._held += data[at:] if at else data
                return None
            # One copy of the receive: its octets are not added to the held ones first.
            data = b"".join((self._held, data[at:] if at else data))
            at = 0
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
            # bytes.isdigit() accepts ASCII only; int() alone would accept "1_0" and "+5".
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
        """Decode by the compiled path, if available; return the position to continue from."""
        if hotpath.compiled is None:
            return at
        octets, count, end = hotpath.compiled.lines(data, at, self.messageOctetsMax)
        if count:
            blocks.append(Lines(octets, count))
        return end

    def _keep(self, data: bytes, at: int, needed: int) -> None:
        """Hold an unfinished item until C{needed} octets are there."""
        self._held += data[at:]
        self._needed = needed

    def _stop(self, data: bytes, at: int) -> None:
        """Keep the octets after an item for the next call."""
        self._needed = 1
        if at < len(data):
            self._rest, self._at = data, at

    def _readPast(self, data: bytes, at: int) -> tuple[int, Oversize | None]:
        """
        Discard octets of an over-long frame.

        @return: where the discarded octets end, and the frame if its first octets are now complete.
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
        """Refuse a MSG-LEN that no further octet can make valid."""
        seen = data[at : at + 32]
        if data[at] == 0x30:
            raise FramingError("MSG-LEN begins with a zero", seen)
        # There is no space within reach, or the octets before it are not a number.
        prefix = data[at : at + self._digitsMax + 1]
        if not prefix.isdigit():
            raise FramingError("MSG-LEN is not a number followed by a space", seen)
        if len(prefix) > self._digitsMax:
            raise LengthError(int(prefix), self.messageOctetsMax, seen)
