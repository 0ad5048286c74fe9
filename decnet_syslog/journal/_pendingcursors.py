"""
The cursors of outputs that wait for a commit: the newest of each output.

Requirement: the journal never gets an older cursor after a newer one. It has released batches up to
the newer one, and an output that starts at the older one takes the next octets for octets that it
has written. So cursors whose commit has failed come back below all newer ones, also those that
another commit has taken meanwhile.
"""

from __future__ import annotations

from ._values import Cursor

__all__ = ["PendingCursors"]


class PendingCursors:
    """Cursors that wait for a commit."""

    def __init__(self) -> None:
        self._cursors: dict[str, Cursor] = {}
        # What commits have taken and not yet reported, in the order of the commits.
        self._taken: list[list[Cursor]] = []

    def __bool__(self) -> bool:
        return bool(self._cursors)

    def add(self, cursor: Cursor) -> None:
        """Keep a cursor, with the files of an older one that it replaces."""
        before = self._cursors.get(cursor.output)
        if before is not None:
            files = {**before.files, **cursor.files}
            cursor = Cursor(cursor.output, max(before.seq, cursor.seq), files)
        self._cursors[cursor.output] = cursor

    def take(self) -> list[Cursor]:
        """Give all cursors to a commit, which calls L{saved} or L{putBack} with the same list."""
        taken = list(self._cursors.values())
        self._cursors = {}
        self._taken.append(taken)
        return taken

    def saved(self, taken: list[Cursor]) -> None:
        """They were committed."""
        del self._taken[self._indexOf(taken)]

    def putBack(self, taken: list[Cursor]) -> None:
        """Their commit failed: keep them, except where newer ones replace them."""
        index = self._indexOf(taken)
        # A newer cursor is true whether or not the commit that has taken it succeeds.
        newer = [cursor for later in self._taken[index + 1 :] for cursor in later]
        del self._taken[index]
        waiting, self._cursors = self._cursors, {}
        for cursor in (*taken, *newer, *waiting.values()):
            self.add(cursor)

    def _indexOf(self, taken: list[Cursor]) -> int:
        # Two commits can have taken equal lists, so equality does not do.
        return next(n for n, one in enumerate(self._taken) if one is taken)
