"""
The file of segments beside a journal: the calls of the operating system.

L{decnet_syslog.journal._segments} decides where octets are placed. A call that fails for lack of
room, or because a write fails, returns false, and nothing is lost. A failed sync or read is final.

The file begins with a header that has the identity of the journal's database. Without it, one
journal would cut or overwrite what belongs to another, or to no journal. A file that has something
else in it, or that has a second name, is neither written nor truncated.

What a crash leaves, wherever it comes:

 - before the header is synced, an empty file, or a part of the header. No row names it, because a
   row is committed only after a segment is written, which follows the header. The next program
   writes the header again;
 - before the directory is synced, perhaps no file. No row names it either;
 - later, a header, which never changes, and any number of segments.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote

from ..durable import StorageFailed, syncData, syncDirectory
from ..errors import UserError
from ..private import openPrivate

__all__ = ["SegmentFile", "SegmentsFailed", "segmentsPath"]

# Of the kernel's cache.
PAGE_OCTETS = 4096

# Segments begin after it, so that they begin with a page.
HEADER_OCTETS = PAGE_OCTETS

LINKED = "has a second name (a hard link)"

MAGIC = b"decnet-syslog segments of the journal "


class SegmentsFailed(Exception):
    """A sync or a read has failed: the disk cannot be trusted."""


def segmentsPath(journal: Path) -> Path:
    """The file of a journal's segments."""
    return journal.with_name(journal.name + "-segments")


class SegmentFile:
    """
    The file. It is created with the first segment.
    """

    def __init__(
        self, journal: Path, identity: str, segment: int, isNeeded: bool
    ) -> None:
        """
        Open it, if it is there.

        @param identity: of the journal's database.
        @param segment: octets of a segment.
        @param isNeeded: whether rows name segments.
        @raise UserError: it is not a private file of this user, or not this journal's.
        @raise StorageFailed: it cannot be read.
        """
        self.path = segmentsPath(journal)
        self._octets = segment
        self._header = MAGIC + identity.encode() + b"\n"
        self._hasHeader = False
        self._descriptor = -1
        self.exists = os.path.lexists(self.path)
        if self.exists:
            self._open()
            try:
                self._accept(journal, isNeeded)
            except BaseException:
                self.close()
                raise

    def _accept(self, journal: Path, isNeeded: bool) -> None:
        try:
            why = self._whyForeign()
        except OSError as error:
            raise StorageFailed(f"cannot read {self.path}: {error.strerror}") from error
        if why is None:
            return
        if why == LINKED:
            there, copy = quote(str(self.path)), quote(f"{self.path}.copy")
            remedy = f"replace it by a copy: cp -p {there} {copy} && mv {copy} {there}"
        elif isNeeded:
            remedy = (
                f"move it away, and copy the file of the journal {journal} from where the"
                " journal was. If that is lost, create an empty file with this name: gap"
                " records then take the place of its lines"
            )
        else:
            remedy = (
                f"move it away, next to its own journal if it has one: the journal {journal}"
                " does not need it"
            )
        raise UserError(f"{self.path} {why}; it is unchanged: {remedy}")

    def _whyForeign(self) -> str | None:
        """
        Look whether it is this journal's, and whether it has a header.

        @return: why it must not be written. C{None}: it is ours, or has nothing in it.
        """
        status = os.fstat(self._descriptor)
        begin = os.pread(self._descriptor, HEADER_OCTETS, 0)
        # Damage to the zeros after it costs nothing.
        isWhole = status.st_size >= HEADER_OCTETS
        self._hasHeader = isWhole and begin.startswith(self._header)
        if not self._hasHeader:
            # A crash may have left any part of the header, and zeros.
            isPart = status.st_size <= HEADER_OCTETS and all(
                there in (0, ours)
                for there, ours in zip(begin, self._padded(), strict=False)
            )
            if not isPart:
                isSegments = begin.startswith(MAGIC)
                return (
                    "belongs to another journal"
                    if isSegments
                    else "is not a journal's file of segments"
                )
        if status.st_nlink > 1:
            return LINKED
        return None

    def _padded(self) -> bytes:
        return self._header.ljust(HEADER_OCTETS, b"\0")

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
        self._hasHeader = False

    def count(self) -> int:
        """
        The number of whole segments.

        @raise OSError: it cannot be examined.
        """
        if not self._hasHeader:
            return 0
        return (os.fstat(self._descriptor).st_size - HEADER_OCTETS) // self._octets

    def allocate(self, number: int) -> bool:
        """
        Allocate a segment.

        @return: whether there is room, in a file of ours.
        @raise SegmentsFailed: the header or the directory cannot be synced: they may be lost.
        """
        try:
            if not self.isOpen:
                self._open()
            if not (self._hasHeader or self._begin()):
                self.close()
                return False
            os.posix_fallocate(self._descriptor, self._start(number), self._octets)
        except (OSError, UserError):
            return False
        return True

    def _begin(self) -> bool:
        """
        Write the header, and bring it and the name of the file to disk, before any segment.

        @return: whether it is there. If not, something else is in the file.
        """
        if self._whyForeign() is not None:
            return False
        if not self._hasHeader:
            self._write(0, memoryview(self._padded()))
        # Until both are on disk, the next attempt does this again.
        self._hasHeader = False
        self.sync()
        self._syncName()
        self._hasHeader = True
        return True

    def _start(self, number: int) -> int:
        return HEADER_OCTETS + number * self._octets

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
        begin = self._start(number)
        with suppress(OSError):
            os.posix_fadvise(
                self._descriptor, begin, self._octets, os.POSIX_FADV_DONTNEED
            )

    def write(self, pieces: Iterable[tuple[int, Sequence[memoryview]]]) -> bool:
        """
        Write octets, each piece at its offset after the header.

        @return: whether they are written.
        """
        try:
            for start, parts in pieces:
                left = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
                begin = HEADER_OCTETS + start
                self._writeLastPage(begin, begin + len(left))
                self._write(begin, left)
        except OSError:
            return False
        return True

    def _write(self, start: int, left: memoryview) -> None:
        while left:
            count = os.pwrite(self._descriptor, left, start)
            start, left = start + count, left[count:]

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
        Bring written octets to disk.

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
        Read octets at an offset after the header; fewer at the end of the file.

        @raise SegmentsFailed: the disk has failed.
        """
        if not self._hasHeader:
            return b""
        try:
            return os.pread(self._descriptor, count, HEADER_OCTETS + start)
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
            os.ftruncate(self._descriptor, self._start(count))
        except OSError:
            return False
        return True
