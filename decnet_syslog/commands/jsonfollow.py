"""
The newest lines of a file that one process appends to and another rotates: searched from its end,
then followed.

What must be true: the work does not depend on the size of the file, only on how far back the lines
are, which is bounded; memory does not even depend on that; and no line is missed because of a
rotation that is seen in time.

A search keeps no lines. It finds the offset of the first wanted line, and following begins there:
one code path prints old lines and new ones.

How a rotation is noticed:

* the name belongs to another file, and that file has octets: the writer has moved on. The rest of
  the old file is read first. (While the new file is empty, the writer may not have noticed yet and
  may still write to the old one.)
* the octets before our position are different or gone: the file was copied and truncated, and
  perhaps filled again since. The rest is read from the copy, which has these octets, and then the
  file from its beginning.

Set aside: inotify. It needs a reactor, and one C{fstat} and one C{stat} every fifth of a second
cost nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import UserError
from ..files import RotatedNames, compressionOf

__all__ = ["Followed", "Place", "findLast", "rotatedFrom"]

# Octets per read: so many that the calls do not matter, and few compared with a cache.
BLOCK_OCTETS = 256 * 1024

# A longer line is not a record: JSON makes at most six octets of one, in three members, and a
# message has at most 1 MiB unless that was changed. Such a line is left out.
LINE_OCTETS_MAX = 64 * 1024 * 1024

# Octets that identify a position. A record ends in its time of arrival: no two are the same.
ANCHOR_OCTETS = 256

Wanted = Callable[[bytes], bool]


def _open(path: str) -> int:
    """
    Open a file for reading.

    @raise OSError: it cannot be opened.
    @raise UserError: it is not a regular file, so it has no end to begin at.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is not a regular file")
    return descriptor


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def rotatedFrom(path: str) -> list[str]:
    """The uncompressed rotated files of a path, newest first."""
    names = RotatedNames(path)
    found = []
    for directory in names.directories():
        try:
            for entry in os.scandir(directory):
                if names.matches(directory, entry.name) and not compressionOf(
                    entry.name
                ):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append((status.st_mtime_ns, entry.path))
        except OSError:
            # The directory cannot be listed, or a file was renamed meanwhile.
            continue
    return [sibling for _, sibling in sorted(found, reverse=True)]


@dataclass
class Place:
    """
    The place where the wanted lines begin.

    @ivar offset: the offset of the first wanted line; without one, that of the next new line.
    @ivar found: the number of wanted lines from there on.
    @ivar searched: the octets searched.
    """

    offset: int
    found: int
    searched: int


def findLast(
    descriptor: int, count: int, wanted: Wanted, needles: list[bytes], most: int
) -> Place:
    """
    Find the beginning of the last C{count} wanted lines of a file; an unfinished line is ignored.

    @param needles: every wanted line contains one of these.
    @param most: the number of octets to search, counted back from the end.
    """
    end = at = os.fstat(descriptor).st_size
    first: int | None = None
    next_ = 0
    found = 0
    # The parts of the line that began before the blocks read so far, the last block's first.
    rest: list[bytes] = []
    long = 0
    ended = False

    def take(line: bytes, offset: int) -> bool:
        nonlocal found, first
        if long <= LINE_OCTETS_MAX and any(n in line for n in needles) and wanted(line):
            found += 1
            first = offset
        return found >= count

    done = False
    while at > 0 and end - at < most and not done:
        size = min(BLOCK_OCTETS, at, most - (end - at))
        at -= size
        block = os.pread(descriptor, size, at)
        if len(block) < size:
            # Another process truncates the file at this moment.
            break
        stop = len(block)
        while not done and (cut := block.rfind(b"\n", 0, stop)) >= 0:
            if ended:
                line = b"".join([block[cut + 1 : stop], *reversed(rest)])
                done = take(line, at + cut + 1)
            else:
                # After the last LF: an unfinished line.
                next_, ended = at + cut + 1, True
                done = count == 0
            rest, long, stop = [], 0, cut
            # Continue at the line with the next needle; or at the block's first line, whose
            # beginning is in the block that is read next.
            nearest = max([block.rfind(needle, 0, stop) for needle in needles])
            lineEnd = block.find(b"\n", max(0, nearest), stop)
            stop = stop if lineEnd < 0 else lineEnd
        long += stop
        rest = [*rest, block[:stop]] if ended and long <= LINE_OCTETS_MAX else []
    if at == 0 and ended and not done:
        take(b"".join(reversed(rest)), 0)
    elif not ended:
        # Only an unfinished line, as far as we searched.
        next_ = at
    return Place(next_ if first is None else first, found, end - at)


class Followed:
    """
    A file from a position on, through its rotations.

    @ivar path: its name.
    @ivar descriptor: the file that has the name; or the one that had it before, until the new one
        has its first octet.
    """

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        """
        @param descriptor: an open file, which this object takes over; C{None}: open the path.
        @raise OSError: it cannot be opened.
        @raise UserError: it is not a regular file.
        """
        self.path = path
        self.descriptor = _open(path) if descriptor is None else descriptor
        self._begin(0)

    def _begin(self, offset: int) -> None:
        """Continue at another offset."""
        self._offset = offset
        start = max(0, offset - ANCHOR_OCTETS)
        self._anchor = os.pread(self.descriptor, offset - start, start)
        self._partial: list[bytes] = []
        self._partialOctets = 0

    def seek(self, place: Place) -> None:
        """Continue at the place that a search found."""
        self._begin(place.offset)

    def identity(self) -> tuple[int, int]:
        """The file's device and inode, whatever its name."""
        return _identity(os.fstat(self.descriptor))

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def lines(self) -> Iterator[bytes]:
        """The lines completed since the last call, without LF."""
        # Opened before the rest of the old file is read: no line written until now is missed.
        successor = self._successor()
        if not self._anchored(self.descriptor):
            yield from self._restOfCopy()
            self._begin(0)
        yield from self._whole(self.descriptor)
        if successor is not None:
            self.close()
            self.descriptor = successor
            self._begin(0)
            yield from self._whole(self.descriptor)

    def _successor(self) -> int | None:
        """The file that has the name now, if it is another one and has octets."""
        try:
            status = os.stat(self.path)
            if _identity(status) == self.identity() or not status.st_size:
                return None
            return _open(self.path)
        except (OSError, UserError):
            # There is no such file at the moment.
            return None

    def _anchored(self, descriptor: int) -> bool:
        """Whether a file still has the octets that we read before our position."""
        start = self._offset - len(self._anchor)
        return os.pread(descriptor, len(self._anchor), start) == self._anchor

    def _restOfCopy(self) -> Iterator[bytes]:
        """The octets after our position when the file was copied and truncated."""
        for sibling in rotatedFrom(self.path):
            try:
                copy = _open(sibling)
            except (OSError, UserError):
                continue
            try:
                if self._anchored(copy):
                    yield from self._whole(copy)
                    return
            finally:
                os.close(copy)

    def _whole(self, descriptor: int) -> Iterator[bytes]:
        """The complete lines from our position to the end of a file."""
        while block := os.pread(descriptor, BLOCK_OCTETS, self._offset):
            self._offset += len(block)
            self._anchor = (self._anchor + block[-ANCHOR_OCTETS:])[-ANCHOR_OCTETS:]
            *whole, last = block.split(b"\n")
            if whole:
                if self._partialOctets <= LINE_OCTETS_MAX:
                    yield b"".join([*self._partial, whole[0]])
                yield from whole[1:]
                self._partial, self._partialOctets = [], 0
            self._partialOctets += len(last)
            if self._partialOctets <= LINE_OCTETS_MAX:
                self._partial.append(last)
            else:
                self._partial = []
