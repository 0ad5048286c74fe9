"""Control lines about the connection and the master's journal: HELLO, MARK, SEEN, HISTORY, BYE."""

from __future__ import annotations

from ..values import value
from ._fields import ControlLine, Id, Kept, Name, Number, Word

__all__ = ["BYE", "HELLO", "HELLO2", "HISTORY", "MARK", "SEEN"]


@value
class HELLO(ControlLine):
    """
    The listener's first line: the identity of its journal, the longest message that it accepts,
    and the number of streams that a connection may have open.
    """

    version: Number
    journal: Id
    messageOctetsMax: Number
    streamsMax: Number


@value
class HELLO2(HELLO):
    """HELLO of version 2, which also reports the end of the journal, as L{MARK}."""

    number: Number
    token: Id


@value
class MARK(ControlLine):
    """
    The present end of the journal: everything that the listener acknowledged is before it.

    @ivar number: only grows while the journal keeps its history.
    @ivar token: distinguishes histories with the same number, 32 hex digits.
    """

    number: Number
    token: Id


@value
class SEEN(ControlLine):
    """The newest mark of this journal that the forwarder received. Asks whether it still holds."""

    number: Number
    token: Id


@value
class HISTORY(ControlLine):
    """The answer to SEEN: whether the journal still has everything up to that mark."""

    kept: Kept


@value
class BYE(ControlLine):
    """The reason why the sender of this line, at either end, is about to close."""

    code: Word
    text: Name
