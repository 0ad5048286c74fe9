"""
The journal's history, as one connection knows it (version 2 of the extension).

Before a peer receives a position, it receives a mark of the journal that comes after that position.
A journal that was put back to before the position does not hold the mark.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..journal import IJournal
from ..wire import HELLO, HELLO2, MARK, ControlLine

__all__ = ["SentMarks"]


class SentMarks:
    """
    The marks that a peer has received.

    @ivar areSent: whether the peer receives marks: version 2 was negotiated.
    """

    def __init__(self, journal: IJournal, areSent: bool) -> None:
        self.areSent = areSent
        self._journal = journal
        self._last = journal.mark

    def hello(self, messageOctetsMax: int, filesMax: int) -> HELLO:
        """The first line of a listener."""
        rest = self._journal.identity, messageOctetsMax, filesMax
        if not self.areSent:
            return HELLO(1, *rest)
        mark = self._last = self._journal.mark
        return HELLO2(2, *rest, mark.number, mark.token)

    def moved(self) -> Sequence[ControlLine]:
        """The mark, if it has moved: it is sent before lines with positions."""
        if not self.areSent:
            return ()
        mark = self._journal.mark
        if self._last == mark:
            return ()
        self._last = mark
        return (MARK(mark.number, mark.token),)
