"""
The configured path of a follower: which file object it leads to at each look.

If the path leads to another object, the file was rotated by name, or an earlier file has come
back. An object that another path's follower still reads is left to that follower until it is
done.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._contents import UNFINISHED, Event, Life
from ._evidence import liveFile
from ._objects import FileId, identify, openRegular
from ._open import OpenContent
from ._rules import isSame
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["PathName"]


class PathName:
    """
    The file object at one configured path.

    @ivar wasEmpty: whether the path led nowhere at some look since it last got a file.
    @ivar waitsFor: the file at the path, while another path's follower reads it.
    """

    def __init__(
        self, follower: FileFollower, around: Surroundings, followLinks: bool
    ) -> None:
        """
        @param followLinks: whether the path may be a symbolic link.
        """
        self.wasEmpty = False
        self.waitsFor: FileId | None = None
        self._follower = follower
        self._around = around
        self._followLinks = followLinks
        self._linked: tuple[int, int] | None = None

    def check(self) -> None:
        """Check whether the path leads to another file now."""
        try:
            status = os.stat(self._follower.path)
        except FileNotFoundError:
            self.wasEmpty = True
            if self._follower.current is not None:
                self._nameTaken(self._follower.current)
            return
        except OSError as error:
            self._follower.cannot(error.strerror or str(error))
            return
        here = (status.st_dev, status.st_ino)
        if (
            self._follower.current is not None
            and here == self._follower.current.content.file[:2]
        ):
            return
        # A file that was renamed away may be back.
        for one in self._follower.opened:
            if one.hasOpen(here) and one.life is Life.ROTATED:
                self._nameBack(one)
                return
        if self._isStillRead(here):
            return
        descriptor = self._tryToOpen()
        if descriptor is None:
            return
        if os.path.islink(self._follower.path) and here != self._linked:
            # The rotated files are next to the new target now.
            self._linked = here
            self._around.siblings.relinked(self._follower.path)
            self._around.events("link-changed", path=self._follower.path)
        self._adopt(descriptor)

    def _isStillRead(self, here: tuple[int, int]) -> bool:
        """Whether another path's follower still reads the file at this path."""
        file = self.waitsFor
        if file is None or file[:2] != here:
            return False
        return isinstance(self._around.ownerOf(file, self._follower), OpenContent)

    def _adopt(self, descriptor: int) -> None:
        """Identify the new file at the path; files that were rotated unseen come first."""
        origin = self.originOf(descriptor)
        if origin is None:
            os.close(descriptor)
            return
        self._around.siblings.refreshAgain()
        replaced = self._follower.current
        if replaced is not None:
            self._nameTaken(replaced)
        try:
            self._follower.matcher.match(descriptor, replaced, origin)
        finally:
            self.wasEmpty = False

    def originOf(self, descriptor: int) -> int | None:
        """
        The offset where this path's content begins: another path may have shipped the octets up
        to there.

        @return: C{None}: another path's follower still reads the file.
        """
        file = identify(descriptor)
        self.waitsFor = None
        owner = self._around.ownerOf(file, self._follower)
        if owner is None:
            return 0
        isRead = isinstance(owner, OpenContent)
        content = owner.content if isinstance(owner, OpenContent) else owner
        if isRead or (
            content.life in UNFINISHED and self._around.isFollowed(content.name)
        ):
            self.waitsFor = file
            return None
        return content.extent if isSame(liveFile(descriptor), content) else 0

    def _nameTaken(self, one: OpenContent) -> None:
        self._follower.current = None
        one.rotatedAt = self._around.clock()
        one.happened(Event.NAME_TAKEN)
        self._around.events(
            "renamed", path=self._follower.path, generation=one.content.generation
        )

    def _nameBack(self, one: OpenContent) -> None:
        if self._follower.current is not None:
            self._nameTaken(self._follower.current)
        one.rotatedAt = None
        one.isFinal = False
        one.happened(Event.NAME_BACK)
        self._follower.current = one

    def _tryToOpen(self) -> int | None:
        """Open the file at the path, if it is a regular one; note a failure."""
        try:
            return self.open()
        except OSError as error:
            self._follower.cannot(error.strerror or str(error))
            return None

    def open(self) -> int | None:
        """
        Open the file at the path, if it is a regular one.

        @raise OSError: the file exists, but cannot be opened.
        """
        try:
            descriptor = openRegular(self._follower.path, self._followLinks)
        except FileNotFoundError:
            return None
        if descriptor is None:
            self._follower.cannot("it is not a regular file")
            return None
        self._follower.readableAgain()
        return descriptor
