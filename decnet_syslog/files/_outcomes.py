"""The possible outcomes of unpacking a compressed file."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Damaged",
    "NoSpace",
    "Outcome",
    "TooLarge",
    "Unfinished",
    "Unpacked",
    "Unsupported",
]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """
    The whole content.

    @ivar descriptor: of a file without a name, open for reading and writing, and positioned at
        its beginning. The caller closes it.
    @ivar octets: the size of the content.
    """

    descriptor: int
    octets: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """
    The file ends too early, and may still be growing.

    @ivar octets: the size of the content so far.
    @ivar writing: whether a process has the file open for writing; C{None}: unknown.
    @ivar wait: after this many seconds without a change and without a writer, the file
        counts as L{Damaged}.
    """

    octets: int
    writing: bool | None
    wait: float


@dataclass(frozen=True, slots=True)
class Damaged:
    """
    The file cannot be decoded to its end.

    @ivar reason: the cause, for people to read.
    @ivar octets: the size of the content before the damage.
    """

    reason: str
    octets: int


@dataclass(frozen=True, slots=True)
class Unsupported:
    """
    The file is compressed in a way that cannot be decoded here.

    @ivar codec: the format.
    @ivar reason: the cause and the remedy.
    """

    codec: str
    reason: str


@dataclass(frozen=True, slots=True)
class NoSpace:
    """
    The disk has no room for the content.

    @ivar octets: the number of octets that were unpacked before the disk was full, and removed.
    @ivar reserve: octets that must stay free.
    """

    octets: int
    reserve: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """
    The content is larger than the caller allows.

    @ivar octetsMax: the limit.
    """

    octetsMax: int


Outcome = Unpacked | Unfinished | Damaged | Unsupported | NoSpace | TooLarge
