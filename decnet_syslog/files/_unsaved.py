"""
Records that change during a look, and reach the disk together at its end.

What must be true:

* no octet of a content is read before its record is on disk. Reading happens between looks; a
  content whose record could not be written saves it before its first chunk, or is not read;
* a record is written after the octets that it covers were synced;
* the kept copy of a deleted file is deleted after the end of its content is on disk.

A process that dies before L{UnsavedRecords.flush} returns has offered nothing: after the
restart, the look is repeated from the same records. So one transaction for all files of a look
is as safe as one for each file, and a burst of rotated files costs a few transactions instead
of thousands. Several threads sync the files at a time: the file system joins syncs that come
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ._contents import AcknowledgedPosition, Content, ContentKey
from ._journals import JournalPositions
from ._open import OpenContent

__all__ = ["UnsavedRecords"]

# Maximum number of files to sync at a time.
SYNCS_MAX = 16


class UnsavedRecords:
    """
    The changes to write at the end of a look.
    """

    def __init__(
        self,
        journal: JournalPositions,
        forget: Callable[[Iterable[ContentKey]], None],
        release: Callable[[ContentKey], None],
    ) -> None:
        """
        @param journal: writes records and positions, and holds the positions.
        @param forget: deletes records.
        @param release: deletes the kept copy of a content.
        """
        self._journal = journal
        self._forget = forget
        self._release = release
        self._begun: dict[ContentKey, OpenContent] = {}
        self._records: dict[ContentKey, Content] = {}
        self._ended: dict[ContentKey, AcknowledgedPosition] = {}
        self._old: set[ContentKey] = set()

    def begun(self, one: OpenContent) -> None:
        """Note a new content."""
        self._begun[one.key] = one
        self._records[one.key] = one.content

    def note(self, *contents: Content) -> None:
        """Note changed records of contents that are not open."""
        for content in contents:
            self._records[content.key] = content

    def ended(self, content: Content, position: AcknowledgedPosition) -> None:
        """Note that a content is delivered up to a position."""
        self._records[content.key] = content
        self._ended[content.key] = position
        self._journal.of[content.key] = position

    def forget(self, keys: Iterable[ContentKey]) -> None:
        """Note contents whose records are not needed any more."""
        self._old.update(keys)

    def drop(self, contents: Iterable[OpenContent]) -> None:
        """Drop new contents whose records are not on disk: no octet was offered."""
        for one in contents:
            if self._begun.pop(one.key, None) is not None:
                self._records.pop(one.key, None)

    def flush(self) -> None:
        """
        Bring everything to disk.

        @raise OSError: a file cannot be synced.
        @raise sqlite3.DatabaseError: the disk is full; the next call tries again.
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
        """The configured paths of the records that are not on disk yet."""
        return {content.name for content in self._records.values()}


def _sync(begun: list[OpenContent]) -> None:
    """Sync the octets that the records of new contents cover."""
    if len(begun) < 2:
        for one in begun:
            one.settle()
        return
    with ThreadPoolExecutor(min(SYNCS_MAX, len(begun))) as threads:
        # The first error is raised after all syncs have returned.
        for _ in threads.map(OpenContent.settle, begun):
            pass
