"""Several paths and patterns: the tails of all of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence

from .bookmarks import Bookmarks
from .incarnation import Incarnation
from .rotation import fits, openRegular
from .tail import Events, Tail

__all__ = ["Tails"]

# How often patterns are expanded, in seconds.
EXPAND_S = 0.5

# Files that one forwarder follows: each is a descriptor or two, and a row.
TAILS_MAX = 1024


class Tails:
    """
    All log files of a forwarder.

    @ivar fresh: whether the bookmarks were lost, or never there: then a master is asked
        what it knows.
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
    ) -> None:
        self.fresh = bookmarks.fresh
        self._patterns = patterns
        self._bookmarks = bookmarks
        self._clock = clock
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._events = events
        self._tails: dict[str, Tail] = {}
        self._expanded: float | None = None
        self._changed: list[Callable[[], None]] = []
        self._legacy = bookmarks.legacyOffset()
        self._crowded = False

    @property
    def incarnations(self) -> list[Incarnation]:
        """Of every path those not finished, older ones first."""
        return [i for tail in self._tails.values() for i in tail.incarnations]

    def limitMessages(self, octets: int) -> None:
        """Ship no longer messages than the receiver takes."""
        self._messageOctetsMax = min(self._messageOctetsMax, octets)

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
        for tail in self._tails.values():
            tail.poll()
        if any(incarnation.dirty for incarnation in self.incarnations):
            self.changed()

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
        for pattern in self._patterns:
            if not glob.has_magic(pattern):
                self._add(pattern, True)
                continue
            for path in sorted(glob.glob(pattern)):
                self._add(path, False)

    def _add(self, path: str, named: bool) -> None:
        if path in self._tails or (not named and self._rotated(path)):
            return
        if len(self._tails) >= TAILS_MAX:
            if not self._crowded:
                self._crowded = True
                self._events("too-many-files", path=path, limit=TAILS_MAX)
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
        )

    def _rotated(self, path: str) -> bool:
        """Whether a path that a pattern gives is what another one was renamed to."""
        try:
            status = os.stat(path)
            if any(
                tail.holds(status.st_dev, status.st_ino)
                for tail in self._tails.values()
            ):
                return True
            descriptor = openRegular(path)
        except OSError:
            return True
        if descriptor is None:
            return True
        try:
            return any(
                mark.finished
                and (mark.device, mark.inode) == (status.st_dev, status.st_ino)
                and mark.name != path
                and fits(descriptor, mark, True)
                for mark in self._bookmarks.all()
            )
        finally:
            os.close(descriptor)
