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
from urllib.parse import quote

from ..errors import UserError

__all__ = ["hasOurState", "readDecnetOffset", "writeDecnetOffset"]

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


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=PATIENCE_S
    )


def readDecnetOffset(path: Path) -> int | None:
    """
    Read the offset; nothing is changed.

    @return: C{None}: there is none.
    @raise UserError: the file cannot be read.
    """
    if not os.path.exists(path):
        return None
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
    return None if row is None or not isinstance(row[0], int) else max(0, row[0])


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
    """Whether a database has state of our own forwarder."""
    try:
        with closing(_open(path, "ro")) as db:
            row = db.execute(
                "SELECT 1 FROM sqlite_master WHERE name IN ('content', 'bookmark')"
            ).fetchone()
    except sqlite3.DatabaseError:
        return False
    return row is not None
