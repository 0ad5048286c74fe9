"""
All log files of a forwarder: several paths and patterns.

This is the object that the service, the status page and the session of a connection use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from ._background import Background
from ._closes import CloseEvents
from ._connected import ConnectedJournal, openedOf
from ._directories import DirectoryCache, Siblings
from ._follower import FileFollower
from ._journals import JournalPositions
from ._kept import KeptFiles
from ._open import OpenContent
from ._owners import FileOwners
from ._paths import FollowedPaths
from ._store import StateStore
from ._surroundings import Surroundings
from ._troubles import Troubles
from ._unsaved import UnsavedRecords
from ._writers import isOpenForWriting

__all__ = ["FILES_MAX", "FollowedFiles"]

# How often the patterns are expanded, in seconds.
EXPAND_S = 0.5

# Maximum number of files that one forwarder follows; each takes a descriptor or two, and a row.
# This is half the limit of a listener for one connection: each path may also have an unfinished
# rotated file.
FILES_MAX = 1024


class FollowedFiles:
    """
    All log files of a forwarder. Used by one thread at a time.

    @ivar store: the state database.
    @ivar journal: the journal that receives the files.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        store: StateStore,
        clock: Callable[[], float],
        *,
        messageOctetsMax: int,
        lagOctetsMax: int | None,
        events: Callable[..., None],
        filesMax: int = FILES_MAX,
        rotated: Sequence[str] = (),
        isWritten: Callable[[int], bool | None] = isOpenForWriting,
    ) -> None:
        """
        @param filesMax: extra files are reported and not followed.
        @param rotated: patterns of rotated files in other places.
        @param events: is called for each event of a file: C{events(name, **facts)}.
        """
        kept = KeptFiles(Path(f"{store.path}.held"))
        kept.sweep(store.finished())
        self.store = store
        self._positions = JournalPositions(store)
        self._clock = clock
        self._messageOctetsMax = messageOctetsMax
        self._masterOctetsMax: int | None = None
        self._events = events
        self._cache = DirectoryCache(clock)
        self._siblings = Siblings(self._cache, rotated, clock)
        self._followers: dict[str, FileFollower] = {}
        self.journal = ConnectedJournal(
            store, self._positions, self._followers, self.save
        )
        self._expandedAt: float | None = None
        self._changed: list[Callable[[], None]] = []
        self._troubles = Troubles(events)
        self._owners = FileOwners(self._followers, store)
        self._paths = FollowedPaths(
            patterns,
            self._followers,
            self._siblings,
            self._cache,
            store,
            filesMax,
            lambda path, start, named: FileFollower(path, self._around, start, named),
            events,
            self._troubles.tellOnce,
        )
        self._closes = CloseEvents(clock, isWritten)
        self._background = Background(self._followers, self._troubles)
        self._unsaved = UnsavedRecords(self._positions, store.forget, kept.release)
        self._around = Surroundings(
            store,
            self._siblings,
            kept,
            clock,
            events,
            lambda: self.messageOctetsMax,
            lagOctetsMax,
            self._owners.ownerOf,
            self.journal.positionOf,
            self._owners.noteObject,
            lambda path: path in self._followers,
            self._owners.isLivePath,
            self._owners.isReadElsewhere,
            self._owners.isOthers,
            self._troubles.tellOnce,
            self.journal.offer,
            self.journal.saveOne,
            self._unsaved,
            self._paths.claims,
            self._paths.addLive,
            isWritten,
            self._closes,
        )

    # State

    @property
    def opened(self) -> list[OpenContent]:
        """The unfinished contents of all paths, the oldest of each path first."""
        return openedOf(self._followers)

    @property
    def troubles(self) -> dict[str, str]:
        """The files that cannot be read now, or are not followed: path and reason."""
        found = {**self._paths.unfollowed, **self._troubles.unopened}
        found.update(self._troubles.now)
        found.update(self._siblings.trouble)
        for follower in self._followers.values():
            if follower.trouble is not None:
                found[follower.path] = follower.trouble
        return found

    @property
    def messageOctetsMax(self) -> int:
        """The longest line that is shipped; a connected master may lower the limit."""
        if self._masterOctetsMax is None:
            return self._messageOctetsMax
        return min(self._messageOctetsMax, self._masterOctetsMax)

    def limitMessages(self, octets: int | None) -> None:
        """
        Apply the message limit of the receiver.

        @param octets: the limit; C{None}: no receiver is connected.
        """
        self._masterOctetsMax = octets

    def reportUnopened(self, paths: dict[str, str]) -> None:
        """Report files that wait because the master opens no more on a connection, and why."""
        self._troubles.reportUnopened(paths)

    def onChanged(self, call: Callable[[], None]) -> None:
        """Add a callable that is called when there is something to save."""
        self._changed.append(call)

    def changed(self) -> None:
        """Announce that records or positions have changed."""
        for call in self._changed:
            call()

    def save(self) -> None:
        """Write every record and position that has moved."""
        self._unsaved.flush()
        dirty = [one for one in self.opened if one.dirty]
        if not dirty:
            return
        for one in dirty:
            if one.file is not None and not one.hasChanged:
                # A power cut must not leave a record of octets that it destroyed.
                one.file.sync(one.size)
        self._positions.write(
            [one.content for one in dirty],
            {
                one.key: one.acknowledged
                for one in dirty
                if one.acknowledged.offset > one.content.origin
            },
        )
        for one in dirty:
            one.dirty = False

    # Looking

    def poll(self) -> None:
        """Look at every file once."""
        now = self._clock()
        self._owners.forget()
        self._cache.beginLook()
        if self._expandedAt is None or now - self._expandedAt >= EXPAND_S:
            self._expandedAt = now
            self._paths.expand()
        # List the directories before looking at the files: a copy that is made after this has
        # at least the octets that the look sees.
        self._siblings.refresh()
        well = [
            f
            for f in list(self._followers.values())
            if self._troubles.isolated(f.path, f.pollPath)
        ]
        # List them again: files that were rotated during the look come first.
        self._siblings.refreshAgain()
        for follower in well:
            if self._troubles.isolated(follower.path, follower.pollSiblings):
                self._troubles.over(follower.path)
        self._background.recheck()
        self._background.sum(self.opened)
        self._flush()
        if any(one.dirty for one in self.opened):
            self.changed()

    def _flush(self) -> None:
        """Save the findings of this look; if the disk is full, keep them for later."""
        paths = self._unsaved.paths
        try:
            self._unsaved.flush()
        except (OSError, sqlite3.DatabaseError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            for path in sorted(paths & self._followers.keys()):
                self._followers[path].cannot(reason)

    def stop(self) -> None:
        """Look a last time, save and close; octets that went to a deleted file are kept."""
        self.poll()
        self.save()
        self.close()

    def close(self) -> None:
        """Close every file."""
        for follower in self._followers.values():
            follower.close()
        self._closes.close()
