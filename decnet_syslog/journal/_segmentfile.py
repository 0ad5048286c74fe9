"""
The file of segments beside a journal: the calls of the operating system.

L{decnet_syslog.journal._segments} decides what is where. A call that fails for lack of room, or
because a write fails, says so: nothing is lost by that. A failed sync or read is final.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..durable import syncData, syncDirectory
from ..errors import UserError
from ..private import openPrivate

__all__ = ["SegmentFile", "SegmentsFailed", "segmentsPath"]

# Of the kernel's cache.
PAGE_OCTETS = 4096


class SegmentsFailed(Exception):
    """A sync or a read has failed: the disk cannot be trusted."""


def segmentsPath(journal: Path) -> Path:
    """The file of a journal's segments."""
    return journal.with_name(journal.name + "-segments")


class SegmentFile:
    """
    The file. It is created with the first segment.
    """

    def __init__(self, journal: Path, segment: int) -> None:
        """
        Open it, if it is there.

        @param segment: octets of a segment.
        @raise UserError: it is not a private file of this user.
        """
        self.path = segmentsPath(journal)
        self._octets = segment
        self._descriptor = -1
        self.exists = os.path.lexists(self.path)
        if self.exists:
            self._open()

    @property
    def isOpen(self) -> bool:
        """Whether it is open."""
        return self._descriptor >= 0

    def _open(self) -> None:
        what, remedy = (
            "the journal's segments",
            "move it away, or use another --journal",
        )
        self._descriptor = openPrivate(self.path, what, remedy)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
        self._descriptor = -1

    def count(self) -> int:
        """
        The number of whole segments.

        @raise OSError: it cannot be examined.
        """
        return os.fstat(self._descriptor).st_size // self._octets if self.isOpen else 0

    def allocate(self, number: int) -> bool:
        """
        Allocate a segment.

        @return: whether there is room.
        @raise SegmentsFailed: the directory cannot be synced: the name may be lost.
        """
        try:
            if not self.isOpen:
                self._open()
                self._syncName()
            begin = number * self._octets
            os.posix_fallocate(self._descriptor, begin, self._octets)
        except (OSError, UserError):
            return False
        return True

    def _syncName(self) -> None:
        try:
            syncDirectory(self.path.parent)
        except OSError as error:
            raise SegmentsFailed(
                f"cannot sync {self.path.parent}: {error.strerror}"
            ) from error

    def forget(self, number: int) -> None:
        """
        Drop a segment's old octets from the kernel's cache. If they were there in large pieces,
        a short write would count, and cost, as a write of the whole piece.
        """
        begin = number * self._octets
        with suppress(OSError):
            os.posix_fadvise(
                self._descriptor, begin, self._octets, os.POSIX_FADV_DONTNEED
            )

    def write(self, pieces: Iterable[tuple[int, Sequence[memoryview]]]) -> bool:
        """
        Write octets, each piece at its offset.

        @return: whether they are written.
        """
        try:
            for start, parts in pieces:
                left = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
                self._writeLastPage(start, start + len(left))
                while left:
                    count = os.pwrite(self._descriptor, left, start)
                    start, left = start + count, left[count:]
        except OSError:
            return False
        return True

    def _writeLastPage(self, start: int, end: int) -> None:
        """
        Write the whole page in which octets will end, if nothing else is in it: otherwise the
        kernel reads its old content from the disk before they are written.
        """
        last = end - end % PAGE_OCTETS
        if start < last < end and self._octets % PAGE_OCTETS == 0:
            os.pwrite(self._descriptor, bytes(PAGE_OCTETS), last)

    def sync(self) -> bool:
        """
        Bring what was written to disk.

        @return: always true.
        @raise SegmentsFailed: it may be lost.
        """
        try:
            syncData(self._descriptor)
        except OSError as error:
            raise SegmentsFailed(
                f"cannot sync {self.path}: {error.strerror}"
            ) from error
        return True

    def read(self, start: int, count: int) -> bytes:
        """
        Read octets; fewer at the end of the file.

        @raise SegmentsFailed: the disk has failed.
        """
        if not self.isOpen:
            return b""
        try:
            return os.pread(self._descriptor, count, start)
        except OSError as error:
            raise SegmentsFailed(
                f"cannot read {self.path}: {error.strerror}"
            ) from error

    def cut(self, count: int) -> bool:
        """
        Return all segments from C{count} on to the disk.

        @return: whether they are.
        """
        try:
            os.ftruncate(self._descriptor, count * self._octets)
        except OSError:
            return False
        return True
