"""
An open content: one that is read, chunk by chunk, and how far a master has it.

What must be true:

* only complete lines are given out, and the position only ever points just past an LF; the
  last line of a content that nobody writes any more may lack it;
* octets are given out as they are, never decoded, replaced or trimmed;
* C{origin <= acknowledged <= position <= size <= seen}.
"""

from __future__ import annotations

import errno
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ._contents import Content, ContentKey, Event, Life, Position, Proof
from ._objects import NO_FILE
from ._reader import ANCHOR_OCTETS, Changed, ContentFile, Vanished

__all__ = ["Chunk", "FinalLine", "Gap", "LineChunk", "OpenContent"]


# A gap of at most so many octets is read for the checksum of the content.
SUMMED_GAP_OCTETS_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LineChunk:
    """Complete lines, each with its LF: the octets [start, end) of the content."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class FinalLine:
    """The last line of a content, which has no LF."""

    start: int
    end: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Octets that will never be shipped, and why."""

    start: int
    end: int
    reason: str


Chunk = LineChunk | FinalLine | Gap


@dataclass(frozen=True, slots=True)
class _Reached:
    """A place that reading has reached: the end of a chunk."""

    end: int
    anchor: bytes
    proof: Proof


class OpenContent:
    """
    One content that is not delivered yet, or may still grow.

    @ivar content: the record; C{dirty} when it is newer than the state database's.
    @ivar file: C{None}: there is none, or it is opened when it is needed.
    @ivar acknowledged: how far the journal that is connected has it.
    @ivar position: where the next chunk begins.
    @ivar limit: octets that may be read; less than C{size} while a copy is being made.
    @ivar isFinal: nobody writes to it any more: its last line need not have an LF.
    @ivar rotatedAt: on the clock, when its path became another file's.
    @ivar lostReason: of the gap that its rest becomes.
    @ivar home: the path where its file was last seen, if it is not the configured one.
    @ivar fromArchive: its file is a nameless one, unpacked from C{home}.
    @ivar unfinished: the size at which nothing but an unfinished line was left to read.
    @ivar isStale: a file server has forgotten the open file: it must be opened anew.
    @ivar hasChanged: its file holds another content.
    @ivar trouble: why it cannot be read now, or C{None}.
    @ivar isCopied: its file is a copy of the one that was read, and may lack the last octets.
    @ivar floor: octets before it are not in the file: it is what was kept of a deleted one.
    @ivar isContinued: a grown copy has taken its path, and goes on as another content.
    @ivar newerOctets: octets that the newer contents of its path have to read: the cap on
        the lag counts all.
    """

    def __init__(
        self,
        content: Content,
        file: ContentFile | None,
        messageOctetsMax: Callable[[], int],
        lagOctetsMax: int | None,
        save: Callable[[Content], None],
        position: Position | None = None,
        reopen: Callable[[OpenContent], ContentFile | None] | None = None,
    ) -> None:
        """
        @param save: make a record durable.
        @param position: how far it was acknowledged; C{None}: not at all.
        @param reopen: open the file of a content that had ended.
        """
        self.content = content
        self.file = file
        self.acknowledged = position or Position(
            content.stream, content.generation, content.origin, content.origin
        )
        self.position = self.acknowledged.offset
        self.size = content.seen if file is None else self.position
        self.limit: int | None = None
        self.isFinal = False
        self.rotatedAt: float | None = None
        isLost = content.life in (Life.LOST, Life.GONE)
        self.lostReason = (content.reason or "vanished") if isLost else None
        self.home: str | None = None
        self.fromArchive = False
        self.unfinished = -1
        self.isStale = False
        self.hasChanged = False
        self.trouble: str | None = None
        self.isCopied = False
        self.newerOctets = 0
        self.floor = 0
        self.rescuedOctets = 0
        self.isContinued = False
        self.dirty = False
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._save = save
        self._reopen = reopen
        self._isSaved = content.head != b""
        self._scanned = 0
        self._lagScanned = 0
        self._anchor = b""
        # Where the octets before an acknowledged offset are known, and these.
        self._known = (0, b"")
        self._reading = content.delivered
        self._reached: deque[_Reached] = deque()
        self.look()
        self.rewind(self.position)

    def __repr__(self) -> str:
        return (
            f"<OpenContent {self.name} {self.content.stream[:8]}/"
            f"{self.content.generation} {self.content.life.value} at {self.position}>"
        )

    @property
    def key(self) -> ContentKey:
        """How the sender names it."""
        return self.content.key

    @property
    def name(self) -> str:
        """The configured path."""
        return self.content.name

    @property
    def life(self) -> Life:
        """Where it is in its life."""
        return self.content.life

    @property
    def isSearching(self) -> bool:
        """Whether a copy of it is looked for."""
        return self.content.life is Life.SEARCHING

    @property
    def isWaiting(self) -> bool:
        """Whether there are octets left, or may be: what is newer must wait."""
        return self.isSearching or self.position < self.size

    @property
    def isDone(self) -> bool:
        """Whether everything that was seen is acknowledged."""
        return (
            not self.isSearching
            and self.acknowledged.offset == self.position
            and self.position >= max(self.size, self.content.seen)
        )

    def invariants(self) -> None:
        """Check what must be true of the numbers."""
        offset = self.acknowledged.offset
        assert self.acknowledged.base <= offset, self
        assert offset <= self.position <= max(self.size, offset), self
        assert self.size <= max(self.content.seen, offset), self

    def happened(self, event: Event) -> None:
        """Go on in life."""
        self.content.happened(event)
        self.dirty = True

    # The file

    def look(self) -> None:
        """See how large the file is, and whether it still holds the content."""
        if self.file is None or self.hasChanged:
            return
        try:
            if 0 < self.content.cut < self.position:
                self.file.look(0, b"")
            else:
                self.file.look(self.position, self._anchor)
        except Changed:
            self.hasChanged = True
            return
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            self.isStale = True
            return
        self.size = max(self.size, self.file.size)
        self._note()

    def _note(self) -> None:
        """Take into the record what was seen."""
        assert self.file is not None
        content = self.content
        if self.size > content.seen:
            content.seen = self.size
            self.dirty = True
        if self.file.head != content.head:
            content.head = self.file.head
            self.dirty = True
        if not self.fromArchive:
            content.modified = self.file.modified

    def settle(self) -> None:
        """Bring to disk what the record tells of. May be called from a thread."""
        if self.file is not None:
            self.file.settle()

    def recordSaved(self) -> None:
        """The record of a new content is on disk, as it is now."""
        self._isSaved = self.content.head != b""
        self.dirty = False

    def extendProof(self, octetsMax: int) -> int:
        """
        Sum what was seen and not read yet: a copy is known by it when the file is gone.

        @return: the octets that it took.
        """
        if self.file is None or self.hasChanged:
            return 0
        before = self.content.proof
        try:
            self.content.proof = self.file.extend(before, self.size, octetsMax)
        except Changed:
            self.hasChanged = True
            return 0
        self.dirty = self.dirty or self.content.proof is not before
        return self.content.proof.end - before.end

    def use(self, file: ContentFile) -> None:
        """Go on with another file that was proved to hold the content."""
        self.close()
        self.file = file
        self.hasChanged = False
        self._cutAt(file)
        # It was proved to have what was read: the place in it is known by its own octets.
        self._known = (0, b"")
        self._anchor = file.anchorAt(self.position)
        self.look()

    def _cutAt(self, file: ContentFile) -> None:
        """See whether a file lacks octets that were seen: these are a gap, if not delivered."""
        content = self.content
        if file.octets >= content.seen:
            content.cut = 0
            self.size = self.position
            return
        content.cut = file.octets
        self.size = content.seen
        # From now on the content is recognised by what its file has.
        file.size = content.cut
        content.proof = file.extend(Proof(), content.cut, content.cut)
        if content.delivered.end > content.cut:
            content.delivered = content.proof
        self.dirty = True

    def lose(self, reason: str) -> None:
        """Give up: what is not read yet becomes a gap."""
        self.close()
        self.size = max(self.size, self.content.seen)
        self.content.file = NO_FILE
        self.lostReason = self.content.reason = reason
        self.hasChanged = False
        self.dirty = True

    def giveUp(self, reason: str) -> None:
        """The file that holds it lacks octets that were delivered: nothing more comes."""
        self.happened(Event.FILE_LOST)
        self.happened(Event.GIVEN_UP)
        self.lose(reason)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _opened(self) -> ContentFile | None:
        """The file; of a content that had ended it is opened when it is needed."""
        if self.file is None and self._reopen is not None and self.lostReason is None:
            file = self._reopen(self)
            if file is not None:
                self.use(file)
        return self.file

    # Reading

    def read(self, octetsMax: int) -> Chunk | None:
        """
        The next chunk of about C{octetsMax} octets, or C{None}: nothing complete is there.
        """
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
            # Its own trouble: other files go on.
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
            # What the content is recognised by is on disk before any of it leaves; and before
            # the position moves: if there is no space for it, this is read again.
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
        """What the file lacks, and a line that it has the beginning of."""
        if self.position >= self.size:
            return None
        return self._gap(self.size, self.content.reason or "truncated")

    def _octets(self, octetsMax: int) -> bytes:
        assert self.file is not None
        count = min(octetsMax, self._end - self.position)
        return self.file.read(self.position, count, self._anchor)

    def _endOfLag(self) -> int | None:
        """Where to go on so that at most the cap is left of all that is behind."""
        if self._lagOctetsMax is None:
            return None
        room = max(0, self._lagOctetsMax - self.newerOctets)
        if self.size - self.position <= room:
            return None
        end = self._lineStart(self.size - room)
        return self.size if end is None and self.isFinal and room == 0 else end

    def _longLine(self, octets: bytes, limit: int) -> Chunk | None:
        """No LF in the first octets that were read."""
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
        # What has been looked through is not looked through again.
        self._scanned = lineEnd or self.size
        if lineEnd is not None:
            return self._gap(lineEnd, "oversize")
        return self._gap(self.size, "oversize") if self.isFinal else None

    def _lineStart(self, at: int) -> int | None:
        """The first start of a line at or behind an octet."""
        assert self.file is not None
        if at <= 0:
            return 0
        end = self.file.lineEnd(max(self._lagScanned, at - 1))
        if end is None:
            self._lagScanned = self.size
        return end

    def _lines(self, octets: bytes) -> LineChunk:
        start = self.position
        self._advance(octets)
        return LineChunk(start, self.position, octets)

    def _advance(self, octets: bytes) -> None:
        at = self.position
        self.position += len(octets)
        if len(octets) >= ANCHOR_OCTETS:
            self._anchor = octets[-ANCHOR_OCTETS:]
        else:
            self._anchor = (self._anchor + octets)[-ANCHOR_OCTETS:]
        self._reading = self._reading.extended(at, octets)
        self._grow(self._reading)
        self._reached.append(_Reached(self.position, self._anchor, self._reading))

    def _grow(self, proof: Proof) -> None:
        """The record's proof is the one that reaches furthest."""
        if proof.end > self.content.proof.end and not self.content.cut:
            self.content.proof = proof

    def _gap(self, end: int, reason: str) -> Gap:
        gap = Gap(self.position, end, reason)
        file = None if self.hasChanged else self.file
        if file is not None and end - self.content.proof.end <= SUMMED_GAP_OCTETS_MAX:
            # What is left out is still part of what the content is recognised by.
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
        """Read from an offset that is acknowledged."""
        at, anchor = self._known
        if at != offset:
            anchor = b""
            # The octets before another place are this content's if the file still holds it.
            self.look()
            if self.file is not None and not self.hasChanged:
                anchor = self.file.anchorAt(offset)
                self.look()
        self.position, self._anchor = offset, anchor
        self._reading = self.content.delivered
        self._reached.clear()
        self._scanned = self._lagScanned = 0

    def resume(self, position: Position) -> None:
        """
        Go on where a journal is; it was compared.

        @param position: what it has acknowledged, and under which name.
        """
        self.acknowledged = position
        self.size = max(self.size, position.offset)
        self.content.seen = max(self.content.seen, position.offset)
        self.rewind(position.offset)
        if self.position > self.content.delivered.end:
            self._prove()

    def _prove(self) -> None:
        """Know by checksum what was delivered, though not in this process's time."""
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
        """Everything before C{end}, the end of a chunk, has arrived."""
        before = self.acknowledged
        assert before.offset <= end <= self.position, (self, end)
        while self._reached and self._reached[0].end <= end:
            reached = self._reached.popleft()
            if reached.end == end:
                self._known = (end, reached.anchor)
                isFurther = reached.proof.end >= end > self.content.delivered.end
                if isFurther and not self.content.cut:
                    self.content.delivered = reached.proof
        self.acknowledged = Position(before.stream, before.generation, end, base, crc)
        self.dirty = True

    def checksum(self, start: int, end: int, crc: int = 0) -> int:
        """
        The CRC-32 of octets of the content. Blocks; may be called from a thread.

        @raise Vanished: they are not there.
        """
        file = self._opened()
        if file is None or self.hasChanged:
            raise Vanished
        return file.checksum(start, end, crc)


def endBeforeLong(octets: bytes, end: int, limit: int) -> int:
    """Where the complete lines before the first over-long one end."""
    at = 0
    while at < end:
        line = octets.index(b"\n", at)
        if line - at > limit:
            break
        # The next line that can be too long ends behind at + limit.
        at = max(line + 1, octets.rfind(b"\n", at, at + limit + 1) + 1)
    return at
