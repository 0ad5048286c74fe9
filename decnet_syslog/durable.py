"""
Writing data to disk before it is acknowledged to a peer.

An error of a sync ends the process: the kernel may have dropped the octets, and may report success
the next time. A write that fails on a full disk, or on a file system that became read-only, is no
such error: octets that could not be written were not promised to any peer.
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

# sysexits' EX_IOERR: a disk cannot be trusted. Look at it before a restart.
EXIT_STORAGE = 74

# sysexits' EX_SOFTWARE: an internal error, after which continuing might break the promise.
EXIT_SOFTWARE = 70

# Reasons why a file cannot be written now, but can be later.
BLOCKED = {
    errno.ENOSPC: "no space",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of files is reached",
    errno.EROFS: "the file system is read-only",
}

# Errors of a write that SQLite has undone: nothing written before is in doubt, and it is written
# again before it is acknowledged. A failed sync is never among these.
_UNDONE = (
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_TRUNCATE",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
)


# As many octets as a commit writes at once.
PROBE_OCTETS = 256 * 1024


class StorageFailed(Exception):
    """A disk can no longer be trusted: stop, and promise nothing more."""


def bootId() -> str:
    """
    An identifier of this boot of the machine, 36 characters; C{""} if it is unknown.

    Only a machine that was booted since can have lost octets that were written but not synced.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def whyBlocked(error: sqlite3.DatabaseError, path: Path) -> str | None:
    """
    Why SQLite cannot write now, if it can later. C{None}: the disk has failed, or we have.

    SQLite reports ENOSPC. For any other failed write it gives no reason: a test write to a file in
    the same directory shows it, for example on a file system that became read-only.

    @param path: the path of the database.
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
    """Whether an error of SQLite is a failure of the disk."""
    return "disk I/O error" in str(error)


def useWAL(db: sqlite3.Connection) -> None:
    """
    Make SQLite use a write-ahead log, and sync every commit.

    @raise sqlite3.DatabaseError: it cannot. SQLite itself reports this only in its answer.
    """
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError(f"no write-ahead log: disk I/O error ({mode})")
    db.execute("PRAGMA synchronous = FULL")
    # SQLite's own checkpoints hide a failed sync: the next one would report success.
    db.execute("PRAGMA wal_autocheckpoint = 0")


def syncData(descriptor: int) -> None:
    """
    Sync a file's octets to disk.

    A file or a file system that cannot be synced (a pipe, squashfs) is ignored.

    A read-only mount succeeds: the kernel has nothing to write. EROFS is an error: ext4 reports it
    when it became read-only after an error, with octets that are not on disk and never will be.

    @raise OSError: the disk has failed.
    """
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def syncDirectory(directory: Path) -> None:
    """
    Sync a directory's names to disk: a file can be on disk while its name is not.

    A directory that this user cannot read, or a file system that cannot do it, is ignored.

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
