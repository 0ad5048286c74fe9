"""
What is known of a content: the octets that one file object had, from its birth on.

A stream and generation is the master's record of one content; a L{Content} is the worker's.
What must be true:

* C{proof} covers only octets that were on the worker's disk when it was made: a power cut
  must not leave the record of octets that it took;
* C{seen} never shrinks while the content lives, except after a restart of the machine: what
  was seen is delivered, or is in a gap record;
* a content that is C{GONE} matches no file any more.
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
    "Content",
    "ContentKey",
    "Event",
    "Life",
    "Position",
    "Proof",
]

# Octets of the head that are kept to reject other files cheaply.
HEAD_OCTETS = 4096

# A block of what is scanned or summed: the memory that it takes.
BLOCK_OCTETS = 1024 * 1024

ContentKey = tuple[str, int]
"""Stream and generation, as this worker names a content."""


class Life(enum.Enum):
    """Where a content is in its life; the value is what the state database holds."""

    # The file at the configured path.
    LIVE = "live"
    # Another file has its path, or none; its own file is read to the end.
    ROTATED = "rotated"
    # Its file is gone or holds another content; a copy of it is looked for.
    SEARCHING = "searching"
    # No copy was found: what was not delivered becomes a gap.
    LOST = "lost"
    # Everything is delivered or in gaps; its file, if there is one, is closed.
    ENDED = "ended"
    # A rotated file that was there before the forwarder first saw its path.
    PAST = "past"
    # Ended, and its file is gone, too.
    GONE = "gone"


UNFINISHED = (Life.LIVE, Life.ROTATED, Life.SEARCHING, Life.LOST)
"""The lives in which a content has octets to deliver, or may get some."""


class Event(enum.Enum):
    """What moves a content from one L{Life} to the next."""

    NAME_TAKEN = "its path is another file's"
    NAME_BACK = "its file has its path again"
    FILE_LOST = "its file is gone or holds another content"
    COPY_FOUND = "a file was proved to hold it"
    GIVEN_UP = "no copy was found in time"
    DELIVERED = "everything is delivered or in gaps, and no writer is left"
    FILE_GONE = "its file has no name, and no copy was found in time"
    ASKED_FOR = "a master lacks some of it, or somebody has written to its file"


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
"""The life of a content; what is not here does not happen."""


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
        """This proof with the octets at C{at}; a new one, if they do not join."""
        if at > self.end:
            return Proof(at, at + len(octets), crc32(octets))
        fresh = octets[self.end - at :] if at < self.end else octets
        return Proof(self.start, self.end + len(fresh), crc32(fresh, self.crc))


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far one journal has acknowledged a content, and what it is called there.

    @ivar offset: octets that are durable there, or known to be gaps.
    @ivar base: the end of the last gap; C{crc} is of the octets [base, offset).
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
    @ivar origin: where it begins for a master: octets before it are not this content's.
    @ivar seen: the largest size that was seen.
    @ivar proof: of the octets that were read, or summed ahead of being read.
    @ivar delivered: the same, up to what some journal has acknowledged: a copy that was made
        before the last octets came is known by it.
    @ivar head: the first octets, at most C{HEAD_OCTETS}.
    @ivar archived: octets of the compressed file that holds it; 0: it is not compressed.
    @ivar label: what a master shows instead of C{name}: an archive that cannot be read.
    @ivar kept: of a deleted file, from where on its copy beside the state has octets.
    @ivar cut: its file has only so many octets: a copy that was made before the last ones
        came; 0: it has all.
    @ivar reason: of the gap that its rest is, if it has lost its file.
    @ivar modified: when C{file} had changed last, in nanoseconds.
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
        """How the state database and the sender name it."""
        return (self.stream, self.generation)

    @property
    def extent(self) -> int:
        """Octets that its file has at least."""
        return self.cut or self.seen

    @property
    def isProved(self) -> bool:
        """Whether the proof covers all that its file has."""
        return self.proof.end >= self.extent and len(self.proof) > 0

    def isUnchanged(self, status: os.stat_result) -> bool:
        """
        Whether a file is the one that holds this content, which has ended, and nobody has
        written to it. It was compared when it got these numbers.
        """
        return self.life in (Life.ENDED, Life.PAST) and (
            *self.file[:2],
            self.archived or self.extent,
            self.modified,
        ) == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def happened(self, event: Event) -> None:
        """
        Go on in life.

        @raise KeyError: that cannot happen now: an error of ours.
        """
        self.life = TRANSITIONS[self.life, event]
