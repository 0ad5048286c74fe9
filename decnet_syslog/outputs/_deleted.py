"""
The end of a deleted output file, which its copy may lack.

C{mv} to another disk, C{gzip} and similar programs read a file to its end and then delete it.
The copy lacks the lines that we append in between, and only we can still read them. After a
deletion

* the copy is taken to hold everything that was in the file for C{MOVING_S} or longer, and
  everything that was in it when the program that moved it opened it, if the system shows
  that (L{Opens}). It shows no names: any reader in that time may have been that program
  (L{Sizes});
* the rest is compared with a copy that has the name of a rotated file beside the output.
  Lines that the copy lacks are written again;
* without such a copy, all of the rest is written again, and reported: a reported repeat is
  better than a silent loss.
"""

from __future__ import annotations

import os
import struct
import time
from collections import deque
from dataclasses import dataclass

from ..journal import FileLength
from ._copies import ANCHOR_OCTETS, common, wholeLines
from ._interfaces import Events
from ._nearby import findCopies

__all__ = ["MOVING_S", "Opens", "Sizes", "readByMover"]

# A program that moves a file deletes it less than this after reading its end, in seconds.
MOVING_S = 0.5

# A program that has had a file open for longer reads it for other purposes, in seconds.
COPYING_S = 600.0

# Note the length of a file this often at most, in seconds.
NOTED_S = 0.02

# Note this many readers of a file at most.
READERS_MAX = 256

# Read this much at a time to find the beginning of a line.
BLOCK_OCTETS = 64 * 1024


# An event: watch, mask, cookie, and the length of the name that follows it (inotify(7)).
_EVENT = struct.Struct("iIII")
_OPENED = 0x20
_CLOSED = 0x08 | 0x10
_OVERFLOW = 0x4000
_EVENTS_OCTETS = 64 * 1024


class Opens:
    """
    Reports files that other programs open and close, on systems with inotify.

    A program that copies a file has to open it. One object serves all files of an output,
    because a user may have few inotify instances.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._isClosed = False

    def _begin(self) -> None:
        """Get an inotify instance, if there is none yet."""
        if self._isClosed or self._descriptor is not None:
            return
        try:
            from twisted.python import _inotify

            self._descriptor = _inotify.init()
            os.set_inheritable(self._descriptor, False)
            os.set_blocking(self._descriptor, False)
        except Exception:
            # The system has no inotify, or no free instance now: opens stay unseen.
            return

    def watch(self, descriptor: int) -> int | None:
        """
        Watch an open file.

        @return: the number of the watch; C{None} if the file cannot be watched now.
        """
        self._begin()
        if self._descriptor is None:
            return None
        from twisted.python import _inotify
        from twisted.python.filepath import FilePath

        path = FilePath(f"/proc/self/fd/{descriptor}")
        try:
            return _inotify.add(self._descriptor, path, _OPENED | _CLOSED)
        except _inotify.INotifyError:
            return None

    def leave(self, watch: int | None) -> None:
        """End a watch."""
        if self._descriptor is not None and watch is not None:
            from twisted.python import _inotify

            _inotify.remove(self._descriptor, watch)

    def seen(self) -> list[tuple[int, bool]] | None:
        """
        What other programs did since the last call, in order.

        @return: the watch of each file, and whether it was opened; otherwise it was closed.
            C{None} if events were lost.
        """
        if self._descriptor is None:
            return []
        found: list[tuple[int, bool]] = []
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
                if mask & (_OPENED | _CLOSED):
                    found.append((watch, bool(mask & _OPENED)))

    def close(self) -> None:
        """End all watches."""
        self._isClosed = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass
class _Reader:
    """Another program that opened the file when it had C{size} octets or more."""

    size: int
    opened: float
    closed: float | None = None


class Sizes:
    """
    The lengths of a file in the last seconds, and the programs that had it open.

    Events show no names. A reader that had the file open before the last C{MOVING_S} and
    closed it since may have read the end before anything that was written in that time, whoever
    else opened the file later. So which reader closes is not known either: the one that opened
    first is taken for it, which leaves those that may have read least.
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()
        self._readers: deque[_Reader] = deque()
        self._isCrowded = False

    def note(self, size: int) -> None:
        """Note the length of the file before a write."""
        now, noted = time.monotonic(), self._noted
        if noted and now - noted[-1][0] < NOTED_S:
            return
        noted.append((now, size))
        while now - noted[0][0] > 4 * MOVING_S:
            noted.popleft()

    def opened(self, size: int) -> None:
        """Note that another program opened the file when it had C{size} octets or more."""
        self._forget()
        self._isCrowded |= len(self._readers) >= READERS_MAX
        if not self._isCrowded:
            self._readers.append(_Reader(size, time.monotonic()))

    def closed(self) -> None:
        """Note that another program closed the file."""
        self._forget()
        for reader in self._readers:
            if reader.closed is None:
                reader.closed = time.monotonic()
                return

    def _forget(self) -> None:
        """Forget readers that cannot have moved a file that is deleted from now on."""
        now = time.monotonic()
        while self._readers:
            first = self._readers[0]
            ended = now if first.closed is None else first.closed
            if now - ended <= 4 * MOVING_S and now - first.opened <= COPYING_S:
                return
            self._readers.popleft()

    def before(self, deleted: float) -> int | None:
        """
        The length of the file C{MOVING_S} before its deletion, or when the program that moved
        it may have opened it after that; C{None} if the file was not written since.

        @param deleted: the time of the deletion, in seconds, by the machine's wall clock.
        """
        # The clock may have been set meanwhile: a deletion is never in the future.
        then = time.monotonic() - max(0.0, time.time() - deleted) - MOVING_S
        late = next((size for at, size in self._noted if at >= then), None)
        if late is None:
            return None
        self._forget()
        readers = [r for r in self._readers if r.closed is None or r.closed >= then]
        if self._isCrowded or not readers:
            return late
        # The first reader may have moved the file. If it opened the file earlier, the result
        # is late.
        return max(late, readers[0].size)


def readByMover(path: str, descriptor: int, late: int, end: int, events: Events) -> int:
    """
    The length of the whole lines of a deleted file that its copy surely holds.

    @param late: the copy holds everything before this offset.
    @param end: the end of the last whole line.
    @raise OSError: the file cannot be read.
    """
    begin = _lineStart(descriptor, late)
    count = min(begin, ANCHOR_OCTETS)
    anchor = os.pread(descriptor, count, begin - count)
    ours = os.pread(descriptor, end - begin, begin)
    found = None
    copies = findCopies(path, FileLength(0, 0, begin, anchor), isJustMoved=True)
    for copy in copies:
        if copy.holds(FileLength(0, 0, begin, anchor)):
            there = wholeLines(ours, common(ours, copy.read(begin, len(ours))))
            # Without an anchor the first line must be the same.
            if begin or there:
                found = max(found or 0, there)
        copy.close()
    if found is None:
        events("output-rewritten", path=path, offset=begin, octets=end - begin)
        return begin
    return begin + found


def _lineStart(descriptor: int, at: int) -> int:
    """The beginning of the line at an offset."""
    while at > 0:
        begin = max(0, at - BLOCK_OCTETS)
        found = os.pread(descriptor, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        at = begin
    return 0
