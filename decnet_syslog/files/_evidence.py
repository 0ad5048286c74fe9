"""
Evidence about files and contents for L{reconcile<decnet_syslog.files._reconcile.reconcile>}.

Hints (a head, a tail, a birth time) suggest that a file may be a copy in the making; only
checksums prove it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._candidates import Candidate, SeenFile, beginsLike
from ._contents import HEAD_OCTETS, Content, Life, Proof
from ._examined import Examined, checksumOf
from ._objects import FileId, birthTime, identify
from ._open import OpenContent
from ._reader import Vanished

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = [
    "isUnchanged",
    "liveFile",
    "looksLike",
    "mayBeCopied",
    "ownOf",
    "pastOf",
    "pending",
    "unreadPast",
]


def isUnchanged(content: Content, path: str) -> bool:
    try:
        return content.isUnchanged(os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def liveFile(descriptor: int) -> SeenFile:
    """Describe the file at a configured path."""
    return SeenFile(
        identify(descriptor),
        os.fstat(descriptor).st_size,
        os.pread(descriptor, HEAD_OCTETS, 0),
        checksumOf(descriptor),
        isLive=True,
        birth=birthTime(descriptor),
    )


def reader(descriptor: int) -> Callable[[int, int], bytes]:
    """The octets of an open file, by count and offset."""
    return lambda count, at: os.pread(descriptor, count, at)


def ownOf(one: OpenContent) -> Callable[[int, int, int], int | None]:
    """The checksum function of the file of an open content."""

    def checksum(start: int, end: int, crc: int) -> int | None:
        try:
            return one.checksum(start, end, crc)
        except Vanished:
            return None

    return checksum


def pending(live: int, file: SeenFile) -> Candidate:
    """
    The file at the path, before it has a content: a rotated file may be its copy.

    @param live: its descriptor.
    """

    def looks(other: SeenFile) -> bool:
        return beginsLike(other, file.size, file.head, file.birth, reader(live))

    return Candidate(Content("", 0, ""), isThere=True, looksLike=looks)


def pastOf(one: Examined, follower: FileFollower) -> Content:
    """Record a file from before the first look: the record identifies its later archive."""
    size = one.seen.size
    crc = one.seen.checksum(0, size, 0) if one.unreadable is None else None
    proof = Proof() if crc is None else Proof(0, size, crc)
    content = Content(
        follower.stream,
        follower.generation,
        follower.path,
        one.seen.file,
        size,
        size,
        proof,
        proof,
        one.seen.head,
        Life.PAST,
        one.archived,
        one.state.modified,
    )
    return content


def unreadPast(path: str, follower: FileFollower) -> Content:
    """Record such a file that cannot be read now."""
    status = os.stat(path, follow_symlinks=False)
    size = status.st_size
    return Content(
        follower.stream,
        follower.generation,
        follower.path,
        FileId(status.st_dev, status.st_ino, 0),
        size,
        size,
        life=Life.PAST,
        archived=size,
        modified=status.st_mtime_ns,
    )


def looksLike(one: OpenContent) -> Callable[[SeenFile], bool]:
    """A test whether a file looks like a copy of the beginning of an open content."""

    def looks(file: SeenFile) -> bool:
        own = one.file
        if own is None or own.descriptor is None or file.size > own.size:
            return False
        birth = 0 if one.fromArchive else birthTime(own.descriptor)
        return beginsLike(file, own.size, own.head, birth, reader(own.descriptor))

    return looks


def mayBeCopied(content: Content) -> Callable[[SeenFile], bool]:
    """The same test for a content whose file is there, but not open."""

    def looks(file: SeenFile) -> bool:
        if file.size > content.extent:
            return False
        if file.size < content.extent and file.isWritten is False:
            # The file is shorter, and no process is writing the rest of a copy.
            return False
        count = min(len(file.head), len(content.head))
        return file.head[:count] == content.head[:count]

    return looks
