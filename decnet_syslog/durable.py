"""
What has to be on disk before anybody is told of it.

An error of a sync is the end of a process: the kernel may have dropped the octets and say
yes the next time. No space is no such error, nor is a file system that has turned read-only:
what could not be written was not promised to anybody.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

__all__ = [
    "BLOCKED",
    "EXIT_SOFTWARE",
    "EXIT_STORAGE",
    "StorageFailed",
    "bootId",
    "isFailure",
    "isFull",
    "syncData",
    "syncDirectory",
    "useWAL",
    "whyBlocked",
]

# sysexits' EX_IOERR: a disk cannot be trusted. Not to be restarted without a look at it.
EXIT_STORAGE = 74

# sysexits' EX_SOFTWARE: an error of ours where going on might break the promise.
EXIT_SOFTWARE = 70

# Why a file cannot be written now, and can be later.
BLOCKED = {
    errno.ENOSPC: "no space",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of files is reached",
    errno.EROFS: "the file system is read-only",
}

# A write that SQLite has undone: nothing that was written before is in doubt, and it is written
# again before anybody is told of it. A failed sync is never among these.
_UNDONE = (
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_TRUNCATE",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
)


# As much as a commit writes at once.
PROBE_OCTETS = 256 * 1024


class StorageFailed(Exception):
    """A disk cannot be trusted any more: stop, and promise nothing."""


def bootId() -> str:
    """
    Tell one boot of the machine from another: 36 characters; C{""} if that is not known.

    Only a machine that was booted since can have lost what was written and not synced.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def whyBlocked(error: sqlite3.DatabaseError, path: Path) -> str | None:
    """
    Why SQLite cannot write now, if it can later. C{None}: it is the disk's end, or ours.

    SQLite knows ENOSPC. Of any other failed write it does not say why: that shows when one is
    made beside it, as on a file system that has turned read-only.

    @param path: of the database.
    """
    if "database or disk is full" in str(error):
        return BLOCKED[errno.ENOSPC]
    if not getattr(error, "sqlite_errorname", "").startswith(_UNDONE):
        return None
    try:
        with (
            open(f"{path}-wal", "ab") as wal,
            tempfile.TemporaryFile(dir=path.parent) as probe,
        ):
            os.pwrite(probe.fileno(), bytes(PROBE_OCTETS), wal.tell())
    except OSError as failed:
        return BLOCKED.get(failed.errno or 0) or f"{failed.strerror}: no write succeeds"
    return "a write has failed"


def isFull(error: sqlite3.DatabaseError, path: Path) -> bool:
    """Whether an error of SQLite is only that it cannot write now: L{whyBlocked}."""
    return whyBlocked(error, path) is not None


def isFailure(error: sqlite3.DatabaseError) -> bool:
    """Whether an error of SQLite is the disk's."""
    return "disk I/O error" in str(error)


def useWAL(db: sqlite3.Connection) -> None:
    """
    Have SQLite write ahead, and sync every commit.

    @raise sqlite3.DatabaseError: it cannot. SQLite itself says so with a word only.
    """
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"no write-ahead log: disk I/O error ({mode})")
    db.execute("PRAGMA synchronous = FULL")
    # SQLite's own checkpoints hide a failed sync: the next would say yes.
    db.execute("PRAGMA wal_autocheckpoint = 0")


def syncData(descriptor: int) -> None:
    """
    Bring a file's octets to disk.

    A file system that has nothing to sync is left alone.

    @raise OSError: the disk has failed.
    """
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise


def syncDirectory(directory: Path) -> None:
    """
    Bring a directory's names to disk: a file can be synced and its name not.

    A directory that we may not read, or a file system that cannot do it, is left alone.

    @raise OSError: the disk has failed.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
