"""
Records that change in a look, and reach the disk together at its end.

What must be true:

* nothing of a content is read before its record is on disk. Reading happens between looks; a
  content whose record could not be written saves it before its first chunk, or is not read;
* a record is written after the octets that it tells of were synced;
* a copy that was kept of a deleted file is deleted after its content's end is on disk.

A process that dies before L{UnsavedRecords.flush} returns has offered nothing: the look is
repeated after the restart, from the records that it began with. So one transaction for all
files of a look is as safe as one for each, and a burst of rotated files costs a few
transactions instead of thousands. The files are synced by several threads at a time: the file
system joins syncs that come together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ._contents import Content, ContentKey, Position
from ._journals import JournalPositions
from ._open import OpenContent

__all__ = ["UnsavedRecords"]

# Files that are synced at a time.
SYNCS_MAX = 16


class UnsavedRecords:
    """
    What is to be written at the end of a look.
    """

    def __init__(
        self,
        journal: JournalPositions,
        forget: Callable[[Iterable[ContentKey]], None],
        release: Callable[[ContentKey], None],
    ) -> None:
        """
        @param journal: writes records and positions, and knows how far contents are.
        @param forget: delete records.
        @param release: delete what was kept of a content.
        """
        self._journal = journal
        self._forget = forget
        self._release = release
        self._begun: dict[ContentKey, OpenContent] = {}
        self._records: dict[ContentKey, Content] = {}
        self._ended: dict[ContentKey, Position] = {}
        self._old: set[ContentKey] = set()

    def begun(self, one: OpenContent) -> None:
        """A content is new."""
        self._begun[one.key] = one
        self._records[one.key] = one.content

    def note(self, *contents: Content) -> None:
        """Records have changed, and are not open."""
        for content in contents:
            self._records[content.key] = content

    def ended(self, content: Content, position: Position) -> None:
        """A content is delivered up to a position."""
        self._records[content.key] = content
        self._ended[content.key] = position
        self._journal.of[content.key] = position

    def forget(self, keys: Iterable[ContentKey]) -> None:
        """Contents need not be remembered."""
        self._old.update(keys)

    def drop(self, contents: Iterable[OpenContent]) -> None:
        """Contents were begun in vain: nobody has them, and nobody will."""
        for one in contents:
            if self._begun.pop(one.key, None) is not None:
                self._records.pop(one.key, None)

    def flush(self) -> None:
        """
        Bring everything to disk.

        @raise OSError: a file cannot be synced.
        @raise sqlite3.DatabaseError: there is no space; it is tried again at the next call.
        """
        if self._records:
            begun = list(self._begun.values())
            _sync([one for one in begun if one.file is not None])
            self._journal.write(self._records.values(), self._ended)
            for one in begun:
                one.recordSaved()
            for key in self._ended:
                self._release(key)
            for known in (self._begun, self._records, self._ended):
                known.clear()
        if self._old:
            self._forget(self._old)
            self._old.clear()

    @property
    def paths(self) -> set[str]:
        """The configured paths of what is not on disk yet."""
        return {content.name for content in self._records.values()}


def _sync(begun: list[OpenContent]) -> None:
    """Bring the octets of files to disk that their records tell of."""
    if len(begun) < 2:
        for one in begun:
            one.settle()
        return
    with ThreadPoolExecutor(min(SYNCS_MAX, len(begun))) as threads:
        # The first error is raised, after all have returned.
        for _ in threads.map(OpenContent.settle, begun):
            pass
