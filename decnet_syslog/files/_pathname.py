"""
The configured path of a follower: which file object it leads to, look by look.

A path that leads to another object was rotated by name, or its file has come back. An object
that another path's follower still reads is left to that one until it is done.
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
    What one configured path leads to.

    @ivar wasEmpty: whether the path was seen to lead nowhere since a file was taken from it.
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

    def look(self) -> None:
        """See whether the path leads to another file by now."""
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
        # A file that was renamed away can come back.
        for one in self._follower.opened:
            isRead = one.file is not None and not one.fromArchive
            isHere = here == one.content.file[:2] and one.life is Life.ROTATED
            if isRead and isHere:
                self._nameBack(one)
                return
        if self._isStillRead(here):
            return
        descriptor = self._tryToOpen()
        if descriptor is None:
            return
        if os.path.islink(self._follower.path) and here != self._linked:
            # The rotated files are beside the target by now.
            self._linked = here
            self._around.siblings.changed.add(self._follower.path)
            self._around.events("link-changed", path=self._follower.path)
        self._adopt(descriptor)

    def _isStillRead(self, here: tuple[int, int]) -> bool:
        """Whether another path's follower still reads the file that has our path."""
        file = self.waitsFor
        if file is None or file[:2] != here:
            return False
        return isinstance(self._around.ownerOf(file, self._follower), OpenContent)

    def _adopt(self, descriptor: int) -> None:
        """Say what the file is that has the path now; what was rotated unseen comes first."""
        origin = self.originOf(descriptor)
        if origin is None:
            os.close(descriptor)
            return
        self._around.siblings.lookAgain()
        replaced = self._follower.current
        if replaced is not None:
            self._nameTaken(replaced)
        try:
            self._follower.matcher.match(descriptor, replaced, origin)
        finally:
            self.wasEmpty = False

    def originOf(self, descriptor: int) -> int | None:
        """
        Where our content of a file begins: it may have been shipped when it had another path.

        @return: C{None}: another path's follower still reads it.
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
        """Open what has the path now, if it is a regular file."""
        try:
            return self.open()
        except OSError as error:
            self._follower.cannot(error.strerror or str(error))
            return None

    def open(self) -> int | None:
        """
        Open what has the path now, if it is a regular file.

        @raise OSError: it is there, and cannot be opened.
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
