"""
Which rotated files of a path hold which of its contents: evidence in, consequences out.

The decision is L{reconcile}'s. Here are the candidates that it is given, and what follows from
its verdicts.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

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
from ._open import OpenContent
from ._reconcile import reconcile
from ._reopening import Reopening
from ._rules import Candidate, Rule
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["AWAITED_S_MAX", "SEARCH_S", "Matcher"]

# How long a copy of a content that has lost its file is looked for, in seconds: compressing
# takes time.
SEARCH_S = 10.0

# The same, in seconds, while a file that may be a short copy of it is still being written.
AWAITED_S_MAX = 120.0


class Matcher:
    """
    The rotated files of one path.

    @ivar wasLive: the content that had the path when the forwarder was stopped.
    @ivar reopening: opens contents that are only on record.
    @ivar awaited: the contents for which a file was kept waiting by the last match.
    @ivar couldLookEverywhere: whether no file or directory was unreadable at the last look.
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
        """Close what is still waited for."""
        self._examiner.close()

    # When

    def look(self) -> None:
        """See what has become of the rotated files, if anything can have."""
        isChanged = self._around.siblings.take(self._follower.path)
        if isChanged:
            self._homes.find()
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
        return self._homes.of

    def start(self, live: int | None, startOffset: int) -> None:
        """The first look: everything on record is looked for."""
        self._around.siblings.take(self._follower.path)
        self._homes.find()
        try:
            self.match(live, origin=startOffset)
        finally:
            self.wasLive = None

    def firstSight(self) -> None:
        """A path without records: its rotated files are from before our time."""
        follower = self._follower
        there = self._around.siblings.of(follower.path)
        past: dict[str, Content] = {}
        for one in self._examiner.files(there, lambda path, status: False):
            if self._around.claims(one.path):
                # The match that follows says what it is.
                self._examiner.wait(one)
                continue
            follower.generation += 1
            past[one.path] = pastOf(one, follower)
            self._examiner.judged(one.path, one.state)
            one.close()
        for path in there:
            if path not in past and not self._around.claims(path):
                # It cannot be read now, and was there, too.
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
                # It can be read to its end: then its copy can be known for certain.
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
                # Its own file may come back, from wherever it was; nothing else is it.
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
            # What we have kept of it is no file of the user's: its copy may be one.
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
        Say what the files are of which it is not known.

        @param live: what has the path now, if that is to be said, too; closed, or in use.
        @param replaced: the content that had the path before.
        @param origin: where a new content of the path begins.
        """
        follower = self._follower
        there = self._homes.places()
        examined: list[Examined] = []
        try:
            for one in self._examiner.files(there, self._homes.owns):
                examined.append(one)
                if not self._homes.isOurs(one.path, one.seen):
                    examined.pop()
                    self._examiner.judged(one.path, one.state)
                    one.close()
            for open_ in follower.opened:
                # After its copies: an original has at least what a copy has.
                open_.look()
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
