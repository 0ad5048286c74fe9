"""
The offset of DECNET's own forwarder: C{forwarder_offset} in a small SQLite database.

DECNET reads and writes one row, C{default}: how many octets of its one log file it has sent
(decnet/swarm/log_forwarder.py of DECNET 1.2.1). It may be in the same file as our own state.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from stat import S_ISREG
from urllib.parse import quote

from ..errors import UserError

__all__ = ["hasOurState", "isThere", "readDecnetOffset", "writeDecnetOffset"]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS forwarder_offset"
    " (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
)
_READ = "SELECT offset FROM forwarder_offset WHERE key = 'default'"
_WRITE = (
    "INSERT INTO forwarder_offset(key, offset) VALUES('default', ?)"
    " ON CONFLICT(key) DO UPDATE SET offset = excluded.offset"
)

# How long to wait for a forwarder of DECNET that is just writing, in seconds.
PATIENCE_S = 5.0

# The file header (SQLite's fileformat2, section 1.3): where the user version is. DECNET has none.
_USER_VERSION = slice(60, 64)


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=PATIENCE_S
    )


def isThere(path: Path) -> bool:
    """
    Whether there is a database.

    @raise PermissionError: this user may not look.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def readDecnetOffset(path: Path) -> int | None:
    """
    Read the offset; nothing is changed.

    @return: C{None}: there is none.
    @raise UserError: the file cannot be read, or its offset is none: not a number, or negative.
    """
    try:
        if not isThere(path):
            return None
        if not S_ISREG(path.stat().st_mode):
            raise UserError(
                f"{path} is not a regular file: give the path of DECNET's forwarder.db"
            )
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        raise UserError(
            f"cannot read DECNET's offset in {path}: {error.strerror}; let this user read it, or"
            ' run "decnet-syslog offset import" as a user who may'
        ) from None
    try:
        with closing(_open(path, "ro")) as db:
            row = db.execute(_READ).fetchone()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return None
        if "locked" in str(error):
            raise UserError(
                f"{path} is in use: is another decnet-forwarder running? Stop it"
            ) from None
        raise UserError(
            f"cannot read DECNET's offset in {path} ({error}): give the path of its"
            " forwarder.db"
        ) from None
    if row is None:
        return None
    if not isinstance(row[0], int) or row[0] < 0:
        raise UserError(
            f"DECNET's offset in {path} is {ascii(row[0])[:60]}, which is no number of"
            " octets: give the path of another forwarder.db, or delete the row"
        )
    return row[0]


def writeDecnetOffset(path: Path, offset: int) -> None:
    """
    Write the offset, for a DECNET forwarder that is not running.

    @raise UserError: the file cannot be written.
    """
    try:
        with closing(_open(path, "rwc")) as db, db:
            db.execute(_TABLE)
            db.execute(_WRITE, (offset,))
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"cannot write DECNET's offset to {path} ({error}): stop its forwarder, and give"
            " a path that this user may write"
        ) from None


def hasOurState(path: Path) -> bool:
    """
    Whether a database has state of our own forwarder.

    A running forwarder locks its tables against readers; the file's header has its version.
    """
    try:
        # A FIFO in its place must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                return False
            if any(file.read(_USER_VERSION.stop)[_USER_VERSION]):
                return True
    except OSError:
        return False
    try:
        with closing(_open(path, "ro")) as db:
            row = db.execute(
                "SELECT 1 FROM sqlite_master WHERE name IN ('content', 'bookmark')"
            ).fetchone()
    except sqlite3.DatabaseError:
        return False
    return row is not None
