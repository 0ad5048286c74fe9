"""
The journal that receives the files: its positions, and the contents that it lacks.

What must be true: a position belongs to one journal. L{ConnectedJournal.connect} selects the
positions of the connected journal; the positions in other journals are stored next to them
(L{decnet_syslog.files._journals}).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from ._contents import AcknowledgedPosition, Content, ContentKey
from ._follower import FileFollower
from ._journals import PLAIN, JournalPositions
from ._open import OpenContent
from ._store import Authority, JournalSeen, StateStore

__all__ = ["ConnectedJournal", "openedOf"]


def openedOf(followers: Mapping[str, FileFollower]) -> list[OpenContent]:
    """The unfinished contents of all paths, the oldest of each path first."""
    return [one for follower in followers.values() for one in follower.opened]


class ConnectedJournal:
    """The journal that is connected, or was connected last."""

    def __init__(
        self,
        store: StateStore,
        positions: JournalPositions,
        followers: Mapping[str, FileFollower],
        save: Callable[[], None],
    ) -> None:
        """
        @param followers: by path; paths are added later.
        @param save: writes every record and position that has moved.
        """
        self._store = store
        self._positions = positions
        self._followers = followers
        self._save = save
        self._lacks: Callable[[Content], bool] = lambda content: False

    @property
    def isPresent(self) -> bool:
        """Whether the receiver that was connected last has a journal."""
        return self._positions.authority[0] != PLAIN

    def isMet(self, authority: Authority) -> bool:
        """Whether positions in a journal are on record."""
        return self._store.isMet(authority)

    def markOf(self, journal: str) -> JournalSeen | None:
        """The newest mark of a journal, after saving it and the positions that it covers."""
        self._save()
        return self._store.seen(journal)

    def connect(
        self,
        authority: Authority,
        *,
        resend: bool,
        isHistoryKept: bool,
        mark: JournalSeen | None = None,
    ) -> None:
        """
        Make a journal the connected one: its positions count from now on.

        @param resend: whether the journal gets octets that another journal has acknowledged. If
            not, it continues where that one is.
        @param isHistoryKept: whether the journal is known to hold every octet that it has
            acknowledged. If not, every octet on disk is offered to it again.
        @param mark: its newest mark, if it has marks. At the first connection with a journal,
            L{meet} saves the mark, after the journal was compared with the files.
        """
        self._save()
        lacks = self._positions.connect(
            authority, resend=resend, isHistoryKept=isHistoryKept, mark=mark
        )
        for one in openedOf(self._followers):
            one.resume(self.positionOf(one.content) or _unknown(one.content))
        self._lacks = lacks
        for follower in self._followers.values():
            self.offer(follower)

    def offer(self, follower: FileFollower) -> None:
        """Read the ended contents of a path again that this journal lacks."""
        follower.offer(self._lacks)

    def meet(self, authority: Authority, mark: JournalSeen | None) -> None:
        """Count a journal as known, after its contents were compared with the files."""
        self._save()
        self._store.meet(authority, mark)

    def remember(self, mark: JournalSeen) -> None:
        """Note a newer mark of the connected journal; it is saved with the next position."""
        self._positions.remember(mark)

    def rememberedOf(self, one: OpenContent) -> AcknowledgedPosition | None:
        """The position that the connected journal had acknowledged before this connection."""
        return self._positions.remembered.get(one.key)

    def aliases(self) -> dict[ContentKey, ContentKey]:
        """Map the connected journal's names of contents to their keys here."""
        found = {(p.stream, p.generation): k for k, p in self._positions.of.items()}
        for one in openedOf(self._followers):
            found[one.acknowledged.stream, one.acknowledged.generation] = one.key
        return found

    def adopt(self, positions: dict[OpenContent, AcknowledgedPosition]) -> None:
        """Take over the connected journal's names and positions of contents."""
        for one, position in positions.items():
            one.resume(position)
        found = {one.key: position for one, position in positions.items()}
        try:
            self._positions.write([one.content for one in positions], found)
        except sqlite3.DatabaseError:
            if self._positions.renames(found):
                raise
            # The disk is full. The journal has the positions; they are saved later.
            self._positions.of.update(found)
            for one in positions:
                one.dirty = True

    def past(self) -> list[OpenContent]:
        """
        If the state was lost: the rotated files from before the first look.

        A journal may hold a part of their octets. They are only for comparison; the caller
        must L{OpenContent.close} each.
        """
        if not self._store.isFresh:
            return []
        return [one for f in self._followers.values() for one in f.openPast()]

    def proceed(self, one: OpenContent, position: AcknowledgedPosition) -> None:
        """Ship the rest of a L{past} content to the connected journal, which has a part."""
        content = one.content
        content.origin = 0
        self._positions.write([content], {content.key: position})
        if position.offset < content.seen:
            self._followers[content.name].readAgain(content)

    def positionOf(self, content: Content) -> AcknowledgedPosition | None:
        """How far the connected journal has a content, or else the last one; as far as is known."""
        return self._positions.of.get(content.key)

    def saveOne(self, one: OpenContent) -> None:
        """Write one record and its position."""
        one.settle()
        self._positions.write([one.content], {one.key: one.acknowledged})


def _unknown(content: Content) -> AcknowledgedPosition:
    """The position of a content in a journal that does not know it."""
    return AcknowledgedPosition(
        content.stream, content.generation, content.origin, content.origin
    )
