"""Octet counting (RFC 5425 section 4.3): ``MSG-LEN SP SYSLOG-MSG``, and its limits.

L{decnet_syslog.wire._decoder} finds the frames in received octets. The delivery extension puts
control lines between frames. A control line begins with an upper-case letter and ends in LF, a
frame begins with a digit: the first octet decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "CONTROL_LINE_OCTETS_MAX",
    "FIRST_OCTETS",
    "MESSAGE_OCTETS_MAX",
    "FramingError",
    "LengthError",
    "Lines",
    "Oversize",
    "encodeFrames",
]

# 1 MiB: RFC 5425 asks for 2048 and recommends 8192; honeypots log whole payloads, and DECNET's own
# lines stay well below. This bounds the memory that one connection can use.
MESSAGE_OCTETS_MAX = 1024 * 1024

# The longest control line is an OPEN with a file name of 4096 octets (PATH_MAX), each
# octet percent-encoded, and four short fields.
CONTROL_LINE_OCTETS_MAX = 3 * 4096 + 256

# Octets kept of a frame that is discarded.
FIRST_OCTETS = 256


@dataclass
class FramingError(Exception):
    """
    The peer sent octets that are not a frame. Nothing after them can be trusted.

    @ivar reason: the reason, in words for the log.
    @ivar seen: the first wrong octets, at most 32.
    """

    reason: str
    seen: bytes

    def __str__(self) -> str:
        return f"{self.reason} (saw {self.seen!r})"


class LengthError(FramingError):
    """
    MSG-LEN is a number over the limit.

    @ivar length: the number, or a lower bound if it has too many digits.
    """

    def __init__(self, length: int, limit: int, seen: bytes) -> None:
        super().__init__(
            f"a frame of {length} octets is over the limit of {limit}", seen
        )
        self.length = length


@dataclass(frozen=True, slots=True)
class Oversize:
    """
    A frame over the limit, which a lenient decoder discards.

    @ivar length: the length in MSG-LEN, in octets.
    @ivar first: its first L{FIRST_OCTETS} octets.
    """

    length: int
    first: bytes


class Lines(NamedTuple):
    """
    Consecutive messages that contain no LF.

    @ivar octets: the messages, each followed by an LF.
    @ivar number: the number of messages.
    """

    octets: bytes
    number: int

    @property
    def messages(self) -> list[bytes]:
        """The separate messages."""
        return self.octets[:-1].split(b"\n")


class _Prefixes(dict[int, bytes]):
    """MSG-LEN and its space, by length; the common ones are made once."""

    def __missing__(self, length: int) -> bytes:
        return b"%d " % length


_prefix = _Prefixes((n, b"%d " % n) for n in range(1, 4096)).__getitem__


def encodeFrames(messages: Sequence[bytes]) -> bytes:
    """
    Frame messages for the wire, in one piece of octets.

    @param messages: each of at least one octet: RFC 5425 has no empty message.
    """
    # Prefixes and messages alternate; slices place them without a Python step for each.
    parts = [b""] * (2 * len(messages))
    parts[0::2] = map(_prefix, map(len, messages))
    parts[1::2] = messages
    return b"".join(parts)
