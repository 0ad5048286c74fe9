"""Opens the worker's state database; reacts to a failed disk and a damaged file."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger

from ..durable import EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..files import StateStore

__all__ = ["openState"]

_log = Logger()


def openState(path: Path) -> StateStore:
    """
    Open or make the state database.

    @raise SystemExit: it cannot be used; the reason and the remedy.
    """
    try:
        return StateStore.open(path, _failed, _wasSetAside)
    except UserError as error:
        raise SystemExit(f"decnet-forwarder: {error}") from None


def _failed(failed: StorageFailed) -> None:
    """A disk has failed: stop at once. What is acknowledged, the master has."""
    _log.critical("the disk cannot be trusted: {reason}; stopping", reason=str(failed))
    os._exit(EXIT_STORAGE)


def _wasSetAside(path: Path, reason: str) -> None:
    """The state database was damaged."""
    _log.error(
        "the state database is damaged ({reason!r}): it was renamed to {path!r}, and a new one"
        " was begun. The master holds the positions; delete {path!r} when you have seen it",
        event="other",
        reason=reason,
        path=str(path),
    )
