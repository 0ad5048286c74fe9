"""
Cached directory listings, and the rotated copies in them.

With a thousand logs in one directory, each would list the directory after every change.
L{DirectoryCache} lists it once for all logs, and L{Siblings} determines once for each new name
which logs the file may be a rotated copy of.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ._names import RotatedIndex, linksOf

__all__ = ["DirectoryCache", "Listing", "Siblings"]

# For this long after a change, a further change may leave the directory's time as it is: file
# systems count time in ticks and store the time of the last tick.
DIRECTORY_TICK_NS = 50_000_000

# Read a directory again after this many seconds, even if its time has not changed: tools can set
# the time back, and some file systems store only whole seconds.
FRESH_S = 4.0


# How often the patterns of --rotated are expanded to directories, in seconds.
INDEX_S = 2.0

# Maximum number of former link targets of a log whose rotated copies are still recognized.
FORMER_MAX = 16


@dataclass(frozen=True, slots=True)
class Listing:
    """
    The names in a directory, and the inode of each.

    @ivar serial: changes whenever a new reading differs from the one before.
    """

    names: Mapping[str, int]
    serial: int


@dataclass(slots=True)
class _Cached:
    listing: Listing
    changed: int
    isRecent: bool
    readAt: float
    look: int


class DirectoryCache:
    """
    Listings of directories, read again after a change.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cached: dict[str, _Cached] = {}
        self._looks = 0
        self._serial = 0

    def beginLook(self) -> None:
        """Begin a look: check each directory for changes once from now on."""
        self._looks += 1

    def refresh(self) -> None:
        """Check the directories again that have changed during this look."""
        for directory, cached in self._cached.items():
            try:
                if os.stat(directory).st_mtime_ns != cached.changed:
                    cached.look = -1
            except OSError:
                cached.look = -1

    def list(self, directory: str) -> Listing:
        """
        List the names in a directory.

        @raise OSError: the directory cannot be read.
        """
        before = self._cached.get(directory)
        if before is not None and before.look == self._looks:
            return before.listing
        # Get the time before reading: a change during the reading then shows another time.
        changed = os.stat(directory).st_mtime_ns
        now = self._clock()
        if (
            before is not None
            and not before.isRecent
            and before.changed == changed
            and now - before.readAt < FRESH_S
        ):
            before.look = self._looks
            return before.listing
        isRecent = time.time_ns() - changed < DIRECTORY_TICK_NS
        with os.scandir(directory) as entries:
            names = {entry.name: entry.inode() for entry in entries}
        listing = before.listing if before is not None else None
        if listing is None or listing.names != names:
            self._serial += 1
            listing = Listing(names, self._serial)
        self._cached[directory] = _Cached(listing, changed, isRecent, now, self._looks)
        return listing


@dataclass(slots=True)
class _Directory:
    """The last listing that was used, and which logs each name may belong to."""

    serial: int = -1
    names: Mapping[str, int] = field(default_factory=dict)
    owners: dict[str, Sequence[str]] = field(default_factory=dict)
    inodes: dict[int, str] | None = None


class Siblings:
    """
    The files that may be rotated copies of the followed logs, by their names.

    @ivar changed: the paths whose siblings have changed since the last L{take}.
    @ivar trouble: the directories that cannot be read, and the reasons.
    """

    def __init__(
        self,
        cache: DirectoryCache,
        patterns: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        @param patterns: the values of C{--rotated}.
        """
        self._cache = cache
        self._patterns = patterns
        self._clock = clock
        self._indexedAt = clock()
        self._index = RotatedIndex((), patterns)
        self._directories: dict[str, _Directory] = {}
        self._of: dict[str, dict[str, int]] = {}
        # Where the links of a log led before.
        self._former: dict[str, list[str]] = {}
        self._isRelinked = False
        self.changed: set[str] = set()
        self.trouble: dict[str, str] = {}

    def relinked(self, path: str) -> None:
        """A path leads to another file: if its links changed, so did its rotated names."""
        chain = self._index.chains.get(path)
        if chain is not None and chain != linksOf(path):
            former = [one for one in self._former.get(path, ()) if one not in chain]
            self._former[path] = [*chain, *former][:FORMER_MAX]
            self._isRelinked = True
        self.changed.add(path)

    def follow(self, paths: Iterable[str]) -> None:
        """Set the followed logs; also call this after a link among them has changed."""
        paths = list(paths)
        self._index = RotatedIndex(paths, self._patterns, self._former)
        self._directories = {place: _Directory() for place in self._index.directories()}
        self._of = {path: {} for path in paths}
        self.changed = set(paths)

    def refresh(self) -> None:
        """Read the directories that have changed."""
        if self._isRelinked:
            self._isRelinked = False
            self.follow(list(self._of))
        if self._patterns and self._clock() - self._indexedAt >= INDEX_S:
            # The directories that a pattern matches may have come or gone.
            self._indexedAt = self._clock()
            index = RotatedIndex(self._of, self._patterns, self._former)
            if index.directories() != self._index.directories():
                self.follow(list(self._of))
        for place, known in self._directories.items():
            try:
                listing = self._cache.list(place)
                self.trouble.pop(place, None)
            except (FileNotFoundError, NotADirectoryError):
                listing = Listing({}, 0)
            except OSError as error:
                # Keep the last listing: an unreadable directory is not an empty one.
                self.trouble[place] = error.strerror or str(error)
                continue
            if listing.serial != known.serial:
                self._compare(place, known, listing)

    def _compare(self, place: str, known: _Directory, listing: Listing) -> None:
        for name in known.names.keys() - listing.names.keys():
            for path in known.owners.pop(name, ()):
                self._of[path].pop(os.path.join(place, name), None)
                self.changed.add(path)
        for name, inode in listing.names.items():
            if known.names.get(name) == inode:
                continue
            owners = known.owners.get(name)
            if owners is None:
                owners = known.owners[name] = self._index.pathsOf(place, name)
            for path in owners:
                self._of[path][os.path.join(place, name)] = inode
                self.changed.add(path)
        known.serial, known.names = listing.serial, listing.names
        known.inodes = None

    def refreshAgain(self) -> None:
        """
        Read again the directories that have changed since this look began.

        Before a new content begins, its follower must know the files that are there now.
        """
        self._cache.refresh()
        self.refresh()

    def of(self, path: str) -> Mapping[str, int]:
        """The files that may be rotated copies of a log, and their inodes."""
        return self._of.get(path, {})

    def take(self, path: str) -> bool:
        """Whether the siblings of a log have changed since the last call."""
        if path in self.changed:
            self.changed.discard(path)
            return True
        return False

    def pathsOf(self, path: str) -> Sequence[str]:
        """The logs that a file may be a rotated copy of."""
        directory, name = os.path.split(path)
        return self._index.pathsOf(directory, name)

    def age(self, path: str) -> tuple[int, tuple[int, ...]]:
        """Sort key for rotated copies by name: the oldest sorts first. Only a hint."""
        return self._index.order(os.path.basename(path))

    def withInode(self, inode: int) -> list[str]:
        """Every path in these directories, whatever its name, that leads to an inode."""
        found = []
        for place, directory in self._directories.items():
            if directory.inodes is None:
                directory.inodes = {i: n for n, i in directory.names.items()}
            name = directory.inodes.get(inode)
            if name is not None:
                found.append(os.path.join(place, name))
        return found
