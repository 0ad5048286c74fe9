"""
Where the files of a path's contents are on disk, as far as their objects show it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._candidates import SeenFile
from ._contents import Content, ContentKey, Life
from ._evidence import isUnchanged
from ._objects import NO_FILE
from ._rules import isSame
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Homes"]


class Homes:
    """
    The rotated files that hold contents on record.

    @ivar of: the path of each content's file, by content; only contents that are not open.
    """

    def __init__(self, follower: FileFollower, around: Surroundings) -> None:
        self.of: dict[ContentKey, str] = {}
        # Paths to examine only because of their objects: their names are not rotated names.
        self.strange: set[str] = set()
        self._follower = follower
        self._around = around

    def find(self) -> None:
        """Find the contents that have lost their file on disk."""
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
            # Inode numbers are reused: the file must also be unchanged.
            for path in paths.get(content.file.inode, ()):
                if isUnchanged(content, path):
                    self.of[key] = path
                    follower.searching.pop(key, None)
                    break
            else:
                self.of.pop(key, None)
                follower.searching.setdefault(key, self._around.clock())

    def owns(self, path: str, status: os.stat_result) -> bool | None:
        """
        Whether a rotated file is known by its object; then note that a content is there.

        @return: C{None}: another path's follower reads it now, or will; ask again later.
        """
        object_ = (status.st_dev, status.st_ino)
        follower = self._follower
        for one in follower.opened:
            # A copy or an archive where it was found is not open: another file may be there now.
            isThere = one.file is not None and one.content.isAsRecorded(status)
            if isThere or one.hasOpen(object_):
                one.home = path
                return True
        for key, content in follower.records.items():
            if content.isUnchanged(status):
                self.of[key] = path
                follower.searching.pop(key, None)
                return True
        if self._around.isReadElsewhere(status, follower):
            # New octets belong to the other path, even if the file was this path's before.
            return None
        if any(content.file[:2] == object_ for content in self.sought()):
            return False
        return self._around.isOthers(status, follower)

    def sought(self) -> list[Content]:
        """The contents that have lost their files."""
        follower = self._follower
        found = [one.content for one in follower.opened] + list(
            follower.records.values()
        )
        return [content for content in found if content.key in follower.searching]

    def isDelivered(self, head: bytes, size: int, crc: int) -> bool:
        """Whether an ended content that lost its file has this head, size and checksum."""
        return any(
            content.key in self._follower.searching
            and content.extent == content.proof.end == size
            and (content.proof.start, content.proof.crc) == (0, crc)
            and content.head == head[: len(content.head)]
            for content in self._follower.records.values()
        )

    def places(self) -> dict[str, int]:
        """The files to examine: those with rotated names, and those that may be lost objects."""
        follower, siblings = self._follower, self._around.siblings
        there = dict(siblings.of(follower.path))
        self.strange.clear()
        for content in self.sought():
            inode = content.file.inode
            # One name is enough: all names of an object lead to the same file.
            if content.file != NO_FILE and inode not in there.values():
                for path in siblings.withInode(inode):
                    if path != follower.path and path not in there:
                        there[path] = inode
                        self.strange.add(path)
        return there

    def isOurs(self, path: str, file: SeenFile) -> bool:
        """
        Whether a file has a rotated name, or is a lost object itself.

        Inode numbers are reused, so the object may be a file of some other program.
        """
        return path in self._around.siblings.of(self._follower.path) or any(
            file.file.isSame(content.file) and isSame(file, content)
            for content in self.sought()
        )
