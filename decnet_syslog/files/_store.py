"""
The state database: contents, and how far each journal has them, in a small SQLite database.

With a master that acknowledges, a position is a hint, and the master's own position decides.
With a plain receiver, the position here is the only one. What must be true:

* a content's record is on disk before any of its octets is offered, so that no octet is ever
  offered under two names;
* records, positions, and the mark that covers the positions are written in one transaction.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ._contents import AcknowledgedPosition, Content, ContentKey
from ._contenttable import ContentTable
from ._journaltable import Authority, JournalSeen, JournalTable

__all__ = ["Authority", "JournalSeen", "StateStore"]


class StateStore(ContentTable, JournalTable):
    """
    The database, with the operations that change several tables.
    """

    def save(
        self,
        contents: Iterable[Content],
        positions: Iterable[tuple[Authority, ContentKey, AcknowledgedPosition]] = (),
        mark: tuple[Authority, JournalSeen] | None = None,
    ) -> None:
        """
        Write records and positions; they are on disk when this returns.

        @param mark: the newest mark of a known journal.
        """
        with self.transaction():
            if mark is not None:
                self._db.execute(
                    "UPDATE journal SET number = ?, token = ?"
                    " WHERE journal = ? AND worker = ?",
                    (*mark[1], *mark[0]),
                )
            self._saveContents(contents)
            self._savePositions(positions)

    def reached(self) -> dict[str, int]:
        """For each followed log: how much of its present content any master has acknowledged."""
        rows = self._db.execute(
            "SELECT content.name, max(content.origin, coalesce(max(position.offset), 0))"
            " FROM content LEFT JOIN position USING (stream, generation)"
            " WHERE content.life = 'live' GROUP BY content.name ORDER BY content.name"
        )
        return {os.fsdecode(name): offset for name, offset in rows}

    def importOffset(self, offset: int) -> None:
        """Begin at an offset of DECNET's own forwarder; only before any content is on record."""
        assert self.isFresh
        with self.transaction():
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS forwarder_offset"
                " (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
            )
            self._db.execute(
                "INSERT OR REPLACE INTO forwarder_offset VALUES ('default', ?)",
                (offset,),
            )

    def forget(self, keys: Iterable[ContentKey]) -> None:
        """Delete records, and every journal's positions in these contents."""
        keys = list(keys)
        with self.transaction():
            for table in ("content", "position"):
                self._db.executemany(
                    f"DELETE FROM {table} WHERE stream = ? AND generation = ?", keys
                )
