"""
The paths to follow: the configured ones, and the matches of patterns.

A configured path, and a match of a pattern, is never a rotated copy. Only a match that has the
name of a rotated copy of a followed log waits until its octets decide.
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
"""Creates the follower of a path; takes its start offset, and whether it may be a link."""


class FollowedPaths:
    """
    The followed paths, and their followers.

    @ivar unfollowed: files that are not followed, and the reasons.
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
        @param followers: by path; this object adds to them.
        @param filesMax: extra files are reported and not followed.
        @param tellOnce: reports a problem with a file once, by path and reason.
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
        # The offset of DECNET's own forwarder belongs to the first path.
        self._legacy = store.legacyOffset()
        self._isCrowded = False
        self._serials: dict[str, int] = {}

    def expand(self) -> None:
        """Follow the files that the patterns match now."""
        before = len(self._followers)
        for pattern in self._patterns:
            if not glob.has_magic(pattern):
                self._add(pattern, True)
        for pattern in self._patterns:
            if glob.has_magic(pattern):
                # A path that does not exist now may have unfinished contents.
                found = {
                    *self._found(pattern),
                    *fnmatch.filter(self._unfinished, pattern),
                }
                self._addFound(found - self._followers.keys())
        self._unfinished = set()
        if len(self._followers) > before:
            self._siblings.follow(self._followers)

    def _found(self, pattern: str) -> list[str]:
        """The matches of a pattern, unless they are the same as before."""
        directory, base = os.path.split(pattern)
        if glob.has_magic(directory) or "**" in base:
            return glob.glob(pattern)
        try:
            listing = self._cache.list(directory or ".")
        except OSError:
            # The directory does not exist yet, or cannot be read: there are no new matches.
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
        Follow the matches of a pattern, except possible rotated copies of followed logs: the
        octets of such a file decide.
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
        """Whether a pattern matches a path."""
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
        """Follow a file that has the name of a rotated copy, but is a log of its own."""
        self._add(path, False)
        self._siblings.follow(self._followers)

    def _add(self, path: str, named: bool) -> None:
        if path in self._followers:
            return
        if not named and os.path.islink(path):
            # The user knows where a configured path leads. A link that a pattern matches may be
            # the work of an attacker.
            self._tellOnce(path, "a pattern matches this link: name it to follow it")
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
                    f"the limit of {self._filesMax} files is reached (--max-files)"
                )
            return
        self.unfollowed.pop(path, None)
        start, self._legacy = self._legacy, None
        self._followers[path] = self._make(path, start, named)
