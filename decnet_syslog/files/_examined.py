"""An open file that is not identified yet, and the facts about it that need no reading."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ._candidates import SeenFile
from ._checksums import fileChecksum
from ._contents import ContentKey
from ._objects import NO_FILE, FileId
from ._outlines import headOf
from ._rotations import compressionOf
from ._writers import isOpenForWriting

__all__ = ["NOTHING", "Examined", "FileState", "checksumOf", "claimOf", "stateOf"]


class FileState(NamedTuple):
    """The properties that must stay the same for a file to stay identified."""

    device: int
    inode: int
    size: int
    modified: int


def stateOf(status: os.stat_result) -> FileState:
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(eq=False)
class Examined:
    """
    An open file that is not identified yet.

    @ivar descriptor: of its content; for an archive, of the nameless file it is unpacked to.
    @ivar archived: the size of the compressed file; 0: it is not compressed.
    @ivar copyOf: the content whose beginning it holds; a comparison proved this while both
        files were there.
    @ivar unreadable: why an archive cannot be unpacked, or C{None}.
    @ivar birth: when the object was created, in nanoseconds; 0: unknown.
    """

    path: str
    descriptor: int
    seen: SeenFile
    state: FileState
    archived: int = 0
    birth: int = 0
    unreadable: str | None = None
    copyOf: ContentKey | None = None

    @property
    def isOnlyClaimed(self) -> bool:
        """Whether it is an archive whose trailer alone was read."""
        return self.descriptor < 0 and bool(self.archived) and self.unreadable is None

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


# A placeholder until the file has been read.
NOTHING = SeenFile(NO_FILE, 0, b"", lambda start, end, crc: None)


def checksumOf(descriptor: int) -> Callable[[int, int, int], int | None]:
    """The checksum function of an open file, in the form that L{reconcile} takes."""

    def checksum(start: int, end: int, crc: int) -> int | None:
        return fileChecksum(descriptor, start, end, crc)

    return checksum


def claimOf(path: str, descriptor: int) -> tuple[bytes, int, int] | None:
    """
    The head, size and CRC-32 of the content that a gzip file claims (RFC 1952 section 2.3.1).

    If the file has several members, the last one's size and CRC-32 are returned; these match
    no content.
    """
    if compressionOf(path) != ".gz" or isOpenForWriting(descriptor):
        return None
    head = headOf(path)
    octets = os.fstat(descriptor).st_size
    if head is None or octets < 18:
        return None
    trailer = os.pread(descriptor, 8, octets - 8)
    crc, size = (int.from_bytes(trailer[at : at + 4], "little") for at in (0, 4))
    return head, size, crc


def archiveByTrailer(
    path: str,
    claim: tuple[bytes, int, int],
    file: FileId,
    state: FileState,
    born: int,
) -> Examined:
    """An archive that need not be unpacked: its trailer claims an ended content."""
    head, size, crc = claim
    seen = SeenFile(
        file,
        size,
        head,
        lambda s, e, c: crc if (s, e, c) == (0, size, 0) else None,
    )
    return Examined(path, -1, seen, state, state.size, born)
