"""
The known journals, and their positions in the contents: rows of the state database.

What one journal acknowledged says nothing about another's: positions belong to a journal and to
the name that the worker has there.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._contents import ContentKey, Position
from ._statedatabase import StateDatabase

__all__ = ["Authority", "JournalSeen", "JournalTable"]

# Journals of which positions are kept: the masters of a worker, and a few that were lost.
JOURNALS_MAX = 8

Authority = tuple[str, str]
"""A journal's identity, and the worker's name there."""

JournalSeen = tuple[int, str]
"""How far a journal was when it was last heard of: number and token of its newest mark."""

_POSITION = (
    "journal, worker, stream, generation, there, there_generation, offset, base, crc"
)


class JournalTable(StateDatabase):
    """The tables of journals and positions."""

    def positions(self, authority: Authority) -> dict[ContentKey, Position]:
        """
        How far a journal has each content.

        What an older version of this program noted belongs to whatever name is asked first.
        """
        rows = self._db.execute(
            f"SELECT {_POSITION} FROM position WHERE journal = ? AND worker IN ('', ?)"
            " ORDER BY worker",
            authority,
        )
        return {
            (stream, generation): Position(*position)
            for _, _, stream, generation, *position in rows
        }

    def claim(self, authority: Authority) -> dict[ContentKey, Position]:
        """The same; from now on what an older version noted belongs to this name."""
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
        How far other journals have each content, or the same one by another name of ours.

        @param everyJournal: whether those of other journals count.
        @param sameJournal: whether those of the same one count.
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
        The newest mark of a journal, by whatever name of ours it was told.

        @return: C{None}: the journal was never met, or has no marks, or has been met without.
        """
        row = self._db.execute(
            "SELECT number, token FROM journal WHERE journal = ? ORDER BY met DESC",
            (journal,),
        ).fetchone()
        return None if row is None or not row[1] else (row[0], row[1])

    def isMet(self, authority: Authority) -> bool:
        """Whether a journal was met before."""
        row = self._db.execute(
            "SELECT 1 FROM journal WHERE journal = ? AND worker IN ('', ?)", authority
        ).fetchone()
        return row is not None

    def meet(
        self,
        authority: Authority,
        mark: JournalSeen | None,
        positions: dict[ContentKey, Position] | None = None,
        *,
        isPutBack: bool = False,
    ) -> None:
        """
        Note a journal, and how far it is; the ones met longest ago are forgotten.

        @param positions: how far it has contents, as far as that is to be written.
        @param isPutBack: whether what it had acknowledged by other names of ours is void.
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
        self, positions: Iterable[tuple[Authority, ContentKey, Position]]
    ) -> None:
        """Write positions, in the transaction that there is."""
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
