"""
What the forwarder keeps of deleted files, beside its state.

A file that is deleted while it is open is copied, as far as it is not acknowledged, so that a
restart does not lose it. Set aside: a hard link made beforehand. logrotate (3.21) fails on a
file that has a second name, "Operation not supported".

The copy has the octets at their offsets, and a hole where they are not needed. It gets its
name, the content's stream and generation, when it is complete: a part of it would pass for
the whole.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from ..durable import syncDirectory
from ._archives import RESERVE_OCTETS
from ._checksums import dataFrom
from ._contents import BLOCK_OCTETS, HEAD_OCTETS, ContentKey
from ._reader import ANCHOR_OCTETS

__all__ = ["KeptFiles"]


def _roomIn(directory: Path) -> int:
    """Octets that may be written below a directory."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize - RESERVE_OCTETS


class KeptFiles:
    """
    The directory of the copies.

    @ivar directory: also for nameless files that archives are unpacked to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, key: ContentKey) -> Path:
        """Where the copy of a content is, if there is one."""
        return self.directory / f"{key[0]}-{key[1]}"

    def sweep(self, finished: Iterable[ContentKey]) -> None:
        """
        Delete what a killed forwarder left: half a copy, and copies of what was shipped since.

        A copy that no record knows stays: a state database can be lost and restored.
        """
        names = {self.path(key).name for key in finished}
        try:
            for path in self.directory.iterdir():
                if path.name in names or path.suffix == ".part":
                    path.unlink()
        except OSError:
            # There is none, or it is looked at when something is to be kept.
            pass

    def release(self, key: ContentKey) -> None:
        """The content is delivered."""
        try:
            self.path(key).unlink()
        except OSError:
            pass

    def keep(
        self, descriptor: int, key: ContentKey, offset: int, have: int, modified: int
    ) -> int:
        """
        Copy what is not acknowledged of a deleted file, on disk when this returns.

        @param offset: acknowledged, as it is in the state database.
        @param have: octets of the content that the copy covers already.
        @param modified: when the content was last changed, in nanoseconds.
        @return: octets of the content that it covers now.
        @raise OSError: it cannot be made; what was made of it is gone again, or it would keep
            the disk full.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        path = self.path(key)
        first = not have
        had = have
        part = path.with_name(path.name + ".part") if first else path
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        out = os.open(part, flags | (os.O_TRUNC if first else 0), 0o600)
        try:
            if first:
                os.pwrite(out, os.pread(descriptor, HEAD_OCTETS, 0), 0)
                have = max(0, offset - ANCHOR_OCTETS)
            have = self._copy(descriptor, out, have)
            # Rotated files are read by age, which is not that of what was unpacked.
            os.utime(out, ns=(modified, modified))
            os.fsync(out)
        except BaseException:
            if first:
                part.unlink()
            else:
                os.ftruncate(out, had)
            raise
        finally:
            os.close(out)
        if first:
            part.rename(path)
            syncDirectory(self.directory)
            syncDirectory(self.directory.parent)
        return have

    def _copy(self, descriptor: int, out: int, have: int) -> int:
        """Copy what was written from an octet on, and leave the holes; how far it is now."""
        status = os.fstat(descriptor)
        end = status.st_size
        # A block is 512 octets, whatever the file system's are.
        if min(end - have, status.st_blocks * 512) > _roomIn(self.directory):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while have < end:
            data = dataFrom(descriptor, have, end)
            if data == end:
                # A hole up to the end, if there is one, is a length.
                os.ftruncate(out, end)
                return end
            # What is behind the next hole would be written as zeros with it.
            until = min(_holeFrom(descriptor, data, end), data + BLOCK_OCTETS)
            block = os.pread(descriptor, until - data, data)
            if not block:
                break
            have = data + os.pwrite(out, block, data)
        return have


def _holeFrom(descriptor: int, at: int, end: int) -> int:
    """Where the next hole begins, at most C{end}."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_HOLE), end)
    except OSError:
        # A file system that does not tell.
        return end
