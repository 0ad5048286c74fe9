"""
Which paths are followed: those that were given, and what patterns find.

A configured path, and a match of a pattern, is nobody's rotated copy. Only a match that has the
name of a rotated copy of another followed path waits until its content has told.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Sequence

from ._directories import DirectoryCache, Siblings
from ._follower import FileFollower
from ._names import RotatedIndex
from ._rotations import compressionOf
from ._store import StateStore
from ._troubles import UNFOLLOWED_MAX

__all__ = ["FollowedPaths"]

Make = Callable[[str, "int | None", bool], FileFollower]
"""Make the follower of a path; where it begins, and whether it may be a link."""


class FollowedPaths:
    """
    The paths, and the followers that were made for them.

    @ivar unfollowed: files that are not followed, and why.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        followers: dict[str, FileFollower],
        siblings: Siblings,
        cache: DirectoryCache,
        store: StateStore,
        filesMax: int,
        make: Make,
        events: Callable[..., None],
        tellOnce: Callable[[str, str], None],
    ) -> None:
        """
        @param followers: by path; filled here.
        @param filesMax: more are not followed, and that is reported.
        @param tellOnce: report what is wrong with a file, by path and reason.
        """
        self.unfollowed: dict[str, str] = {}
        self._patterns = patterns
        self._followers = followers
        self._siblings = siblings
        self._cache = cache
        self._filesMax = filesMax
        self._make = make
        self._events = events
        self._tellOnce = tellOnce
        self._names = store.names()
        self._unfinished = store.unfinished()
        # The offset of DECNET's own forwarder is that of the first path.
        self._legacy = store.legacyOffset()
        self._isCrowded = False
        self._serials: dict[str, int] = {}

    def expand(self) -> None:
        """Follow what the patterns find by now."""
        before = len(self._followers)
        for pattern in self._patterns:
            if not glob.has_magic(pattern):
                self._add(pattern, True)
        for pattern in self._patterns:
            if glob.has_magic(pattern):
                # A path that is not there now can have contents that are not finished.
                found = {
                    *self._found(pattern),
                    *fnmatch.filter(self._unfinished, pattern),
                }
                self._addFound(found - self._followers.keys())
        self._unfinished = set()
        if len(self._followers) > before:
            self._siblings.follow(self._followers)

    def _found(self, pattern: str) -> list[str]:
        """The paths of a pattern, if they can differ from those that were found before."""
        directory, base = os.path.split(pattern)
        if glob.has_magic(directory) or "**" in base:
            return glob.glob(pattern)
        try:
            listing = self._cache.list(directory or ".")
        except OSError:
            # It is not there yet, or cannot be read: then there is nothing new.
            return []
        if self._serials.get(pattern) == listing.serial:
            return []
        self._serials[pattern] = listing.serial
        hidden = base.startswith(".")
        names = fnmatch.filter(listing.names, base)
        return [
            os.path.join(directory, name)
            for name in names
            if hidden or not name.startswith(".")
        ]

    def _addFound(self, found: set[str]) -> None:
        """
        Follow what a pattern has found, unless it may be a rotated copy of what is followed:
        then its content decides.
        """
        if not found:
            return
        known = self._names & found
        for path in sorted(known):
            self._add(path, False)
        index = RotatedIndex([*self._followers, *self._names])
        for path in sorted(found - known):
            directory, name = os.path.split(path)
            if not index.pathsOf(os.path.realpath(directory), name):
                self._add(path, False)

    def claims(self, path: str) -> bool:
        """Whether a pattern finds a path."""
        directory, name = os.path.split(path)
        return any(
            fnmatch.fnmatchcase(name, os.path.basename(pattern))
            and fnmatch.fnmatchcase(
                directory, os.path.realpath(os.path.dirname(pattern))
            )
            for pattern in self._patterns
            if glob.has_magic(pattern)
        )

    def addLive(self, path: str) -> None:
        """A file that looked like a rotated copy by its name is a log of its own."""
        self._add(path, False)
        self._siblings.follow(self._followers)

    def _add(self, path: str, named: bool) -> None:
        if path in self._followers:
            return
        if not named and os.path.islink(path):
            # Whoever gave a path knows where it leads. What a pattern finds, somebody put
            # there.
            self._tellOnce(path, "a link that a pattern finds is not followed")
            return
        if not named and os.path.exists(path) and not os.path.isfile(path):
            return
        if not named and compressionOf(path):
            return
        if len(self._followers) >= self._filesMax:
            if not self._isCrowded:
                self._isCrowded = True
                self._events("too-many-files", path=path, limit=self._filesMax)
            if len(self.unfollowed) < UNFOLLOWED_MAX:
                self.unfollowed[path] = (
                    f"more than {self._filesMax} files (--max-files)"
                )
            return
        self.unfollowed.pop(path, None)
        start, self._legacy = self._legacy, None
        self._followers[path] = self._make(path, start, named)
