"""The errors of a journal in a file."""

from __future__ import annotations

from ..database import DatabaseKind
from ..durable import StorageFailed
from ._promise import JournalBlocked

__all__ = ["KIND", "JournalFailed", "JournalFull", "NotWritten"]

KIND = DatabaseKind(
    "the journal",
    "give --journal a file in a directory that this user can write",
    "is another decnet-listener running?",
    "restore it from a backup, or move it away together with its -wal and -segments: every"
    " worker then sends the lines again that are still on its disk",
)


class JournalFull(JournalBlocked):
    """There is no space for a commit. Nothing was committed; try again later."""


class JournalFailed(StorageFailed):
    """The journal cannot be trusted any more: stop, and acknowledge nothing."""


class NotWritten(Exception):
    """Octets could not be written to a segment. The transaction is undone."""
