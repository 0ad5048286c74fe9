"""
The state database: contents, and how far each journal has them, in a small SQLite.

With a master that acknowledges, a position is a hint, and the master's own rules; with a plain
one it is all there is. What must be true:

* a content's record is on disk before an octet of it is offered, so that no octet is ever
  offered under two names;
* what one journal acknowledged says nothing about another's: positions belong to a journal and
  to the name that the worker has there;
* a database that cannot be brought up to this version is left as it was.

The database may be the one that DECNET's own forwarder has: its table is read once, and
left alone.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..database import DatabaseDamaged, DatabaseKind, openDatabase
from ..durable import StorageFailed, isFull, syncData
from ..errors import UserError
from ..private import PRIVATE, openPrivate
from ._contents import Content, ContentKey, Life, Position, Proof
from ._objects import FileId
from ._schema import STATE_SCHEMA

__all__ = ["Authority", "JournalSeen", "StateStore"]

# Journals of which positions are kept: the masters of a worker, and a few that were lost.
JOURNALS_MAX = 8

# The WAL is emptied this often: it has a few pages a save.
SAVES_PER_CHECKPOINT = 64

_KIND = DatabaseKind(
    "the state database",
    "give --state-db a file in a directory that this user can write",
    "is another decnet-forwarder running?",
    "move it away together with its -wal: the master has the positions",
)

Authority = tuple[str, str]
"""A journal's identity, and the worker's name there."""

JournalSeen = tuple[int, str]
"""How far a journal was when it was last heard of: number and token of its newest mark."""

Die = Callable[[StorageFailed], None]


def _raise(failed: StorageFailed) -> None:
    raise failed


_CONTENT = (
    "stream, generation, name, device, inode, version, origin, seen,"
    " proof_start, proof_end, proof_crc, delivered_start, delivered_end, delivered_crc,"
    " head, life, archived, modified, label, reason, kept, cut"
)
_POSITION = (
    "journal, worker, stream, generation, there, there_generation, offset, base, crc"
)


class StateStore:
    """
    The database.

    @ivar path: of its file; what else is kept is kept beside it.
    @ivar isFresh: whether it knew no content when it was opened.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, die: Die = _raise
    ) -> None:
        self.path = path
        self._die = die
        self._saves = 0
        self._db = connection
        (count,) = connection.execute("SELECT count(*) FROM content").fetchone()
        self.isFresh = count == 0

    @classmethod
    def open(
        cls,
        path: Path,
        die: Die = _raise,
        setAside: Callable[[Path, str], None] = lambda path, reason: None,
    ) -> StateStore:
        """
        Open or make the database. One that is damaged is set aside: the master holds the
        positions, and content tells which file is which.

        @param die: ends the process: a disk has failed.
        @param setAside: told where a damaged database is now, and what is wrong with it.
        @raise UserError: it is in use, of an unknown version, or no database.
        """
        try:
            return cls._open(path, die)
        except DatabaseDamaged as damaged:
            if "not a database" in str(damaged):
                raise UserError(
                    f"cannot use {path} as a state database: it is a file of another kind"
                ) from None
            aside = Path(f"{path}.damaged-{time.time_ns()}")
            for ending in ("", "-wal", "-shm"):
                if os.path.exists(f"{path}{ending}"):
                    os.rename(f"{path}{ending}", f"{aside}{ending}")
            setAside(aside, str(damaged))
            return cls._open(path, die)

    @classmethod
    def _open(cls, path: Path, die: Die) -> StateStore:
        descriptor = openPrivate(path, _KIND.what, _KIND.place)
        status = os.fstat(descriptor)
        ours = status.st_uid == os.geteuid() and status.st_nlink == 1
        if ours and status.st_mode & 0o077:
            # DECNET's own forwarder left it to the umask.
            os.fchmod(descriptor, PRIVATE)
        os.close(descriptor)
        try:
            return openDatabase(
                path, _KIND, STATE_SCHEMA, lambda db: cls(path, db, die)
            )
        except DatabaseDamaged:
            raise
        except StorageFailed as failed:
            die(failed)
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # Contents

    def contentsOf(self, name: str) -> list[Content]:
        """The records of a path, the oldest first."""
        rows = self._db.execute(
            f"SELECT {_CONTENT} FROM content WHERE name = ? ORDER BY generation",
            (os.fsencode(name),),
        )
        return [_content(row) for row in rows]

    def at(self, file: FileId) -> list[Content]:
        """The records of a file's object, the newest last."""
        rows = self._db.execute(
            f"SELECT {_CONTENT} FROM content WHERE device = ? AND inode = ?"
            " ORDER BY generation",
            file[:2],
        )
        return [c for c in map(_content, rows) if c.file.isSame(file)]

    def names(self) -> set[str]:
        """The paths that have records."""
        rows = self._db.execute("SELECT DISTINCT name FROM content")
        return {os.fsdecode(name) for (name,) in rows}

    def unfinished(self) -> set[str]:
        """The paths that have contents which are not ended."""
        rows = self._db.execute(
            "SELECT DISTINCT name FROM content WHERE life NOT IN (?, ?, ?)",
            (Life.ENDED.value, Life.PAST.value, Life.GONE.value),
        )
        return {os.fsdecode(name) for (name,) in rows}

    def finished(self) -> list[ContentKey]:
        """The keys of what is ended."""
        rows = self._db.execute(
            "SELECT stream, generation FROM content WHERE life IN (?, ?)",
            (Life.ENDED.value, Life.GONE.value),
        )
        return [(stream, generation) for stream, generation in rows]

    def save(
        self,
        contents: Iterable[Content],
        positions: Iterable[tuple[Authority, ContentKey, Position]] = (),
        mark: tuple[Authority, JournalSeen] | None = None,
    ) -> None:
        """
        Write records and positions, on disk when this returns.

        @param mark: how far a journal is that was met.
        """
        with _Transaction(self):
            if mark is not None:
                self._db.execute(
                    "UPDATE journal SET number = ?, token = ?"
                    " WHERE journal = ? AND worker = ?",
                    (*mark[1], *mark[0]),
                )
            self._db.executemany(
                f"INSERT OR REPLACE INTO content ({_CONTENT}) VALUES"
                f" ({', '.join('?' * 22)})",
                [_row(content) for content in contents],
            )
            self._savePositions(positions)

    def _savePositions(
        self, positions: Iterable[tuple[Authority, ContentKey, Position]]
    ) -> None:
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

    def forget(self, keys: Iterable[ContentKey]) -> None:
        """Delete records, and what any journal has of them."""
        keys = list(keys)
        with _Transaction(self):
            for table in ("content", "position"):
                self._db.executemany(
                    f"DELETE FROM {table} WHERE stream = ? AND generation = ?", keys
                )

    # Journals

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
            with _Transaction(self):
                for table in ("position", "journal"):
                    self._db.execute(
                        f"UPDATE OR IGNORE {table} SET worker = ?"
                        " WHERE journal = ? AND worker = ''",
                        authority[::-1],
                    )
        return self.positions(authority)

    def origins(self) -> dict[ContentKey, int]:
        """Where each content begins."""
        rows = self._db.execute("SELECT stream, generation, origin FROM content")
        return {(stream, generation): origin for stream, generation, origin in rows}

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
        with _Transaction(self):
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

    # The disk

    def bringToDisk(self, descriptor: int, name: str) -> None:
        """Sync a log: what is shipped of it must not be undone by a power cut."""
        try:
            syncData(descriptor)
        except OSError as error:
            self._die(StorageFailed(f"cannot sync {name}: {error.strerror}"))
            raise

    def legacyOffset(self) -> int | None:
        """The offset of DECNET's own forwarder, until there is a record of ours."""
        if not self.isFresh:
            return None
        try:
            row = self._db.execute(
                "SELECT offset FROM forwarder_offset WHERE key = 'default'"
            ).fetchone()
        except sqlite3.OperationalError:
            return None
        return None if row is None else max(0, int(row[0]))


class _Transaction:
    """One commit: everything, or nothing and no transaction that stays open."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        store = self._store
        db = store._db
        if error is None:
            try:
                db.execute("COMMIT")
                store._saves += 1
                if store._saves % SAVES_PER_CHECKPOINT == 0:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                return
            except sqlite3.DatabaseError as failed:
                self._failed(failed)
                raise
        self._failed(error)

    def _failed(self, error: BaseException) -> None:
        store = self._store
        if isinstance(error, sqlite3.DatabaseError) and not isFull(error, store.path):
            store._die(StorageFailed(f"the state database {store.path}: {error}"))
        if store._db.in_transaction:
            store._db.execute("ROLLBACK")


def _content(row: tuple[object, ...]) -> Content:
    values: list[object] = list(row)
    return Content(
        values[0],  # type: ignore[arg-type]
        values[1],  # type: ignore[arg-type]
        os.fsdecode(values[2]),  # type: ignore[arg-type]
        FileId(*values[3:6]),  # type: ignore[arg-type]
        values[6],  # type: ignore[arg-type]
        values[7],  # type: ignore[arg-type]
        Proof(*values[8:11]),  # type: ignore[arg-type]
        Proof(*values[11:14]),  # type: ignore[arg-type]
        values[14],  # type: ignore[arg-type]
        Life(values[15]),
        values[16],  # type: ignore[arg-type]
        values[17],  # type: ignore[arg-type]
        os.fsdecode(values[18]),  # type: ignore[arg-type]
        values[19],  # type: ignore[arg-type]
        values[20],  # type: ignore[arg-type]
        values[21],  # type: ignore[arg-type]
    )


def _row(content: Content) -> tuple[object, ...]:
    proof, delivered = content.proof, content.delivered
    return (
        content.stream,
        content.generation,
        os.fsencode(content.name),
        *content.file,
        content.origin,
        content.seen,
        proof.start,
        proof.end,
        proof.crc,
        delivered.start,
        delivered.end,
        delivered.crc,
        content.head,
        content.life.value,
        content.archived,
        content.modified,
        os.fsencode(content.label),
        content.reason,
        content.kept,
        content.cut,
    )
