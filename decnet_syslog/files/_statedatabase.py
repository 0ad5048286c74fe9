"""
The file of the state database: opening it, setting a damaged one aside, transactions.

What must be true:

* a database that cannot be upgraded to this version is left as it was, and so is a file of
  another kind: its octets and its mode;
* a transaction is on disk as a whole, or not at all, and none stays open;
* a failing disk ends the process; a full one does not.

The database may be the one of DECNET's own forwarder: its table is read once, and never
changed.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..database import DatabaseDamaged, DatabaseKind, openDatabase
from ..durable import StorageFailed, isFull, syncData
from ..errors import UserError
from ..private import PRIVATE
from ._schema import STATE_SCHEMA

if TYPE_CHECKING:
    # Python 3.10 does not have it in typing.
    from typing_extensions import Self

__all__ = ["StateDatabase"]

# Number of saves between checkpoints, which empty the WAL; a save adds a few pages.
SAVES_PER_CHECKPOINT = 64

_KIND = DatabaseKind(
    "the state database",
    "give --state-db a file in a directory that this user can write",
    "is another decnet-forwarder running?",
    "move it away together with its -wal: the master has the positions",
)

Die = Callable[[StorageFailed], None]


def _raise(failed: StorageFailed) -> None:
    raise failed


def _narrow(path: str) -> None:
    """
    Take a file's permissions from everybody but its owner: DECNET's own forwarder leaves them to
    the umask.

    By its path: to close a descriptor of an open database would release SQLite's locks. Nobody
    else can replace the file: L{decnet_syslog.private.openPrivate} refuses a directory in which
    others could.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    ours = status.st_uid == os.geteuid() and status.st_nlink == 1
    if stat.S_ISREG(status.st_mode) and ours and status.st_mode & 0o077:
        os.chmod(path, PRIVATE)


class StateDatabase:
    """
    The database, without its tables.

    @ivar path: the database file; other files are kept next to it.
    @ivar isFresh: whether no content was on record when it was opened.
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
    ) -> Self:
        """
        Open or create the database. A damaged one is set aside: the master holds the positions,
        and their octets identify the files.

        @param die: is called to end the process when a disk has failed.
        @param setAside: is called with the new path of a damaged database, and the reason.
        @raise UserError: the file is in use, of an unknown version, or not a database.
        """
        try:
            return cls._open(path, die)
        except DatabaseDamaged as damaged:
            if "not a database" in str(damaged):
                raise UserError(
                    f"cannot use {path} as a state database: it is a file of another kind;"
                    " give --state-db another path"
                ) from None
            aside = Path(f"{path}.damaged-{time.time_ns()}")
            for ending in ("", "-wal", "-shm"):
                if os.path.exists(f"{path}{ending}"):
                    os.rename(f"{path}{ending}", f"{aside}{ending}")
            setAside(aside, str(damaged))
            return cls._open(path, die)

    @classmethod
    def _open(cls, path: Path, die: Die) -> Self:
        try:
            opened = openDatabase(
                path, _KIND, STATE_SCHEMA, lambda db: cls(path, db, die)
            )
        except DatabaseDamaged:
            raise
        except StorageFailed as failed:
            die(failed)
            raise
        # Not earlier: a file that is not our database stays as it is.
        for ending in ("", "-wal", "-shm"):
            _narrow(f"{path}{ending}")
        return opened

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def transaction(self) -> Transaction:
        """A context manager for changes: they are on disk when it exits."""
        return Transaction(self)

    def bringToDisk(self, descriptor: int, name: str) -> None:
        """Sync a log: a power cut must not undo octets that were shipped."""
        try:
            syncData(descriptor)
        except OSError as error:
            self._die(StorageFailed(f"cannot sync {name}: {error.strerror}"))
            raise

    def legacyOffset(self) -> int | None:
        """
        The offset of DECNET's own forwarder, as long as no content is on record.

        @return: a negative number: the row has no valid offset.
        """
        if not self.isFresh:
            return None
        try:
            row = self._db.execute(
                "SELECT offset FROM forwarder_offset WHERE key = 'default'"
            ).fetchone()
        except sqlite3.OperationalError:
            return None
        if row is None:
            return None
        # Anything else is no offset: SQLite keeps a text in an integer column, too.
        return row[0] if isinstance(row[0], int) else -1


class Transaction:
    """One commit: all changes or none, and no transaction stays open."""

    def __init__(self, store: StateDatabase) -> None:
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
