"""
How far the connected journal has each content, and which contents it is offered again.

What must be true:

* an acknowledgement counts only for the journal that sent it, under the name that the worker
  has there;
* a position on disk is covered by a mark of its journal that is on disk, too. A journal sends a
  mark before the acknowledgements that the mark covers (docs/protocol.rst). This module keeps
  the mark until it writes a position, and writes both in one transaction. So no power cut leaves
  "everything is acknowledged" behind without the mark that shows whether this is still true. A
  mark that is newer than the positions does no harm: it covers them, too;
* after a journal was restored from a backup, its new mark is written in the transaction that
  takes back the positions, not earlier. A process that dies in between leaves the old mark; the
  next one finds that and asks again. The octets past a position that was taken back are offered
  after every restart, until the journal has acknowledged them again.

Nothing that a master sends changes a content. A position holds the master's name of the content
(its alias there), and how far the master has the content.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from uuid import uuid4

from ._contents import AcknowledgedPosition, Content, ContentKey, Life
from ._store import Authority, JournalSeen, StateStore

__all__ = ["PLAIN", "JournalPositions"]

# The identity of a plain receiver, which has no journal and does not acknowledge.
PLAIN = ""


class JournalPositions:
    """
    The positions in a single journal.

    @ivar authority: the journal that counts now.
    @ivar of: how far it has each content, as far as that is certain.
    @ivar remembered: how far it had each content before this connection. A hint: a RESUME that
        agrees with it need not be compared with the file.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._mark: JournalSeen | None = None
        self.authority: Authority = store.lastMet() or (PLAIN, "")
        self.of = store.positions(self.authority)
        self.remembered: dict[ContentKey, AcknowledgedPosition] = {}

    def connect(
        self,
        authority: Authority,
        *,
        resend: bool,
        isHistoryKept: bool,
        mark: JournalSeen | None,
    ) -> Callable[[Content], bool]:
        """
        Make a journal the one whose positions count.

        @param resend: whether it is offered octets that another journal has acknowledged.
        @param isHistoryKept: whether it still has every octet that it has acknowledged.
        @param mark: its newest mark; C{None}: it has no marks.
        @return: a test whether an ended content must be offered to it.
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
                credited[key] = AcknowledgedPosition(*key, offset, offset)
            elif there.offset < offset:
                # The content is further along under another name of this worker, or in another
                # journal. The octets in between are delivered and are no gap, so the rest
                # becomes a stream of its own.
                credited[key] = AcknowledgedPosition(uuid4().hex, 0, offset, offset)
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
        written: dict[ContentKey, AcknowledgedPosition],
        isPutBack: bool,
    ) -> None:
        """
        Note that the journal is connected.

        If the disk is full, the mark is written with the next position. But the journal's names
        for contents, and the fact that it was restored, must be on disk.

        @raise sqlite3.DatabaseError: the disk is full, and these cannot be written.
        """
        try:
            self._store.meet(self.authority, mark, written, isPutBack=isPutBack)
        except sqlite3.DatabaseError:
            if isPutBack or written:
                raise
            self._mark = mark

    def renames(self, positions: dict[ContentKey, AcknowledgedPosition]) -> bool:
        """Whether the journal's name for a content differs from the one on record."""
        for key, there in positions.items():
            before = self.of.get(key)
            known = key if before is None else (before.stream, before.generation)
            if (there.stream, there.generation) != known:
                return True
        return False

    def _takeBack(self) -> None:
        """Count no octet as acknowledged until the journal acknowledges it again."""
        origins = self._store.origins()
        self.of = {
            key: AcknowledgedPosition(
                there.stream, there.generation, origins[key], origins[key]
            )
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
        # A journal that was met gets at least a gap record for every later content.
        return isMet or (resend and content.life is not Life.GONE)

    def remember(self, mark: JournalSeen) -> None:
        """Note a newer mark of the journal; it is written with the next position."""
        self._mark = mark

    def write(
        self,
        contents: Iterable[Content],
        positions: dict[ContentKey, AcknowledgedPosition],
    ) -> None:
        """Bring records, positions, and the mark that covers the positions to disk."""
        self._store.save(
            contents,
            [(self.authority, key, position) for key, position in positions.items()],
            (self.authority, self._mark) if self._mark is not None else None,
        )
        self._mark = None
        self.of.update(positions)
