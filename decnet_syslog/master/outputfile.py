"""
One file that an output appends to, while others rotate it.

What must be true: octets that a reader has seen never change or vanish, and what is
appended twice because a crash or a full disk came between is in the file once.

L{OutputFile.surplus} are the octets that the file has beyond what its owner counts as
done. They are skipped when they come again. After a crash they are believed only when
they are what would be written: compared, every one of them. Octets of NUL in their place
are what a power cut leaves in a file whose length was on disk before its data; those are
written over, in place. From the first line that is something else on, it was written by
somebody else, and stays.

A file that was copied and truncated while we were away has its surplus in the copy. That
is the newest one with the octets before what was counted, nothing else; and again no octet
is skipped that was not compared. A worker can send what fills a file beside ours.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..durable import syncDirectory
from ..errors import UserError
from ..private import make
from .values import FileLength

__all__ = ["Events", "OutputFile"]

Events = Callable[..., None]

# Readable by the group, which whoever ingests the files is in.
MODE = 0o640

# The disk begins to write in pieces of this size.
SEND_OCTETS = 4 * 1024 * 1024

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


# The octets before what is counted, that a copy is recognised by.
ANCHOR_OCTETS = 1024


def _openCopy(path: str, recorded: FileLength) -> int | None:
    """A copy of a file as it was counted, opened; C{None}: it is none."""
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        )
    except OSError:
        # Compressed or deleted since, or not ours to read: no copy.
        return None
    if _anchored(descriptor, recorded):
        return descriptor
    os.close(descriptor)
    return None


def _anchored(descriptor: int, recorded: FileLength) -> bool:
    """Whether a file has what was before the end when it was counted."""
    anchor = recorded.anchor
    at = recorded.length - len(anchor)
    return os.pread(descriptor, len(anchor), at) == anchor


def _common(ours: bytes, theirs: bytes) -> int:
    """How many octets of ours are there too, in whole lines if not all are."""
    if ours[: len(theirs)] == theirs[: len(ours)]:
        return min(len(ours), len(theirs))
    # As long as the shorter; they differ there or before.
    differs = next(
        at
        for at, (one, two) in enumerate(zip(ours, theirs, strict=False))
        if one != two
    )
    return ours.rfind(b"\n", 0, differs) + 1


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
        try:
            self.descriptor = make(path, os.O_RDWR | os.O_APPEND, MODE)
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
        # What the disk was asked to begin with.
        self._sent = status.st_size
        self._doubtful = False
        self._copy: int | None = None
        self._copiedAt = 0
        # Of what is being appended, what the copy has.
        self._skipped: int | None = None

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
        if file.size >= recorded.length and _anchored(file.descriptor, recorded):
            file.surplus = file.size - recorded.length
            # Written, but perhaps not synced, by somebody who died: ours to sync and count.
            file._doubtful = file.dirty = file.surplus > 0
        else:
            events(
                "output-truncated", path=path, size=file.size, expected=recorded.length
            )
            file._copiedAt = recorded.length
            if recorded.anchor:
                copies = (_openCopy(sibling, recorded) for sibling in siblings(path))
                file._copy = next((copy for copy in copies if copy is not None), None)
        return file

    @classmethod
    def _findRenamed(
        cls, path: str, recorded: FileLength, events: Events
    ) -> OutputFile | None:
        for sibling in siblings(path):
            try:
                status = os.stat(sibling, follow_symlinks=False)
            except OSError:
                continue
            if (status.st_dev, status.st_ino) == (recorded.device, recorded.inode):
                return cls(sibling, events)
        return None

    def counted(self) -> FileLength:
        """The file without its surplus."""
        length = max(0, self.size - self.surplus)
        count = min(ANCHOR_OCTETS, length)
        anchor = os.pread(self.descriptor, count, length - count)
        return FileLength(self.device, self.inode, length, anchor)

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
        if self._copy is not None and self._skipped is None:
            self._skipped = self._inCopy(octets)
        octets = octets[self._skipped or 0 :]
        if self._doubtful:
            self._verify(octets)
        # What is skipped here stays counted.
        self._writeAll(octets, min(self.surplus, len(octets)))

    def extend(self, octets: bytes) -> None:
        """
        Append behind what was extended since the last L{release}, where no surplus was
        before it and the file is not L{copied}.

        @raise OSError: as of L{append}, which then takes all since that release, in one.
        """
        self._writeAll(octets, 0)

    def _writeAll(self, octets: bytes, at: int) -> None:
        view = memoryview(octets)[at:]
        while view:
            count = os.write(self.descriptor, view)
            self.size += count
            self.surplus += count
            self.dirty = True
            view = view[count:]
        ahead = self.size - self._sent
        if not 0 <= ahead < SEND_OCTETS:
            # Linux begins to write such pages, and keeps them as long as they are not
            # written: the sync that comes finds less to wait for.
            os.posix_fadvise(
                self.descriptor, self._sent, max(0, ahead), os.POSIX_FADV_DONTNEED
            )
            self._sent = self.size

    @property
    def copied(self) -> bool:
        """Whether what comes next may be in a copy of this file."""
        return self._copy is not None

    def release(self, octets: int) -> None:
        """So many octets will not come again."""
        self.surplus -= octets - (self._skipped or 0)
        self._skipped = None

    def sync(self) -> None:
        """Bring what was written to disk."""
        if self.dirty:
            os.fdatasync(self.descriptor)
            self.dirty = False
        if not self._nameSynced:
            syncDirectory(Path(self.path).parent)
            self._nameSynced = True

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.descriptor)
        self._closeCopy()

    def _verify(self, octets: bytes) -> None:
        """Believe only a surplus that is what we would write."""
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
                # The whole lines before it are ours.
                count = self.surplus = _common(wanted, seen)
                if os.pread(self.descriptor, 1, self.size - 1) != b"\n":
                    self.size += os.write(self.descriptor, b"\n")
        self._doubtful = self.surplus > count

    def _inCopy(self, octets: bytes) -> int:
        """How many of these octets the copy has, where it goes on."""
        assert self._copy is not None
        seen = os.pread(self._copy, len(octets), self._copiedAt)
        count = _common(octets, seen)
        self._copiedAt += count
        if count < len(octets):
            # A line that the copy has half of is not completed there.
            count = octets.rfind(b"\n", 0, count) + 1
            self._closeCopy()
        return count

    def _closeCopy(self) -> None:
        if self._copy is not None:
            os.close(self._copy)
            self._copy = None

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
