"""Several paths and patterns: the tails of all of them."""

from __future__ import annotations

import fnmatch
import glob
import os
import sqlite3
from collections.abc import Callable, Sequence
from itertools import islice

from .beside import Directories
from .bookmarks import Bookmarks
from .counts import Counts
from .incarnation import Incarnation
from .rotation import fits, isRotatedName, openRegular
from .tail import Events, Tail, sweep

__all__ = ["TAILS_MAX", "Tails"]

# How often patterns are expanded, in seconds.
EXPAND_S = 0.5

# Files that one forwarder follows: each is a descriptor or two, and a row. Half of what a
# listener lets one connection have open: of each there may be a rotated one that is not done.
TAILS_MAX = 1024

# Files that are not followed, or not opened by the master, of which it is said.
UNFOLLOWED_MAX = 64


class Tails:
    """
    All log files of a forwarder.

    @ivar fresh: whether the bookmarks were lost, or never there: then a master is asked
        what it knows.
    @ivar counts: what was delivered of all files.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        bookmarks: Bookmarks,
        clock: Callable[[], float],
        *,
        messageOctetsMax: int,
        lagOctetsMax: int | None,
        events: Events,
        filesMax: int = TAILS_MAX,
    ) -> None:
        """
        @param filesMax: more are not followed, and that is said.
        """
        sweep(bookmarks)
        self.fresh = bookmarks.fresh
        self.counts = Counts()
        self._patterns = patterns
        self._bookmarks = bookmarks
        self._clock = clock
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._events = events
        self._filesMax = filesMax
        self._directories = Directories(clock)
        self._tails: dict[str, Tail] = {}
        self._expanded: float | None = None
        self._changed: list[Callable[[], None]] = []
        self._legacy = bookmarks.legacyOffset()
        self._crowded = False
        self._troubled: dict[str, str] = {}
        self._unfollowed: dict[str, str] = {}
        self._unopened: dict[str, str] = {}
        self._unfinished = {m.name for m in bookmarks.all() if not m.finished}

    @property
    def incarnations(self) -> list[Incarnation]:
        """Of every path those not finished, older ones first."""
        return [i for tail in self._tails.values() for i in tail.incarnations]

    @property
    def troubles(self) -> dict[str, str]:
        """What cannot be read now: path and reason."""
        found = {**self._unfollowed, **self._unopened, **self._troubled}
        for tail in self._tails.values():
            if tail.trouble is not None:
                found[tail.path] = tail.trouble
        return found

    def limitMessages(self, octets: int) -> None:
        """Ship no longer messages than the receiver takes."""
        self._messageOctetsMax = min(self._messageOctetsMax, octets)

    def tellUnopened(self, paths: dict[str, str]) -> None:
        """Files that wait because the master takes no more of a connection, and its reason."""
        if not self._unopened and paths:
            path, reason = next(iter(paths.items()))
            self._events("unreadable", path=path, reason=reason)
        self._unopened = dict(islice(paths.items(), UNFOLLOWED_MAX))

    def onChanged(self, call: Callable[[], None]) -> None:
        """Call when there are bookmarks to save."""
        self._changed.append(call)

    def changed(self) -> None:
        """Bookmarks have moved."""
        for call in self._changed:
            call()

    def poll(self) -> None:
        """Look at every file once."""
        now = self._clock()
        if self._expanded is None or now - self._expanded >= EXPAND_S:
            self._expanded = now
            self._expand()
        well = [
            tail for tail in self._tails.values() if self._try(tail, tail.lookAtFiles)
        ]
        # Of all: what is read for the first must not be older than the look at the last.
        with self._directories.oneLook():
            for tail in well:
                if self._try(tail, tail.lookBeside):
                    self._troubled.pop(tail.path, None)
        if any(incarnation.dirty for incarnation in self.incarnations):
            self.changed()

    def _try(self, tail: Tail, look: Callable[[], None]) -> bool:
        """One file's trouble, or a state that has no space: the others go on."""
        try:
            look()
        except (OSError, sqlite3.DatabaseError) as error:
            self._tell(tail.path, str(error))
            return False
        return True

    def _tell(self, path: str, reason: str) -> None:
        """Say once that something is wrong with a file."""
        if path not in self._troubled and len(self._troubled) < UNFOLLOWED_MAX:
            self._troubled[path] = reason
            self._events("unreadable", path=path, reason=reason)

    def save(self) -> None:
        """Write every bookmark that has moved."""
        dirty = [i for i in self.incarnations if i.dirty]
        if dirty:
            self._bookmarks.save([i.bookmark for i in dirty])
            for incarnation in dirty:
                incarnation.dirty = False

    def close(self) -> None:
        """Close every file."""
        for tail in self._tails.values():
            tail.close()

    def _expand(self) -> None:
        self._unfollowed = {}
        for pattern in self._patterns:
            if not glob.has_magic(pattern):
                self._add(pattern, True)
                continue
            found = set(glob.glob(pattern))
            # A path that is not there now can have rotated files that are not finished.
            found.update(fnmatch.filter(self._unfinished, pattern))
            live = {*found, *self._tails, *self._unfinished}
            for path in sorted(found):
                if not isRotatedName(path, live):
                    self._add(path, False)
        self._unfinished = set()

    def _add(self, path: str, named: bool) -> None:
        if path in self._tails or (not named and self._rotated(path)):
            return
        if len(self._tails) >= self._filesMax:
            if not self._crowded:
                self._crowded = True
                self._events("too-many-files", path=path, limit=self._filesMax)
            if len(self._unfollowed) < UNFOLLOWED_MAX:
                self._unfollowed[path] = (
                    f"more than {self._filesMax} files (--max-files)"
                )
            return
        start, self._legacy = self._legacy, None
        self._tails[path] = Tail(
            path,
            self._bookmarks,
            self._clock,
            lambda: self._messageOctetsMax,
            self._lagOctetsMax,
            self._events,
            start,
            lambda descriptor: self._begun(path, descriptor),
            # Who gave a path knows where it leads. What a pattern finds, somebody put there.
            named,
            self._directories,
        )

    def _rotated(self, path: str) -> bool:
        """Whether a path that a pattern gives is what another one was renamed to."""
        if path in self._unfinished:
            return False
        try:
            descriptor = openRegular(path, False)
        except FileNotFoundError:
            return True
        except OSError as error:
            self._tell(path, error.strerror or str(error))
            return True
        if descriptor is None:
            if os.path.islink(path):
                self._tell(path, "a link that a pattern finds is not followed")
            return True
        try:
            begun = self._begun(path, descriptor)
            return begun is None or 0 < begun == os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _begun(self, path: str, descriptor: int) -> int | None:
        """How far an open file was shipped by other names; C{None}: it is being read."""
        status = os.fstat(descriptor)
        here = (status.st_dev, status.st_ino)
        others = [tail for tail in self._tails.values() if tail.path != path]
        if any(tail.holds(*here) for tail in others):
            return None
        begun = 0
        for mark in self._bookmarks.at(*here):
            if mark.name == path or not mark.head or not fits(descriptor, mark, True):
                continue
            if not mark.finished and (
                mark.name in self._tails or mark.name in self._unfinished
            ):
                # Its tail has not looked yet, and will find it.
                return None
            begun = max(begun, mark.offset)
        return begun
