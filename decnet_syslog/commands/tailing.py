"""
The newest lines of a file that somebody appends to and others rotate: looked for from its
end, then followed.

What must be true: what is read does not depend on how large the file is, but on how far
back the lines are, and that has a bound; memory does not depend on it at all; and whoever
follows misses no line because of a rotation that is seen in time.

A search keeps no lines. It finds the offset of the first that is wanted, and what follows
reads on from there: one way out for old lines and new ones.

How a rotation is noticed:

* the name is another file's, and that one has octets: whoever writes has moved on. What is
  left of the old one is read first. (While the new one is empty, the writer may not have
  noticed yet and go on in the old one.)
* the octets before our place are others, or gone: it was copied and truncated, perhaps
  filled again since. The rest is read from the copy, which has them, and the file from its
  beginning.

Set aside: inotify. It needs a reactor, and one C{fstat} and one C{stat} in a fifth of a
second cost nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import UserError
from ..files import RotatedNames, compressionOf

__all__ = ["Followed", "Place", "findLast", "rotatedFrom"]

# Read at a time: large enough that the calls do not count, small beside a cache.
BLOCK_OCTETS = 256 * 1024

# A longer line is no record: JSON makes six octets of one at most, in three members, and
# a message has a MiB if nobody has changed that. It is left out.
LINE_OCTETS_MAX = 64 * 1024 * 1024

# What a place is recognised by. A record ends in its time of arrival: two are not the same.
ANCHOR_OCTETS = 256

Wanted = Callable[[bytes], bool]


def _open(path: str) -> int:
    """
    A file to read.

    @raise OSError: it cannot be had.
    @raise UserError: it is none that has an end to begin at.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is not a regular file")
    return descriptor


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def rotatedFrom(path: str) -> list[str]:
    """What rotation has made of a path and not compressed, newest first."""
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
            # The directory may not be listed, or one was renamed meanwhile.
            continue
    return [sibling for _, sibling in sorted(found, reverse=True)]


@dataclass
class Place:
    """
    Where wanted lines begin.

    @ivar offset: of the first of them; of what comes next, if there is none.
    @ivar found: how many there are from there on.
    @ivar searched: octets that were looked at.
    """

    offset: int
    found: int
    searched: int


def findLast(
    descriptor: int, count: int, wanted: Wanted, needles: list[bytes], most: int
) -> Place:
    """
    Where the last so many wanted lines of a file begin. A line without its end does not count.

    @param needles: a wanted line has one of these.
    @param most: do not search farther from the end than so many octets.
    """
    end = at = os.fstat(descriptor).st_size
    first: int | None = None
    next_ = 0
    found = 0
    # Of the line that began before the blocks so far: octets, the last block's first.
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
            # Somebody truncates it at this moment.
            break
        stop = len(block)
        while not done and (cut := block.rfind(b"\n", 0, stop)) >= 0:
            if ended:
                line = b"".join([block[cut + 1 : stop], *reversed(rest)])
                done = take(line, at + cut + 1)
            else:
                # Behind the last LF: a line that is being written.
                next_, ended = at + cut + 1, True
                done = count == 0
            rest, long, stop = [], 0, cut
            # On to the line with the next needle; or to the block's first one, whose
            # beginning is in the block that comes.
            nearest = max([block.rfind(needle, 0, stop) for needle in needles])
            lineEnd = block.find(b"\n", max(0, nearest), stop)
            stop = stop if lineEnd < 0 else lineEnd
        long += stop
        rest = [*rest, block[:stop]] if ended and long <= LINE_OCTETS_MAX else []
    if at == 0 and ended and not done:
        take(b"".join(reversed(rest)), 0)
    elif not ended:
        # Nothing but a line that is being written, as far as we looked.
        next_ = at
    return Place(next_ if first is None else first, found, end - at)


class Followed:
    """
    A file from a place on, through its rotations.

    @ivar path: its name.
    @ivar descriptor: the file that has the name, or had it until the one that has it now
        gets its first octet.
    """

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        """
        @param descriptor: of the file, which is ours from now on; C{None}: open it.
        @raise OSError: it cannot be opened.
        @raise UserError: it is no regular file.
        """
        self.path = path
        self.descriptor = _open(path) if descriptor is None else descriptor
        self._begin(0)

    def _begin(self, offset: int) -> None:
        """Go on somewhere else."""
        self._offset = offset
        start = max(0, offset - ANCHOR_OCTETS)
        self._anchor = os.pread(self.descriptor, offset - start, start)
        self._partial: list[bytes] = []
        self._partialOctets = 0

    def seek(self, place: Place) -> None:
        """Go on where a search says."""
        self._begin(place.offset)

    def identity(self) -> tuple[int, int]:
        """Which file it is, whatever it is called."""
        return _identity(os.fstat(self.descriptor))

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def lines(self) -> Iterator[bytes]:
        """The lines, without LF, that have been completed since."""
        # Found before the old one is read: what was written into that until now is in it.
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
        """The file that has the name now, if it is another one and is written to."""
        try:
            status = os.stat(self.path)
            if _identity(status) == self.identity() or not status.st_size:
                return None
            return _open(self.path)
        except (OSError, UserError):
            # There is none at the moment.
            return None

    def _anchored(self, descriptor: int) -> bool:
        """Whether a file has at our place what we have read there."""
        start = self._offset - len(self._anchor)
        return os.pread(descriptor, len(self._anchor), start) == self._anchor

    def _restOfCopy(self) -> Iterator[bytes]:
        """What was behind our place when the file was copied and truncated."""
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
        """Whole lines from our place to the end of a file."""
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
