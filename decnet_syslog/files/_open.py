"""
An open content, read in chunks, and how far a master has it.

What must be true:

* only complete lines are returned, and the position is always just past an LF. The last line of
  a content that has no writer any more may lack its LF;
* octets are returned as they are, never decoded, replaced or trimmed;
* C{origin <= acknowledged <= position <= size <= seen}.
"""

from __future__ import annotations

import errno
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ._chunks import Chunk, FinalLine, GapChunk, LineChunk, endBeforeLong
from ._contents import AcknowledgedPosition, Content, Proof
from ._held import HeldContent
from ._reader import ANCHOR_OCTETS, Changed, ContentFile

__all__ = ["OpenContent"]

# Octets of a gap up to this size are read, so that the content's checksum covers the gap.
SUMMED_GAP_OCTETS_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Reached:
    """The end of a chunk that was read."""

    end: int
    anchor: bytes
    proof: Proof


class OpenContent(HeldContent):
    """
    A held content, read in chunks.

    @ivar limit: how far it may be read; less than C{size} while a copy is being made.
    @ivar isFinal: whether it has no writer any more: its last line need not have an LF.
    @ivar unfinished: the size at which only an incomplete line was left to read.
    @ivar trouble: why it cannot be read now, or C{None}.
    @ivar newerOctets: unread octets of newer contents of its path; the lag cap counts these.
    """

    def __init__(
        self,
        content: Content,
        file: ContentFile | None,
        messageOctetsMax: Callable[[], int],
        lagOctetsMax: int | None,
        save: Callable[[Content], None],
        position: AcknowledgedPosition | None = None,
        reopen: Callable[[HeldContent], ContentFile | None] | None = None,
    ) -> None:
        """
        @param save: makes a record durable.
        @param position: how far it was acknowledged; C{None}: not at all.
        @param reopen: opens the file of an ended content.
        """
        super().__init__(content, file, position, reopen)
        self.limit: int | None = None
        self.isFinal = False
        self.unfinished = -1
        self.trouble: str | None = None
        self.newerOctets = 0
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._save = save
        self._isSaved = content.head != b""
        self._scanned = 0
        self._lagScanned = 0
        self._reading = content.delivered
        self._reached: deque[_Reached] = deque()
        self.check()
        self.rewind(self.position)

    def recordSaved(self) -> None:
        """Note that the record of a new content is on disk, as it is now."""
        self._isSaved = self.content.head != b""
        self.dirty = False

    # Reading

    def read(self, octetsMax: int) -> Chunk | None:
        """Return the next chunk, of about C{octetsMax} octets; C{None}: none is complete."""
        if self.lostReason is not None:
            if self.position < self.size:
                return self._gap(self.size, self.lostReason)
            return None
        if self.hasChanged or self.isSearching or self._opened() is None:
            return None
        try:
            chunk = self._chunk(octetsMax)
        except Changed:
            self.hasChanged = True
            return None
        except (OSError, sqlite3.DatabaseError) as error:
            # Only this file is affected: others go on.
            self.isStale = getattr(error, "errno", None) == errno.ESTALE
            self.trouble = getattr(error, "strerror", None) or str(error)
            return None
        self.trouble = None
        if chunk is None:
            self.unfinished = self.size
        return chunk

    @property
    def _end(self) -> int:
        """Where reading stops for now."""
        end = self.content.cut or self.size
        return end if self.limit is None else min(end, self.limit)

    def _chunk(self, octetsMax: int) -> Chunk | None:
        assert self.file is not None
        if self.position < self.floor:
            return self._gap(self.floor, "vanished")
        if 0 < self.content.cut <= self.position:
            return self._cutOff()
        self.file.settle()
        self.file.sync(self.size)
        if not self._isSaved and self.content.head:
            # The head that identifies the content is saved before any octet leaves, and before
            # the position moves: if the disk is full, the octets are read again.
            self._save(self.content)
            self._isSaved = True
        end = self._endOfLag()
        if end is not None and end > self.position:
            return self._gap(end, "lag-cap")
        if self.position >= self._end:
            return None
        octets = self._octets(octetsMax)
        end = octets.rfind(b"\n") + 1
        limit = self._messageOctetsMax()
        if end > limit:
            end = endBeforeLong(octets, end, limit)
            if end == 0:
                return self._gap(self.position + octets.index(b"\n") + 1, "oversize")
        if end:
            return self._lines(octets[:end])
        return self._longLine(octets, limit)

    def _cutOff(self) -> Chunk | None:
        """Skip the octets that the file lacks, and a line whose end it lacks."""
        if self.position >= self.size:
            return None
        return self._gap(self.size, self.content.reason or "truncated")

    def _octets(self, octetsMax: int) -> bytes:
        assert self.file is not None
        count = min(octetsMax, self._end - self.position)
        return self.file.read(self.position, count, self._anchor)

    def _endOfLag(self) -> int | None:
        """Where to continue so that at most the lag cap is left to read, if that is ahead."""
        if self._lagOctetsMax is None:
            return None
        room = max(0, self._lagOctetsMax - self.newerOctets)
        if self.size - self.position <= room:
            return None
        end = self._lineStart(self.size - room)
        return self.size if end is None and self.isFinal and room == 0 else end

    def _longLine(self, octets: bytes, limit: int) -> Chunk | None:
        """Handle octets that contain no LF."""
        assert self.file is not None
        if len(octets) < self._end - self.position and len(octets) <= limit:
            octets = self._octets(limit + 1)
            end = octets.find(b"\n") + 1
            if end:
                return self._lines(octets[:end])
        if len(octets) <= limit:
            if self.content.cut:
                return self._cutOff()
            if self.isFinal and octets and self.position + len(octets) == self.size:
                start = self.position
                self._advance(octets)
                return FinalLine(start, self.position, octets)
            return None
        lineEnd = self.file.lineEnd(max(self._scanned, self.position + len(octets)))
        # Do not scan these octets again.
        self._scanned = lineEnd or self.size
        if lineEnd is not None:
            return self._gap(lineEnd, "oversize")
        return self._gap(self.size, "oversize") if self.isFinal else None

    def _lineStart(self, at: int) -> int | None:
        """The first start of a line at an offset or after it."""
        assert self.file is not None
        if at <= 0:
            return 0
        end = self.file.lineEnd(max(self._lagScanned, at - 1))
        if end is None:
            self._lagScanned = self.size
        return end

    def _lines(self, octets: bytes) -> LineChunk:
        start, before = self.position, self._reading
        self._advance(octets)
        sums = (before.crc, self._reading.crc) if before.end == start else None
        return LineChunk(start, self.position, octets, sums)

    def _advance(self, octets: bytes) -> None:
        at = self.position
        self.position += len(octets)
        self._anchor = (self._anchor + octets[-ANCHOR_OCTETS:])[-ANCHOR_OCTETS:]
        self._reading = self._reading.extended(at, octets)
        self._grow(self._reading)
        self._reached.append(_Reached(self.position, self._anchor, self._reading))

    def _grow(self, proof: Proof) -> None:
        """Record a proof, if it reaches further than the one on record."""
        if proof.end > self.content.proof.end and not self.content.cut:
            self.content.proof = proof

    def _gap(self, end: int, reason: str) -> GapChunk:
        gap = GapChunk(self.position, end, reason)
        file = None if self.hasChanged else self.file
        if file is not None and end - self.content.proof.end <= SUMMED_GAP_OCTETS_MAX:
            # The checksum that identifies the content covers skipped octets, too.
            self.extendProof(max(0, end - self.content.proof.end))
        if self.content.proof.end < end and not self.content.cut:
            self.content.proof = Proof(end, end)
        if self.content.proof.end == end:
            self._reading = self.content.proof
        self.position = end
        self._anchor = b"" if file is None else file.anchorAt(end)
        self._reached.append(_Reached(end, self._anchor, self._reading))
        return gap

    # How far a master has it

    def rewind(self, offset: int) -> None:
        """Continue reading at an acknowledged offset."""
        at, anchor = self._known
        if at != offset:
            anchor = b""
            # An anchor read at a new offset is valid only if the file holds this content.
            self.check()
            if self.file is not None and not self.hasChanged:
                anchor = self.file.anchorAt(offset)
                self.check()
        self.position, self._anchor = offset, anchor
        self._reading = self.content.delivered
        self._reached.clear()
        self._scanned = self._lagScanned = 0

    def resume(self, position: AcknowledgedPosition) -> None:
        """
        Continue where a journal is; its position was compared with the file.

        @param position: how far the journal has the content, and its name for it.
        """
        self.acknowledged = position
        self.size = max(self.size, position.offset)
        self.content.seen = max(self.content.seen, position.offset)
        self.rewind(position.offset)
        if self.position > self.content.delivered.end:
            self._prove()

    def _prove(self) -> None:
        """Sum octets that were delivered, but not read by this process."""
        file, offset = self.file, self.position
        content = self.content
        if file is None or self.hasChanged or file.size < offset:
            return
        start = content.delivered
        if content.proof.end <= offset and len(content.proof) >= len(start):
            start = content.proof
        try:
            content.delivered = file.extend(start, offset, offset)
        except Changed:
            self.hasChanged = True
            return
        self._grow(content.delivered)
        self._reading = content.delivered
        self.dirty = True

    def acknowledge(self, end: int, base: int, crc: int) -> None:
        """Count the octets up to C{end}, the end of a chunk, as arrived."""
        before = self.acknowledged
        assert before.offset <= end <= self.position, (self, end)
        while self._reached and self._reached[0].end <= end:
            reached = self._reached.popleft()
            if reached.end == end:
                self._known = (end, reached.anchor)
                isFurther = reached.proof.end >= end > self.content.delivered.end
                if isFurther and not self.content.cut:
                    self.content.delivered = reached.proof
        self.acknowledged = AcknowledgedPosition(
            before.stream, before.generation, end, base, crc
        )
        self.dirty = True
