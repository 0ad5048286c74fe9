"""The files of a journal, and the room that they have on their disk."""

from __future__ import annotations

import os
from pathlib import Path

from ..wire import NUMBER_MAX

__all__ = ["allocated", "available", "journalFiles", "sizeOf"]

# The names of a journal's files.
ENDS = "", "-wal", "-shm", "-journal", "-reserve", "-segments", ".lock", ".crl"


def journalFiles(path: Path) -> list[Path]:
    """Every file that a journal may have. No output may use one of these names."""
    return [path.with_name(path.name + end) for end in ENDS]


def available(path: Path) -> int:
    """
    Free room for a journal plus the sizes of its own files; L{NUMBER_MAX} if unknown.

    @param path: of the journal, which need not be there yet.
    """
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return NUMBER_MAX
    if not disk.f_blocks:
        return NUMBER_MAX
    return disk.f_bavail * disk.f_frsize + sum(map(sizeOf, journalFiles(path)))


def sizeOf(path: Path) -> int:
    """The octets of a file; 0 if there is none."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def allocated(path: Path) -> int:
    """The room that a file has on disk."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return min(status.st_size, status.st_blocks * 512)
