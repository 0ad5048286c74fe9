"""
Notes when a writer closes a file: evidence where the kernel grants no leases.

L{isOpenForWriting} works only for the owner of the file or with CAP_LEASE, and only on a file
system that has leases. A forwarder that may only read the logs has neither. C{IN_CLOSE_WRITE} of
inotify(7) reports that one writer has closed a file, but a second writer may still have it open.
So the event only shortens the wait for a file that has a name: if a process writes to that file
later, the forwarder notices and reads it again. For a file without a name, it proves nothing.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

from ..boundaries import Foreign

__all__ = ["CloseEvents"]

# inotify(7).
_IN_CLOSE_WRITE = 0x8
_IN_IGNORED = 0x8000
_EVENT = struct.Struct("=iIII")
_READ_OCTETS = 65536

# Maximum number of files to watch; when there are more, the oldest watch is removed.
WATCHED_MAX = 4096

_libc: Foreign
try:
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.inotify_init1, _libc.inotify_add_watch  # noqa: B018 - is it Linux?
except (AttributeError, OSError):
    _libc = None


class CloseEvents:
    """
    Watches for the moment when a writer closes a file. Used by one thread.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        isWritten: Callable[[int], bool | None],
    ) -> None:
        """
        @param isWritten: whether any process has a file open for writing; files for which this
            returns C{None} are watched.
        """
        self._clock = clock
        self._isWritten = isWritten
        self._descriptor = -1
        # By device and inode: the watch, or None if none is needed or possible.
        self._watches: dict[tuple[int, int], int | None] = {}
        self._closed: dict[int, float] = {}

    def watch(self, descriptor: int, object_: tuple[int, int]) -> None:
        """
        Watch an open file from now on, if the kernel cannot say whether it has writers.

        @param object_: the device and inode of the file.
        """
        if object_ in self._watches:
            return
        isNeeded = self._isWritten(descriptor) is None
        self._watches[object_] = self._add(descriptor) if isNeeded else None
        if len(self._watches) > WATCHED_MAX:
            self._remove(self._watches.pop(next(iter(self._watches))))

    def closedAt(self, object_: tuple[int, int]) -> float | None:
        """When a writer last closed a watched file, by the clock; C{None}: not yet."""
        watch = self._watches.get(object_)
        if watch is None:
            return None
        self._read()
        return self._closed.get(watch)

    def close(self) -> None:
        """Remove all watches."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._watches.clear()
        self._closed.clear()

    def _add(self, descriptor: int) -> int | None:
        if _libc is None:
            return None
        self._read()
        if self._descriptor < 0:
            self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._descriptor < 0:
                # The user has no inotify instances left.
                return None
        path = b"/proc/self/fd/%d" % descriptor
        watch = int(_libc.inotify_add_watch(self._descriptor, path, _IN_CLOSE_WRITE))
        return watch if watch >= 0 else None

    def _remove(self, watch: int | None) -> None:
        if watch is not None:
            _libc.inotify_rm_watch(self._descriptor, watch)
            self._closed.pop(watch, None)

    def _read(self) -> None:
        """Read the queued events. An overflow loses events, which only makes the wait longer."""
        while self._descriptor >= 0:
            try:
                events = os.read(self._descriptor, _READ_OCTETS)
            except OSError:
                return
            at = 0
            while at < len(events):
                watch, mask, _, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size + length
                if mask & _IN_CLOSE_WRITE:
                    self._closed[watch] = self._clock()
                if mask & _IN_IGNORED:
                    # The file is gone, and its inode number may be reused.
                    self._closed.pop(watch, None)
                    for object_ in [o for o, w in self._watches.items() if w == watch]:
                        del self._watches[object_]
