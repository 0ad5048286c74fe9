"""
The first look at a path: what is on record is looked for, and what came while we were stopped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._contents import UNFINISHED, Content, Life
from ._objects import identify, openRegular
from ._open import OpenContent
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Start"]

# How long a file that was there and is not may be away when we start, in seconds: a mount that
# comes late.
ABSENT_S = 5.0


class Start:
    """
    Begins one path.
    """

    def __init__(
        self, follower: FileFollower, around: Surroundings, startOffset: int
    ) -> None:
        """
        @param startOffset: where to begin in a file that is seen for the first time.
        """
        self._follower = follower
        self._around = around
        self.startOffset = startOffset
        self._firstTry: float | None = None

    def hasBegun(self) -> bool:
        """
        Begin, or begin at the next look.

        What is there and cannot be read is waited for: it is not gone, so its octets are
        no gap, and not new, so they are not shipped again.
        """
        follower = self._follower
        try:
            contents = self._around.store.contentsOf(follower.path)
            if self._isAbsent(contents):
                return False
            self._begin(contents)
        except BaseException as error:
            follower.reset()
            if not isinstance(error, OSError):
                raise
            follower.cannot(error.strerror or str(error))
            return False
        return True

    def _isAbsent(self, contents: list[Content]) -> bool:
        """Whether nothing is there yet of what was there: a mount that comes late."""
        path, now = self._follower.path, self._around.clock()
        if self._firstTry is None:
            self._firstTry = now
        if now - self._firstTry >= ABSENT_S or os.path.exists(path):
            return False
        unfinished = [c for c in contents if c.life in UNFINISHED]
        kept = any(self._around.kept.path(c.key).exists() for c in unfinished)
        return bool(unfinished) and not kept and not self._around.siblings.of(path)

    def _begin(self, contents: list[Content]) -> None:
        """Find what is on record, and what came while we were stopped."""
        follower = self._follower
        if contents:
            newest = max(contents, key=lambda c: c.generation)
            follower.stream, follower.generation = newest.stream, newest.generation
        for content in contents:
            if content.life in UNFINISHED:
                self._seek(content)
            else:
                follower.records[content.key] = content
        if not contents:
            follower.matcher.firstSight()
        startOffset = 0 if contents else self.startOffset
        live = follower.name.open()
        if live is not None:
            origin = follower.name.originOf(live)
            if origin is None:
                os.close(live)
                live = None
            else:
                startOffset = max(startOffset, origin)
        follower.matcher.start(live, startOffset)
        follower.opened.sort(key=lambda one: one is follower.current)

    def _seek(self, content: Content) -> None:
        """Open what we have kept of a content, or look for its file."""
        follower, now = self._follower, self._around.clock()
        if content.life is Life.LIVE:
            follower.matcher.wasLive = content.key
        one = self._fromKept(content)
        if one is None:
            if content.life is not Life.LOST:
                content.reason = content.reason or "vanished"
                content.life = Life.SEARCHING
                follower.searching[content.key] = now
            one = follower.openContent(content, None)
        one.rotatedAt = now
        follower.opened.append(one)

    def _fromKept(self, content: Content) -> OpenContent | None:
        """A content of which we have made a copy when its file was deleted."""
        path = self._around.kept.path(content.key)
        try:
            descriptor = openRegular(str(path), False)
        except FileNotFoundError:
            return None
        if descriptor is None:
            return None
        follower = self._follower
        content.file = identify(descriptor)
        content.archived = 0
        content.life = Life.ROTATED
        one = follower.openContent(content, follower.openFile(descriptor, content))
        one.home = str(path)
        one.rescuedOctets = one.size
        # What we keep has a hole before the offset.
        one.floor = content.kept
        return one
