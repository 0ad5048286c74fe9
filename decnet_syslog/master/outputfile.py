"""
One file that an output appends to, while others rotate it.

What must be true: octets that a reader has seen never change or vanish, and what is
appended twice because a crash or a full disk came between is in the files once.

What an output appends for one path is a row of octets that is the same whenever it is
rendered again; its cursor says from where on. Of the octets behind the cursor

* the first C{ahead} are in earlier files of this path, in whole lines;
* the next C{surplus} are at the end of this file;
* the rest is not written yet.

Both are skipped when the octets come (again). C{ahead} is recorded with the file
(L{FileLength}) before this file gets an octet, so that a process that dies needs to look at
one file only. Whatever others do to a file that has a surplus turns the surplus into
C{ahead}: renamed, deleted, truncated or written to, the file is left with its whole lines. A
line that was written half is completed in a file that was renamed; where that is not
possible the next file gets it whole.

After a crash a surplus is believed only when it is what would be written: compared, every
octet. Only when the machine was booted meanwhile may octets of NUL stand in their place: a
power cut leaves them in a file whose length was on disk before its data. Those are written
over, in place. From the first line that is something else on, it was written by somebody
else, and stays. A file that is somewhere else by then is searched for (L{EarlierFile}).

Errors. A write, an open or a look that fails is for waiting: whatever is counted was synced.
A sync that fails is not (L{StorageFailed}), whatever its number, also "no space": the
kernel may have dropped the octets and say yes the next time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..durable import StorageFailed, bootId, syncDirectory
from ..errors import UserError
from ..private import make
from .outputcopies import ANCHOR_OCTETS, EarlierFile, common, wholeLines
from .outputdeleted import Sizes, readByMover
from .outputroom import Room
from .values import FileLength

__all__ = ["NO_FILE", "Events", "OutputFile"]

Events = Callable[..., None]

# Readable by the group, which whoever ingests the files is in.
MODE = 0o640

# The disk begins to write in pieces of this size.
SEND_OCTETS = 4 * 1024 * 1024


def NO_FILE(ahead: int) -> FileLength:
    """What is recorded between two files: the next octets go to a new one."""
    return FileLength(0, 0, 0, b"", ahead, bootId())


class OutputFile:
    """
    An open output file and what we expect of it.

    @ivar size: of the file after our last write, or when it was opened.
    @ivar ahead: octets behind the cursor that are in earlier files.
    @ivar surplus: octets behind these, at the end of this file.
    @ivar dirty: whether it has octets that were not synced.
    @ivar watch: the number that L{Opens} has given it.
    @ivar isLost: whether the file that was counted was searched for, and not found.
    """

    def __init__(
        self, path: str, events: Events, recorded: FileLength | None = None
    ) -> None:
        """
        Open a file for appending, or make it.

        @param recorded: the file that is expected, if one is: its name is on disk.
        @raise UserError: it cannot be had, or is a link or no regular file.
        @raise StorageFailed: its name cannot be brought to disk.
        """
        try:
            self.descriptor = make(path, os.O_RDWR | os.O_APPEND, MODE)
        except OSError as error:
            raise UserError(
                f"cannot open the output {path}: {error.strerror}; it must be a regular file,"
                " or none yet, in a directory that this user can write"
            ) from error
        self.path = path
        self._events = events
        try:
            status = os.fstat(self.descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"the output {path} is not a regular file")
            self.device = status.st_dev
            self.inode = status.st_ino
            if recorded is None or not self._is(recorded):
                self._syncName()
        except BaseException:
            os.close(self.descriptor)
            raise
        self.size = status.st_size
        self.ahead = 0
        self.surplus = 0
        self.dirty = False
        self.isLost = False
        self.watch: int | None = None
        # What the disk was asked to begin with.
        self._sent = status.st_size
        # Octets at the end of the surplus that are no whole line.
        self._half = 0
        # Of a surplus that was not compared yet: the boot that it was counted in.
        self._doubted: str | None = None
        # The file before this one, while it may have what comes next.
        self._earlier: EarlierFile | None = None
        self._isNew = True
        self._sizes = Sizes()
        self._room = Room(self.descriptor, os.path.dirname(path))

    @classmethod
    def recover(cls, path: str, recorded: FileLength, events: Events) -> OutputFile:
        """Open a file that had C{recorded.length} octets on disk when it was counted."""
        file = cls(path, events, recorded)
        try:
            file._recover(recorded)
        except BaseException:
            file.close()
            raise
        return file

    def _recover(self, recorded: FileLength) -> None:
        self.ahead = recorded.ahead
        if not recorded.inode:
            self.endLine()
            return
        isSame = (
            self._is(recorded) and self.size >= recorded.length and self._has(recorded)
        )
        if isSame and self.size:
            self.surplus = self.size - recorded.length
            # Written, but perhaps not synced, by somebody who died: ours to sync and count.
            self.dirty = self.surplus > 0
            self._doubted = recorded.boot if self.surplus else None
            return
        # An empty one has nothing to know it by: it may be a new file with the number of
        # one that was compressed.
        self._earlier = EarlierFile(self.path, recorded, self._events)
        self._isNew = not isSame
        self.endLine()

    @classmethod
    def resume(cls, path: str, recorded: FileLength, events: Events) -> OutputFile:
        """Open a file that we closed ourselves, with all that was to be written to it."""
        file = cls(path, events, recorded)
        file.ahead = recorded.ahead
        try:
            if file._is(recorded):
                file.size = recorded.length
                file.resized()
            else:
                file.endLine()
        except BaseException:
            file.close()
            raise
        return file

    @property
    def isWhole(self) -> bool:
        """Whether nothing of what comes next is written yet: nothing is to be compared."""
        return not (self.ahead or self.surplus or self._earlier)

    @property
    def isKnown(self) -> bool:
        """Whether we know what of it is ours: all of its surplus was compared, or written."""
        return self._doubted is None and self._earlier is None

    @property
    def place(self) -> tuple[int, int, int]:
        """Device, inode and length of L{counted}."""
        if self._earlier is not None:
            counted = self._earlier.counted
            return counted.device, counted.inode, counted.length
        return self.device, self.inode, max(0, self.size - self.surplus)

    def counted(self) -> FileLength:
        """The file without its surplus; or the one before it, while that is read."""
        if self._earlier is not None:
            return self._earlier.counted
        length = max(0, self.size - self.surplus)
        return FileLength(
            self.device,
            self.inode,
            length,
            self._anchor(length),
            self.ahead,
            bootId(),
        )

    def resized(self) -> bool:
        """
        Whether somebody else truncated or extended the file. We go on at its end.

        @raise OSError: it cannot be looked at, or what is there cannot be ended.
        """
        size = os.fstat(self.descriptor).st_size
        if size == self.size:
            return False
        if size > self.size and self._doubted is not None:
            # Compared soon, as one.
            self.surplus += size - self.size
            self.size = size
            return False
        name = "output-truncated" if size < self.size else "output-foreign-write"
        self._events(name, path=self.path, size=size, expected=self.size)
        if self.surplus and self._doubted is None:
            # Its lines are in a copy, or were taken away: here is what they were.
            self.ahead += self.surplus - self._half
        self.size, self.surplus, self._half, self._doubted = size, 0, 0, None
        self.endLine()
        return True

    def isElsewhere(self) -> bool:
        """
        Whether the file's name leads to another file by now, or to none.

        @raise OSError: that cannot be seen.
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

    def settle(self, octets: bytes, since: float) -> bool:
        """
        Compare what comes with what is there, in this file or in copies of the one before.

        @param octets: all that follows the cursor, or the beginning of that.
        @param since: when the first of them was received: a copy of them is not older.
        @return: whether L{counted} has changed, and must be saved before the next write.
        @raise OSError: it cannot be read, or mended.
        """
        if self._earlier is not None and len(octets) > self.ahead:
            there = self._earlier.compare(octets[self.ahead :], since)
            if there is None:
                return False
            self.ahead += there
            self.isLost = self._isNew and not self._earlier.isFound
            self._closeEarlier()
            return True
        if self._doubted is not None and len(octets) > self.ahead:
            return self._verify(octets[self.ahead :])
        return False

    def append(self, octets: bytes) -> None:
        """
        Append what the file does not have yet, after L{settle}.

        @raise OSError: the disk is full, or worse. L{surplus} then counts what the file
            has of these octets: append the same again.
        """
        if self._earlier is None:
            self._writeAll(octets, min(self.ahead + self.surplus, len(octets)))

    def extend(self, octets: bytes) -> None:
        """
        Append behind what was extended since the last L{release}, to a file that is whole.

        @raise OSError: as of L{append}, which then takes all since that release, in one.
        """
        self._writeAll(octets, 0)

    def release(self, octets: int) -> None:
        """So many octets will not come again."""
        earlier = min(self.ahead, octets)
        self.ahead -= earlier
        octets -= earlier
        if self._earlier is None:
            self.surplus -= octets
        else:
            self._earlier.advance(octets, self.ahead)
            self.dirty = True

    def opened(self, size: int) -> None:
        """Somebody has opened the file, when it had at least so many octets."""
        self._sizes.opened(size)

    def insert(self, octets: bytes) -> int:
        """
        Append octets that do not follow the cursor. How many of them.

        @raise OSError: the disk is full, or worse.
        """
        count = os.write(self.descriptor, octets)
        self.size += count
        self.dirty = True
        return count

    def endLine(self) -> None:
        """End a line that somebody else began: ours must not stand behind it."""
        if self.size and os.pread(self.descriptor, 1, self.size - 1) != b"\n":
            self.insert(b"\n")

    def leave(self, octets: bytes) -> tuple[int, bytes]:
        """
        Finish with a file that is not under its name any more.

        @param octets: all that follows the cursor, as far as it is known.
        @return: what is ahead of the next file, and what must be written there first,
            because whoever moved this one may not have read it.
        @raise StorageFailed: it cannot be synced.
        """
        status = os.fstat(self.descriptor)
        half = self._half
        if status.st_nlink:
            if half:
                half = self._completeLine(octets, half)
            self.sync()
            return self.ahead + self.surplus - half, b""
        # What a deleted file has need not come to the disk.
        self.dirty = False
        counted = self.size - self.surplus
        late = self._sizes.before(status.st_ctime)
        read = self.size - half
        if late is not None and late < read:
            read = readByMover(self.path, self.descriptor, late, read, self._events)
        again = os.pread(self.descriptor, max(0, counted - read), read)
        return self.ahead + max(0, read - counted), again

    def sync(self) -> None:
        """
        Bring what was written to disk.

        @raise StorageFailed: it is not known to be there.
        """
        if not self.dirty:
            return
        if self._earlier is not None:
            self._earlier.sync()
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            raise StorageFailed(
                f"cannot sync the output {self.path}: {error.strerror}"
            ) from error
        self.dirty = False

    def finished(self) -> bool:
        """Whether the file before has nothing more. Then it is closed."""
        if self._earlier is None or not self._earlier.isAtEnd():
            return False
        self._closeEarlier()
        return True

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.descriptor)
        self._closeEarlier()

    def _is(self, recorded: FileLength) -> bool:
        return (self.device, self.inode) == (recorded.device, recorded.inode)

    def _has(self, recorded: FileLength) -> bool:
        """Whether it has what was before the end when it was counted."""
        return self._anchor(recorded.length, len(recorded.anchor)) == recorded.anchor

    def _anchor(self, end: int, count: int = ANCHOR_OCTETS) -> bytes:
        count = min(count, end)
        try:
            return os.pread(self.descriptor, count, end - count)
        except OSError:
            # It cannot be read now: believed by its inode alone.
            return b""

    def _syncName(self) -> None:
        """
        Bring the name of a file to disk: what is synced in a file without one is lost.

        @raise UserError: the directory was moved meanwhile.
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

    def _writeAll(self, octets: bytes, at: int) -> None:
        """Write from a place on of octets that begin a line."""
        self._sizes.note(self.size)
        view, written = memoryview(octets), at
        try:
            while written < len(octets):
                end = self._room.lines(octets, written)
                count = os.write(self.descriptor, view[written:end])
                self.size += count
                self.surplus += count
                self.dirty = True
                written += count
        finally:
            # A write by somebody else beside ours, a quota, a limit can still cut a line.
            if written > at:
                self._half = written - wholeLines(octets, written)
        ahead = self.size - self._sent
        if not 0 <= ahead < SEND_OCTETS:
            # Linux begins to write such pages, and keeps them as long as they are not
            # written: the sync that comes finds less to wait for.
            os.posix_fadvise(
                self.descriptor, self._sent, max(0, ahead), os.POSIX_FADV_DONTNEED
            )
            self._sent = self.size

    def _completeLine(self, octets: bytes, half: int) -> int:
        """Complete the last line of a file that was renamed. What is left of a half one."""
        at = self.ahead + self.surplus
        rest = octets[at : octets.find(b"\n", at) + 1]
        try:
            count = os.write(self.descriptor, rest) if rest else 0
        except OSError:
            count = 0
        if count:
            self.size += count
            self.surplus += count
            self.dirty = True
            self._half = 0 if count == len(rest) else half + count
        return self._half

    def _closeEarlier(self) -> None:
        if self._earlier is not None:
            self._earlier.close()
            self._earlier = None

    def _verify(self, octets: bytes) -> bool:
        """Believe only a surplus that is what we would write."""
        at = self.size - self.surplus
        count = min(self.surplus, len(octets))
        seen = os.pread(self.descriptor, count, at)
        wanted = octets[:count]
        if seen != wanted:
            isHoled = len(seen) == count and all(
                s in (w, 0) for s, w in zip(seen, wanted, strict=True)
            )
            if isHoled and self._doubted != bootId():
                self._events("output-mended", path=self.path, offset=at, octets=count)
                self._overwrite(at, wanted)
            else:
                self._events(
                    "output-foreign-write", path=self.path, size=self.size, expected=at
                )
                # The whole lines before it are ours.
                self.ahead += wholeLines(wanted, common(wanted, seen))
                self.surplus, self._doubted = 0, None
                self.endLine()
                return True
        if self.surplus <= count:
            self._doubted = None
            self._half = count - wholeLines(octets, count)
        return False

    def _overwrite(self, offset: int, octets: bytes) -> None:
        # Linux appends with pwrite, too, on a descriptor that was opened for appending.
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
