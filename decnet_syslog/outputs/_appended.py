"""
A file that is open for appending: its name, length, and the length on disk.

L{decnet_syslog.outputs._file.OutputFile} says which octets to append.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..durable import StorageFailed, syncDirectory
from ..errors import UserError
from ..journal import FileLength
from ..private import make
from ._copies import ANCHOR_OCTETS
from ._room import Room

__all__ = ["AppendedFile"]

# The programs that ingest the files are in the group.
MODE = 0o640

# The disk begins to write in pieces of this size.
SEND_OCTETS = 4 * 1024 * 1024


class AppendedFile:
    """
    An open file of an output.

    @ivar size: the file's length after our last write, or when it was opened.
    @ivar dirty: whether the file has octets that were not synced.
    @ivar watch: the number of the watch in L{Opens}.
    """

    def __init__(self, path: str, recorded: FileLength | None = None) -> None:
        """
        Open a file for appending, or create it.

        @param recorded: the expected file; its name is on disk already.
        @raise UserError: the file cannot be opened now, or is not a regular file.
        @raise StorageFailed: the sync of the directory failed.
        """
        try:
            self.descriptor = make(path, os.O_RDWR | os.O_APPEND, MODE)
        except OSError as error:
            raise UserError(
                f"cannot open the output {path}: {error.strerror}; it must be a regular file,"
                " or none yet, in a directory that this user can write"
            ) from error
        self.path = path
        try:
            status = os.fstat(self.descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"the output {path} is not a regular file")
            self.device = status.st_dev
            self.inode = status.st_ino
            if recorded is None or not self.isRecorded(recorded):
                self._syncName()
        except BaseException:
            os.close(self.descriptor)
            raise
        self.size = status.st_size
        self.dirty = False
        self.watch: int | None = None
        # The kernel was asked to write back everything before this offset.
        self._sent = status.st_size
        self._room = Room(self.descriptor, os.path.dirname(path))

    def isRecorded(self, recorded: FileLength) -> bool:
        """Whether the file is the recorded one, by its inode."""
        return (self.device, self.inode) == (recorded.device, recorded.inode)

    def isElsewhere(self) -> bool:
        """
        Whether the file is not under its name any more.

        @raise OSError: the name cannot be looked up now.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            if error.errno == errno.ELOOP:
                return True
            raise
        return (status.st_dev, status.st_ino) != (self.device, self.inode)

    def anchor(self, end: int, count: int = ANCHOR_OCTETS) -> bytes:
        """The octets before an offset; none if the file cannot be read now."""
        count = min(count, end)
        try:
            return os.pread(self.descriptor, count, end - count)
        except OSError:
            # The inode alone identifies it.
            return b""

    def write(self, octets: bytes | memoryview) -> int:
        """
        Append octets, wherever the file ends.

        @return: the number of octets that were written.
        @raise OSError: the disk is full, or the write failed.
        """
        count = os.write(self.descriptor, octets)
        self.size += count
        self.dirty = True
        return count

    def endLine(self) -> None:
        """End a line that another program left cut: ours must not continue it."""
        if self.size and os.pread(self.descriptor, 1, self.size - 1) != b"\n":
            self.write(b"\n")

    def overwrite(self, offset: int, octets: bytes) -> None:
        """
        Replace octets in the middle of the file.

        @raise OSError: the file cannot be written now.
        """
        # On a descriptor that was opened for appending, Linux's pwrite appends.
        path = f"/proc/self/fd/{self.descriptor}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while octets:
                count = os.pwrite(descriptor, octets, offset)
                offset += count
                octets = octets[count:]
            self.dirty = True
        finally:
            os.close(descriptor)

    def startWriteback(self) -> None:
        """Make the disk begin to write, so that the next sync has less to wait for."""
        waiting = self.size - self._sent
        if not 0 <= waiting < SEND_OCTETS:
            # Linux starts to write these pages back, and keeps them until then.
            os.posix_fadvise(
                self.descriptor, self._sent, max(0, waiting), os.POSIX_FADV_DONTNEED
            )
            self._sent = self.size

    def sync(self) -> None:
        """
        Bring all written octets to disk.

        @raise StorageFailed: they may not be there.
        """
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            raise StorageFailed(
                f"cannot sync the output {self.path}: {error.strerror}"
            ) from error
        self.dirty = False

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    def _syncName(self) -> None:
        """
        Bring the file's name to disk: without it, a power cut takes the whole file.

        @raise UserError: the directory was moved meanwhile.
        @raise StorageFailed: the sync failed.
        """
        try:
            syncDirectory(Path(self.path).parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EROFS):
                raise UserError(
                    f"cannot keep the output {self.path}: {error.strerror}"
                ) from error
            raise StorageFailed(
                f"cannot sync the directory of the output {self.path}: {error.strerror}"
            ) from error
        if self.isElsewhere():
            raise UserError(f"the output {self.path} was moved while it was opened")
