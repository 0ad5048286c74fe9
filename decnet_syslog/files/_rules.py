"""
The rules that assign a file to a content, and the evidence for each.

These functions do no I/O of their own: the caller passes in functions that read octets and
compute checksums. Hints (a name, a head, a time) only choose which files to compare first. Only
a proof shows that octets were delivered: the same object with a matching checksum, or another
object with the checksum of every octet that was seen. L{reconcile
<decnet_syslog.files._reconcile.reconcile>} tries the rules in this order:

=========  ===========================================  =====================================
rule       evidence                                     the file holds
=========  ===========================================  =====================================
SAME       the object on record; it is at least as      that content
           large as was seen, and the proof holds
CHANGED    the object on record; it is smaller than     another content, by the rules below;
           was seen, or the proof fails                 the one on record has lost its file
COPY       another object of the size that was seen;    that content
           its octets are proved; the content's own
           file has no name any more
GROWN      another object that begins with every octet  that content, grown; if the file may
           that was seen, proved, and continues; the    also be a copy of a second content,
           content's own file has no name any more      the event says that this is not
                                                        certain
UNPROVED   as COPY or GROWN, but the proof covers only  that content; the event says that
           the delivered octets: the file was moved     this is not certain
           before the forwarder had read the rest
MADE       the file was proved to be the content's      that content, up to the file's size;
           beginning while both files were there;       the rest was delivered, or becomes a
           the content has lost its file since          gap
PART       smaller than was seen; it has every          that content, up to the file's size;
           delivered octet, proved; the search is       the rest becomes a gap
           over, and the file is settled or an archive
WITHIN     an archive whose octets are proved to be     a part of that content, which is read
           the beginning of a content; the content's    from its open file
           own file is open, has no name any more,
           and continues
WAIT       a beginning of a content whose own file is   nothing yet: a copy is being made, or
           there, and not settled; or a file that may   was just made
           become PART once it is settled; or an
           unfinished archive
DUPLICATE  as WAIT, but settled; or a file at the path  a new content, and an event
           that begins with the same line as a deleted
           or truncated content, and did not replace
           it; or a file that begins with more than
           the first line of any content
NEW        none of these                                a new content
STRANGE    none of these, and only its inode number     a file of some other program
           led the forwarder to it
=========  ===========================================  =====================================

CHANGED is not a L{Rule}: the later rules give the verdict on the file. The file at a path can be
COPY or GROWN only if it may have been renamed over the content's own file: the content had the
path, and the path was not seen empty since.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ._candidates import Candidate, SeenFile, beginsAlike, proves
from ._contents import Content, Life

__all__ = [
    "Rule",
    "Verdict",
    "explains",
    "fits",
    "isAwaited",
    "isSame",
    "isWithin",
    "repeats",
    "sharesFirstLine",
]


class Rule(enum.Enum):
    """The reason for a verdict: the table in the module's docstring explains each."""

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


@dataclass(frozen=True)
class Verdict:
    """
    The content that a file holds, and the reason.

    @ivar isCertain: C{False} if another content explains the same octets.
    """

    rule: Rule
    content: Content | None = None
    isCertain: bool = True


def isReplacement(candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file can have been renamed over the file of a content."""
    return not 0 < candidate.goneAt <= file.birth


def sharesFirstLine(file: SeenFile, content: Content) -> bool:
    """Whether a file begins with the same line as a content."""
    line, feed, _ = content.head.partition(b"\n")
    return feed != b"" and file.head.startswith(line + feed)


def repeats(file: SeenFile, content: Content) -> bool:
    """
    Whether a file that is shipped as new begins with octets of a content: all of them, by the
    proof, or as many as it has, by the heads. A program may begin each log with the same line,
    so the first line alone says nothing.
    """
    line, feed, _ = content.head.partition(b"\n")
    if min(file.size, content.extent) <= len(line + feed):
        return False
    if not beginsAlike(file, content):
        return False
    if content.isProved and content.proof.start == 0 and file.size >= content.extent:
        return proves(file, content.proof)
    return True


def isSame(file: SeenFile, content: Content) -> bool:
    """
    Whether a file that is the object on record still holds the content.

    If the object has no version of its own (L{FileId.version}), a proof of no octets is not
    enough: the inode may belong to another file by now. Then the head decides.
    """
    if file.size < content.extent or not beginsAlike(file, content):
        return False
    if len(content.proof):
        return proves(file, content.proof)
    return content.file.version != 0 or content.extent == 0 or bool(content.head)


def fits(rule: Rule, candidate: Candidate, file: SeenFile) -> bool:
    """Whether one rule assigns a content to a file that is complete and not empty."""
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
            # The proof covers the delivered octets only; nothing follows for the rest.
            return (
                file.size >= content.extent
                and not content.isProved
                and not file.isLive
                and proves(file, content.proof)
            )
        case Rule.MADE:
            return file.copyOf == content.key
        case Rule.PART:
            # A copy that is still being made is short, too.
            return candidate.searchIsOver and isFinished(file) and isPart(content, file)
    return False


def isPart(content: Content, file: SeenFile) -> bool:
    """Whether a file has every delivered octet of a content, and lacks its end."""
    delivered = content.delivered
    return (
        not file.isLive
        and delivered.end <= file.size < content.extent
        and proves(file, delivered)
    )


def isFinished(file: SeenFile) -> bool:
    """Whether the file will not grow: an archive was complete when it was unpacked."""
    return file.isSettled or file.isArchive


def isWithin(candidate: Candidate, file: SeenFile) -> bool:
    """Whether an archive holds a beginning of a content that is read from a nameless file."""
    if candidate.isThere or candidate.own is None:
        return False
    found = file.checksum(0, file.size, 0)
    return found is not None and found == candidate.own(0, file.size, 0)


def explains(candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file may be a copy of a content, or of its beginning. A hint."""
    content = candidate.content
    if candidate.looksLike is not None:
        return candidate.looksLike(file)
    if candidate.isThere or content.life is Life.GONE:
        return False
    return file.size <= content.extent and beginsAlike(file, content)


def isAwaited(candidate: Candidate, file: SeenFile) -> bool:
    """Whether a file may become the copy of a content that is being searched for."""
    if candidate.own is not None:
        return False
    if candidate.isThere or candidate.content.extent == 0:
        return False
    if candidate.searchIsOver:
        return not isFinished(file) and isPart(candidate.content, file)
    return beginsAlike(file, candidate.content)
