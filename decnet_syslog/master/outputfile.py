"""
One file that an output appends to, while others rotate it.

What must be true: octets that a reader has seen never change or vanish, and what is
appended twice because a crash or a full disk came between is in the file once.

L{OutputFile.surplus} are the octets that the file has beyond what its owner counts as
done. They are skipped when they come again. After a crash they are believed only when
they are what would be written: compared, octet by octet. Octets of NUL in their place are
what a power cut leaves in a file whose length was on disk before its data; those are
written over, in place. Anything else was written by somebody else, and stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..durable import syncDirectory
from ..errors import UserError
from .values import FileLength

__all__ = ["Events", "OutputFile"]

Events = Callable[..., None]

_COMPRESSED = (".gz", ".xz", ".zst", ".bz2")


def siblings(path: str) -> list[str]:
    """Files beside C{path} that a rotation may have made of it, newest first."""
    base = os.path.basename(path)
    found = []
    for entry in os.scandir(Path(path).parent):
        if entry.name == base or not entry.name.startswith(base):
            continue
        if entry.name.endswith(_COMPRESSED) or not entry.is_file(follow_symlinks=False):
            continue
        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
    return [sibling for _, sibling in sorted(found, reverse=True)]


def _pread(path: str, offset: int, octets: int) -> bytes:
    descriptor = os.open(
        path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    )
    try:
        return os.pread(descriptor, octets, offset)
    finally:
        os.close(descriptor)


class OutputFile:
    """
    An open output file and what we expect of it.

    @ivar size: of the file after our last write, or when it was opened.
    @ivar surplus: octets at its end that its owner will append again.
    """

    def __init__(self, path: str, events: Events) -> None:
        """
        Open a file for appending, or make it.

        @raise UserError: it cannot be had, or is a link or no regular file.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.descriptor = os.open(path, flags | os.O_NONBLOCK, 0o640)
        except OSError as error:
            raise UserError(
                f"cannot open the output {path}: {error.strerror}; it must be a regular file,"
                " or none yet, in a directory that this user can write"
            ) from error
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self.descriptor)
            raise UserError(f"the output {path} is not a regular file")
        self.path = path
        self._events = events
        self.device = status.st_dev
        self.inode = status.st_ino
        self.size = status.st_size
        self.surplus = 0
        self.dirty = False
        self._nameSynced = False
        self._doubtful = False
        self._copies: list[str] = []
        self._copiedAt = 0

    @classmethod
    def recover(cls, path: str, recorded: FileLength, events: Events) -> OutputFile:
        """Open a file that had C{recorded.length} octets on disk when it was counted."""
        file = cls(path, events)
        if (file.device, file.inode) != (recorded.device, recorded.inode):
            renamed = cls._findRenamed(path, recorded, events)
            if renamed is None:
                return file
            # What was being written when we died is finished where it began; the next
            # look finds the new file.
            file.close()
            file = renamed
        if file.size >= recorded.length:
            file.surplus = file.size - recorded.length
            # Written, but perhaps not synced, by somebody who died: ours to sync and count.
            file._doubtful = file.dirty = file.surplus > 0
        else:
            events(
                "output-truncated", path=path, size=file.size, expected=recorded.length
            )
            file._copies = siblings(path)
            file._copiedAt = recorded.length
        return file

    @classmethod
    def _findRenamed(
        cls, path: str, recorded: FileLength, events: Events
    ) -> OutputFile | None:
        for sibling in siblings(path):
            status = os.stat(sibling, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == (recorded.device, recorded.inode):
                return cls(sibling, events)
        return None

    def counted(self) -> FileLength:
        """The file without its surplus."""
        return FileLength(self.device, self.inode, max(0, self.size - self.surplus))

    def resized(self) -> bool:
        """Whether somebody else truncated or extended the file. We go on at its end."""
        size = os.fstat(self.descriptor).st_size
        if size == self.size:
            return False
        name = "output-truncated" if size < self.size else "output-foreign-write"
        self._events(name, path=self.path, size=size, expected=self.size)
        self.size = size
        return True

    def renamed(self, path: str) -> bool:
        """Whether C{path} is another file by now, or none."""
        try:
            status = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != (self.device, self.inode)

    def append(self, octets: bytes) -> None:
        """
        Append what the file does not have yet.

        @raise OSError: the disk is full, or worse. L{surplus} then counts what the file
            has of these octets: append the same again.
        """
        if self._doubtful or self._copies:
            self._verify(octets)
        done = min(self.surplus, len(octets))
        view = memoryview(octets)[done:]
        try:
            while view:
                count = os.write(self.descriptor, view)
                self.size += count
                self.dirty = True
                done += count
                view = view[count:]
        finally:
            self.surplus = max(self.surplus, done)

    def release(self, octets: int) -> None:
        """So many octets will not come again."""
        self.surplus -= octets

    def sync(self) -> None:
        """Bring what was written to disk."""
        if self.dirty:
            os.fdatasync(self.descriptor)
            self.dirty = False
        if not self._nameSynced:
            syncDirectory(Path(self.path).parent)
            self._nameSynced = True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    def _verify(self, octets: bytes) -> None:
        """Believe only a surplus that is what we would write."""
        if self._copies:
            self._verifyCopies(octets)
            return
        at = self.size - self.surplus
        count = min(self.surplus, len(octets))
        seen = os.pread(self.descriptor, count, at)
        wanted = octets[:count]
        if seen != wanted:
            if all(s in (w, 0) for s, w in zip(seen, wanted, strict=True)):
                self._events("output-mended", path=self.path, offset=at, octets=count)
                self._overwrite(at, wanted)
            else:
                self._events(
                    "output-foreign-write", path=self.path, size=self.size, expected=at
                )
                self.surplus = 0
                if os.pread(self.descriptor, 1, self.size - 1) != b"\n":
                    self.size += os.write(self.descriptor, b"\n")
        self._doubtful = self.surplus > count

    def _verifyCopies(self, octets: bytes) -> None:
        for copy in self._copies:
            extra = os.stat(copy, follow_symlinks=False).st_size - self._copiedAt
            count = min(extra, len(octets))
            if count > 0 and _pread(copy, self._copiedAt, count) == octets[:count]:
                self.surplus = extra
                break
        self._copies = []

    def _overwrite(self, offset: int, octets: bytes) -> None:
        # Linux appends with pwrite, too, on a descriptor that was opened for appending.
        path = f"/proc/self/fd/{self.descriptor}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while octets:
                count = os.pwrite(descriptor, octets, offset)
                offset += count
                octets = octets[count:]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
