"""Files that cannot be read or are not followed, reported once each and up to a limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import islice

__all__ = ["UNFOLLOWED_MAX", "Troubles"]

# Maximum number of paths of each kind to keep and report.
UNFOLLOWED_MAX = 64


class Troubles:
    """
    The troubles of all files of a forwarder.

    @ivar now: paths whose last look failed, and the reasons.
    @ivar unopened: files that wait because the master opens no more on a connection, and the
        master's reason.
    """

    def __init__(self, events: Callable[..., None]) -> None:
        """
        @param events: is called for each event of a file: C{events(name, **facts)}.
        """
        self.now: dict[str, str] = {}
        self.unopened: dict[str, str] = {}
        self._events = events
        self._told: set[tuple[str, str]] = set()

    def reportUnopened(self, paths: dict[str, str]) -> None:
        """Note the files that wait; report the first one when the waiting begins."""
        if not self.unopened and paths:
            path, reason = next(iter(paths.items()))
            self._events("unreadable", path=path, reason=reason)
        self.unopened = dict(islice(paths.items(), UNFOLLOWED_MAX))

    def isolated(self, path: str, look: Callable[[], None]) -> bool:
        """
        Look at one file. Report a failure, so that the other files go on.

        @return: whether the look succeeded.
        """
        try:
            look()
        except (OSError, sqlite3.DatabaseError) as error:
            if path not in self.now and len(self.now) < UNFOLLOWED_MAX:
                self.now[path] = str(error)
                self._events("unreadable", path=path, reason=str(error))
            return False
        return True

    def over(self, path: str) -> None:
        """Note that a look at a file has succeeded."""
        self.now.pop(path, None)

    def tellOnce(self, path: str, reason: str) -> None:
        """Report a reason once for each path."""
        if (path, reason) not in self._told and len(self._told) < 10 * UNFOLLOWED_MAX:
            self._told.add((path, reason))
            self._events("unreadable", path=path, reason=reason)
