"""
One file that an output appends to, while other programs rotate it.

Requirements: octets that a reader has seen never change or vanish. Octets that are appended
again after a crash or a full disk are in the files once.

For one path, an output appends one sequence of octets, and rendering it again gives the same
octets. The cursor says where the sequence goes on. Of the octets after the cursor

* the first C{ahead} are in earlier files of this path, in whole lines;
* the next C{unaccountedOctets} are at the end of this file;
* the rest is not written yet.

The output skips both when these octets come again. L{FileLength} records C{ahead} with the
file before the file gets an octet, so that a process that dies needs to look at one file only.
When other programs change a file with a surplus, the surplus becomes C{ahead}, at a line
boundary: the file was renamed, deleted, truncated or extended. A cut line is completed
in a file that was renamed; otherwise the next file gets the whole line.

After a crash, a surplus counts only if it equals the octets that the output would write. The
one exception is a machine that was booted since: a power cut can leave NULs in a file whose
length was on disk before its data. The output overwrites these in place. Octets that
differ in another way stay: another program wrote them, or a version of this one that rendered
the same lines differently, so that the file has them twice (C{unlike}). If the file is not
under its name any more, the output searches for it (L{EarlierFile}).

Errors: the caller retries a failed write, open or stat, because the cursor counts only synced
octets. A failed sync is final (L{StorageFailed}), also for "no space": the kernel may
have dropped the octets and may report success the next time.

This module is long because C{ahead}, C{unaccountedOctets} and the cut line are one account, which
every operation must leave right.
"""

from __future__ import annotations

import errno
import os

from ..durable import bootId
from ..journal import FileLength
from ._appended import AppendedFile
from ._copies import common, wholeLines
from ._deleted import Sizes, readByMover
from ._interfaces import Events
from ._search import EarlierFile

__all__ = ["NO_FILE", "OutputFile"]


def NO_FILE(ahead: int) -> FileLength:
    """The record between two files: the next octets go to a new one."""
    return FileLength(0, 0, 0, b"", ahead, bootId())


class OutputFile(AppendedFile):
    """
    An open output file, and its expected state.

    @ivar ahead: the number of octets after the cursor in earlier files.
    @ivar unaccountedOctets: the number of octets after these, at the end of this file.
    @ivar dirty: whether the file has octets that were not synced, or L{counted} has moved.
    @ivar isLost: whether the search for the counted file failed.
    @ivar unlike: a file that was recovered, and the offset where it has octets that the output
        would not write; C{None} if there are none.
    """

    def __init__(
        self, path: str, events: Events, recorded: FileLength | None = None
    ) -> None:
        """
        Open a file for appending, or create it.

        @param recorded: the expected file; its name is on disk already.
        @raise UserError: the file cannot be opened now, or is not a regular file.
        @raise StorageFailed: the sync of the directory failed.
        """
        super().__init__(path, recorded)
        self._events = events
        self.ahead = 0
        self.unaccountedOctets = 0
        self.isLost = False
        self.unlike: tuple[str, int] | None = None
        # The length of the cut line at the end of the surplus.
        self._half = 0
        # The record of a file whose recovered surplus was not compared yet.
        self._doubted: FileLength | None = None
        # The file that the cursor names, while it may hold the next octets.
        self._earlier: EarlierFile | None = None
        self._sizes = Sizes()

    @classmethod
    def recover(
        cls, path: str, recorded: FileLength, events: Events, former: str
    ) -> OutputFile:
        """
        Open a file after a restart.

        @param former: the path of the recorded file.
        """
        file = cls(path, events, recorded)
        try:
            file._recover(recorded, former)
        except BaseException:
            file.close()
            raise
        return file

    def _recover(self, recorded: FileLength, former: str) -> None:
        self.ahead = recorded.ahead
        if not recorded.inode:
            self.endLine()
            return
        isSame = (
            self.isRecorded(recorded)
            and self.size >= recorded.length
            and self._has(recorded)
        )
        if isSame and self.size:
            self.unaccountedOctets = self.size - recorded.length
            # A killed process may not have synced it.
            self.dirty = self.unaccountedOctets > 0
            self._doubted = recorded if self.unaccountedOctets else None
            return
        # An empty file proves nothing: a new one can have the inode number of a deleted one.
        self._earlier = EarlierFile(self.path, recorded, self._events, former)
        self.endLine()

    @classmethod
    def resume(
        cls, path: str, recorded: FileLength, events: Events, former: str
    ) -> OutputFile:
        """Open a file again that this process closed when it had no surplus."""
        file = cls(path, events, recorded)
        file.ahead = recorded.ahead
        try:
            if file.isRecorded(recorded):
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
        """Whether the next octets are not written anywhere yet."""
        return not (self.ahead or self.unaccountedOctets or self._earlier)

    @property
    def isKnown(self) -> bool:
        """Whether this process compared or wrote the whole surplus."""
        return self._doubted is None and self._earlier is None

    @property
    def place(self) -> tuple[int, int, int]:
        """Device, inode and length of L{counted}."""
        if self._earlier is not None:
            counted = self._earlier.counted
            return counted.device, counted.inode, counted.length
        return self.device, self.inode, max(0, self.size - self.unaccountedOctets)

    def counted(self) -> FileLength:
        """The file without its surplus; the earlier file, while that is compared."""
        if self._earlier is not None:
            return self._earlier.counted
        length = max(0, self.size - self.unaccountedOctets)
        return FileLength(
            self.device,
            self.inode,
            length,
            self.anchor(length),
            self.ahead,
            bootId(),
        )

    def resized(self) -> bool:
        """
        Whether another program truncated or extended the file. The output goes on at its end.

        @raise OSError: the file cannot be read or written now.
        """
        size = os.fstat(self.descriptor).st_size
        if size == self.size:
            return False
        if size > self.size and self._doubted is not None:
            # The comparison will find the difference.
            self.unaccountedOctets += size - self.size
            self.size = size
            return False
        name = "output-truncated" if size < self.size else "output-foreign-write"
        self._events(name, path=self.path, size=size, expected=self.size)
        if self._doubted is not None:
            self._earlier = EarlierFile(self.path, self._doubted, self._events)
        elif self.unaccountedOctets:
            # The lines were copied or taken away: they do not come again.
            self.ahead += self.unaccountedOctets - self._half
        self.size, self.unaccountedOctets, self._half, self._doubted = size, 0, 0, None
        self.endLine()
        return True

    def settle(self, octets: bytes, since: float) -> bool:
        """
        Compare the next octets with this file, or with copies of the earlier file.

        @param octets: the octets after the cursor, or their beginning.
        @param since: the time when the first octet was received: a copy is not older.
        @return: whether L{counted} has changed; save it before the next write then.
        @raise OSError: a file cannot be read or written now.
        @raise StorageFailed: a copy cannot be synced.
        """
        if self._earlier is not None and len(octets) > self.ahead:
            there = self._earlier.compare(octets[self.ahead :], since)
            if there is None:
                return False
            self.ahead += there
            self.isLost = not self._earlier.isFound
            self.unlike = self._earlier.unlike
            self._closeEarlier()
            return True
        if self._doubted is not None and len(octets) > self.ahead:
            return self._verify(octets[self.ahead :])
        return False

    def append(self, octets: bytes) -> None:
        """
        Append the octets that no file has yet, after L{settle}.

        @raise OSError: the disk is full, or the write failed. L{unaccountedOctets} then counts the
            octets that were written: append the same octets again.
        """
        if self._earlier is None:
            self._writeAll(
                octets, min(self.ahead + self.unaccountedOctets, len(octets))
            )

    def extend(self, octets: bytes) -> None:
        """
        Append more octets to a file that L{isWhole} at the last L{release}.

        @raise OSError: as for L{append}, which then takes all octets since that release.
        """
        self._writeAll(octets, 0)

    def release(self, octets: int) -> None:
        """Move on: the first C{octets} do not come again."""
        if octets:
            # L{counted} has changed, even if nothing was written: a cursor that moves without
            # it would skip as many octets again.
            self.dirty = True
        earlier = min(self.ahead, octets)
        self.ahead -= earlier
        octets -= earlier
        if self._earlier is None:
            self.unaccountedOctets -= octets
        else:
            self._earlier.advance(octets, self.ahead)

    def opened(self, size: int) -> None:
        """Note that another program opened the file when it had C{size} octets or more."""
        self._sizes.opened(size)

    def closed(self) -> None:
        """Note that another program closed the file."""
        self._sizes.closed()

    def leave(self, octets: bytes) -> tuple[int, bytes]:
        """
        Finish with a file that is not under its name any more.

        @param octets: the octets after the cursor, or their beginning.
        @return: C{ahead} for the next file; and the octets that must come first there,
            because the copy of this file may lack them.
        @raise OSError: the file cannot be read now.
        @raise StorageFailed: the file cannot be synced.
        """
        try:
            # It may have been truncated, too.
            self.resized()
            status = os.fstat(self.descriptor)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            # Another machine deleted it on a network file system: only synced octets count.
            self.sync()
            return self.ahead + self.unaccountedOctets - self._half, b""
        half = self._half
        if status.st_nlink:
            if half:
                half = self._completeLine(octets, half)
            self.sync()
            return self.ahead + self.unaccountedOctets - half, b""
        # A deleted file need not reach the disk.
        self.dirty = False
        counted = self.size - self.unaccountedOctets
        late = self._sizes.before(status.st_ctime)
        read = self.size - half
        if late is not None and late < read:
            read = readByMover(self.path, self.descriptor, late, read, self._events)
        again = os.pread(self.descriptor, max(0, counted - read), read)
        return self.ahead + max(0, read - counted), again

    def sync(self) -> None:
        """
        Bring all written octets to disk.

        @raise StorageFailed: they may not be there.
        """
        if not self.dirty:
            return
        if self._earlier is not None:
            self._earlier.sync()
        super().sync()

    def finished(self) -> bool:
        """Whether the whole earlier file was compared; it is closed then."""
        if self._earlier is None or not self._earlier.isAtEnd():
            return False
        self.sync()
        self._closeEarlier()
        return True

    def close(self) -> None:
        """Close the descriptors."""
        super().close()
        self._closeEarlier()

    def _has(self, recorded: FileLength) -> bool:
        """Whether the octets before the counted end are the same."""
        return self.anchor(recorded.length, len(recorded.anchor)) == recorded.anchor

    def _writeAll(self, octets: bytes, at: int) -> None:
        """Write whole lines, from an offset in them on."""
        self._sizes.note(self.size)
        view, written = memoryview(octets), at
        try:
            while written < len(octets):
                end = self._room.lines(octets, written)
                count = self.write(view[written:end])
                self.unaccountedOctets += count
                written += count
        finally:
            # Another program's write, a quota or a limit can still cut a line.
            if written > at:
                self._half = written - wholeLines(octets, written)
        self.startWriteback()

    def _completeLine(self, octets: bytes, half: int) -> int:
        """
        Complete the cut line of a file that was renamed.

        @return: the length of the line if it is still cut; otherwise 0.
        """
        at = self.ahead + self.unaccountedOctets
        rest = octets[at : octets.find(b"\n", at) + 1]
        try:
            count = self.write(rest) if rest else 0
        except OSError:
            count = 0
        if count:
            self.unaccountedOctets += count
            self._half = 0 if count == len(rest) else half + count
        return self._half

    def _closeEarlier(self) -> None:
        if self._earlier is not None:
            self._earlier.close()
            self._earlier = None

    def _verify(self, octets: bytes) -> bool:
        """Accept a surplus only if it equals the octets that we would write."""
        assert self._doubted is not None
        at = self.size - self.unaccountedOctets
        count = min(self.unaccountedOctets, len(octets))
        seen = os.pread(self.descriptor, count, at)
        wanted = octets[:count]
        if seen != wanted:
            isHoled = len(seen) == count and all(
                s in (w, 0) for s, w in zip(seen, wanted, strict=True)
            )
            if isHoled and self._doubted.boot != bootId():
                self._events("output-mended", path=self.path, offset=at, octets=count)
                self.overwrite(at, wanted)
            else:
                # The whole lines before the difference are ours.
                whole = wholeLines(wanted, common(wanted, seen))
                self.unlike = self.path, at + whole
                self.ahead += whole
                self.unaccountedOctets, self._doubted = 0, None
                self.endLine()
                return True
        if self.unaccountedOctets <= count:
            self._doubted = None
            self._half = count - wholeLines(octets, count)
        return False
