"""The objects and functions that the followers of all paths share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._closes import CloseEvents
from ._contents import AcknowledgedPosition, Content
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
    The objects and functions that all followers share.

    @ivar clock: seconds that never go back.
    @ivar events: is called for each event of a file: C{events(name, **facts)}.
    @ivar ownerOf: another path's content that has a file, by its object; open or on record.
    @ivar noteObject: notes that a follower has a file from now on.
    @ivar isFollowed: whether a path has a follower.
    @ivar isLivePath: whether another followed path leads to a file of this path's content.
    @ivar isReadElsewhere: whether another path's follower has a file open, or will after its
        first look.
    @ivar isOthers: whether another path's follower has a file on record, unchanged.
    @ivar tellOnce: reports a problem with a file once, by path and reason.
    @ivar begun: is called when a follower has searched for the contents on record; reopens
        contents that the journal lacks.
    @ivar save: writes a record and its position; they are on disk when it returns.
    @ivar unsaved: the records to write at the end of a look.
    @ivar claims: whether a pattern of the user's matches a path.
    @ivar addLive: follows a path that a pattern matches, and that is not a rotated copy.
    @ivar positionOf: how far the connected journal, or else the last one, has a content.
    @ivar isWritten: whether any process has an open file open for writing; C{None}: the kernel
        cannot say.
    @ivar closes: notes when a writer closes a file for which C{isWritten} returns C{None}.
    """

    store: StateStore
    siblings: Siblings
    kept: KeptFiles
    clock: Callable[[], float]
    events: Callable[..., None]
    messageOctetsMax: Callable[[], int]
    lagOctetsMax: int | None
    ownerOf: Callable[[FileId, FileFollower], OpenContent | Content | None]
    positionOf: Callable[[Content], AcknowledgedPosition | None]
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
