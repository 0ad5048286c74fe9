"""
Whether the disk has room for some lines, so that it does not fill up in the middle of one.

A write to a disk that fills up writes what fits: half a line, mostly. That is completed when
there is room again; but a reader, and whoever moves the file away to make room, has it until
then. So the free room is asked for first, and a write ends with the last line that fits.

File systems do not always tell the truth, and a quota may leave less. So the answer only
shortens a write; that nothing fits is believed when a file beside ours cannot be written
either.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time

__all__ = ["Room"]

# With more than this free, it is asked again only after so long, in seconds: others would
# have to fill it in that time.
PLENTY_OCTETS = 1024 * 1024 * 1024
ASK_S = 0.1

# More than a block of any file system.
PROBE_OCTETS = 64 * 1024


class Room:
    """The room for an open file."""

    def __init__(self, descriptor: int, directory: str) -> None:
        self._descriptor = descriptor
        self._directory = directory
        self._isTrue = True
        self._plenty = 0
        self._askAt = 0.0

    def lines(self, octets: bytes, at: int) -> int:
        """
        Where to end a write that begins at C{at}: behind the last line that fits.

        @raise OSError: there is no room for a line.
        """
        end = len(octets)
        if not self._isTrue or self._isPlenty(end - at):
            return end
        free = self._ask()
        if free is None or end - at <= free:
            return end
        fits = octets.rfind(b"\n", at, at + free) + 1
        if fits > at:
            return fits
        if self._isFull():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        free = self._ask()
        # Room may have been made just now.
        self._isTrue = free is None or end - at <= free
        return end

    def _isPlenty(self, octets: int) -> bool:
        """Whether there was much more a moment ago: to ask can be a question to a server."""
        self._plenty -= octets
        return self._plenty > PLENTY_OCTETS and time.monotonic() < self._askAt

    def _ask(self) -> int | None:
        """Octets that may be written; C{None}: not known."""
        free = self._free()
        self._plenty = free or 0
        self._askAt = time.monotonic() + ASK_S
        return free

    def _free(self) -> int | None:
        try:
            status = os.fstatvfs(self._descriptor)
        except OSError:
            return None
        if not status.f_blocks:
            return None
        # What is kept back for root is root's.
        blocks = status.f_bavail if os.geteuid() else status.f_bfree
        return blocks * status.f_frsize

    def _isFull(self) -> bool:
        """Whether a file beside ours cannot be written either."""
        try:
            with tempfile.TemporaryFile(dir=self._directory) as probe:
                probe.write(bytes(PROBE_OCTETS))
                probe.flush()
        except OSError as error:
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        return False
