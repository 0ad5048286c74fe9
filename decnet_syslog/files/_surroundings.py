"""What the followers of all paths share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._closes import CloseEvents
from ._contents import Content, Position
from ._directories import Siblings
from ._kept import KeptFiles
from ._objects import FileId
from ._open import OpenContent
from ._store import StateStore
from ._unsaved import UnsavedRecords

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Surroundings"]


@dataclass
class Surroundings:
    """
    What all followers share.

    @ivar clock: seconds that never go back.
    @ivar events: told what happens to files: C{events(name, **facts)}.
    @ivar ownerOf: who else reads a file, or has read it, by its object: another path's content.
    @ivar noteObject: a follower has a file from now on.
    @ivar isFollowed: whether there is a follower of a path.
    @ivar isLivePath: whether another path leads to a file, which this path's content holds.
    @ivar isReadElsewhere: whether another path's follower has a file open, or will when it
        begins.
    @ivar isOthers: whether another path's follower has a file, open or on record.
    @ivar tellOnce: report what is wrong with a file, by path and reason.
    @ivar begun: a follower has looked for everything on record.
    @ivar save: write a record and its position, on disk when this returns.
    @ivar unsaved: records that reach the disk at the end of a look.
    @ivar claims: whether a pattern of the user's finds a path.
    @ivar addLive: follow a path that a pattern finds, and that is nobody's rotated copy.
    @ivar positionOf: how far the journal that is connected, or the last one, has a content.
    @ivar isWritten: whether any process has an open file open for writing; C{None}: the kernel
        does not tell.
    @ivar closes: when a writer has closed a file for which the kernel does not tell.
    """

    store: StateStore
    siblings: Siblings
    kept: KeptFiles
    clock: Callable[[], float]
    events: Callable[..., None]
    messageOctetsMax: Callable[[], int]
    lagOctetsMax: int | None
    ownerOf: Callable[[FileId, FileFollower], OpenContent | Content | None]
    positionOf: Callable[[Content], Position | None]
    noteObject: Callable[[FileId, FileFollower], None]
    isFollowed: Callable[[str], bool]
    isLivePath: Callable[[FileId, FileFollower], bool]
    isReadElsewhere: Callable[[os.stat_result, FileFollower], bool]
    isOthers: Callable[[os.stat_result, FileFollower], bool]
    tellOnce: Callable[[str, str], None]
    begun: Callable[[FileFollower], None]
    save: Callable[[OpenContent], None]
    unsaved: UnsavedRecords
    claims: Callable[[str], bool]
    addLive: Callable[[str], None]
    isWritten: Callable[[int], bool | None]
    closes: CloseEvents
