"""Control lines around the frames of a stream: positions, and octets that no frame carries."""

from __future__ import annotations

from ..values import value
from ._fields import ControlLine, Id, Number, Word

__all__ = ["ACK", "AT", "EMPTY", "LAST", "SKIP"]


@value
class AT(ControlLine):
    """The following frames belong to this stream, from this offset."""

    stream: Id
    generation: Number
    offset: Number


@value
class EMPTY(ControlLine):
    """C{count} empty lines, which no frame can carry: one octet each, the LF."""

    count: Number


@value
class LAST(ControlLine):
    """The next frame is the last line of its file and has no LF there."""


@value
class SKIP(ControlLine):
    """A gap: this number of octets will never arrive, with the reason."""

    octets: Number
    reason: Word


@value
class ACK(ControlLine):
    """The listener: everything before C{offset} survives a power cut of the master."""

    stream: Id
    generation: Number
    offset: Number
