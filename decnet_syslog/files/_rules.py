"""
The rules that assign a file to a content, and the evidence for each.

Their only I/O is the checksums that the caller passes in. Hints (a name, a head, a time)
only choose what to compare first. What says "delivered" is a proof: the same object with its
checksum, or another object with the checksum of everything that was seen. L{reconcile
<decnet_syslog.files._reconcile.reconcile>} tries them in this order:

=========  ===========================================  =====================================
rule       evidence                                     the file is then
=========  ===========================================  =====================================
SAME       the object on record; it has at least what   that content
           was seen, and the proof holds
CHANGED    the object on record; shorter than what      another content; the one on record
           was seen, or the proof fails                 has lost its file
COPY       another object of the size that was seen,    that content
           whose octets are proved; the content's own
           file has no name any more
GROWN      another object that begins with all that     that content, grown; if it begins
           was seen, proved, and goes on; the           like a file that is there, too, the
           content's own file has no name; the file is  event says that it is not certain
           a rotated one, or its path was never seen
           empty
UNPROVED   as COPY or GROWN, but the proof covers only  that content; the event says that it
           what was delivered: nobody has read the      is not certain
           rest before it was moved
MADE       was proved to be its beginning when both     that content up to its size; the rest
           were there; the content has lost its file    is delivered, or a gap
PART       shorter than what was seen; has, proved,     that content up to its size; the rest
           all that was delivered; the search is over,  is a gap
           and the file is settled, or an archive
WITHIN     an archive whose octets are, proved, a       that content's: they are read from
           beginning of a content whose own file is     the open file
           open, has no name any more, and goes on
WAIT       a beginning of a content whose own file is   nothing yet: a copy is being made, or
           there, not settled; or what will be PART     was just made
           when it is settled; or an unfinished
           archive
DUPLICATE  the same, settled; or it begins like what    a new content, and an event
           was deleted, and did not replace that
NEW        none of these                                a new content
STRANGE    none of these, and only its inode's number   somebody else's file
           led to it
=========  ===========================================  =====================================
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ._contents import Content, ContentKey, Life, Proof
from ._objects import FileId

__all__ = [
    "Candidate",
    "Rule",
    "SeenFile",
    "Verdict",
    "explains",
    "fits",
    "isAwaited",
    "isSame",
    "isWithin",
    "sharesFirstLine",
]

Checksum = Callable[[int, int, int], "int | None"]
"""The CRC-32 of the octets [start, end) behind a given one; C{None}: they are not there."""


class Rule(enum.Enum):
    """Why a file is what it is: the module's docstring has the table."""

    SAME = "same"
    COPY = "copy"
    GROWN = "grown"
    UNPROVED = "unproved"
    MADE = "made"
    WITHIN = "within"
    PART = "part"
    WAIT = "wait"
    DUPLICATE = "duplicate"
    NEW = "new"
    STRANGE = "strange"


@dataclass(frozen=True, eq=False)
class Candidate:
    """
    A content on record.

    @ivar isThere: its own file is there under some name, with its content.
    @ivar own: the checksum of its own file, if that is open.
    @ivar looksLike: whether a file looks like a beginning of its own file. A hint: it decides
        only whether to wait.
    @ivar mayGrow: whether a file at its path can be this content, grown: it had the path, and
        the path was not seen empty since.
    @ivar isContinued: what its grown copy has more is another content already.
    @ivar goneAt: when its own file has lost its last name, or somewhat later, in nanoseconds:
        a file that was not made before it did not replace it. 0: not known.
    @ivar searchIsOver: whether no better copy is waited for.
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
    A file that is there.

    @ivar size: of its content, in octets; of an archive the size that it unpacks to.
    @ivar head: the first octets of its content, at most C{HEAD_OCTETS}.
    @ivar isLive: whether it has a configured path, and is no rotated file.
    @ivar isSettled: nobody writes to it, and it has not changed for a while.
    @ivar isWritten: whether somebody has it open for writing; C{None}: the system does not say.
    @ivar birth: when the object was made, in nanoseconds; 0: not known.
    @ivar pread: its octets, by count and offset.
    @ivar copyOf: the content of which it was proved to be the beginning, by a comparison when
        both were there.
    @ivar isStrange: its name is nobody's rotated copy: it is looked at because its inode's
        number is that of a file that was lost.
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


@dataclass(frozen=True)
class Verdict:
    """
    What a file is.

    @ivar isCertain: C{False} if another content explains the same octets.
    """

    rule: Rule
    content: Content | None = None
    isCertain: bool = True


def isReplacement(candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file can have been renamed over the one of a content."""
    return not 0 < candidate.goneAt <= file.birth


def beginsAlike(file: SeenFile, content: Content) -> bool:
    """Whether a file has the head of a content, as far as both go: a cheap rejection."""
    count = min(len(file.head), len(content.head))
    return file.head[:count] == content.head[:count]


def sharesFirstLine(file: SeenFile, content: Content) -> bool:
    """Whether a file begins with the same line as a content."""
    line, feed, _ = content.head.partition(b"\n")
    return feed != b"" and file.head.startswith(line + feed)


def proves(file: SeenFile, proof: Proof) -> bool:
    """Whether a file has the octets of a proof that covers any."""
    return (
        len(proof) > 0
        and file.size >= proof.end
        and file.checksum(proof.start, proof.end, 0) == proof.crc
    )


def isSame(file: SeenFile, content: Content) -> bool:
    """
    Whether a file that is the object on record still holds the content.

    Of an object without a number of its own (L{FileId.version}) a proof of nothing says
    nothing: the inode may be another file's by now. Then the head decides.
    """
    if file.size < content.extent or not beginsAlike(file, content):
        return False
    if len(content.proof):
        return proves(file, content.proof)
    return content.file.version != 0 or content.extent == 0 or bool(content.head)


def fits(rule: Rule, candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file that is complete and not empty holds a content, by one rule."""
    content = candidate.content
    if file.isLive and not (candidate.mayGrow and isReplacement(candidate, file)):
        return False
    if not beginsAlike(file, content):
        return False
    match rule:
        case Rule.COPY:
            return (
                file.size == content.extent
                and content.isProved
                and proves(file, content.proof)
            )
        case Rule.GROWN:
            return (
                file.size > content.extent
                and not candidate.isContinued
                and content.isProved
                and proves(file, content.proof)
            )
        case Rule.UNPROVED:
            # What was delivered is proved; of the rest nothing is concluded.
            return (
                file.size >= content.extent
                and not content.isProved
                and not file.isLive
                and proves(file, content.proof)
            )
        case Rule.MADE:
            return file.copyOf == content.key
        case Rule.PART:
            # While a copy is made it is short, too.
            return candidate.searchIsOver and isFinished(file) and isPart(content, file)
    return False


def isPart(content: Content, file: SeenFile) -> bool:
    """Whether a file has everything that was delivered of a content, and lacks its end."""
    delivered = content.delivered
    return (
        not file.isLive
        and delivered.end <= file.size < content.extent
        and proves(file, delivered)
    )


def isFinished(file: SeenFile) -> bool:
    """Whether no octets are expected any more: an archive is complete when it is read."""
    return file.isSettled or file.isArchive


def isWithin(candidate: Candidate, file: SeenFile) -> bool:
    """Whether an archive is a beginning of what is read through a file without a name."""
    if candidate.isThere or candidate.own is None:
        return False
    found = file.checksum(0, file.size, 0)
    return found is not None and found == candidate.own(0, file.size, 0)


def explains(candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file may be a copy, or the beginning of one, of another content. A hint."""
    content = candidate.content
    if candidate.looksLike is not None:
        return candidate.looksLike(file)
    if candidate.isThere or content.life is Life.GONE:
        return False
    return file.size <= content.extent and beginsAlike(file, content)


def isAwaited(candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file may become the copy of a content that is looked for."""
    if candidate.own is not None:
        return False
    if candidate.isThere or candidate.content.extent == 0:
        return False
    if candidate.searchIsOver:
        return not isFinished(file) and isPart(candidate.content, file)
    return beginsAlike(file, candidate.content)
