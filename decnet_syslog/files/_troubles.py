"""Which files cannot be read, or are not followed, and why: reported once each, and bounded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import islice

__all__ = ["UNFOLLOWED_MAX", "Troubles"]

# Paths of each kind that are kept and reported.
UNFOLLOWED_MAX = 64


class Troubles:
    """
    The troubles of all files of a forwarder.

    @ivar now: paths that could not be looked at, and why; until a look succeeds.
    @ivar unopened: files that wait because the master takes no more of a connection, and the
        master's reason.
    """

    def __init__(self, events: Callable[..., None]) -> None:
        """
        @param events: told what happens to files: C{events(name, **facts)}.
        """
        self.now: dict[str, str] = {}
        self.unopened: dict[str, str] = {}
        self._events = events
        self._told: set[tuple[str, str]] = set()

    def reportUnopened(self, paths: dict[str, str]) -> None:
        """Note the files that wait, and report the first one when the waiting begins."""
        if not self.unopened and paths:
            path, reason = next(iter(paths.items()))
            self._events("unreadable", path=path, reason=reason)
        self.unopened = dict(islice(paths.items(), UNFOLLOWED_MAX))

    def isolated(self, path: str, look: Callable[[], None]) -> bool:
        """
        Look at one file; if that fails, report it, so that the others go on.

        @return: whether it succeeded.
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
        """A look at a file has succeeded."""
        self.now.pop(path, None)

    def tellOnce(self, path: str, reason: str) -> None:
        """Report a reason once."""
        if (path, reason) not in self._told and len(self._told) < 10 * UNFOLLOWED_MAX:
            self._told.add((path, reason))
            self._events("unreadable", path=path, reason=reason)
