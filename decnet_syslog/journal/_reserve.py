"""
The file that keeps the last of a disk's room for the journal.

It is allocated in advance, so other programs cannot use its room, and a quota has counted it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ._diskfiles import allocated, sizeOf

__all__ = ["Reserve"]


class Reserve:
    """
    The file that keeps the last of the room.
    """

    def __init__(self, path: Path, octets: int) -> None:
        """
        @param path: of the journal.
        """
        self.path = path.with_name(path.name + "-reserve")
        self.octets = octets
        self._has = allocated(self.path)

    @property
    def isHeld(self) -> bool:
        """Whether it is allocated. A slightly smaller one counts: the disk may have grown."""
        return self._has >= self.octets * 3 // 4

    @property
    def lacks(self) -> int:
        """Octets that must stay free for it."""
        return 0 if self.isHeld else self.octets - self._has

    def take(self) -> None:
        """Allocate it, if there is room."""
        descriptor = self._open(os.O_CREAT)
        if descriptor is None:
            return
        try:
            os.posix_fallocate(descriptor, 0, self.octets)
            os.ftruncate(descriptor, self.octets)
            self._has = self.octets
        except OSError:
            os.ftruncate(descriptor, 0)
            self._has = 0
        finally:
            os.close(descriptor)

    def giveUp(self) -> bool:
        """
        Give its room to whoever writes next.

        @return: whether there was any.
        """
        self._has = 0
        if not sizeOf(self.path):
            return False
        descriptor = self._open(0)
        if descriptor is None:
            return False
        try:
            os.ftruncate(descriptor, 0)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _open(self, flags: int) -> int | None:
        """Open it, if it is a file of ours and of no other name; others may plant one."""
        flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError:
            return None
        status = os.fstat(descriptor)
        isOurs = status.st_uid == os.geteuid() and status.st_nlink == 1
        if stat.S_ISREG(status.st_mode) and isOurs:
            return descriptor
        os.close(descriptor)
        return None
