"""
L{decnet_syslog.wire._decoder} and L{decnet_syslog.wire._protocol}: strict, with control
lines, or lenient.

The result must be the same in compiled code and in Python, and independent of how the
octets are split into receives and of halts in between; it must equal that of a decoder
written only from the grammar; and the memory held must be bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from decnet_syslog.wire import (
    ControlError,
    ControlLine,
    OctetCountedReceiver,
    parseControl,
)
from decnet_syslog.wire import _decoder as room
from decnet_syslog.wire._decoder import SKIPPED_DIGITS_MAX, FrameDecoder
from decnet_syslog.wire._framing import (
    CONTROL_LINE_OCTETS_MAX,
    FIRST_OCTETS,
    FramingError,
    Oversize,
    encodeFrames,
)

from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

# Split octet by octet, the cost is proportional to the length: frames at the shortest
# limits are enough.
OCTETS_MAX = 640
OPAQUE = False

_CONTROL, _LENIENT = 1, 2

# Few digits and many: the length of the number has its own limit.
_LIMITS = (9, 10, 99, 300, 2048, 1024 * 1024)

WORDS = (
    *(b"1 a", b"0 ", b"01 a", b"10 0123456789", b"300 ", b"2048 ", b"1048577 "),
    *(b"LIST\n", b"LAST\n", b"EMPTY 2\n", b"BYE order x\n", b"ACK ", b"\n", b" "),
    *(b"SKIP 1 lag-cap\n", b"0 0 ", b"11 01234567890", b"300 " + bytes(300), b"0"),
)

_SEED = b"1 a3 a\nb10 0123456789" + b"LIST\nEMPTY 2\n2 ab" + b"12 incomplete"

SEEDS = tuple(
    [bytes([control, limit, cuts, 1, 7]) + _SEED for control, limit, cuts in
     ((0, 0, 0), (1, 1, 1), (0, 3, 2), (1, 5, 3))]
    + [bytes([2, 0, cuts, 1, 7]) + b"0 1 a0 11 abcdefghijk1 b270 " + bytes(270) + b"1 c"
     for cuts in (0, 1)]
)  # fmt: skip

# A message, a control line, a skipped frame, or the reason for which decoding stopped.
_Seen = list[bytes | ControlLine | Oversize | str]


@dataclass
class _Broken(Exception):
    """Raised by L{_reference} for octets that are not a frame."""


def _reference(
    octets: bytes, limit: int, control: bool, lenient: bool
) -> tuple[_Seen, bool, int]:
    """
    Decode octets by the grammar.

    @return: messages and control lines, whether an unknown octet follows them, and the
        number of empty frames.
    """
    if not lenient:
        return *_strict(octets, limit, control), 0
    seen: _Seen = []
    empty = 0
    while octets:
        if b"0 ".startswith(octets[:2]):
            empty += octets[:2] == b"0 "
            octets = octets[2:]
            continue
        digits = octets[: len(octets) - len(octets.lstrip(b"0123456789"))]
        rest = octets[len(digits) :]
        most = max(len(str(limit)), SKIPPED_DIGITS_MAX)
        if digits.startswith(b"0") or len(digits) > most:
            return seen, True, empty
        if not rest:
            break
        if not digits or rest[:1] != b" ":
            return seen, True, empty
        length = int(digits)
        message = rest[1 : 1 + length]
        if length > limit:
            if len(message) < min(length, FIRST_OCTETS):
                break
            seen.append(Oversize(length, message[:FIRST_OCTETS]))
        elif len(message) < length:
            break
        else:
            seen.append(message)
        octets = rest[1 + length :]
    return seen, False, empty


def _strict(octets: bytes, limit: int, control: bool) -> tuple[_Seen, bool]:
    seen: _Seen = []
    while octets:
        if control and octets[:1].isupper() and octets[:1].isascii():
            line, end, rest = octets.partition(b"\n")
            if len(line) >= CONTROL_LINE_OCTETS_MAX:
                return seen, True
            if not end:
                return seen, False
            try:
                seen.append(parseControl(line))
            except ControlError:
                return seen, True
            octets = rest
            continue
        digits = octets[: len(octets) - len(octets.lstrip(b"0123456789"))]
        rest = octets[len(digits) :]
        # A number with exactly as many digits as the limit is judged at its end.
        if digits.startswith(b"0") or len(digits) > len(str(limit)):
            return seen, True
        if not rest:
            return seen, False
        if not digits or rest[:1] != b" " or int(digits) > limit:
            return seen, True
        message = rest[1 : 1 + int(digits)]
        if len(message) < int(digits):
            return seen, False
        seen.append(message)
        octets = rest[1 + int(digits) :]
    return seen, False


class _Receiver(OctetCountedReceiver):
    """Records everything, and halts at intervals."""

    def __init__(
        self, limit: int, control: bool, lenient: bool, haltEvery: int
    ) -> None:
        self.MAX_LENGTH = limit
        self.control = control
        self.lenient = lenient
        self.empty = 0
        self.seen: _Seen = []
        self.broken = False
        self._haltEvery = haltEvery

    def framesReceived(self, messages: list[bytes]) -> None:
        assert messages
        assert not self.broken
        self.seen.extend(messages)

    def controlReceived(self, line: ControlLine) -> None:
        assert not self.broken
        self.seen.append(line)
        if self._haltEvery and len(self.seen) % self._haltEvery == 0:
            self.halt()

    def oversizeReceived(self, frame: Oversize) -> None:
        assert not self.broken
        self.seen.append(frame)
        if self._haltEvery and len(self.seen) % self._haltEvery == 0:
            self.halt()

    def emptyFramesReceived(self, count: int) -> None:
        assert count > 0
        self.empty += count

    def frameError(self, error: FramingError | ControlError) -> None:
        assert not self.broken
        self.broken = True
        self.seen.append(error.reason)

    def goOn(self) -> None:
        """Continue until all received octets are decoded."""
        while self._halted:
            self.proceed()


def _receive(
    octets: bytes, limit: int, mode: int, cuts: bytes, haltEvery: int
) -> tuple[_Seen, int, int]:
    control = mode == _CONTROL
    receiver = _Receiver(limit, control, mode == _LENIENT, haltEvery)
    at = number = 0
    while at < len(octets):
        size = 1 + cuts[number % len(cuts)] if cuts else len(octets)
        number += 1
        receiver.dataReceived(octets[at : at + size])
        at += size
        if number % 3 or not haltEvery:
            receiver.goOn()
            if not receiver.broken:
                most = max(limit + len(str(limit)), CONTROL_LINE_OCTETS_MAX * control)
                if mode == _LENIENT:
                    most = max(most, FIRST_OCTETS)
                assert receiver.unfinished <= most, receiver.unfinished
    receiver.goOn()
    unfinished = 0 if receiver.broken else receiver.unfinished
    return receiver.seen, unfinished, receiver.empty


def run(octets: bytes) -> None:
    """A mode, a limit, the split into receives, and octets."""
    source = Source(octets)
    mode, limit = source.below(3), source.choose(_LIMITS)
    kind = source.octet()
    cuts = source.take(2)
    stream = source.rest()
    whole = _receive(stream, limit, mode, b"", 0)
    usual = room.COMPILED_OCTETS_MIN
    # These octets are too few for the compiled path.
    room.COMPILED_OCTETS_MIN = 1
    try:
        assert whole == _receive(stream, limit, mode, b"", 0), "compiled"
        assert whole == _receive(stream, limit, mode, cuts, kind % 4), "compiled, cut"
    finally:
        room.COMPILED_OCTETS_MIN = usual
    assert whole == _receive(stream, limit, mode, b"\0", 0), "octet by octet"
    assert whole == _receive(stream, limit, mode, cuts, kind % 4), "cut"
    wanted, broken, empty = _reference(
        stream, limit, mode == _CONTROL, mode == _LENIENT
    )
    assert whole[2] == empty, (whole, empty)
    seen = whole[0]
    if broken:
        assert isinstance(seen[-1], str), seen[-1]
        seen = seen[:-1]
    assert seen == wanted, (seen, wanted)
    messages = [message for message in seen if isinstance(message, bytes)]
    again: list[bytes] = []
    assert FrameDecoder(limit).decode(encodeFrames(messages), again) is None
    assert again == messages
