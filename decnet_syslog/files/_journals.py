"""
How far the journal that is connected has each content, and what is offered to it again.

What must be true:

* what one journal acknowledged counts for that journal only, under the name that the worker has
  there;
* a position that is on disk is covered by a mark of its journal that is on disk, too. A mark
  that is told comes before the acknowledgements that it covers (docs/protocol.rst), and is kept
  here until a position is written: both are in one transaction. So no power cut leaves
  "everything is acknowledged" behind without the mark that tells whether that is still so. A
  mark that is newer than the positions does no harm: it covers them, too;
* when a journal was put back, its new mark is written in the transaction that takes back the
  positions, not before: whoever dies in between finds the old mark, and asks again. What was
  taken back is offered after every restart, until the journal has acknowledged it again.

Nothing that a master tells reaches a content: a position is what that master calls the content
(its alias there), and how far it has it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from uuid import uuid4

from ._contents import Content, ContentKey, Life, Position
from ._store import Authority, JournalSeen, StateStore

__all__ = ["PLAIN", "JournalPositions"]

# Where a plain receiver is, which has no journal, nor acknowledges.
PLAIN = ""


class JournalPositions:
    """
    The positions of one journal at a time.

    @ivar authority: the journal that counts now.
    @ivar of: how far it has each content, as far as that is certain.
    @ivar remembered: what it had acknowledged before it was connected this time. A hint: a RESUME
        that agrees with it need not be compared with the file.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._mark: JournalSeen | None = None
        self.authority: Authority = store.lastMet() or (PLAIN, "")
        self.of = store.positions(self.authority)
        self.remembered: dict[ContentKey, Position] = {}

    def connect(
        self,
        authority: Authority,
        *,
        resend: bool,
        isHistoryKept: bool,
        mark: JournalSeen | None,
    ) -> Callable[[Content], bool]:
        """
        Make the positions of a journal those that count.

        @param resend: whether what another journal has acknowledged is offered to it.
        @param isHistoryKept: whether it has all that it acknowledged before.
        @param mark: how far it is; C{None}: it does not tell.
        @return: whether a content that had ended is to be offered to it.
        """
        store = self._store
        isPlain = authority[0] == PLAIN
        isMet = store.isMet(authority)
        known = self.remembered = store.claim(authority)
        self.of = dict(known)
        if isMet and not isHistoryKept:
            self._takeBack()
        credit = store.credited(
            authority,
            everyJournal=isPlain or not resend,
            sameJournal=isHistoryKept or mark is None,
        )
        credited = {}
        for key, offset in credit.items():
            there = known.get(key)
            if there is None:
                credited[key] = Position(*key, offset, offset)
            elif there.offset < offset:
                # It is further under another name of ours, or in another journal: what is
                # between is delivered, and no gap. So it goes on as a stream of its own.
                credited[key] = Position(uuid4().hex, 0, offset, offset)
        self.of.update(credited)
        self.authority, self._mark = authority, None
        if isMet:
            isPutBack = not isHistoryKept and mark is not None
            written = self.of if isPutBack else credited
            self._meet(mark, written, isPutBack)
        return lambda content: self._lacks(content, isMet, resend and not isPlain)

    def _meet(
        self,
        mark: JournalSeen | None,
        written: dict[ContentKey, Position],
        isPutBack: bool,
    ) -> None:
        """
        Note that the journal is connected.

        Without space on the disk the mark is written with the next position. But the names that
        the journal has for contents, and that it was put back, must be on disk.

        @raise sqlite3.DatabaseError: there is no space for these.
        """
        try:
            self._store.meet(self.authority, mark, written, isPutBack=isPutBack)
        except sqlite3.DatabaseError:
            if isPutBack or written:
                raise
            self._mark = mark

    def renames(self, positions: dict[ContentKey, Position]) -> bool:
        """Whether the journal calls a content otherwise than is on record."""
        for key, there in positions.items():
            before = self.of.get(key)
            known = key if before is None else (before.stream, before.generation)
            if (there.stream, there.generation) != known:
                return True
        return False

    def _takeBack(self) -> None:
        """Nothing counts as acknowledged until the journal says so again."""
        origins = self._store.origins()
        self.of = {
            key: Position(there.stream, there.generation, origins[key], origins[key])
            for key, there in self.of.items()
            if key in origins
        }

    def _lacks(self, content: Content, isMet: bool, resend: bool) -> bool:
        if content.life is Life.PAST:
            return False
        position = self.of.get(content.key)
        if position is not None:
            return position.offset < content.seen
        if self.authority[0] == PLAIN or content.seen <= content.origin:
            return False
        # Of what came after the journal was met it gets a gap record at least.
        return isMet or (resend and content.life is not Life.GONE)

    def remember(self, mark: JournalSeen) -> None:
        """A newer mark of the journal: it is written with the next position."""
        self._mark = mark

    def write(
        self, contents: Iterable[Content], positions: dict[ContentKey, Position]
    ) -> None:
        """Bring records, positions, and the mark that covers them to disk."""
        self._store.save(
            contents,
            [(self.authority, key, position) for key, position in positions.items()],
            (self.authority, self._mark) if self._mark is not None else None,
        )
        self._mark = None
        self.of.update(positions)
