"""
Open one of the project's databases: the journal, the forwarder's state.

What must be true:

* the database is not changed before its structure was checked and its schema recognised. A
  damaged database stays unchanged, and so does another program's;
* writes that a killed process did not sync are on disk before their content is used;
* every failure is one error with a reason and a remedy.

A database has one connection as long as it is open: SQLite before 3.51.3 can corrupt a WAL
database that two connections write and checkpoint.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from .durable import StorageFailed, isFailure, syncDirectory, useWAL, whyBlocked
from .errors import UserError
from .migration import Schema, SchemaUnknown, bringUp
from .private import openPrivate

__all__ = ["STRANGE", "DatabaseDamaged", "DatabaseKind", "NoSpace", "openDatabase"]

T = TypeVar("T")

# Exceptions that the values in a damaged row can cause in the code that reads them.
STRANGE = (ValueError, TypeError, OverflowError, AttributeError, LookupError)


class NoSpace(UserError):
    """The database cannot be written now."""


class DatabaseDamaged(StorageFailed):
    """The content of the database is damaged."""


class DatabaseKind(NamedTuple):
    """
    The words for the errors of a kind of database.

    @ivar what: its name.
    @ivar place: the remedy when the file cannot be opened.
    @ivar holder: the usual reason when it is in use.
    @ivar remedy: the remedy when it is damaged.
    """

    what: str
    place: str
    holder: str
    remedy: str


def openDatabase(
    path: Path,
    kind: DatabaseKind,
    schema: Schema,
    prepare: Callable[[sqlite3.Connection], T],
    fill: Callable[[sqlite3.Connection], None] = lambda db: None,
    pageOctets: int | None = None,
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
) -> T:
    """
    Open or create a database.

    @param prepare: called when the schema is the newest, before the checkpoint; it may write.
        Its result is returned.
    @param fill: called in the transaction that makes the tables of a new database.
    @param pageOctets: the page size of a new database; SQLite's default otherwise.
    @param connect: makes the connection, as C{sqlite3.connect} does.
    @raise UserError: it is in use, has an unknown schema, or there is no space.
    @raise StorageFailed: it is damaged, or the disk has failed.
    """
    descriptor = openPrivate(path, kind.what, kind.place)
    isNew = not os.fstat(descriptor).st_size
    os.close(descriptor)
    db = connect(path, isolation_level=None, check_same_thread=False, timeout=2)
    try:
        if isNew:
            _shape(db, pageOctets)
        return _opened(db, path, schema, prepare, fill)
    except BaseException as error:
        try:
            db.close()
        except sqlite3.DatabaseError:
            # The first failure is already reported.
            pass
        if isinstance(error, (sqlite3.Error, OSError, *STRANGE, SchemaUnknown)):
            raise _meaning(error, path, kind) from None
        raise


def _shape(db: sqlite3.Connection, pageOctets: int | None) -> None:
    """Choose the properties that a database keeps for good, before its first use."""
    if pageOctets is not None:
        db.execute(f"PRAGMA page_size = {pageOctets}")
    # This lets SQLite return pages to the file system.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _opened(
    db: sqlite3.Connection,
    path: Path,
    schema: Schema,
    prepare: Callable[[sqlite3.Connection], T],
    fill: Callable[[sqlite3.Connection], None],
) -> T:
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Journals of single statements hold nothing that is needed after a crash.
    db.execute("PRAGMA temp_store = MEMORY")
    # Some builds (Debian's) overwrite deleted rows with zeros. Deleting a batch would then write
    # as much as inserting it, just when space is short.
    db.execute("PRAGMA secure_delete = OFF")

    # Before any change: turning WAL mode on would be one.
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(" ".join(found.split()))
    bringUp(db, schema, lambda: useWAL(db), lambda: fill(db))
    useWAL(db)
    prepared = prepare(db)
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("database is locked")
    # SQLite syncs the directory, but does not check whether that worked.
    syncDirectory(path.parent)
    return prepared


def _meaning(error: BaseException, path: Path, kind: DatabaseKind) -> Exception:
    """Turn an error of opening into one that has a reason and a remedy, in one line."""
    if isinstance(error, SchemaUnknown):
        return UserError(
            f"cannot use {kind.what} {path}: {error}; the file is unchanged: run the"
            " version of the program that made it"
        )
    if isinstance(error, OSError):
        return StorageFailed(f"cannot sync {path.parent}: {error.strerror}")
    if isinstance(error, sqlite3.DatabaseError):
        if "locked" in str(error):
            return UserError(f"{kind.what} {path} is in use: {kind.holder}")
        if "unable to open" in str(error) or "readonly" in str(error):
            return UserError(f"cannot use {kind.what} {path}: {error}; {kind.place}")
        why = whyBlocked(error, path)
        if why is not None:
            return NoSpace(f"{why} for {kind.what} {path}: free space, or move it")
        if isFailure(error):
            return StorageFailed(
                f"{kind.what} {path}: {error}: check the disk, then start again"
            )
    return DatabaseDamaged(f"{kind.what} {path} is damaged ({error}): {kind.remedy}")
