"""
Finds the follower that has a file. A file that was renamed from one followed path to another
has two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ._contents import UNFINISHED, Content
from ._follower import FileFollower
from ._objects import FileId
from ._open import OpenContent
from ._store import StateStore

__all__ = ["FileOwners"]


class FileOwners:
    """
    The files of all followers, by their objects.
    """

    def __init__(
        self, followers: Mapping[str, FileFollower], store: StateStore
    ) -> None:
        self._followers = followers
        self._store = store
        self._objects: dict[tuple[int, int], list[FileFollower]] | None = None

    def forget(self) -> None:
        """Begin a look: forget the objects that the look before found."""
        self._objects = None

    def _othersOf(self, object_: tuple[int, int]) -> list[FileFollower]:
        """The followers that have a file, open or on record, by its object."""
        if self._objects is None:
            self._objects = {}
            for follower in self._followers.values():
                for file in follower.objects():
                    self._objects.setdefault(file[:2], []).append(follower)
        return self._objects.get(object_, [])

    def noteObject(self, file: FileId, follower: FileFollower) -> None:
        if self._objects is not None:
            self._objects.setdefault(file[:2], []).append(follower)

    def isReadElsewhere(self, status: os.stat_result, asking: FileFollower) -> bool:
        """Whether another follower has a file open, or will after its first look."""
        object_ = (status.st_dev, status.st_ino)
        others = [f for f in self._othersOf(object_) if f is not asking]
        if any(follower.hasOpen(object_) for follower in others):
            return True
        return any(
            content.life in UNFINISHED and self._isUnbegun(content, asking)
            for content in self._store.at(FileId(*object_, 0))
        )

    def isOthers(self, status: os.stat_result, asking: FileFollower) -> bool:
        """Whether another follower has a file on record, unchanged."""
        object_ = (status.st_dev, status.st_ino)
        others = [f for f in self._othersOf(object_) if f is not asking]
        return any(
            content.isUnchanged(status)
            for follower in others
            for content in follower.records.values()
        )

    def _isUnbegun(self, content: Content, asking: FileFollower) -> bool:
        """Whether a content belongs to another followed path, before that path's first look."""
        follower = self._followers.get(content.name)
        return (
            follower is not None and follower is not asking and not follower.hasStarted
        )

    def ownerOf(
        self, file: FileId, asking: FileFollower
    ) -> OpenContent | Content | None:
        for follower in self._othersOf(file[:2]):
            if follower is asking:
                continue
            one = follower.holds(file)
            if one is not None:
                return one
            for content in follower.records.values():
                if content.file.isSame(file):
                    return content
        for content in self._store.at(file):
            follower_ = self._followers.get(content.name)
            # After the first look at a path, its follower knows better than the record.
            if content.name != asking.path and not (follower_ and follower_.hasStarted):
                return content
        return None

    def isLivePath(self, file: FileId, asking: FileFollower) -> bool:
        return any(
            follower is not asking
            and follower.name.waitsFor is not None
            and follower.name.waitsFor.isSame(file)
            for follower in self._followers.values()
        )
