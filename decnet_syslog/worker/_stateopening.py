"""Opening the worker's state database; reactions to a failed disk and a damaged file."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger

from ..durable import EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..files import StateStore, hasOurState, isThere, readDecnetOffset

__all__ = ["openState"]

_log = Logger()


def openState(path: Path, decnetPath: Path | None = None) -> StateStore:
    """
    Open or create the state database.

    @param decnetPath: the database of DECNET's own forwarder, if it is another file: its offset
        counts as long as we have no state.
    @raise SystemExit: it cannot be used; the message has the reason and the remedy.
    """
    try:
        store = StateStore.open(path, _failed, _wasSetAside)
        try:
            if store.isFresh and store.legacyOffset() is None:
                _takeOver(store, decnetPath)
        except BaseException:
            store.close()
            raise
        return store
    except UserError as error:
        raise SystemExit(f"decnet-forwarder: {error}") from None


def _takeOver(store: StateStore, decnetPath: Path | None) -> None:
    """Begin where DECNET's own forwarder ended, unless that database has become ours since."""
    if decnetPath is None:
        return
    try:
        if not isThere(decnetPath) or decnetPath.samefile(store.path):
            return
    except OSError as error:
        _log.warn(
            "cannot look for the offset of DECNET's own forwarder in {path!r}: {reason}. If it"
            ' has sent a part of the log, run "decnet-syslog offset import" as a user who may'
            " read it, before this forwarder sends that part again",
            path=str(decnetPath),
            reason=error.strerror,
        )
        return
    if hasOurState(decnetPath):
        return
    offset = readDecnetOffset(decnetPath)
    if offset:
        store.importOffset(offset)
        _log.info(
            "beginning at {offset}, where DECNET's own forwarder ended ({path!r})",
            offset=offset,
            path=str(decnetPath),
        )


def _failed(failed: StorageFailed) -> None:
    """A disk has failed: stop at once. The master has all acknowledged lines."""
    _log.critical(
        "the disk of the state database cannot be trusted: {reason}. Stopping. Check the disk,"
        " then start again",
        reason=str(failed),
    )
    os._exit(EXIT_STORAGE)


def _wasSetAside(path: Path, reason: str) -> None:
    """The state database was damaged."""
    _log.error(
        "the state database is damaged ({reason!r}): it was renamed to {path!r} and a new one"
        " was created. The master holds the offsets. Delete {path!r} after you have looked at it",
        event="other",
        reason=reason,
        path=str(path),
    )
