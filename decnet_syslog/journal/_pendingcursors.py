"""The cursors of outputs that wait for a commit: the newest of each output."""

from __future__ import annotations

from collections.abc import Iterable

from ._values import Cursor

__all__ = ["PendingCursors"]


class PendingCursors:
    """Cursors that wait for a commit."""

    def __init__(self) -> None:
        self._cursors: dict[str, Cursor] = {}

    def __bool__(self) -> bool:
        return bool(self._cursors)

    def add(self, cursor: Cursor) -> None:
        """Keep a cursor, with the files of an older one that it replaces."""
        before = self._cursors.get(cursor.output)
        if before is not None:
            files = {**before.files, **cursor.files}
            cursor = Cursor(cursor.output, cursor.seq, files)
        self._cursors[cursor.output] = cursor

    def take(self) -> list[Cursor]:
        """Give all cursors to a commit."""
        cursors, self._cursors = self._cursors, {}
        return list(cursors.values())

    def putBack(self, cursors: Iterable[Cursor]) -> None:
        """They were not committed: they come before those that were added since."""
        later = self.take()
        for cursor in (*cursors, *later):
            self.add(cursor)
