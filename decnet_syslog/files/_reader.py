"""
The open file of one content: its octets, and whether they are still this content's.

What must be true:

* octets are given out only of the content that was opened. A file can be truncated and grow
  past the offset between two looks, or during a read: so every read takes the octets before
  the offset along and compares them, and compares the head after;
* what is given out is on the worker's disk first: a power cut of the worker must not undo
  what is shipped;
* nothing is given out that was not there at the last look. Between two looks logrotate can
  copy and truncate a file; all that was read of it is then in the copy, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from ._checksums import dataFrom, fileChecksum
from ._contents import BLOCK_OCTETS, HEAD_OCTETS, Proof

__all__ = ["ANCHOR_OCTETS", "Changed", "ContentFile", "Vanished"]

# Octets before an offset that a place in a file is recognised by.
ANCHOR_OCTETS = 256


# How long after a change a file's times may still be those of the next one.
TICK_NS = 50_000_000


class Changed(Exception):
    """The file holds another content now."""


class Vanished(Exception):
    """The octets are not there any more."""


class ContentFile:
    """
    A descriptor, and what was seen through it.

    @ivar descriptor: C{None} when it is closed.
    @ivar size: at the last look.
    @ivar modified: at the last look, in nanoseconds.
    @ivar grew: how often a look has found it grown.
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
        @param bringToDisk: sync the file.
        @param size: that it has at least; C{0}: whatever it has.
        """
        self.descriptor: int | None = descriptor
        self.head = head
        self.size = size
        self.modified = 0
        self.grew = 0
        self._bringToDisk = bringToDisk
        self._synced = 0
        # Up to where it is to be synced later; C{None}: nothing is put off.
        self._putOff: int | None = None
        # Size, times and position of the last look, if a change since then would show.
        self._looked: tuple[int, int, int, int] | None = None
        self._tail = b""
        # A thread that sums must not get a descriptor that was closed and given anew.
        self._closing = threading.Lock()

    def close(self) -> None:
        """Close it."""
        with self._closing:
            if self.descriptor is not None:
                os.close(self.descriptor)
                self.descriptor = None

    def _fileno(self) -> int:
        if self.descriptor is None:
            raise Changed
        return self.descriptor

    def look(self, position: int, anchor: bytes) -> None:
        """
        See how large it is, and whether it still holds the content.

        @param position: where the next octet is read, and C{anchor} the octets before it.
        @raise Changed: it does not. A log does not shrink: what is shorter than it was holds
            another content, even if that begins alike.
        """
        descriptor = self._fileno()
        status = os.fstat(descriptor)
        now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, position)
        if now == self._looked:
            return
        # Times are counted in ticks: another change can show the same.
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
        """Recognise the file by more octets, now that there are more."""
        head = os.pread(self._fileno(), min(HEAD_OCTETS, self.size), 0)
        if not head.startswith(self.head):
            raise Changed
        # A power cut must not leave a record of octets that it took.
        self.sync(len(head))
        self.head = head

    def sync(self, end: int) -> None:
        """
        Bring what is before an octet to the worker's disk.

        @raise OSError: the disk has failed.
        """
        if end > self._synced:
            if self._putOff is not None:
                self._putOff = max(end, self._putOff)
                return
            self._bringToDisk(self._fileno())
            # What was written before the call is there; what came meanwhile may not be.
            self._synced = max(end, min(self.size, end))

    def putOff(self) -> None:
        """Sync nothing until L{settle}: nothing is read, and no record written, before it."""
        self._putOff = 0

    def settle(self) -> None:
        """
        Sync what was put off. May be called from a thread.

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
        Octets of this content for certain.

        @param count: at most; no more than were there at the last look.
        @raise Changed: it holds another content.
        """
        descriptor = self._fileno()
        start = position - len(anchor)
        count = min(count, self.size - position)
        octets = os.pread(descriptor, len(anchor) + count, start)
        if not octets.startswith(anchor) or len(octets) != len(anchor) + count:
            raise Changed
        # After the read: a truncation during it shows in the head of what grew since.
        if os.pread(descriptor, len(self.head), 0) != self.head:
            raise Changed
        if os.fstat(descriptor).st_size < position + count:
            raise Changed
        return octets[len(anchor) :]

    def anchorAt(self, offset: int) -> bytes:
        """The octets before an offset."""
        count = min(ANCHOR_OCTETS, offset)
        return os.pread(self._fileno(), count, offset - count)

    def lineEnd(self, at: int) -> int | None:
        """Just past the first LF from C{at} on, without holding what is before it."""
        descriptor = self._fileno()
        while at < self.size:
            # There is no LF in a hole. One octet of it is left to read.
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

        @raise Vanished: they are not there.
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
        A proof with the octets that follow it, at most up to C{end}; synced before.

        @raise Changed: they are not there.
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
        """How many it has now."""
        return os.fstat(self._fileno()).st_size

    @property
    def changedAt(self) -> int:
        """When its inode has changed last, in nanoseconds: if it has no name, no later."""
        return os.fstat(self._fileno()).st_ctime_ns

    @property
    def links(self) -> int:
        """How many names it has."""
        return os.fstat(self._fileno()).st_nlink
