"""
Searches for copies of contents that have lost their files, for a bounded time.

What must be true: a content leaves the search with a file that is proved to hold it, or its
undelivered octets become a gap record.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._contents import Event, Life
from ._matching import AWAITED_S_MAX, SEARCH_S
from ._objects import NO_FILE, identify
from ._open import OpenContent
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Search"]


class Search:
    """
    Begins and ends the searches for copies of a path's contents.
    """

    def __init__(self, follower: FileFollower, around: Surroundings) -> None:
        self._follower = follower
        self._around = around

    def fileLost(self, one: OpenContent) -> None:
        """Begin the search for a copy of a content whose file holds another content."""
        self._around.events(
            "truncated",
            path=self._follower.path,
            generation=one.content.generation,
            position=one.position,
        )
        if one is self._follower.current:
            self._follower.current = None
            one.rotatedAt = self._around.clock()
        if one.home is not None:
            # The file at that path was identified as this content: identify it again.
            self._follower.matcher.forget(one.home)
            one.home = None
        left = self._leftBehind(one)
        one.close()
        one.content.file = NO_FILE
        one.content.archived = 0
        one.hasChanged = False
        one.limit = None
        one.content.reason = "truncated"
        one.happened(Event.FILE_LOST)
        self._follower.searching[one.key] = self._around.clock()
        self._around.store.save([one.content])
        if left is not None:
            try:
                begun = self._follower.begin(left, identify(left), Life.ROTATED)
            except BaseException:
                os.close(left)
                raise
            begun.rotatedAt = self._around.clock()
        self._around.siblings.refreshAgain()
        self._follower.matcher.match()

    def _leftBehind(self, one: OpenContent) -> int | None:
        """
        Duplicate the descriptor of the changed file, if no examined name leads to the file.

        Otherwise, its new content would never be read.
        """
        file = one.file
        if file is None or file.descriptor is None or one.fromArchive or one.isStale:
            return None
        status = os.fstat(file.descriptor)
        try:
            here = os.stat(self._follower.path)
        except OSError:
            here = None
        isHere = here is not None and os.path.samestat(here, status)
        isSibling = (
            status.st_ino in self._around.siblings.of(self._follower.path).values()
        )
        return None if isHere or isSibling else os.dup(file.descriptor)

    def giveUp(self) -> None:
        """End the searches that have lasted long enough: the undelivered octets become a gap."""
        now = self._around.clock()
        for key, since in list(self._follower.searching.items()):
            if now - since < SEARCH_S or self._follower.trouble is not None:
                continue
            if not self._follower.matcher.couldLookEverywhere:
                # A copy may be in a place that cannot be read now: restart the time limit.
                self._follower.searching[key] = now
                continue
            if key in self._follower.matcher.awaited and now - since < AWAITED_S_MAX:
                continue
            del self._follower.searching[key]
            record = self._follower.records.get(key)
            if record is not None:
                record.happened(Event.FILE_GONE)
                self._around.unsaved.note(record)
                # A journal that lacks octets of the content gets a gap.
                self._around.begun(self._follower)
                continue
            for one in self._follower.opened:
                if one.key == key:
                    one.happened(Event.GIVEN_UP)
                    one.lose(one.content.reason or "truncated")
                    self._around.store.save([one.content])
                    if one.position < one.size:
                        self._around.events(
                            "copy-not-found",
                            path=self._follower.path,
                            position=one.position,
                        )
