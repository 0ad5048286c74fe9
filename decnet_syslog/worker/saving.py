"""
Saving acknowledged offsets in the state database. The files' thread uses it.

They are a hint, because the listener holds the position: a full disk does not stop the sending.
"""

from __future__ import annotations

import sqlite3

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import FollowedFiles
from .filesthread import FilesThread

__all__ = ["SAVE_S", "OffsetSaver"]

# Acknowledged offsets reach the database so often at most, in seconds.
SAVE_S = 0.5

# There was no space for them, in seconds.
SAVE_RETRY_S = 5.0


class OffsetSaver:
    """Saves offsets a moment after they moved."""

    _log = Logger()

    def __init__(self, thread: FilesThread, files: FollowedFiles) -> None:
        self._thread = thread
        self._files = files
        self._save: IDelayedCall | None = None

    def changed(self) -> None:
        """Offsets have moved: save them soon."""
        if self._save is None:
            self._save = self._thread.callLater(SAVE_S, self._saveNow)

    def end(self) -> None:
        """Save what there is, now, and no more after that."""
        if self._save is not None:
            self._save.cancel()
        self._saveNow()
        if self._save is not None:
            self._save.cancel()

    def _saveNow(self) -> None:
        self._save = None
        try:
            self._files.save()
        except (OSError, sqlite3.DatabaseError) as error:
            self._log.warn(
                "cannot save the offsets: {error}; trying again. The master holds them too",
                error=str(error),
            )
            self._save = self._thread.callLater(SAVE_RETRY_S, self._saveNow)
