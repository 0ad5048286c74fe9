"""
Carries out the verdicts on files: begins contents, continues them in other files, or notes
where they are on disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._contents import Content, Event, Life
from ._evidence import liveFile
from ._examine import Examiner
from ._examined import Examined
from ._homes import Homes
from ._objects import identify
from ._open import OpenContent
from ._reader import Vanished
from ._reopening import Reopening
from ._rules import Rule, Verdict, sharesFirstLine
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Consequences"]


class Consequences:
    """
    Carries out the verdicts on the files of a path.
    """

    def __init__(
        self,
        follower: FileFollower,
        around: Surroundings,
        examiner: Examiner,
        homes: Homes,
        reopening: Reopening,
    ) -> None:
        self._follower = follower
        self._around = around
        self._examiner = examiner
        self._homes = homes
        self._reopening = reopening

    def apply(self, one: Examined, verdict: Verdict) -> None:
        rule, content = verdict.rule, verdict.content
        if one.isOnlyClaimed and (content is None or one.seen.size != content.extent):
            # Another archive has the content that this one claims: the next look unpacks it.
            rule = Rule.WAIT
        match rule:
            case Rule.WAIT:
                if one.seen.size:
                    self._holdBack(one, verdict.content)
                self._examiner.wait(one)
            case Rule.STRANGE:
                one.close()
            case Rule.WITHIN:
                self._examiner.judged(one.path, one.state)
                one.close()
            case Rule.NEW if one.archived and not one.seen.size:
                # No process writes to an archive, and this one is empty.
                self._examiner.judged(one.path, one.state)
                one.close()
            case Rule.NEW | Rule.DUPLICATE:
                self._beginRotated(one, verdict)
            case _:
                assert verdict.content is not None
                self._found(one, verdict.content, verdict)

    def _holdBack(self, one: Examined, original: Content | None) -> None:
        """
        Hold back the original of a file that may be a copy in the making.

        The original is read no further than the copy reaches: otherwise, the copy might lack
        octets that were read. A newer content does not begin before the file is identified.
        """
        for open_ in self._follower.opened:
            if open_.content is original and not open_.isSearching:
                if one.seen.isWritten is False and self._isCopy(one, open_):
                    # The file is identified, whatever is written next.
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
        """Whether a file is the beginning of an open content, octet for octet."""
        if one.copyOf == open_.key:
            return True
        try:
            return one.seen.checksum(0, one.seen.size, 0) == open_.checksum(
                0, one.seen.size
            )
        except Vanished:
            return False

    def _beginRotated(self, one: Examined, verdict: Verdict) -> None:
        """Begin an unknown rotated file: rotated between two looks, or during a stop."""
        follower = self._follower
        if self._isStale(one):
            self._examiner.wait(one)
            return
        if self._around.claims(one.path):
            one.close()
            self._examiner.judged(one.path, one.state)
            self._around.addLive(one.path)
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
        self._follower.putByAge(begun)

    def _isStale(self, one: Examined) -> bool:
        """
        Whether a file, or one that it was compared with, has changed since: logrotate may have
        finished a copy, and truncated the original.
        """
        if not one.archived and self._examiner.hasChanged(one):
            return True
        for open_ in self._follower.opened:
            open_.check()
        return any(o.hasChanged and not o.isSearching for o in self._follower.opened)

    def _settle(self, one: Examined, open_: OpenContent) -> None:
        """Read a content from a rotated file from now on."""
        content = open_.content
        content.file = one.seen.file
        self._around.noteObject(content.file, self._follower)
        content.archived = one.archived
        content.modified = one.state.modified
        open_.fromArchive = bool(one.archived)
        open_.home = one.path
        open_.dirty = True
        self._examiner.judged(one.path, one.state)

    def _found(self, one: Examined, content: Content, verdict: Verdict) -> None:
        """Handle a rotated file that holds a content on record."""
        follower = self._follower
        for open_ in follower.opened:
            if open_.content is content:
                self._foundOpen(one, open_, verdict)
                return
        # The content is not open: only note where it is.
        follower.searching.pop(content.key, None)
        if content.life is Life.GONE:
            content.happened(Event.COPY_FOUND)
        content.file = one.seen.file
        content.archived = one.archived
        content.modified = one.state.modified
        self._homes.of[content.key] = one.path
        self._examiner.judged(one.path, one.state)
        if one.seen.size > content.extent:
            if not verdict.isCertain:
                self._notCertain(one, content.extent)
            # A writer has appended to the file after it was finished.
            self._around.events(
                "late-write", path=one.path, generation=content.generation
            )
            open_ = self._reopening.open(content, one)
            open_.isGrownCopy = verdict.rule is Rule.GROWN
        else:
            content.happened(Event.COPY_FOUND)
            one.close()
        self._around.unsaved.note(content)

    def _foundOpen(self, one: Examined, open_: OpenContent, verdict: Verdict) -> None:
        follower = self._follower
        if open_.file is not None and one.seen.size <= open_.file.size:
            # Its own file is open and has every octet: note only its place on disk.
            self._settle(one, open_)
            one.close()
            return
        if one.descriptor >= 0:
            open_.use(follower.openFile(one.descriptor, open_.content))
            one.descriptor = -1
        # Otherwise the archive was not unpacked yet; it is unpacked when it is read.
        open_.isCopied = verdict.rule is not Rule.SAME
        open_.isGrownCopy = verdict.rule is Rule.GROWN
        self._settle(one, open_)
        if follower.searching.pop(open_.key, None) is not None:
            open_.happened(Event.COPY_FOUND)
        if not verdict.isCertain:
            self._notCertain(one, open_.position)
        if open_.position == open_.content.origin:
            # The content may have been empty when last seen: its age is that of its file.
            self._follower.putByAge(open_)

    def _notCertain(self, one: Examined, position: int) -> None:
        """Report that a file may hold another content than assumed; its octets are shipped."""
        self._around.events("copy-not-certain", path=one.path, position=position)

    def unreadable(self, one: Examined) -> None:
        """Turn an archive that cannot be unpacked into a gap that names it."""
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
        open_.home = one.path
        follower.opened.append(open_)
        self._examiner.judged(one.path, one.state)
        self._follower.putByAge(open_)

    def applyLive(self, live: int, verdict: Verdict, origin: int) -> None:
        """Carry out the verdict on the file at the path."""
        follower = self._follower
        content = verdict.content
        if verdict.rule is Rule.DUPLICATE or (
            verdict.rule is Rule.NEW and self._beginsLikeGrown(live)
        ):
            self._around.events(
                "duplicate", path=follower.path, generation=follower.generation + 1
            )
            content = None
        if content is not None and content.key in follower.records:
            # The file was away, and has come back.
            self._around.events(
                "returned", path=follower.path, generation=content.generation
            )
            follower.searching.pop(content.key, None)
            self._homes.of.pop(content.key, None)
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
                        # A daemon may go on writing to the replaced file, so the forwarder
                        # reads that one to its end. The shared beginning counts as its octets.
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

    def _beginsLikeGrown(self, live: int) -> bool:
        """Whether a new file begins like one that was identified as a grown content."""
        file = liveFile(live)
        return any(
            open_.isGrownCopy and sharesFirstLine(file, open_.content)
            for open_ in self._follower.opened
        )

    def _mayBeWritten(self, open_: OpenContent) -> bool:
        """Whether any process may still write to the file of an open content."""
        file = open_.file
        if file is None or file.descriptor is None or open_.fromArchive:
            return False
        return self._around.isWritten(file.descriptor) is not False
