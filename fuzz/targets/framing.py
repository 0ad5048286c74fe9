"""
L{decnet_syslog.wire.framing} and L{decnet_syslog.wire.protocol}, with control lines or not.

What comes out must be the same however the octets were divided into receives, and with halts
between; must be what a decoder says that was written from the grammar and nothing else; and
what is held must be bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from decnet_syslog.wire.control import ControlError, ControlLine, parseControl
from decnet_syslog.wire.framing import (
    CONTROL_LINE_OCTETS_MAX,
    FrameDecoder,
    FramingError,
    encodeFrames,
)
from decnet_syslog.wire.protocol import OctetCountedReceiver

from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

# Octet by octet it costs what its octets do: frames of the shortest limits are enough.
OCTETS_MAX = 640
OPAQUE = False

# Few digits and many: the length of the number is a limit of its own.
_LIMITS = (9, 10, 99, 300, 2048, 1024 * 1024)

WORDS = (
    *(b"1 a", b"0 ", b"01 a", b"10 0123456789", b"300 ", b"2048 ", b"1048577 "),
    *(b"LIST\n", b"LAST\n", b"EMPTY 2\n", b"BYE order x\n", b"ACK ", b"\n", b" "),
    b"SKIP 1 lag-cap\n",
)

_SEED = b"1 a3 a\nb10 0123456789" + b"LIST\nEMPTY 2\n2 ab" + b"12 incomplete"

SEEDS = tuple(
    [bytes([control, limit, cuts, 1, 7]) + _SEED for control, limit, cuts in
     ((0, 0, 0), (1, 1, 1), (0, 3, 2), (1, 5, 3))]
)  # fmt: skip

# A message, a control line, or why nothing more is taken.
_Seen = list[bytes | ControlLine | str]


@dataclass
class _Broken(Exception):
    """What L{_reference} says of octets that are no frame."""


def _reference(octets: bytes, limit: int, control: bool) -> tuple[_Seen, bool]:
    """
    What is in octets, by the grammar.

    @return: messages and control lines, and whether a stranger follows them.
    """
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
        # A number of as many digits as the limit has is judged when it has ended.
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
    """Remembers, and halts now and then."""

    def __init__(self, limit: int, control: bool, haltEvery: int) -> None:
        self.MAX_LENGTH = limit
        self.control = control
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

    def frameError(self, error: FramingError | ControlError) -> None:
        assert not self.broken
        self.broken = True
        self.seen.append(error.reason)

    def goOn(self) -> None:
        """Go on until all that was received is decoded."""
        while self._halted:
            self.proceed()


def _receive(
    octets: bytes, limit: int, control: bool, cuts: bytes, haltEvery: int
) -> tuple[_Seen, int]:
    receiver = _Receiver(limit, control, haltEvery)
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
                assert receiver.unfinished <= most, receiver.unfinished
    receiver.goOn()
    return receiver.seen, 0 if receiver.broken else receiver.unfinished


def run(octets: bytes) -> None:
    """Control lines or not, a limit, how the receives are cut, and octets."""
    source = Source(octets)
    control, limit = bool(source.below(2)), source.choose(_LIMITS)
    kind = source.octet()
    cuts = source.take(2)
    stream = source.rest()
    whole = _receive(stream, limit, control, b"", 0)
    assert whole == _receive(stream, limit, control, b"\0", 0), "octet by octet"
    assert whole == _receive(stream, limit, control, cuts, kind % 4), "cut"
    wanted, broken = _reference(stream, limit, control)
    seen = whole[0]
    if broken:
        assert isinstance(seen[-1], str), seen[-1]
        seen = seen[:-1]
    assert seen == wanted, (seen, wanted)
    messages = [message for message in seen if isinstance(message, bytes)]
    again: list[bytes] = []
    assert FrameDecoder(limit).decode(encodeFrames(messages), again) is None
    assert again == messages
