"""
Open a database of ours: the journal, the forwarder's state.

What must be true:

* nothing of it is changed before it is known to be whole and of a schema that we can bring
  up: a damaged database is left as it is, and so is another program's;
* whatever a killed process had written and not synced is on disk before anything that it
  says is believed;
* every way in which this can fail is one error with a reason and a remedy.

One connection has it, for as long as it is open: SQLite before 3.51.3 can corrupt a WAL
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

# What other exceptions a row of a damaged page can cause in the code that reads it.
STRANGE = (ValueError, TypeError, OverflowError, AttributeError, LookupError)


class NoSpace(UserError):
    """It cannot be written now."""


class DatabaseDamaged(StorageFailed):
    """What is in the database is not what was written there."""


class DatabaseKind(NamedTuple):
    """
    What the errors say of a database.

    @ivar what: the database.
    @ivar place: what to do when the file cannot be had.
    @ivar holder: who may have it when it is in use.
    @ivar remedy: what to do when it is damaged.
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
) -> T:
    """
    Open or make a database.

    @param prepare: called with it when the schema is the newest and before anything is
        believed: it may write. What it returns is returned.
    @param fill: called in the transaction that makes the tables of a new one.
    @param pageOctets: of a new one; SQLite's own otherwise.
    @raise UserError: it is in use, of an unknown schema, or there is no space.
    @raise StorageFailed: it is damaged, or the disk has failed.
    """
    descriptor = openPrivate(path, kind.what, kind.place)
    isNew = not os.fstat(descriptor).st_size
    os.close(descriptor)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
    try:
        if isNew:
            _shape(db, pageOctets)
        return _opened(db, path, schema, prepare, fill)
    except BaseException as error:
        try:
            db.close()
        except sqlite3.DatabaseError:
            # It has failed already, and that is reported.
            pass
        if isinstance(error, (sqlite3.Error, OSError, *STRANGE, SchemaUnknown)):
            raise _meaning(error, path, kind) from None
        raise


def _shape(db: sqlite3.Connection, pageOctets: int | None) -> None:
    """Settle what a database keeps for good, before it is looked at for the first time."""
    if pageOctets is not None:
        db.execute(f"PRAGMA page_size = {pageOctets}")
    # So that pages can be given back to the disk.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _opened(
    db: sqlite3.Connection,
    path: Path,
    schema: Schema,
    prepare: Callable[[sqlite3.Connection], T],
    fill: Callable[[sqlite3.Connection], None],
) -> T:
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Journals of single statements hold nothing that a crash must find again.
    db.execute("PRAGMA temp_store = MEMORY")
    # Some builds write zeros over all that is deleted (Debian's): to delete a batch would take
    # as much of a disk as to insert it, when it is to free room.
    db.execute("PRAGMA secure_delete = OFF")

    # Before anything of it is changed: WAL mode would be a change.
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(" ".join(found.split()))
    bringUp(db, schema, lambda: useWAL(db), lambda: fill(db))
    useWAL(db)
    prepared = prepare(db)
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("database is locked")
    # SQLite syncs the names of its files, and does not look whether it worked.
    syncDirectory(path.parent)
    return prepared


def _meaning(error: BaseException, path: Path, kind: DatabaseKind) -> Exception:
    """What an error of opening means, in a line."""
    if isinstance(error, SchemaUnknown):
        return UserError(
            f"cannot use {kind.what} {path}: {error}; nothing of it was changed: run the"
            " program that made it"
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
            return NoSpace(f"{why} for {kind.what} {path}: make room, or move it")
        if isFailure(error):
            return StorageFailed(
                f"{kind.what} {path}: {error}: look at the disk before it is started again"
            )
    return DatabaseDamaged(f"{kind.what} {path} is damaged ({error}): {kind.remedy}")
