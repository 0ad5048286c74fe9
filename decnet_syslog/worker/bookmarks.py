"""
Bookmarks: what the forwarder knows of files, in a small SQLite.

A row is one incarnation of a file: what it is recognised by, and how far it is
acknowledged. With a master that acknowledges the offset is a hint, the master's position
rules; with a plain one it is all there is. What must be true: a row is on disk before an
octet of its file is offered, so that no octet is ever offered under two names.

The database may be the one that DECNET's own forwarder has: its table is read once, and
left alone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..database import DatabaseKind, openDatabase
from ..durable import StorageFailed, isFull, syncData
from ..migration import Schema
from ..private import PRIVATE, openPrivate

__all__ = ["Bookmark", "Bookmarks"]

# Finished incarnations that are remembered of each stream, beside those that can still be
# there, so that their rotated copies are not taken for new files.
FINISHED_MAX = 64

# The WAL is emptied so often: it has a few pages a save.
SAVES_PER_CHECKPOINT = 64

_SCHEMA = """
CREATE TABLE bookmark (
    stream     TEXT    NOT NULL,  -- 32 hex digits, made at first sight of the file
    generation INTEGER NOT NULL,  -- counts the contents that the path has had
    name       BLOB    NOT NULL,  -- the path as configured
    device     INTEGER NOT NULL,
    inode      INTEGER NOT NULL,
    size       INTEGER NOT NULL,  -- when last seen
    head       BLOB    NOT NULL,  -- the first octets
    offset     INTEGER NOT NULL,  -- acknowledged
    base       INTEGER NOT NULL,  -- end of the last gap
    crc        INTEGER NOT NULL,  -- CRC-32 of [base, offset)
    anchor     BLOB    NOT NULL,  -- the last octets before offset
    origin     INTEGER NOT NULL,  -- where the stream began in the file
    journal    TEXT    NOT NULL,  -- of the master that has acknowledged; '' for none
    finished   INTEGER NOT NULL,
    PRIMARY KEY (stream, generation)
) WITHOUT ROWID
"""

# The file may be the one that DECNET's own forwarder keeps its offset in.
STATE_SCHEMA = Schema(_SCHEMA, guests=frozenset({"forwarder_offset"}))

_KIND = DatabaseKind(
    "the state database",
    "give --state-db a file in a directory that this user can write",
    "is another decnet-forwarder running?",
    "move it away together with its -wal: the master has the positions",
)


@dataclass(frozen=True, slots=True)
class Bookmark:
    """
    One incarnation of a file. Fields as the table's columns, in their order.
    """

    stream: str
    generation: int
    name: str
    device: int
    inode: int
    size: int = 0
    head: bytes = b""
    offset: int = 0
    base: int = 0
    crc: int = 0
    anchor: bytes = b""
    origin: int = 0
    journal: str = ""
    finished: bool = False


Die = Callable[[StorageFailed], None]


def _raise(failed: StorageFailed) -> None:
    raise failed


_COLUMNS = ", ".join(field.name for field in fields(Bookmark))
_MARKS = ", ".join("?" * len(fields(Bookmark)))


class Bookmarks:
    """
    The database.

    @ivar path: of its file; what else is kept is kept beside it.
    @ivar fresh: whether it had no bookmarks when it was opened.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, die: Die = _raise
    ) -> None:
        self.path = path
        self._die = die
        self._saves = 0
        self._db = connection
        (count,) = connection.execute("SELECT count(*) FROM bookmark").fetchone()
        self.fresh = count == 0

    @classmethod
    def open(cls, path: Path, die: Die = _raise) -> Bookmarks:
        """
        Open or make the database.

        @param die: ends the process: a disk has failed.
        @raise UserError: it is in use, or of an unknown version.
        @raise StorageFailed: after C{die} was told: it is damaged, or the disk has failed.
        """
        descriptor = openPrivate(
            path,
            _KIND.what,
            _KIND.place,
        )
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
        except StorageFailed as failed:
            die(failed)
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def of(self, name: str) -> list[Bookmark]:
        """The bookmarks of a path, oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM bookmark WHERE name = ? ORDER BY generation",
            (os.fsencode(name),),
        )
        return [_bookmark(row) for row in rows]

    def at(self, device: int, inode: int) -> list[Bookmark]:
        """The bookmarks of an inode: of the file, and of what had the inode before."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM bookmark WHERE device = ? AND inode = ?",
            (device, inode),
        )
        return [_bookmark(row) for row in rows]

    def all(self) -> list[Bookmark]:
        """Every bookmark."""
        return [
            _bookmark(row)
            for row in self._db.execute(f"SELECT {_COLUMNS} FROM bookmark")
        ]

    def save(
        self, bookmarks: Iterable[Bookmark], instead: Bookmark | None = None
    ) -> None:
        """
        Write bookmarks, on disk when this returns.

        @param instead: a bookmark that is replaced by them.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if instead is not None:
                self._db.execute(
                    "DELETE FROM bookmark WHERE stream = ? AND generation = ?",
                    (instead.stream, instead.generation),
                )
            self._db.executemany(
                f"INSERT OR REPLACE INTO bookmark ({_COLUMNS}) VALUES ({_MARKS})",
                [_row(bookmark) for bookmark in bookmarks],
            )
            self._db.execute("COMMIT")
            self._saves += 1
            if self._saves % SAVES_PER_CHECKPOINT == 0:
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            if not isFull(error, self.path):
                self._die(StorageFailed(f"the state database {self.path}: {error}"))
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def bringToDisk(self, descriptor: int, name: str) -> None:
        """Sync a log: what is shipped of it must not be undone by a power cut."""
        try:
            syncData(descriptor)
        except OSError as error:
            self._die(StorageFailed(f"cannot sync {name}: {error.strerror}"))
            raise

    def forget(self, name: str, keep: int = 0) -> None:
        """
        Forget the oldest finished incarnations of a path, if there are many.

        @param keep: rotated files that there are: each may be one of them.
        """
        self._db.execute(
            "DELETE FROM bookmark WHERE (stream, generation) IN (SELECT stream, generation"
            " FROM bookmark WHERE name = ? AND finished"
            " ORDER BY generation DESC LIMIT -1 OFFSET ?)",
            (os.fsencode(name), FINISHED_MAX + keep),
        )

    def legacyOffset(self) -> int | None:
        """The offset of DECNET's own forwarder, until there is a bookmark of ours."""
        if not self.fresh:
            return None
        try:
            row = self._db.execute(
                "SELECT offset FROM forwarder_offset WHERE key = 'default'"
            ).fetchone()
        except sqlite3.OperationalError:
            return None
        return None if row is None else max(0, int(row[0]))


def _bookmark(row: tuple[object, ...]) -> Bookmark:
    values = list(row)
    values[2] = os.fsdecode(values[2])  # type: ignore[arg-type]
    values[-1] = bool(values[-1])
    return Bookmark(*values)  # type: ignore[arg-type]


def _row(bookmark: Bookmark) -> tuple[object, ...]:
    values = list(astuple(bookmark))
    values[2] = os.fsencode(bookmark.name)
    return tuple(values)
