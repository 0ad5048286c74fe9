"""
Records of contents. A content is the octets that one file object ever had, from its birth on.

A stream and generation is the master's record of one content; a L{Content} is the worker's.
What must be true:

* C{proof} covers only octets that were on the worker's disk when it was computed: a power cut
  must not leave a record of octets that it destroyed;
* C{seen} never shrinks while the content lives, except after a restart of the machine: octets
  that were seen are delivered, or covered by a gap record;
* a content that is C{GONE} matches no file any more, except its own object if that returns.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from zlib import crc32

from ._objects import NO_FILE, FileId

__all__ = [
    "BLOCK_OCTETS",
    "HEAD_OCTETS",
    "TRANSITIONS",
    "UNFINISHED",
    "AcknowledgedPosition",
    "Content",
    "ContentKey",
    "Event",
    "Life",
    "Proof",
]

# Octets of the head that are recorded, to reject other files cheaply.
HEAD_OCTETS = 4096

# Octets to scan or sum at a time: this bounds the memory that it takes.
BLOCK_OCTETS = 1024 * 1024

ContentKey = tuple[str, int]
"""Stream and generation, as this worker names a content."""


class Life(enum.Enum):
    """The stages of a content's life; the state database stores the values."""

    # The file at the configured path.
    LIVE = "live"
    # Another file has its path, or its path is empty; its own file is read to the end.
    ROTATED = "rotated"
    # Its file is gone or holds another content; the forwarder searches for a copy.
    SEARCHING = "searching"
    # No copy was found: the undelivered octets become a gap.
    LOST = "lost"
    # Every octet is delivered or in a gap; its file, if there is one, is closed.
    ENDED = "ended"
    # A rotated file that existed before the forwarder first saw its path.
    PAST = "past"
    # It has ended, and its file is gone, too.
    GONE = "gone"


UNFINISHED = (Life.LIVE, Life.ROTATED, Life.SEARCHING, Life.LOST)
"""The stages in which a content has octets to deliver, or may still get some."""


class Event(enum.Enum):
    """The causes that move a content from one L{Life} to the next."""

    NAME_TAKEN = "another file has its path, or its path is empty"
    NAME_BACK = "its file has its path again"
    FILE_LOST = "its file is gone or holds another content"
    COPY_FOUND = "a file was proved to hold it"
    GIVEN_UP = "no copy was found in time"
    DELIVERED = "every octet is delivered or in a gap, and no writer is left"
    FILE_GONE = "its file has no name, and no copy was found in time"
    ASKED_FOR = "a master lacks octets, or a process has written to its file"


TRANSITIONS: dict[tuple[Life, Event], Life] = {
    (Life.LIVE, Event.NAME_TAKEN): Life.ROTATED,
    (Life.LIVE, Event.FILE_LOST): Life.SEARCHING,
    (Life.ROTATED, Event.NAME_BACK): Life.LIVE,
    (Life.ROTATED, Event.FILE_LOST): Life.SEARCHING,
    (Life.ROTATED, Event.DELIVERED): Life.ENDED,
    (Life.SEARCHING, Event.COPY_FOUND): Life.ROTATED,
    (Life.SEARCHING, Event.GIVEN_UP): Life.LOST,
    (Life.LOST, Event.DELIVERED): Life.GONE,
    (Life.ENDED, Event.NAME_BACK): Life.LIVE,
    (Life.ENDED, Event.ASKED_FOR): Life.ROTATED,
    (Life.ENDED, Event.COPY_FOUND): Life.ENDED,
    (Life.ENDED, Event.FILE_GONE): Life.GONE,
    (Life.PAST, Event.COPY_FOUND): Life.PAST,
    (Life.PAST, Event.ASKED_FOR): Life.ROTATED,
    (Life.PAST, Event.FILE_GONE): Life.GONE,
    (Life.GONE, Event.ASKED_FOR): Life.LOST,
    (Life.GONE, Event.COPY_FOUND): Life.ENDED,
}
"""The life of a content; a pair that is not listed cannot happen."""


@dataclass(frozen=True, slots=True)
class Proof:
    """
    The CRC-32 of the octets [start, end) of a content.

    @ivar start: 0, or the end of a gap that was never read.
    """

    start: int = 0
    end: int = 0
    crc: int = 0

    def __len__(self) -> int:
        return self.end - self.start

    def extended(self, at: int, octets: bytes) -> Proof:
        """This proof, extended by the octets at C{at}; after a hole, only these count."""
        if at > self.end:
            return Proof(at, at + len(octets), crc32(octets))
        fresh = octets[self.end - at :] if at < self.end else octets
        return Proof(self.start, self.end + len(fresh), crc32(fresh, self.crc))


@dataclass(frozen=True, slots=True)
class AcknowledgedPosition:
    """
    How far one journal has acknowledged a content, and the content's name there.

    @ivar stream: the journal's name of the content, with C{generation}.
    @ivar offset: octets that are durable there, or known to be gaps.
    @ivar base: the end of the last gap; C{crc} covers the octets [base, offset).
    """

    stream: str
    generation: int
    offset: int = 0
    base: int = 0
    crc: int = 0


@dataclass(slots=True)
class Content:
    """
    The record of one content.

    @ivar name: the configured path.
    @ivar file: the object that held it when it was last seen.
    @ivar origin: the offset where it begins for a master: earlier octets of its file belong to
        another content.
    @ivar seen: the largest size that was seen.
    @ivar proof: of the octets that were read, or summed ahead of reading.
    @ivar delivered: the same, up to the furthest acknowledgement of any journal. It identifies
        a copy that was made before the last octets were written.
    @ivar head: the first octets, at most C{HEAD_OCTETS}.
    @ivar archived: the size of the compressed file that holds it; 0: it is not compressed.
    @ivar label: a master shows this instead of C{name}: the path of an unreadable archive.
    @ivar kept: for a deleted file, the offset from which the kept copy has octets.
    @ivar cut: the size of its file, if that is a copy that was made before the last octets
        were written; 0: the file has every octet.
    @ivar reason: for the gap that covers its rest, if it has lost its file.
    @ivar modified: when C{file} last changed, in nanoseconds.
    """

    stream: str
    generation: int
    name: str
    file: FileId = NO_FILE
    origin: int = 0
    seen: int = 0
    proof: Proof = field(default_factory=Proof)
    delivered: Proof = field(default_factory=Proof)
    head: bytes = b""
    life: Life = Life.LIVE
    archived: int = 0
    modified: int = 0
    label: str = ""
    reason: str = ""
    kept: int = 0
    cut: int = 0

    @property
    def key(self) -> ContentKey:
        """Its name in the state database and for the sender."""
        return (self.stream, self.generation)

    @property
    def extent(self) -> int:
        """The minimum size of its file, in octets."""
        return self.cut or self.seen

    @property
    def isProved(self) -> bool:
        """Whether the proof covers the whole extent of its file."""
        return self.proof.end >= self.extent and len(self.proof) > 0

    def isUnchanged(self, status: os.stat_result) -> bool:
        """
        Whether a file is the one that holds this ended content, unchanged.

        The file had these numbers when its octets were last compared.
        """
        return self.life in (Life.ENDED, Life.PAST) and self.isAsRecorded(status)

    def isAsRecorded(self, status: os.stat_result) -> bool:
        """Whether a file has the inode, size and time of the one on record."""
        return (*self.file[:2], self.archived or self.extent, self.modified) == (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
        )

    def happened(self, event: Event) -> None:
        """
        Move on to the next stage of life.

        @raise KeyError: the event cannot happen at this stage: a bug in this program.
        """
        self.life = TRANSITIONS[self.life, event]
