"""
Checks the room on the disk, so that the disk does not fill up in the middle of a line.

A write to a nearly full disk writes as many octets as fit, and mostly cuts a line. The line is
completed when there is room again, but until then readers see one half, and so does a program
that moves the file away to make room. So the output asks for the free room first, and ends the
write after the last line that fits.

File systems do not always report the truth, and a quota may leave less room. So the answer only
shortens a write. The output believes that nothing fits only if it cannot write another file
in the same directory either.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time

__all__ = ["Room"]

# With more room than this, the output asks again only after ASK_S seconds: other programs
# would have to fill the disk in that time.
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
        The end of a write that begins at C{at}: after the last line that fits.

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
        """Whether there was plenty a moment ago: asking may involve a file server."""
        self._plenty -= octets
        return self._plenty > PLENTY_OCTETS and time.monotonic() < self._askAt

    def _ask(self) -> int | None:
        """The octets that may be written; C{None} if unknown."""
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
        # Only root may use the reserved blocks.
        blocks = status.f_bavail if os.geteuid() else status.f_bfree
        return blocks * status.f_frsize

    def _isFull(self) -> bool:
        """Whether another file in the same directory cannot be written either."""
        try:
            with tempfile.TemporaryFile(dir=self._directory) as probe:
                probe.write(bytes(PROBE_OCTETS))
                probe.flush()
        except OSError as error:
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        return False
