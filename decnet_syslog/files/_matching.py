"""
Matches the rotated files of a path with its contents.

This module collects the evidence, L{reconcile} gives the verdicts, and L{Consequences} carries
them out.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ._candidates import Candidate
from ._consequences import Consequences
from ._contents import Content, ContentKey, Life
from ._evidence import (
    liveFile,
    looksLike,
    mayBeCopied,
    ownOf,
    pastOf,
    pending,
    unreadPast,
)
from ._examine import Examiner
from ._examined import Examined
from ._homes import Homes
from ._objects import identify
from ._open import OpenContent
from ._reconcile import reconcile
from ._reopening import Reopening
from ._rules import Rule
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["AWAITED_S_MAX", "SEARCH_S", "Matcher"]

# How long the forwarder searches for a copy of a content that has lost its file, in seconds:
# compressing takes time.
SEARCH_S = 10.0

# The same while a file that may be a short copy is still being written, in seconds.
AWAITED_S_MAX = 120.0


class Matcher:
    """
    The rotated files of a path.

    @ivar wasLive: the content that had the path when the forwarder was stopped.
    @ivar reopening: opens contents that are only on record.
    @ivar awaited: the contents for which the last match kept a file waiting.
    @ivar couldLookEverywhere: whether every file and directory was readable at the last look.
    """

    def __init__(self, follower: FileFollower, around: Surroundings) -> None:
        self.wasLive: ContentKey | None = None
        self.couldLookEverywhere = True
        self.awaited: set[ContentKey] = set()
        self._follower = follower
        self._around = around
        self._homes = Homes(follower, around)
        self._examiner = Examiner(
            around.clock,
            around.kept.directory,
            around.isWritten,
            self._homes.isDelivered,
        )
        self.reopening = Reopening(follower, around, self._homes)
        self._consequences = Consequences(
            follower, around, self._examiner, self._homes, self.reopening
        )

    def close(self) -> None:
        """Close the files that are kept for the next look."""
        self._examiner.close()

    # When

    def matchChanged(self) -> None:
        """Match the rotated files, if they can have changed."""
        isChanged = self._around.siblings.take(self._follower.path)
        if isChanged:
            self._homes.find()
        if isChanged or self._follower.searching or self._examiner.isIncomplete:
            self.match()

    def recheck(self, path: str) -> None:
        """Check a rotated file for writes since it was identified."""
        if self._examiner.doubt(path):
            self.match()

    def forget(self, path: str) -> None:
        """Note that a rotated file is not identified any more."""
        self._examiner.forgetOne(path)

    def quiet(self) -> list[str]:
        """The rotated files that are not open, and may still be written to."""
        return self._examiner.known()

    @property
    def homes(self) -> dict[ContentKey, str]:
        """The paths of the files whose contents are not open."""
        return self._homes.of

    def start(self, live: int | None, startOffset: int) -> None:
        """First look: search for every content on record."""
        self._around.siblings.take(self._follower.path)
        self._homes.find()
        try:
            self.match(live, origin=startOffset)
        finally:
            self.wasLive = None

    def firstSight(self) -> None:
        """First look at a path without records: its rotated files are not ours to ship."""
        follower = self._follower
        there = self._around.siblings.of(follower.path)
        past: dict[str, Content] = {}
        for one in self._examiner.files(there, lambda path, status: False):
            if self._around.claims(one.path):
                # A pattern matches its path: the match that follows identifies it.
                self._examiner.wait(one)
                continue
            follower.generation += 1
            past[one.path] = pastOf(one, follower)
            self._examiner.judged(one.path, one.state)
            one.close()
        for path in there:
            if path not in past and not self._around.claims(path):
                # It was there, too, but cannot be read now.
                follower.generation += 1
                past[path] = unreadPast(path, follower)
        for path, content in past.items():
            follower.records[content.key] = content
            self._homes.of[content.key] = path
        if past:
            self._around.unsaved.note(*past.values())
            self._around.events("before-our-time", path=follower.path, files=len(past))

    # Evidence

    def _candidates(self, replaced: OpenContent | None) -> list[Candidate]:
        follower, now = self._follower, self._around.clock()
        found = []
        for one in follower.opened:
            if one.life is Life.LOST:
                continue
            since = follower.searching.get(one.key, now)
            isThere = one.file is not None and not self.isUnlinked(one)
            if one.file is not None and not isThere:
                # The file can be read to its end, so the proof of all octets identifies a copy.
                one.extendProof(max(0, one.size - one.content.proof.end))
            wasCurrent = one is replaced or one.key == self.wasLive
            goneAt = 0
            if one.file is not None and not (
                isThere or one.fromArchive or one.rescuedOctets
            ):
                goneAt = one.file.changedAt
            found.append(
                Candidate(
                    one.content,
                    isThere,
                    looksLike=looksLike(one) if isThere else None,
                    mayGrow=wasCurrent and not follower.name.wasEmpty,
                    searchIsOver=now - since >= SEARCH_S,
                    goneAt=goneAt,
                    isContinued=one.isContinued,
                    own=None if one.file is None else ownOf(one),
                )
            )
        for key, content in follower.records.items():
            if content.life is Life.GONE:
                # Only its own file can hold it again, if that comes back.
                if content.file.version:
                    found.append(Candidate(content, isThere=True))
                continue
            gone = follower.searching.get(key)
            found.append(
                Candidate(
                    content,
                    gone is None,
                    looksLike=mayBeCopied(content) if gone is None else None,
                    searchIsOver=gone is not None and now - gone >= SEARCH_S,
                )
            )
        return found

    @staticmethod
    def isUnlinked(one: OpenContent) -> bool:
        """Whether the file of a content has no name any more."""
        if one.file is None or one.file.descriptor is None:
            return False
        if one.rescuedOctets:
            # The kept copy is our own file; one of the user's files may be a copy, too.
            return True
        if one.fromArchive:
            return one.home is None
        return one.file.links == 0

    def match(
        self,
        live: int | None = None,
        replaced: OpenContent | None = None,
        origin: int = 0,
    ) -> None:
        """
        Identify the files that are not identified yet.

        @param live: a descriptor of the file at the path, to identify that, too. This method
            closes it or puts it to use.
        @param replaced: the content that had the path before.
        @param origin: where a new content of the path begins.
        """
        follower = self._follower
        there = self._homes.places()
        liveObject = None if live is None else identify(live)
        examined: list[Examined] = []
        try:
            for one in self._examiner.files(there, self._homes.owns, liveObject):
                examined.append(one)
                if not self._homes.isOurs(one.path, one.seen):
                    examined.pop()
                    self._examiner.judged(one.path, one.state)
                    one.close()
            for open_ in follower.opened:
                # Look at originals after copies: an original then has at least as many octets.
                open_.check()
            examined.sort(
                key=lambda e: (e.state.modified, self._around.siblings.age(e.path))
            )
            for one in examined:
                isStrange = one.path in self._homes.strange
                one.seen = replace(one.seen, isStrange=isStrange)
            files = [one.seen for one in examined if one.unreadable is None]
            if live is not None:
                files.append(liveFile(live))
            candidates = self._candidates(replaced)
            if live is not None:
                candidates.append(pending(live, files[-1]))
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
        self.awaited = {
            v.content.key for v in verdicts if v.rule is Rule.WAIT and v.content
        }
        for path, reason in self._examiner.refused.items():
            self._around.tellOnce(path, reason)
        for open_ in follower.opened:
            open_.limit = None
        readable = [one for one in examined if one.unreadable is None]
        try:
            for one, verdict in zip(readable, verdicts, strict=False):
                self._consequences.apply(one, verdict)
            for one in examined:
                if one.unreadable is not None and not one.seen.isStrange:
                    self._consequences.unreadable(one)
        except BaseException:
            for one in examined:
                if one.descriptor >= 0:
                    self._examiner.wait(one)
            if live is not None:
                os.close(live)
            raise
        if live is not None:
            try:
                self._consequences.applyLive(live, verdicts[-1], origin)
            except BaseException:
                if follower.current is None:
                    os.close(live)
                raise
