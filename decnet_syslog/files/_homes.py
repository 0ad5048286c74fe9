"""
Where the files of one path's contents are on disk, as far as that is known by their objects.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._contents import Content, ContentKey, Life
from ._evidence import isUnchanged
from ._objects import NO_FILE
from ._rules import SeenFile, isSame
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Homes"]


class Homes:
    """
    The rotated files that hold contents on record.

    @ivar of: by content, the path; of those that are not open.
    """

    def __init__(self, follower: FileFollower, around: Surroundings) -> None:
        self.of: dict[ContentKey, str] = {}
        # Paths that are looked at for their objects only: their names are nobody's copies.
        self.strange: set[str] = set()
        self._follower = follower
        self._around = around

    def find(self) -> None:
        """Which contents have lost the file on disk that held them."""
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
            # An inode is given again: the file must be as it was.
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
        Whether a rotated file is known by its object; then it is where a content is.

        @return: C{None}: another path's follower reads it now, or will; ask again later.
        """
        object_ = (status.st_dev, status.st_ino)
        follower = self._follower
        for one in follower.opened:
            content = one.content
            if one.file is None or content.file[:2] != object_:
                continue
            if one.fromArchive and (content.archived, content.modified) != (
                status.st_size,
                status.st_mtime_ns,
            ):
                continue
            one.home = path
            return True
        for key, content in follower.records.items():
            if content.isUnchanged(status):
                self.of[key] = path
                follower.searching.pop(key, None)
                return True
        if self._around.isReadElsewhere(status, follower):
            # What is written to it is the other's, also if it was ours before.
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
        """Whether a content that has ended and lost its file is this, by size and checksum."""
        return any(
            content.key in self._follower.searching
            and content.extent == content.proof.end == size
            and (content.proof.start, content.proof.crc) == (0, crc)
            and content.head == head[: len(content.head)]
            for content in self._follower.records.values()
        )

    def places(self) -> dict[str, int]:
        """Where to look: rotated names, and whatever has the object of what is looked for."""
        follower, siblings = self._follower, self._around.siblings
        there = dict(siblings.of(follower.path))
        self.strange.clear()
        for content in self.sought():
            inode = content.file.inode
            # One name is enough: several names of an object are one file.
            if content.file != NO_FILE and inode not in there.values():
                for path in siblings.withInode(inode):
                    if path != follower.path and path not in there:
                        there[path] = inode
                        self.strange.add(path)
        return there

    def isOurs(self, path: str, file: SeenFile) -> bool:
        """
        Whether a file has a rotated name, or is the very object that is looked for. A number of
        an object is given again, to another program's file perhaps.
        """
        return path in self._around.siblings.of(self._follower.path) or any(
            file.file.isSame(content.file) and isSame(file, content)
            for content in self.sought()
        )
