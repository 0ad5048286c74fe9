"""
An incarnation: one content of a file, read piece by piece.

What must be true:

* only complete lines are given out, and the offset only ever points just past an LF; the
  last line of a file that nobody writes any more may lack it;
* octets are given out as they are, never decoded, replaced or trimmed;
* octets are given out only of the content that this incarnation is. A file can be
  truncated and grow past the offset between two looks, or during a read: so every read
  takes the octets before the offset along and compares them, and compares the head after;
* what is given out is on the worker's disk first: a power cut of the worker must not undo
  what is shipped;
* C{stored <= acknowledged <= position <= size}.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from .bookmarks import Bookmark
from .rotation import ANCHOR_OCTETS, BLOCK_OCTETS, HEAD_OCTETS, dataFrom, rescue

__all__ = ["Changed", "Gap", "Incarnation", "LastLine", "Lines", "Piece", "Vanished"]


class Changed(Exception):
    """The file has another content now."""


class Vanished(Exception):
    """The octets are not there any more."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Complete lines, each with its LF: the octets [start, end) of the file."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class LastLine:
    """The last line of a file, which has no LF."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Octets that will never be shipped, and why."""

    start: int
    end: int
    reason: str


Piece = Lines | LastLine | Gap


class Incarnation:
    """
    One content of a file.

    @ivar bookmark: what it is recognised by and how far it is acknowledged.
    @ivar position: where the next piece begins.
    @ivar size: when last looked at.
    @ivar seen: the largest size that was seen; more than C{size} when what is read now is a
        copy that was made before the last octets came.
    @ivar modified: when the content was last changed, in nanoseconds: its age among others.
    @ivar unpacked: what is read is a nameless file, unpacked from C{source}.
    @ivar orphaned: what it was unpacked from is gone; another file may have its name.
    @ivar trouble: why it cannot be read now, or C{None}.
    @ivar stale: a file server has forgotten the open file: it must be opened anew.
    @ivar unfinished: the size at which nothing but an unfinished line was left to read.
    @ivar final: nobody writes to it any more; its last line need not have an LF.
    @ivar replacedAt: on the clock, when another file took its name; C{None} before.
    @ivar lost: why its octets cannot be read any more, or C{None}.
    @ivar seeking: its content was truncated away and a copy of it is looked for.
    @ivar source: the rotated file that it was found in, by its name then.
    @ivar dirty: whether the bookmark is newer than the database's.
    @ivar grew: how often it was seen to have grown.
    @ivar newerOctets: octets that the newer incarnations of its path have to read: what
        is behind is all of it, so the cap on the lag counts all.
    """

    def __init__(
        self,
        bookmark: Bookmark,
        descriptor: int | None,
        messageOctetsMax: Callable[[], int],
        lagOctetsMax: int | None,
        save: Callable[[Bookmark, Bookmark], None],
        bringToDisk: Callable[[int, str], None],
    ) -> None:
        """
        @param bringToDisk: sync a file, by its descriptor and name.
        @param save: make a bookmark durable in place of another.
        """
        self.bookmark = bookmark
        self.position = bookmark.offset
        self.seen = bookmark.size
        # Smaller than what was seen, after a power cut, is no truncation.
        self.size = bookmark.size if descriptor is None else bookmark.offset
        self.modified = 0
        self.unpacked = False
        self.orphaned = False
        self.trouble: str | None = None
        self.stale = False
        self.unfinished = -1
        self.final = False
        self.replacedAt: float | None = None
        self.lost: str | None = None
        self.seeking = False
        self.changed = False
        self.dirty = False
        self.source: str | None = None
        self.grew = 0
        self.newerOctets = 0
        self.descriptor = descriptor
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._save = save
        self._bringToDisk = bringToDisk
        self._synced = 0
        self._scanned = 0
        self._lagScanned = 0
        self._rescued = 0
        # A thread that reads must not get a descriptor that was closed and given anew.
        self._closing = threading.Lock()
        self._known = bookmark.head != b""
        self._anchor = bookmark.anchor
        self._anchors: deque[tuple[int, bytes]] = deque()
        self.look()

    def __repr__(self) -> str:
        return f"<Incarnation {self.name} {self.stream[:8]}/{self.generation} at {self.position}>"

    @property
    def stream(self) -> str:
        """The id of the stream."""
        return self.bookmark.stream

    @property
    def generation(self) -> int:
        """Which content of the path it is."""
        return self.bookmark.generation

    @property
    def name(self) -> str:
        """The path as configured."""
        return self.bookmark.name

    @property
    def anchor(self) -> bytes:
        """The octets just before the position."""
        return self._anchor

    @property
    def waiting(self) -> bool:
        """Whether there are octets left, or may be: what is newer must wait."""
        return self.seeking or self.position < self.size

    def invariants(self) -> None:
        """Check what must be true of the numbers."""
        assert self.bookmark.origin <= self.bookmark.offset, self.bookmark
        assert self.bookmark.base <= self.bookmark.offset, self.bookmark
        assert self.bookmark.offset <= self.position <= self.size, self

    def look(self) -> None:
        """See how large the file is, and whether it is still this content."""
        if self.descriptor is None or self.seeking:
            return
        try:
            self._look(self.descriptor)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            self.stale = True

    def _look(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        size = status.st_size
        # A log does not shrink: what is shorter than it was has another content, even if
        # that begins alike.
        if size < max(self.position, self.size) or not self._intact():
            self.changed = True
            return
        if size > self.size:
            self.grew += 1
        self.size = size
        self.seen = max(self.seen, size)
        if not self.unpacked:
            self.modified = status.st_mtime_ns
        self._stampHead()

    def _intact(self) -> bool:
        """Whether head and anchor are where they were."""
        assert self.descriptor is not None
        head, anchor = self.bookmark.head, self._anchor
        return os.pread(self.descriptor, len(head), 0) == head and (
            os.pread(self.descriptor, len(anchor), self.position - len(anchor))
            == anchor
        )

    def use(self, descriptor: int, path: str, modified: int) -> None:
        """Go on with a copy of the same content."""
        self.close()
        self.descriptor = descriptor
        self.foundAt(path, modified)
        # The copy may be shorter than what was seen of the original.
        self.size = self.position
        self.changed = self.seeking = False
        self._synced = 0
        self.look()

    def foundAt(self, path: str, modified: int) -> None:
        """The content was found in a rotated file."""
        self.source = path
        self.modified = modified
        self.unpacked = path.endswith(".gz")

    @property
    def deleted(self) -> bool:
        """Whether the file has no name any more, or the one that we have given it."""
        return self.descriptor is not None and (
            self._rescued > 0 or not os.fstat(self.descriptor).st_nlink
        )

    @property
    def endangered(self) -> bool:
        """Whether the file was deleted and what is not acknowledged is kept nowhere."""
        if (
            self.descriptor is None
            or max(self._rescued, self.bookmark.offset) >= self.size
        ):
            return False
        if self.unpacked:
            # What is read has no name anyway: what it was unpacked from can be deleted.
            gone = self.orphaned or self.source is None
            return gone or not os.path.exists(self.source or "")
        return not os.fstat(self.descriptor).st_nlink

    def keep(self, path: Path) -> None:
        """Keep what is not acknowledged of a deleted file; the bookmark is saved."""
        assert self.descriptor is not None
        self._rescued = rescue(
            self.descriptor, self.bookmark, path, self._rescued, self.modified
        )

    def lose(self, reason: str) -> None:
        """Give up: what is not read yet becomes a gap."""
        self.close()
        self.size = max(self.size, self.seen)
        self.lost = reason
        self.changed = self.seeking = False

    def close(self) -> None:
        """Close the file."""
        with self._closing:
            if self.descriptor is not None:
                os.close(self.descriptor)
                self.descriptor = None

    def read(self, octetsMax: int) -> Piece | None:
        """
        The next piece of about C{octetsMax} octets, or C{None}: nothing complete is there.
        """
        if self.lost is not None:
            return (
                self._gap(self.size, self.lost) if self.position < self.size else None
            )
        if self.descriptor is None or self.changed or self.seeking:
            return None
        try:
            piece = self._piece(octetsMax)
        except Changed:
            self.changed = True
            return None
        except (OSError, sqlite3.DatabaseError) as error:
            # Its own trouble: other files go on.
            self.stale = getattr(error, "errno", None) == errno.ESTALE
            self.trouble = getattr(error, "strerror", None) or str(error)
            return None
        self.trouble = None
        if piece is None:
            self.unfinished = self.size
        self._stampHead()
        return piece

    def _piece(self, octetsMax: int) -> Piece | None:
        self._sync()
        self._stampHead()
        if not self._known and self.bookmark.head:
            # What the content is recognised by is on disk before any of it leaves; and before
            # the position moves: if there is no space for it, this is read again.
            self._save(self.bookmark, self.bookmark)
            self._known = True
        end_ = self._endOfLag()
        if end_ is not None and end_ > self.position:
            return self._gap(end_, "lag-cap")
        if self.position >= self.size:
            return None
        octets = self._pread(octetsMax)
        end = octets.rfind(b"\n") + 1
        limit = self._messageOctetsMax()
        if end > limit:
            end = self._endBeforeLong(octets, end, limit)
            if end == 0:
                return self._gap(self.position + octets.index(b"\n") + 1, "oversize")
        if end:
            return self._lines(octets[:end])
        return self._longLine(octets, limit)

    def _endOfLag(self) -> int | None:
        """Where to go on so that at most the cap is left of all that is behind."""
        if self._lagOctetsMax is None:
            return None
        room = max(0, self._lagOctetsMax - self.newerOctets)
        if self.size - self.position <= room:
            return None
        end = self._lineStart(self.size - room)
        return self.size if end is None and self.final and room == 0 else end

    def _endBeforeLong(self, octets: bytes, end: int, limit: int) -> int:
        """Where the complete lines before the first over-long one end."""
        at = 0
        while at < end:
            line = octets.index(b"\n", at)
            if line - at > limit:
                break
            # The next line that can be too long ends behind at + limit.
            at = max(line + 1, octets.rfind(b"\n", at, at + limit + 1) + 1)
        return at

    def _longLine(self, octets: bytes, limit: int) -> Piece | None:
        """No LF in the first octets that were read."""
        if len(octets) < self.size - self.position and len(octets) <= limit:
            octets = self._pread(limit + 1)
            end = octets.find(b"\n") + 1
            if end:
                return self._lines(octets[:end])
        if len(octets) <= limit:
            if self.final and octets and self.position + len(octets) == self.size:
                start = self.position
                self._advance(octets)
                return LastLine(start, self.position, octets)
            return None
        end_ = self._findLineEnd(max(self._scanned, self.position + len(octets)))
        # What has been looked through is not looked through again.
        self._scanned = end_ or self.size
        if end_ is not None:
            return self._gap(end_, "oversize")
        return self._gap(self.size, "oversize") if self.final else None

    def _findLineEnd(self, at: int) -> int | None:
        """Just past the first LF from C{at} on, without holding what is before it."""
        assert self.descriptor is not None
        while at < self.size:
            at = self._dataFrom(at)
            block = os.pread(self.descriptor, min(BLOCK_OCTETS, self.size - at), at)
            if not block:
                raise Changed
            found = block.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(block)
        return None

    def _dataFrom(self, at: int) -> int:
        """Skip a hole: there is no LF in it. One octet of it is left to read."""
        assert self.descriptor is not None
        return min(dataFrom(self.descriptor, at, self.size), self.size - 1)

    def _lineStart(self, at: int) -> int | None:
        """The first start of a line at or behind an octet."""
        if at <= 0:
            return 0
        end = self._findLineEnd(max(self._lagScanned, at - 1))
        if end is None:
            self._lagScanned = self.size
        return end

    def _sync(self) -> None:
        """Bring to the worker's disk what may be given out."""
        assert self.descriptor is not None
        size = os.fstat(self.descriptor).st_size
        if size < max(self.position, self.size):
            raise Changed
        if size > self._synced:
            self._bringToDisk(self.descriptor, self.name)
            self._synced = size
        if size > self.size:
            self.grew += 1
        self.size = size

    def _pread(self, octetsMax: int) -> bytes:
        """Octets from the position on, of this content for certain."""
        assert self.descriptor is not None
        anchor = self._anchor
        start = self.position - len(anchor)
        count = min(octetsMax, self.size - self.position)
        octets = os.pread(self.descriptor, len(anchor) + count, start)
        if not octets.startswith(anchor) or len(octets) != len(anchor) + count:
            raise Changed
        # After the read: a truncation during it shows in the head of what grew since.
        head = self.bookmark.head
        if os.pread(self.descriptor, len(head), 0) != head:
            raise Changed
        if os.fstat(self.descriptor).st_size < self.position + count:
            raise Changed
        return octets[len(anchor) :]

    def _lines(self, octets: bytes) -> Lines:
        start = self.position
        self._advance(octets)
        return Lines(start, self.position, octets)

    def _advance(self, octets: bytes) -> None:
        self.position += len(octets)
        self.seen = max(self.seen, self.position)
        if len(octets) >= ANCHOR_OCTETS:
            self._anchor = octets[-ANCHOR_OCTETS:]
        else:
            self._anchor = (self._anchor + octets)[-ANCHOR_OCTETS:]
        self._anchors.append((self.position, self._anchor))

    def _gap(self, end: int, reason: str) -> Gap:
        gap = Gap(self.position, end, reason)
        self.position = end
        self._anchor = b""
        if self.descriptor is not None:
            self._anchor = self._readAnchor(end)
        self._anchors.append((end, self._anchor))
        return gap

    def _readAnchor(self, offset: int) -> bytes:
        assert self.descriptor is not None
        count = min(ANCHOR_OCTETS, offset)
        return os.pread(self.descriptor, count, offset - count)

    def _stampHead(self) -> None:
        """Recognise the file by more octets, now that there are more."""
        known = self.bookmark.head
        if self.descriptor is None or len(known) >= min(HEAD_OCTETS, self.size):
            return
        head = os.pread(self.descriptor, min(HEAD_OCTETS, self.size), 0)
        if head.startswith(known):
            # A power cut must not leave a bookmark of octets that it took.
            if len(head) > self._synced:
                self._bringToDisk(self.descriptor, self.name)
                self._synced = len(head)
            self.bookmark = replace(self.bookmark, head=head)
            self.dirty = True

    def rewind(self, offset: int) -> None:
        """Read from an offset that is acknowledged."""
        assert offset == self.bookmark.offset
        self.position = offset
        self._anchor = self.bookmark.anchor
        self._anchors.clear()
        self._scanned = self._lagScanned = 0

    def adopt(
        self,
        stream: str,
        generation: int,
        offset: int,
        base: int,
        crc: int,
        journal: str,
    ) -> None:
        """
        Take over what a master holds, after it was compared; durable when this returns.

        @param offset: the next octet to read; acknowledged up to there.
        """
        before = self.bookmark
        anchor = b""
        if self.descriptor is not None and not self.changed:
            anchor = self._readAnchor(offset)
        after = replace(
            before,
            stream=stream,
            generation=generation,
            offset=offset,
            base=base,
            crc=crc,
            anchor=anchor,
            origin=min(before.origin, base, offset),
            journal=journal,
            size=max(self.size, offset),
        )
        if after != before:
            self._save(before, after)
        self.bookmark = after
        self.size = max(self.size, offset)
        self.dirty = False
        self.rewind(offset)

    def acknowledge(self, end: int, base: int, crc: int) -> None:
        """Everything before C{end}, the end of a piece, has arrived."""
        assert self.bookmark.offset <= end <= self.position, (self, end)
        anchor = self.bookmark.anchor if end == self.bookmark.offset else b""
        while self._anchors and self._anchors[0][0] <= end:
            at, octets = self._anchors.popleft()
            anchor = octets if at == end else b""
        self.bookmark = replace(
            self.bookmark, offset=end, base=base, crc=crc, anchor=anchor, size=self.size
        )
        self.dirty = True

    def checksum(self, start: int, end: int, crc: int = 0) -> int:
        """
        The CRC-32 of octets of the file. Blocks; may be called from a thread.

        @raise Vanished: they are not there.
        """
        with self._closing:
            if self.descriptor is None or self.changed:
                raise Vanished
            descriptor = os.dup(self.descriptor)
        try:
            # Of no octets the checksum is that of any file, also of one that is shorter.
            if os.fstat(descriptor).st_size < end:
                raise Vanished
            while start < end:
                block = os.pread(descriptor, min(BLOCK_OCTETS, end - start), start)
                if not block:
                    raise Vanished
                crc = crc32(block, crc)
                start += len(block)
        finally:
            os.close(descriptor)
        return crc
