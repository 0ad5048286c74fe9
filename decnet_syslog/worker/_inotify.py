"""
A wake-up when a directory changes, where the system has inotify.

The wake-up is only a hint: every look at the files finds out for itself what changed, and looks
happen at the poll interval in any case. So an overflow or a missing inotify costs latency only.

A watch is removed at its first event and set again before the next look: a file that grows ten
thousand times a second costs one event per look.

When a watched directory is removed, Twisted closes the whole inotify instance. The next look
makes another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.python.filepath import FilePath

try:
    from twisted.internet.inotify import (
        IN_CREATE,
        IN_DELETE_SELF,
        IN_MODIFY,
        IN_MOVED_TO,
        INotify,
    )
    from twisted.python._inotify import INotifyError
except ImportError:  # not Linux
    INotify = None  # type: ignore[assignment,misc]

from ..reactors import IReactor

__all__ = ["DirectoryWatch"]


class DirectoryWatch:
    """
    Calls back once when one of the directories changes.
    """

    def __init__(
        self, reactor: IReactor, directories: Iterable[str], changed: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._directories = [FilePath(directory) for directory in sorted(directories)]
        self._changed = changed
        self._armed = False
        self._notify: INotify | None = None
        self._stopped = INotify is None

    def _begin(self) -> None:
        """Make an inotify instance, if there is none."""
        if self._notify is not None or self._stopped:
            return
        try:
            self._notify = INotify(self._reactor)
        except INotifyError:
            # The user has no inotify instances left: rely on polling.
            return
        self._notify.startReading()

    def arm(self) -> None:
        """Call back at the next change."""
        if self._armed:
            return
        self._begin()
        if self._notify is None:
            return
        for directory in self._directories:
            try:
                self._notify.watch(
                    directory,
                    mask=IN_CREATE | IN_MODIFY | IN_MOVED_TO,
                    callbacks=[self._happened],
                )
            except INotifyError:
                # The directory does not exist, or no watches are left: rely on polling.
                continue
            self._armed = True

    def stop(self) -> None:
        """Stop watching."""
        self._stopped = True
        if self._notify is not None:
            self._notify.loseConnection()
            self._notify = None

    def _happened(self, watch: object, path: object, mask: int) -> None:
        if not self._armed or self._notify is None:
            return
        self._armed = False
        if mask & IN_DELETE_SELF:
            # Twisted removes this watch itself, and then all the others.
            self._notify = None
            self._changed()
            return
        for directory in self._directories:
            try:
                self._notify.ignore(directory)
            except KeyError:
                # The directory did not exist when the watches were set.
                continue
        self._changed()
