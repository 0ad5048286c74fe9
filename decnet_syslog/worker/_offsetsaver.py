"""
Saving acknowledged offsets in the state database; used in the files thread.

The offsets are a hint, because the listener holds the position: a full disk does not stop sending.
"""

from __future__ import annotations

import sqlite3

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import FollowedFiles
from ._filesthread import FilesThread

__all__ = ["SAVE_S", "OffsetSaver"]

# Acknowledged offsets are saved at most this often, in seconds.
SAVE_S = 0.5

# When they could not be saved, the next attempt follows after this time, in seconds.
SAVE_RETRY_S = 5.0


class OffsetSaver:
    """Saves offsets shortly after they change."""

    _log = Logger()

    def __init__(self, thread: FilesThread, files: FollowedFiles) -> None:
        self._thread = thread
        self._files = files
        self._save: IDelayedCall | None = None

    def changed(self) -> None:
        """Offsets have changed: save them soon."""
        if self._save is None:
            self._save = self._thread.callLater(SAVE_S, self._saveNow)

    def end(self) -> None:
        """Save a last time, now."""
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
                "cannot save the offsets in the state database: {error}. Trying again; no line is"
                " lost, because the master holds the offsets too. Free space on the disk of"
                " --state-db",
                error=str(error),
            )
            self._save = self._thread.callLater(SAVE_RETRY_S, self._saveNow)
