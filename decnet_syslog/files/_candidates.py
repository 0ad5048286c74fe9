"""
What the rules compare (L{decnet_syslog.files._rules}): a content on record and a file on disk, and
the two kinds of likeness: a hint, and a proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ._contents import HEAD_OCTETS, Content, ContentKey, Proof
from ._objects import FileId

__all__ = [
    "Candidate",
    "Checksum",
    "SeenFile",
    "beginsAlike",
    "beginsLike",
    "original",
    "proves",
]

Checksum = Callable[[int, int, int], "int | None"]
"""From (start, end, crc): the CRC-32 of octets [start, end) after C{crc}; C{None}: not there."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """
    A content on record.

    @ivar isThere: whether its own file still has a name and holds the content.
    @ivar own: the checksum function of its own file, if that is open.
    @ivar looksLike: whether a file looks like a beginning of its own file. A hint: it only
        decides whether to wait.
    @ivar mayGrow: whether a file at its path can be this content, grown: the content had the
        path, and the path was not seen empty since.
    @ivar isContinued: whether another content already has the octets that its grown copy added.
    @ivar goneAt: when its own file lost its last name, or somewhat later, in nanoseconds; 0:
        unknown. A file that was created at this time or later did not replace it.
    @ivar searchIsOver: whether the wait for a better copy is over.
    """

    content: Content
    isThere: bool = False
    own: Checksum | None = None
    looksLike: Callable[[SeenFile], bool] | None = None
    mayGrow: bool = False
    searchIsOver: bool = False
    isContinued: bool = False
    goneAt: int = 0


@dataclass(frozen=True, eq=False)
class SeenFile:
    """
    A file on disk.

    @ivar size: of its content, in octets; for an archive, the size that it unpacks to.
    @ivar head: the first octets of its content, at most C{HEAD_OCTETS}.
    @ivar isLive: whether it is the file at a configured path, and not a rotated one.
    @ivar isSettled: whether it has not changed for so long that it counts as complete.
    @ivar isWritten: whether any process has it open for writing; C{None}: unknown.
    @ivar birth: when the object was created, in nanoseconds; 0: unknown.
    @ivar pread: reads its octets, by count and offset.
    @ivar copyOf: the content whose beginning it holds; a comparison proved this while both
        files were there.
    @ivar isStrange: its name is not that of a rotated copy. The forwarder looks at it because
        a lost file had the same inode number.
    @ivar isArchive: whether it is compressed.
    @ivar isComplete: C{False} for an archive that is still being written.
    """

    file: FileId
    size: int
    head: bytes
    checksum: Checksum
    isLive: bool = False
    isSettled: bool = True
    isComplete: bool = True
    isArchive: bool = False
    isWritten: bool | None = False
    birth: int = 0
    pread: Callable[[int, int], bytes] = lambda count, at: b""
    copyOf: ContentKey | None = None
    isStrange: bool = False


def beginsAlike(file: SeenFile, content: Content) -> bool:
    """Whether the heads of a file and a content agree, as far as both go: a cheap test."""
    count = min(len(file.head), len(content.head))
    return file.head[:count] == content.head[:count]


def proves(file: SeenFile, proof: Proof) -> bool:
    """Whether a file has the octets of a proof; a proof of no octets proves nothing."""
    return (
        len(proof) > 0
        and file.size >= proof.end
        and file.checksum(proof.start, proof.end, 0) == proof.crc
    )


def beginsLike(
    file: SeenFile,
    size: int,
    head: bytes,
    birth: int,
    pread: Callable[[int, int], bytes] | None,
) -> bool:
    """
    Whether a file looks like a copy of another file's beginning: head, end and age.

    @param birth: 0: the age says nothing.
    @param pread: the other one's octets; C{None}: do not compare the end.
    """
    # A copy is created after its original.
    if file.size > size or 0 < file.birth < birth:
        return False
    count = min(len(file.head), len(head))
    start = max(0, file.size - HEAD_OCTETS)
    octets = file.size - start
    return file.head[:count] == head[:count] and (
        pread is None or file.pread(octets, start) == pread(octets, start)
    )


def original(candidate: Candidate, own: SeenFile) -> Candidate:
    """The candidate of a content whose own object is among the files: it may be copied."""
    birth = 0 if own.isArchive else own.birth
    pread = None if own.isLive else own.pread

    def looksLike(file: SeenFile) -> bool:
        return beginsLike(file, own.size, own.head, birth, pread)

    return replace(candidate, isThere=True, looksLike=looksLike)
