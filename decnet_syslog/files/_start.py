"""
The first look at a path: finds the contents on record, and files that appeared during the stop.
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

# How long to wait at start for a file that existed before the stop, in seconds: its mount may
# come late.
ABSENT_S = 5.0


class Start:
    """
    Starts the follower of a path.
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
        Begin, or try again at the next look.

        The follower waits for a file that exists and cannot be read. The file is not gone, so
        its octets are no gap; it is not new, so its octets are not shipped again.
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
        """Whether every file of the unfinished contents is missing: a mount may come late."""
        path, now = self._follower.path, self._around.clock()
        if self._firstTry is None:
            self._firstTry = now
        if now - self._firstTry >= ABSENT_S or os.path.exists(path):
            return False
        unfinished = [c for c in contents if c.life in UNFINISHED]
        kept = any(self._around.kept.path(c.key).exists() for c in unfinished)
        return bool(unfinished) and not kept and not self._around.siblings.of(path)

    def _begin(self, contents: list[Content]) -> None:
        """Find the contents on record, and the files that appeared during the stop."""
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
        live = follower.name.open()
        startOffset = 0 if contents else self._checked(live)
        if live is not None:
            origin = follower.name.originOf(live)
            if origin is None:
                os.close(live)
                live = None
            else:
                startOffset = max(startOffset, origin)
        follower.matcher.start(live, startOffset)
        follower.opened.sort(key=lambda one: one is follower.current)

    def _checked(self, live: int | None) -> int:
        """Where to begin: at the start, if the given offset is not one of this file."""
        offset, size = self.startOffset, 0
        if live is not None:
            size = os.fstat(live).st_size
        if not 0 <= offset <= size:
            self._around.events(
                "offset-elsewhere", path=self._follower.path, offset=offset, size=size
            )
            # Said once, however often the start is tried.
            self.startOffset = 0
        return self.startOffset

    def _seek(self, content: Content) -> None:
        """Open the kept copy of a content, or search for its file."""
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
        """Open the copy that was kept when the file of a content was deleted."""
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
        # The copy has a hole where it needs no octets.
        one.floor = content.kept
        return one
