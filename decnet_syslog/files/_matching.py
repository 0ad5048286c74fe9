"""
Which rotated files of a path hold which of its contents: evidence in, consequences out.

The decision is L{reconcile}'s. Here are the candidates that it is given, and what follows from
its verdicts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._contents import Content, ContentKey, Event, Life, Proof
from ._examine import Examined, Examiner, checksumOf
from ._objects import NO_FILE, birthTime, identify
from ._open import OpenContent
from ._reader import ContentFile, Vanished
from ._reconcile import Candidate, Rule, SeenFile, Verdict, reconcile
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["SEARCH_S", "Matcher", "liveFile"]

# How long a copy of a content that has lost its file is looked for, in seconds: compressing
# takes time.
SEARCH_S = 10.0

# Octets of two files that are compared to see whether one looks like a copy of the other.
LOOK_OCTETS = 4096


class Matcher:
    """
    The rotated files of one path.

    @ivar wasLive: the content that had the path when the forwarder was stopped.
    @ivar couldLookEverywhere: whether no file or directory was unreadable at the last look.
    """

    def __init__(self, follower: FileFollower, around: Surroundings) -> None:
        self.wasLive: ContentKey | None = None
        self.couldLookEverywhere = True
        self._follower = follower
        self._around = around
        self._examiner = Examiner(
            around.clock, around.kept.directory, around.isWritten, self._isDelivered
        )
        self._homes: dict[ContentKey, str] = {}
        self._isStarting = False

    def close(self) -> None:
        """Close what is still waited for."""
        self._examiner.close()

    # When

    def look(self) -> None:
        """See what has become of the rotated files, if anything can have."""
        isChanged = self._around.siblings.take(self._follower.path)
        if isChanged:
            self._findHomes()
        if isChanged or self._follower.searching or self._examiner.isIncomplete:
            self.match()

    def recheck(self, path: str) -> None:
        """See whether somebody has written to a rotated file since it was judged."""
        if self._examiner.doubt(path):
            self.match()

    def forget(self, path: str) -> None:
        """It is not known any more what a rotated file is."""
        self._examiner.forgetOne(path)

    def quiet(self) -> list[str]:
        """The rotated files that are not open, and to which somebody may write."""
        return self._examiner.known()

    @property
    def homes(self) -> dict[ContentKey, str]:
        """Where the files of contents are that are not open."""
        return self._homes

    def start(self, live: int | None, startOffset: int) -> None:
        """The first look: everything on record is looked for."""
        self._isStarting = True
        try:
            self._around.siblings.take(self._follower.path)
            self._findHomes()
            self.match(live, origin=startOffset)
        finally:
            self._isStarting = False
            self.wasLive = None

    def firstSight(self) -> None:
        """A path without records: its rotated files are from before our time."""
        follower = self._follower
        there = self._around.siblings.of(follower.path)
        past = []
        for one in self._examiner.files(there, lambda path, status: False):
            if self._around.claims(one.path):
                # The match that follows says what it is.
                self._examiner.wait(one)
                continue
            follower.generation += 1
            past.append(_pastOf(one, follower))
            one.close()
        for content, one in past:
            follower.records[content.key] = content
            self._examiner.judged(one.path, one.state)
            self._homes[content.key] = one.path
        if past:
            self._around.store.save([content for content, _ in past])
            self._around.events("before-our-time", path=follower.path, files=len(past))

    # Evidence

    def _findHomes(self) -> None:
        """Which contents have lost the file on disk that held them."""
        follower = self._follower
        there = self._around.siblings.of(follower.path)
        for one in follower.opened:
            if one.home is None or one.rescuedOctets:
                continue
            if there.get(one.home) != one.content.file.inode:
                one.home = None
        paths: dict[int, list[str]] = {}
        for path, inode in there.items():
            paths.setdefault(inode, []).append(path)
        for key, content in follower.records.items():
            if content.life not in (Life.ENDED, Life.PAST):
                continue
            # An inode is given again: the file must be as it was.
            for path in paths.get(content.file.inode, ()):
                if _isUnchanged(content, path):
                    self._homes[key] = path
                    follower.searching.pop(key, None)
                    break
            else:
                self._homes.pop(key, None)
                follower.searching.setdefault(key, self._around.clock())

    def _owns(self, path: str, status: os.stat_result) -> bool:
        """Whether a rotated file is known by its object; then it is where a content is."""
        object_ = (status.st_dev, status.st_ino)
        follower = self._follower
        for one in follower.opened:
            content = one.content
            if one.file is None or content.file[:2] != object_:
                continue
            if one.fromArchive and (content.archived, content.modified) != (
                status.st_size,
                status.st_mtime_ns,
            ):
                continue
            one.home = path
            return True
        for key, content in follower.records.items():
            if content.isUnchanged(status):
                self._homes[key] = path
                follower.searching.pop(key, None)
                return True
        if any(content.file[:2] == object_ for content in self._sought()):
            return False
        return self._around.isOthers(status, follower)

    def _sought(self) -> list[Content]:
        """The contents that have lost their files."""
        follower = self._follower
        found = [one.content for one in follower.opened] + list(
            follower.records.values()
        )
        return [content for content in found if content.key in follower.searching]

    def _candidates(self, replaced: OpenContent | None) -> list[Candidate]:
        follower, now = self._follower, self._around.clock()
        found = []
        for one in follower.opened:
            if one.life is Life.LOST:
                continue
            since = follower.searching.get(one.key, now)
            isThere = one.file is not None and not self.isUnlinked(one)
            if one.file is not None and not isThere:
                # It can be read to its end: then its copy can be known for certain.
                one.extendProof(max(0, one.size - one.content.proof.end))
            wasCurrent = one is replaced or one.key == self.wasLive
            goneAt = 0
            if one.file is not None and not isThere and not one.fromArchive:
                goneAt = one.file.changedAt
            found.append(
                Candidate(
                    one.content,
                    isThere,
                    looksLike=_looksLike(one) if isThere else None,
                    mayGrow=wasCurrent and not follower.wasEmpty,
                    searchIsOver=now - since >= SEARCH_S,
                    goneAt=goneAt,
                    isContinued=one.isContinued,
                    own=None if one.file is None else _ownOf(one),
                )
            )
        for key, content in follower.records.items():
            if content.life is Life.GONE:
                # Its own file may come back, from wherever it was; nothing else is it.
                if content.file.version:
                    found.append(Candidate(content, isThere=True))
                continue
            gone = follower.searching.get(key)
            found.append(
                Candidate(
                    content,
                    gone is None,
                    looksLike=_mayBeCopied(content) if gone is None else None,
                    searchIsOver=gone is not None and now - gone >= SEARCH_S,
                )
            )
        return found

    @staticmethod
    def isUnlinked(one: OpenContent) -> bool:
        """Whether the file of a content has no name any more."""
        if one.file is None or one.file.descriptor is None:
            return False
        if one.fromArchive:
            return one.home is None
        return one.file.links == 0

    def _isDelivered(self, head: bytes, size: int, crc: int) -> bool:
        """Whether a content that has ended and lost its file is this, by size and checksum."""
        return any(
            content.key in self._follower.searching
            and content.extent == content.proof.end == size
            and (content.proof.start, content.proof.crc) == (0, crc)
            and content.head == head[: len(content.head)]
            for content in self._follower.records.values()
        )

    def _places(self) -> dict[str, int]:
        """Where to look: rotated names, and whatever has the object of what is looked for."""
        follower, siblings = self._follower, self._around.siblings
        there = dict(siblings.of(follower.path))
        for content in self._sought():
            inode = content.file.inode
            if content.file != NO_FILE:
                for path in siblings.withInode(inode):
                    if path != follower.path:
                        there.setdefault(path, inode)
        return there

    def match(
        self,
        live: int | None = None,
        replaced: OpenContent | None = None,
        origin: int = 0,
    ) -> None:
        """
        Say what the files are of which it is not known.

        @param live: what has the path now, if that is to be said, too; closed, or in use.
        @param replaced: the content that had the path before.
        @param origin: where a new content of the path begins.
        """
        follower = self._follower
        there = self._places()
        examined: list[Examined] = []
        try:
            examined.extend(self._examiner.files(there, self._owns))
            examined.sort(
                key=lambda e: (e.state.modified, self._around.siblings.age(e.path))
            )
            files = [one.seen for one in examined if one.unreadable is None]
            if live is not None:
                files.append(liveFile(live))
            candidates = self._candidates(replaced)
            if live is not None:
                candidates.append(_pending(live, files[-1]))
            verdicts = reconcile(candidates, files)
        except BaseException:
            for one in examined:
                self._examiner.wait(one)
            if live is not None:
                os.close(live)
            raise
        self.couldLookEverywhere = not (
            self._examiner.refused or self._around.siblings.trouble
        )
        for path, reason in self._examiner.refused.items():
            self._around.tellOnce(path, reason)
        for open_ in follower.opened:
            open_.limit = None
        readable = [one for one in examined if one.unreadable is None]
        try:
            for one, verdict in zip(readable, verdicts, strict=False):
                self._apply(one, verdict)
            for one in examined:
                if one.unreadable is not None:
                    self._isUnreadable(one)
        except BaseException:
            for one in examined:
                if one.descriptor >= 0:
                    self._examiner.wait(one)
            if live is not None:
                os.close(live)
            raise
        if live is not None:
            try:
                self._applyLive(live, verdicts[-1], origin)
            except BaseException:
                if follower.current is None:
                    os.close(live)
                raise

    # Consequences

    def _apply(self, one: Examined, verdict: Verdict) -> None:
        match verdict.rule:
            case Rule.WAIT:
                if one.seen.size:
                    self._holdBack(one, verdict.content)
                self._examiner.wait(one)
            case Rule.WITHIN:
                self._examiner.judged(one.path, one.state)
                one.close()
            case Rule.NEW if one.archived and not one.seen.size:
                # Nobody writes to an archive, and there is nothing in this one.
                self._examiner.judged(one.path, one.state)
                one.close()
            case Rule.NEW | Rule.DUPLICATE:
                self._beginRotated(one, verdict)
            case _:
                assert verdict.content is not None
                self._found(one, verdict.content, verdict.rule)

    def _holdBack(self, one: Examined, original: Content | None) -> None:
        """
        A copy may be being made: what it is a copy of is read no further, or the copy might
        lack what was read; and what is newer does not begin before it.
        """
        for open_ in self._follower.opened:
            if open_.content is original:
                if one.seen.isWritten is False and self._isCopy(one, open_):
                    # Whatever comes now, it is known what this is.
                    one.copyOf = open_.key
                    continue
                open_.limit = max(one.seen.size, open_.position)
            elif (
                open_.position == open_.content.origin
                and open_.content.modified >= one.state.modified
                and open_.file is not None
            ):
                open_.limit = open_.position

    @staticmethod
    def _isCopy(one: Examined, open_: OpenContent) -> bool:
        """Whether a file is a beginning of an open content, octet for octet."""
        if one.copyOf == open_.key:
            return True
        try:
            return one.seen.checksum(0, one.seen.size, 0) == open_.checksum(
                0, one.seen.size
            )
        except Vanished:
            return False

    def _beginRotated(self, one: Examined, verdict: Verdict) -> None:
        """A rotated file that nobody knew: rotated between two looks, or while stopped."""
        follower = self._follower
        if self._around.claims(one.path):
            one.close()
            self._examiner.judged(one.path, one.state)
            self._around.addLive(one.path)
            return
        if self._isStale(one):
            self._examiner.wait(one)
            return
        begun = follower.begin(one.descriptor, one.seen.file, Life.ROTATED)
        one.descriptor = -1
        isCopy = verdict.rule is Rule.DUPLICATE
        self._around.events(
            "duplicate" if isCopy else "rotated-unseen",
            path=one.path,
            generation=begun.content.generation,
        )
        self._settle(one, begun)
        begun.rotatedAt = self._around.clock()
        self._around.store.save([begun.content])
        self._beforeUnread(begun)

    def _isStale(self, one: Examined) -> bool:
        """
        Whether a file, or what it was compared with, has changed since: logrotate may have
        finished a copy, and truncated the original.
        """
        if not one.archived and self._examiner.hasChanged(one):
            return True
        for open_ in self._follower.opened:
            open_.look()
        return any(o.hasChanged and not o.isSearching for o in self._follower.opened)

    def _settle(self, one: Examined, open_: OpenContent) -> None:
        """A content is read from a rotated file from now on."""
        content = open_.content
        content.file = one.seen.file
        self._around.noteObject(content.file, self._follower)
        content.archived = one.archived
        content.modified = one.state.modified
        open_.fromArchive = bool(one.archived)
        open_.home = one.path
        open_.dirty = True
        self._examiner.judged(one.path, one.state)

    def _found(self, one: Examined, content: Content, rule: Rule) -> None:
        """A rotated file holds a content on record."""
        follower = self._follower
        for open_ in follower.opened:
            if open_.content is content:
                self._foundOpen(one, open_, rule)
                return
        # One that is not open: it is known where it is.
        follower.searching.pop(content.key, None)
        if content.life is Life.GONE:
            content.happened(Event.COPY_FOUND)
        content.file = one.seen.file
        content.archived = one.archived
        content.modified = one.state.modified
        self._homes[content.key] = one.path
        self._examiner.judged(one.path, one.state)
        if one.seen.size > content.extent:
            # Written to after it was finished.
            self._around.events(
                "late-write", path=one.path, generation=content.generation
            )
            self.open(content, one)
        else:
            content.happened(Event.COPY_FOUND)
            one.close()
        self._around.store.save([content])

    def _foundOpen(self, one: Examined, open_: OpenContent, rule: Rule) -> None:
        follower = self._follower
        if open_.file is not None and one.seen.size <= open_.file.size:
            # Its own file is open and has it all: this is where it is on disk.
            self._settle(one, open_)
            one.close()
            return
        if one.descriptor >= 0:
            open_.use(follower.openFile(one.descriptor, open_.content))
            one.descriptor = -1
        # Else it is an archive that was not unpacked: it is when it is read.
        open_.isCopied = rule is not Rule.SAME
        self._settle(one, open_)
        if follower.searching.pop(open_.key, None) is not None:
            open_.happened(Event.COPY_FOUND)
        if rule is Rule.UNPROVED:
            self._around.events(
                "copy-not-certain", path=one.path, position=open_.position
            )
        if open_.position == open_.content.origin:
            # It may have had nothing when it was seen last: its age is its file's.
            self._beforeUnread(open_)

    def open(self, content: Content, one: Examined | None = None) -> OpenContent:
        """Read a content that had ended, or is only on record."""
        follower = self._follower
        file = None
        if one is not None:
            file = follower.openFile(one.descriptor, content)
            one.descriptor = -1
        content.happened(Event.ASKED_FOR)
        open_ = follower.openContent(content, file)
        open_.fromArchive = bool(content.archived)
        open_.home = self._homes.pop(content.key, None)
        open_.rotatedAt = self._around.clock()
        del follower.records[content.key]
        follower.opened.append(open_)
        self._beforeUnread(open_)
        return open_

    def peek(self, content: Content) -> OpenContent:
        """A content that is only on record, to be compared and nothing else."""
        open_ = self._follower.openContent(content, None)
        open_.fromArchive = bool(content.archived)
        open_.home = self._homes[content.key]
        return open_

    def reopen(self, open_: OpenContent) -> ContentFile | None:
        """Open the file of a content that had ended, when it is read."""
        follower, content = self._follower, open_.content
        if open_.isSearching:
            return None
        if open_.home is None:
            self._isGone(open_)
            return None
        there = {open_.home: content.file.inode}
        examiner = Examiner(
            self._around.clock, self._around.kept.directory, self._around.isWritten
        )
        for one in examiner.files(there, lambda path, status: False):
            if one.unreadable is None and (one.seen.file.isSame(content.file)):
                file = follower.openFile(one.descriptor, content)
                one.descriptor = -1
                return file
            one.close()
        if content.life is Life.PAST:
            return None
        if not examiner.isIncomplete or not os.path.exists(open_.home):
            self._isGone(open_)
        return None

    def _isGone(self, open_: OpenContent) -> None:
        """The file of a content is not where it was, before it was opened."""
        open_.content.reason = "vanished"
        open_.happened(Event.FILE_LOST)
        self._follower.searching[open_.key] = self._around.clock()

    def _isUnreadable(self, one: Examined) -> None:
        """An archive that nobody can unpack: its octets are a gap that names it."""
        follower = self._follower
        assert one.unreadable is not None
        self._around.tellOnce(one.path, one.unreadable)
        follower.generation += 1
        content = Content(
            follower.stream,
            follower.generation,
            follower.path,
            one.seen.file,
            seen=one.seen.size,
            life=Life.LOST,
            archived=one.archived,
            modified=one.state.modified,
            label=one.path,
            reason="unreadable",
        )
        self._around.store.save([content])
        open_ = follower.openContent(content, None)
        open_.rotatedAt = self._around.clock()
        follower.opened.append(open_)
        self._examiner.judged(one.path, one.state)
        self._beforeUnread(open_)

    def _applyLive(self, live: int, verdict: Verdict, origin: int) -> None:
        """What has the path now."""
        follower = self._follower
        content = verdict.content
        if verdict.rule is Rule.DUPLICATE:
            self._around.events(
                "duplicate", path=follower.path, generation=follower.generation + 1
            )
            content = None
        if content is not None and content.key in follower.records:
            # It was away, and has come back.
            self._around.events(
                "returned", path=follower.path, generation=content.generation
            )
            follower.searching.pop(content.key, None)
            self._homes.pop(content.key, None)
            del follower.records[content.key]
            content.life = Life.LIVE
            open_ = follower.openContent(content, follower.openFile(live, content))
            follower.opened.append(open_)
            follower.current = open_
            open_.dirty = True
            return
        for open_ in follower.opened:
            if content is not None and open_.content is content:
                file = identify(live)
                if verdict.rule is not Rule.SAME:
                    self._around.events(
                        "replaced", path=follower.path, generation=content.generation
                    )
                    if self._mayBeWritten(open_):
                        # A daemon may write on to the file that was replaced: it is read,
                        # too, and what the new one begins with is delivered as its.
                        origin = content.extent
                        open_.isContinued = True
                        break
                open_.use(follower.openFile(live, content))
                content.file, content.archived = file, 0
                self._around.noteObject(file, follower)
                content.life = Life.LIVE
                open_.fromArchive, open_.home, open_.rotatedAt = False, None, None
                open_.isFinal = False
                open_.dirty = True
                follower.searching.pop(content.key, None)
                follower.current = open_
                return
        if origin > os.fstat(live).st_size:
            origin = 0
        follower.current = follower.begin(live, identify(live), Life.LIVE, origin)

    def _mayBeWritten(self, open_: OpenContent) -> bool:
        """Whether somebody may still write to the file of an open content."""
        file = open_.file
        if file is None or file.descriptor is None or open_.fromArchive:
            return False
        return self._around.isWritten(file.descriptor) is not False

    def _beforeUnread(self, one: OpenContent) -> None:
        """Put what was found between those of which nothing was read yet, by age."""
        opened = self._follower.opened
        opened.remove(one)
        at = len(opened)
        siblings = self._around.siblings
        age = (one.content.modified, siblings.age(one.home or ""))
        while at:
            before = opened[at - 1]
            isRead = before.position != before.content.origin
            older = (before.content.modified, siblings.age(before.home or ""))
            if isRead or (before is not self._follower.current and older <= age):
                break
            at -= 1
        opened.insert(at, one)


def _isUnchanged(content: Content, path: str) -> bool:
    try:
        return content.isUnchanged(os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def liveFile(descriptor: int) -> SeenFile:
    """What has a configured path."""
    return SeenFile(
        identify(descriptor),
        os.fstat(descriptor).st_size,
        os.pread(descriptor, LOOK_OCTETS, 0),
        checksumOf(descriptor),
        isLive=True,
        birth=birthTime(descriptor),
    )


def _ownOf(one: OpenContent) -> Callable[[int, int, int], int | None]:
    """The checksum of the file of an open content."""

    def checksum(start: int, end: int, crc: int) -> int | None:
        try:
            return one.checksum(start, end, crc)
        except Vanished:
            return None

    return checksum


def _pending(live: int, file: SeenFile) -> Candidate:
    """What has the path now and is no content yet: a rotated file may be a copy of it."""

    def looks(other: SeenFile) -> bool:
        if other.size > file.size or 0 < other.birth < file.birth:
            return False
        count = min(len(other.head), len(file.head))
        start = max(0, other.size - LOOK_OCTETS)
        return other.head[:count] == file.head[:count] and other.pread(
            other.size - start, start
        ) == os.pread(live, other.size - start, start)

    return Candidate(Content("", 0, ""), isThere=True, looksLike=looks)


def _pastOf(one: Examined, follower: FileFollower) -> tuple[Content, Examined]:
    """The record of a file that is not ours to ship, and is known when it is compressed."""
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
    return content, one


def _looksLike(one: OpenContent) -> Callable[[SeenFile], bool]:
    """Whether a file looks like a copy of the beginning of an open content."""

    def looks(file: SeenFile) -> bool:
        own = one.file
        if own is None or own.descriptor is None or file.size > own.size:
            return False
        if not one.fromArchive and 0 < file.birth < birthTime(own.descriptor):
            # A copy is younger than what it was copied from.
            return False
        count = min(len(file.head), len(own.head))
        start = max(0, file.size - LOOK_OCTETS)
        return file.head[:count] == own.head[:count] and file.pread(
            file.size - start, start
        ) == os.pread(own.descriptor, file.size - start, start)

    return looks


def _mayBeCopied(content: Content) -> Callable[[SeenFile], bool]:
    """The same for a content whose file is there and not open."""

    def looks(file: SeenFile) -> bool:
        if file.size > content.extent:
            return False
        if file.size < content.extent and file.isWritten is False:
            # Nobody is making a copy.
            return False
        count = min(len(file.head), len(content.head))
        return file.head[:count] == content.head[:count]

    return looks
