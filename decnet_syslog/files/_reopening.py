"""
Reads contents again: ended ones that a journal lacks, or whose files were written to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._contents import Content, Event, Life
from ._examine import Examiner
from ._examined import Examined
from ._held import HeldContent
from ._homes import Homes
from ._open import OpenContent
from ._reader import ContentFile
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Reopening"]


class Reopening:
    """
    Opens the contents of a path that are only on record.
    """

    def __init__(
        self, follower: FileFollower, around: Surroundings, homes: Homes
    ) -> None:
        self._follower = follower
        self._around = around
        self._homes = homes

    def open(self, content: Content, one: Examined | None = None) -> OpenContent:
        """Read a content that has ended, or is only on record."""
        follower = self._follower
        file = None
        if one is not None:
            file = follower.openFile(one.descriptor, content)
            one.descriptor = -1
        content.happened(Event.ASKED_FOR)
        # It need not be searched for; if its file cannot be opened, a search begins again.
        follower.searching.pop(content.key, None)
        open_ = follower.openContent(content, file)
        open_.fromArchive = bool(content.archived)
        open_.home = self._homes.of.pop(content.key, None)
        open_.rotatedAt = self._around.clock()
        del follower.records[content.key]
        follower.opened.append(open_)
        self._follower.putByAge(open_)
        return open_

    def peek(self, content: Content) -> OpenContent:
        """Open a content that is only on record, for comparison only."""
        open_ = self._follower.openContent(content, None)
        open_.fromArchive = bool(content.archived)
        open_.home = self._homes.of[content.key]
        return open_

    def reopen(self, open_: HeldContent) -> ContentFile | None:
        """Open the file of an ended content, when the content is read."""
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

    def _isGone(self, open_: HeldContent) -> None:
        """Begin a search: the file was gone before the forwarder opened it."""
        open_.content.reason = "vanished"
        open_.happened(Event.FILE_LOST)
        self._follower.searching[open_.key] = self._around.clock()
