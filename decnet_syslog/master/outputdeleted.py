"""
What a deleted output file has that its copy may lack.

C{mv} to another disk, C{gzip} and their like read a file to its end and then delete it. What
we append in between is in no copy, and only we can still read it. So after a deletion

* what was in the file for C{MOVING_S} and longer is taken to be in the copy; so is what was
  in it when it was opened by somebody in that time, where that can be seen (L{Opens});
* the rest is compared with a copy, if one can be found beside the output (it has the name of
  a rotated file), and what that lacks is written again;
* where none can be found, all of the rest is written again, and that is reported: a repeat
  that is reported is better than a loss that is not.
"""

from __future__ import annotations

import os
import struct
import time
from collections import deque

from .outputcopies import ANCHOR_OCTETS, Events, common, findCopies, wholeLines
from .values import FileLength

__all__ = ["MOVING_S", "Opens", "Sizes", "readByMover"]

# A program that moves a file reads its end before it deletes it, by less than this, in
# seconds.
MOVING_S = 0.5

# How often it is noted how long a file is, in seconds.
NOTED_S = 0.02

# What is read at a time when a line's beginning is searched for.
BLOCK_OCTETS = 64 * 1024


# Of an event: watch, mask, cookie, octets of the name that follows (inotify(7)).
_EVENT = struct.Struct("iIII")
_OPENED = 0x20
_OVERFLOW = 0x4000
_EVENTS_OCTETS = 64 * 1024


class Opens:
    """
    Sees that somebody opens a file, where there is inotify: whoever moves it has to.

    One for all files of an output: a user may have few of these.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        try:
            from twisted.python import _inotify

            self._descriptor = _inotify.init()
            os.set_inheritable(self._descriptor, False)
            os.set_blocking(self._descriptor, False)
        except Exception:
            # Not on this system, or there are too many. Then nobody is seen.
            return

    def watch(self, descriptor: int) -> int | None:
        """Watch an open file. A number for it; C{None}: it cannot be watched."""
        if self._descriptor is None:
            return None
        from twisted.python import _inotify
        from twisted.python.filepath import FilePath

        path = FilePath(f"/proc/self/fd/{descriptor}")
        try:
            return _inotify.add(self._descriptor, path, _OPENED)
        except _inotify.INotifyError:
            return None

    def leave(self, watch: int | None) -> None:
        """Watch a file no more."""
        if self._descriptor is not None and watch is not None:
            from twisted.python import _inotify

            _inotify.remove(self._descriptor, watch)

    def seen(self) -> set[int] | None:
        """The files that were opened since the last call; C{None}: that is not known."""
        if self._descriptor is None:
            return set()
        found: set[int] = set()
        while True:
            try:
                octets = os.read(self._descriptor, _EVENTS_OCTETS)
            except BlockingIOError:
                return found
            except OSError:
                return None
            at = 0
            while at < len(octets):
                watch, mask, _, length = _EVENT.unpack_from(octets, at)
                at += _EVENT.size + length
                if mask & _OVERFLOW:
                    return None
                found.add(watch)

    def close(self) -> None:
        """Watch nothing more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Sizes:
    """How long a file was when, in the last seconds, and when somebody opened it."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()
        self._opened: deque[tuple[float, int]] = deque()

    def note(self, size: int) -> None:
        """The file is so long, and is about to be written."""
        now, noted = time.monotonic(), self._noted
        if noted and now - noted[-1][0] < NOTED_S:
            return
        noted.append((now, size))
        while now - noted[0][0] > 4 * MOVING_S:
            noted.popleft()

    def opened(self, size: int) -> None:
        """Somebody has opened the file, when it had at least so many octets."""
        now, opened = time.monotonic(), self._opened
        opened.append((now, size))
        while now - opened[0][0] > 4 * MOVING_S:
            opened.popleft()

    def before(self, deleted: float) -> int | None:
        """
        How long the file was C{MOVING_S} before it was deleted, or when it was first opened
        in that time; C{None}: it has not been written since.

        @param deleted: a time of the file system, whose clock is the machine's, in seconds.
        """
        # The clock may have been set meanwhile: never in the future.
        then = time.monotonic() - max(0.0, time.time() - deleted) - MOVING_S
        late = next((size for at, size in self._noted if at >= then), None)
        opened = next((size for at, size in self._opened if at >= then), None)
        if late is None or opened is None:
            return late
        return max(late, opened)


def readByMover(path: str, descriptor: int, late: int, end: int, events: Events) -> int:
    """
    How much of a deleted file is surely in a copy, in whole lines.

    @param late: what is before this offset is.
    @param end: of the last whole line.
    @raise OSError: the file cannot be read.
    """
    begin = _lineStart(descriptor, late)
    count = min(begin, ANCHOR_OCTETS)
    anchor = os.pread(descriptor, count, begin - count)
    ours = os.pread(descriptor, end - begin, begin)
    found = None
    copies = findCopies(path, FileLength(0, 0, begin, anchor))
    for copy in copies:
        if copy.holds(FileLength(0, 0, begin, anchor)):
            there = common(ours, copy.read(begin, len(ours)))
            # Without an anchor it is known by its first line.
            if begin or there:
                found = max(found or 0, wholeLines(ours, there))
        copy.close()
    if found is None:
        events("output-rewritten", path=path, offset=begin, octets=end - begin)
        return begin
    return begin + found


def _lineStart(descriptor: int, at: int) -> int:
    """Where the line begins that an offset is in."""
    while at > 0:
        begin = max(0, at - BLOCK_OCTETS)
        found = os.pread(descriptor, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0
