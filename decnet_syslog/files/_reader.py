"""
The open file of a content: its octets, and whether they still belong to this content.

What must be true:

* only octets of the content that was opened are returned. A file can be truncated and grow past
  the offset between two looks, or during a read. Every read therefore includes the octets just
  before the offset and compares them, and compares the head afterwards;
* octets are on the worker's disk before they are returned: a power cut on the worker must not
  undo octets that were shipped;
* octets that were not there at the last look are not returned. Between two looks, logrotate can
  copy and truncate a file; the copy then has every octet that was read.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from ._checksums import dataFrom, fileChecksum
from ._contents import BLOCK_OCTETS, HEAD_OCTETS, Proof

__all__ = ["ANCHOR_OCTETS", "Changed", "ContentFile", "Vanished"]

# Number of octets before an offset that identify a place in a file: the anchor.
ANCHOR_OCTETS = 256


# For this long after a change, a further change may leave a file's times as they are.
TICK_NS = 50_000_000


class Changed(Exception):
    """The file holds another content now."""


class Vanished(Exception):
    """The octets do not exist any more."""


class ContentFile:
    """
    A descriptor, and the state of its file at the last look.

    @ivar descriptor: C{None} after it was closed.
    @ivar size: at the last look.
    @ivar modified: at the last look, in nanoseconds.
    @ivar grew: how many looks have found the file grown.
    """

    def __init__(
        self,
        descriptor: int,
        head: bytes,
        bringToDisk: Callable[[int], None],
        size: int = 0,
    ) -> None:
        """
        @param head: the first octets, as far as they are known.
        @param bringToDisk: syncs the file.
        @param size: the minimum size; C{0}: no minimum.
        """
        self.descriptor: int | None = descriptor
        self.head = head
        self.size = size
        self.modified = 0
        self.grew = 0
        self._bringToDisk = bringToDisk
        self._synced = 0
        # The offset up to which L{settle} must sync; C{None}: no sync is postponed.
        self._putOff: int | None = None
        # Size, times and position at the last look, if a change since then would alter them.
        self._looked: tuple[int, int, int, int] | None = None
        self._tail = b""
        status = os.fstat(descriptor)
        self._object = status.st_dev, status.st_ino
        # A thread that sums must not use a descriptor number that was closed and reused.
        self._closing = threading.Lock()

    def close(self) -> None:
        """Close the descriptor."""
        with self._closing:
            if self.descriptor is not None:
                os.close(self.descriptor)
                self.descriptor = None

    @property
    def object(self) -> tuple[int, int] | None:
        """Device and inode, as long as the file is open: until then, no other can have them."""
        return None if self.descriptor is None else self._object

    def _fileno(self) -> int:
        if self.descriptor is None:
            raise Changed
        return self.descriptor

    def check(self, position: int, anchor: bytes) -> None:
        """
        Get the size of the file, and check whether it still holds the content.

        @param position: the offset of the next octet to read.
        @param anchor: the octets just before the position.
        @raise Changed: it does not. A log does not shrink: a file that is shorter than it was
            holds another content, even if that begins alike.
        """
        descriptor = self._fileno()
        status = os.fstat(descriptor)
        now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, position)
        if now == self._looked:
            return
        # Times are stored in ticks: a further change may leave them the same.
        isRecent = time.time_ns() - status.st_ctime_ns < TICK_NS
        self._looked = None if isRecent else now
        if status.st_size < max(position, self.size) or not self._isIntact(
            position, anchor
        ):
            raise Changed
        self.modified = status.st_mtime_ns
        if status.st_size > self.size:
            self.grew += 1
            self.size = status.st_size
            start = max(0, self.size - ANCHOR_OCTETS)
            self._tail = os.pread(descriptor, self.size - start, start)
        if len(self.head) < min(HEAD_OCTETS, self.size):
            self._lookAtHead()

    def _isIntact(self, position: int, anchor: bytes) -> bool:
        descriptor = self._fileno()
        return (
            os.pread(descriptor, len(self.head), 0) == self.head
            and os.pread(descriptor, len(anchor), position - len(anchor)) == anchor
            and os.pread(descriptor, len(self._tail), self.size - len(self._tail))
            == self._tail
        )

    def _lookAtHead(self) -> None:
        """Identify the file by a longer head, now that it has more octets."""
        head = os.pread(self._fileno(), min(HEAD_OCTETS, self.size), 0)
        if not head.startswith(self.head):
            raise Changed
        # A power cut must not leave a record of octets that it destroyed.
        self.sync(len(head))
        self.head = head

    def sync(self, end: int) -> None:
        """
        Bring the octets before an offset to the worker's disk.

        @raise OSError: the disk has failed.
        """
        if end > self._synced:
            if self._putOff is not None:
                self._putOff = max(end, self._putOff)
                return
            self._bringToDisk(self._fileno())
            # The sync covers octets from before the call, but perhaps not later ones.
            self._synced = max(end, min(self.size, end))

    def putOff(self) -> None:
        """Postpone syncs to L{settle}: until then, nothing is read and no record is written."""
        self._putOff = 0

    def settle(self) -> None:
        """
        Do the postponed sync. May be called from a thread.

        @raise OSError: the disk has failed.
        """
        end = self._putOff
        if end is not None and self.descriptor is not None:
            self._putOff = None
            try:
                self.sync(end)
            except BaseException:
                self._putOff = end
                raise

    def read(self, position: int, count: int, anchor: bytes) -> bytes:
        """
        Return octets that certainly belong to this content.

        @param count: the maximum; octets from after the last look are never returned.
        @raise Changed: the file holds another content.
        """
        descriptor = self._fileno()
        start = position - len(anchor)
        count = min(count, self.size - position)
        octets = os.pread(descriptor, len(anchor) + count, start)
        if not octets.startswith(anchor) or len(octets) != len(anchor) + count:
            raise Changed
        # Compare the head after the read: it shows a truncation that happened during the read.
        if os.pread(descriptor, len(self.head), 0) != self.head:
            raise Changed
        if os.fstat(descriptor).st_size < position + count:
            raise Changed
        return octets[len(anchor) :]

    def anchorAt(self, offset: int) -> bytes:
        """The octets just before an offset."""
        count = min(ANCHOR_OCTETS, offset)
        return os.pread(self._fileno(), count, offset - count)

    def lineEnd(self, at: int) -> int | None:
        """The offset after the first LF at C{at} or later; reads block by block."""
        descriptor = self._fileno()
        while at < self.size:
            # A hole contains no LF: skip it, except for the last octet of the file.
            at = min(dataFrom(descriptor, at, self.size), self.size - 1)
            block = os.pread(descriptor, min(BLOCK_OCTETS, self.size - at), at)
            if not block:
                raise Changed
            found = block.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(block)
        return None

    def checksum(self, start: int, end: int, crc: int = 0) -> int:
        """
        The CRC-32 of octets of the file. Blocks; may be called from a thread.

        @raise Vanished: the octets do not exist any more.
        """
        with self._closing:
            if self.descriptor is None:
                raise Vanished
            descriptor = os.dup(self.descriptor)
        try:
            found = fileChecksum(descriptor, start, end, crc)
        finally:
            os.close(descriptor)
        if found is None:
            raise Vanished
        return found

    def extend(self, proof: Proof, end: int, octetsMax: int) -> Proof:
        """
        Extend a proof by the octets that follow it, at most up to C{end}; these are synced first.

        @raise Changed: the octets do not exist any more.
        """
        end = min(end, self.size, proof.end + octetsMax)
        if end <= proof.end:
            return proof
        self.sync(end)
        try:
            return Proof(proof.start, end, self.checksum(proof.end, end, proof.crc))
        except Vanished:
            raise Changed from None

    @property
    def octets(self) -> int:
        """Its current size."""
        return os.fstat(self._fileno()).st_size

    @property
    def changedAt(self) -> int:
        """When its inode last changed, in nanoseconds; a nameless file lost its name by then."""
        return os.fstat(self._fileno()).st_ctime_ns

    @property
    def links(self) -> int:
        """The number of its names."""
        return os.fstat(self._fileno()).st_nlink
