"""
The known journals, and their positions in the contents: rows of the state database.

An acknowledgement by one journal says nothing about another journal: a position belongs to one
journal, and to the name that the worker has there.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._contents import AcknowledgedPosition, ContentKey
from ._statedatabase import StateDatabase

__all__ = ["Authority", "JournalSeen", "JournalTable"]

# Maximum number of journals on record: the masters of a worker, and a few that were lost.
JOURNALS_MAX = 8

Authority = tuple[str, str]
"""A journal's identity, and the worker's name there."""

JournalSeen = tuple[int, str]
"""The newest known mark of a journal: its number and token."""

_POSITION = (
    "journal, worker, stream, generation, there, there_generation, offset, base, crc"
)


class JournalTable(StateDatabase):
    """The tables of journals and positions."""

    def positions(self, authority: Authority) -> dict[ContentKey, AcknowledgedPosition]:
        """
        How far a journal has each content.

        Positions from an older version of this program count for any name of the worker.
        """
        rows = self._db.execute(
            f"SELECT {_POSITION} FROM position WHERE journal = ? AND worker IN ('', ?)"
            " ORDER BY worker",
            authority,
        )
        return {
            (stream, generation): AcknowledgedPosition(*position)
            for _, _, stream, generation, *position in rows
        }

    def claim(self, authority: Authority) -> dict[ContentKey, AcknowledgedPosition]:
        """The same; from now on, positions from an older version belong to this name."""
        if authority[1]:
            with self.transaction():
                for table in ("position", "journal"):
                    self._db.execute(
                        f"UPDATE OR IGNORE {table} SET worker = ?"
                        " WHERE journal = ? AND worker = ''",
                        authority[::-1],
                    )
        return self.positions(authority)

    def credited(
        self, authority: Authority, *, everyJournal: bool, sameJournal: bool
    ) -> dict[ContentKey, int]:
        """
        How far other journals have each content, or this one under another name of the worker.

        @param everyJournal: whether positions in other journals count.
        @param sameJournal: whether positions in this journal count.
        """
        rows = self._db.execute(
            "SELECT stream, generation, max(offset) FROM position"
            " WHERE NOT (journal = ? AND worker = ?)"
            " AND CASE journal WHEN ? THEN ? ELSE ? END"
            " GROUP BY stream, generation",
            (*authority, authority[0], sameJournal, everyJournal),
        )
        return {(stream, generation): offset for stream, generation, offset in rows}

    def seen(self, journal: str) -> JournalSeen | None:
        """
        The newest mark of a journal, under whichever name of the worker it was received.

        @return: C{None}: the journal is unknown, has no marks, or sent none when last met.
        """
        row = self._db.execute(
            "SELECT number, token FROM journal WHERE journal = ? ORDER BY met DESC",
            (journal,),
        ).fetchone()
        return None if row is None or not row[1] else (row[0], row[1])

    def isMet(self, authority: Authority) -> bool:
        """Whether a journal is on record."""
        row = self._db.execute(
            "SELECT 1 FROM journal WHERE journal = ? AND worker IN ('', ?)", authority
        ).fetchone()
        return row is not None

    def meet(
        self,
        authority: Authority,
        mark: JournalSeen | None,
        positions: dict[ContentKey, AcknowledgedPosition] | None = None,
        *,
        isPutBack: bool = False,
    ) -> None:
        """
        Record a journal and its mark; forget the journals that were met longest ago.

        @param positions: positions in it to write in the same transaction.
        @param isPutBack: whether its positions under other names of the worker are void.
        """
        number, token = mark or (0, "")
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO journal (journal, worker, number, token, met)"
                " VALUES (?, ?, ?, ?, (SELECT coalesce(max(met), 0) + 1 FROM journal))",
                (*authority, number, token),
            )
            self._db.execute(
                "DELETE FROM journal WHERE (journal, worker) IN (SELECT journal, worker"
                " FROM journal ORDER BY met DESC LIMIT -1 OFFSET ?)",
                (JOURNALS_MAX,),
            )
            if isPutBack:
                self._db.execute(
                    "DELETE FROM journal WHERE journal = ? AND worker != ?", authority
                )
            self._db.execute(
                "DELETE FROM position WHERE (journal, worker) NOT IN"
                " (SELECT journal, worker FROM journal)"
            )
            self._savePositions(
                [(authority, key, there) for key, there in (positions or {}).items()]
            )

    def lastMet(self) -> Authority | None:
        """The journal that was met last."""
        row = self._db.execute(
            "SELECT journal, worker FROM journal ORDER BY met DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def _savePositions(
        self, positions: Iterable[tuple[Authority, ContentKey, AcknowledgedPosition]]
    ) -> None:
        """Write positions, inside the caller's transaction."""
        self._db.executemany(
            f"INSERT OR REPLACE INTO position ({_POSITION}) VALUES"
            f" ({', '.join('?' * 9)})",
            [
                (
                    *authority,
                    *key,
                    position.stream,
                    position.generation,
                    position.offset,
                    position.base,
                    position.crc,
                )
                for authority, key, position in positions
            ],
        )
