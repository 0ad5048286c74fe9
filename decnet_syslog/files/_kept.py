"""
Copies of deleted files, kept next to the state database.

If a file is deleted while it is open, the forwarder copies the octets that are not acknowledged,
so that a restart does not lose them. Set aside: a hard link made beforehand. logrotate (3.21)
fails on a file that has a second name, "Operation not supported".

The copy has the octets at their offsets, and a hole where they are not needed. It gets its
final name, the content's stream and generation, when it is complete: otherwise, a part would
pass for the whole.
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
    """The octets that may be written in a directory: its free space without the reserve."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize - RESERVE_OCTETS


class KeptFiles:
    """
    The directory of the copies.

    @ivar directory: also holds the nameless files that archives are unpacked to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, key: ContentKey) -> Path:
        """The path of the copy of a content; the copy need not exist."""
        return self.directory / f"{key[0]}-{key[1]}"

    def sweep(self, finished: Iterable[ContentKey]) -> None:
        """
        Delete leftovers of a killed forwarder: partial copies, and copies of finished contents.

        A copy without a record stays: the state database may be lost now and restored later.
        """
        names = {self.path(key).name for key in finished}
        try:
            for path in self.directory.iterdir():
                if path.name in names or path.suffix == ".part":
                    path.unlink()
        except OSError:
            # The directory does not exist yet; or it fails, and then L{keep} reports that.
            pass

    def release(self, key: ContentKey) -> None:
        """Delete the copy of a delivered content."""
        try:
            self.path(key).unlink()
        except OSError:
            pass

    def keep(
        self, descriptor: int, key: ContentKey, offset: int, have: int, modified: int
    ) -> int:
        """
        Copy the unacknowledged octets of a deleted file; they are on disk when this returns.

        @param offset: the acknowledged offset, as in the state database.
        @param have: octets of the content that the copy covers already.
        @param modified: when the content last changed, in nanoseconds.
        @return: octets of the content that the copy covers now.
        @raise OSError: the copy failed. The octets of this call are removed again; they would
            keep the disk full.
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
            # Rotated files are read in order of age. An unpacked file has another age than its
            # content, so the copy gets the age of the content.
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
        """Copy the data after an offset, leave out the holes; return the offset reached."""
        status = os.fstat(descriptor)
        end = status.st_size
        # st_blocks counts blocks of 512 octets on every file system.
        if min(end - have, status.st_blocks * 512) > _roomIn(self.directory):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while have < end:
            data = dataFrom(descriptor, have, end)
            if data == end:
                # A hole that reaches the end only needs the length of the file.
                os.ftruncate(out, end)
                return end
            # Stop at the next hole, or it would be written as zeros.
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
        # The file system does not report holes.
        return end
