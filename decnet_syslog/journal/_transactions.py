"""
The journal's database in transactions, and its checkpoints.

The tables know no transactions: this module notifies them when one is committed or undone, so that
their caches follow. Every error of SQLite is either "no room", and the transaction is undone, or
final.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ..boundaries import Stored
from ..database import STRANGE
from ..durable import isFull, whyBlocked
from ..wire import NUMBER_MAX
from ._batches import BatchTable, Released
from ._cursors import CursorTable
from ._eras import EraTable
from ._errors import KIND, JournalFailed, JournalFull
from ._filenames import NameTable
from ._gaps import GAPS_KEPT
from ._segmentfile import SegmentsFailed
from ._segments import Segments
from ._space import Space
from ._stored import KeptOctets
from ._streams import StoredStreams
from ._tidying import Tidying
from ._values import (
    Batch,
    Deposit,
)

__all__ = ["Transactions", "identityOf"]

T = TypeVar("T")


def identityOf(db: sqlite3.Connection) -> str:
    """The identity of a journal's database: 32 hex digits, made with it."""
    (identity,) = db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
    return str(identity)


class Transactions:
    """
    A database, its tables, and what bounds them.

    @ivar capacity: octets that it can hold on its disk. Read in the reactor's thread, as is
        C{hasSpare}.
    @ivar hasSpare: whether to return room to the disk soon.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        streamsPerWorkerMax: int,
        space: Space,
        segments: Segments,
    ) -> None:
        """Use L{open} instead."""
        self.path = path
        self._db = connection
        self.identity = identityOf(connection)
        self._cursorTable = CursorTable(connection)
        self._eras = EraTable(connection)
        self._kept = KeptOctets(connection, streamsPerWorkerMax, GAPS_KEPT)
        self._names = NameTable(
            connection,
            self._kept,
            lambda seq: seq <= self._cursorTable.released,
            self._eras.mark.number,
        )
        self._segments = segments
        self._batches = BatchTable(connection, self._names, segments)
        self._streams = StoredStreams(
            connection,
            streamsPerWorkerMax,
            self._isDelivered,
            self._batches.forget,
            self._names,
            self._kept,
            self._eras.mark.number,
        )
        self._batches.committed(self._kept.committed(), {})
        self._space = space
        self._tidying = Tidying(connection, space, segments)
        self._tidying.used(self.octets)
        # The deposits of a blocked commit, and the batches made from them so far.
        self._partial: tuple[Sequence[Deposit], list[Batch | None]] = (), []
        self._writtenSince = 0
        # Whether a transaction has begun.
        self._isChanging = False
        # Batches up to here are deleted.
        self._releasedTo = self._cursorTable.released
        self.capacity = NUMBER_MAX
        self._look()
        self.hasSpare = self._hasSpare()

    def _begin(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._isChanging = True
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error

    def _commit(self, octets: int = 0) -> None:
        try:
            self._db.execute("COMMIT")
            self._isChanging = False
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._writtenSince += octets
        self._space.written(octets)
        if self._space.isCheckpointDue:
            self._checkpoint()

    def _checkpoint(self, truncate: bool = False) -> None:
        """
        Copy the WAL's pages to their places in the database.

        @param truncate: also give the WAL's room back.
        """
        reserve = self._space.reserve
        while True:
            mode = "TRUNCATE" if truncate or reserve.lacks else "PASSIVE"
            try:
                _, length, copied = self._db.execute(
                    f"PRAGMA wal_checkpoint({mode})"
                ).fetchone()
            except sqlite3.DatabaseError as error:
                if not isFull(error, self.path):
                    raise self._failure(error) from error
                if reserve.giveUp():
                    continue
                # The next commit tries again. Until then the WAL grows, or is full as well.
                return
            self._space.checkpointed()
            if length == copied:
                # SQLite has synced the WAL, and then the database.
                self._segments.synced()
            if reserve.lacks:
                # The WAL's room is free now.
                self._look()
            return

    def _failure(self, error: sqlite3.DatabaseError) -> Exception:
        """Undo the transaction, and turn an error of SQLite into one of ours."""
        why = whyBlocked(error, self.path)
        try:
            self._undo()
        except sqlite3.DatabaseError:
            why = None
        if why is not None:
            return JournalFull(f"{why} for the journal {self.path}")
        return JournalFailed(f"{type(error).__name__}: {error}")

    def _undo(self) -> None:
        """
        Undo the transaction, if one has begun.

        @raise sqlite3.DatabaseError: that has failed.
        """
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if self._isChanging:
            # SQLite may have undone it by itself.
            self._isChanging = False
            self._segments.undone()
            self._kept.undone()
            self._names.undone()
            self._streams.undone()

    def _asked(self, question: Callable[[], T]) -> T:
        """Query the tables outside of a transaction."""
        try:
            return question()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        except SegmentsFailed as error:
            raise JournalFailed(str(error)) from error
        except STRANGE as error:
            # No program has written such a row.
            raise JournalFailed(
                f"the journal {self.path} is damaged ({error}): {KIND.remedy}"
            ) from error

    def _one(self, query: str) -> Stored:
        (value,) = self._db.execute(query).fetchone()
        return value

    def _look(self) -> None:
        """Compute the capacity from the room on the disk."""
        self._space.measure()
        room = self._space.capacity
        if room:
            # Rows need some, too.
            room += self._segments.unusedOctets
        self.capacity = min(NUMBER_MAX, self.octets + room)

    def _hasSpare(self) -> bool:
        return self._tidying.isDue(self.octets) or self._space.isScarce

    @property
    def octets(self) -> int:
        """The size in the file of all batches that are not deleted yet."""
        return self._batches.octets

    def _isDelivered(self, row: int) -> bool:
        """Whether every output has all batches of a stream."""
        return self._batches.lastOf(row) <= self._cursorTable.released

    def _release(self) -> None:
        """
        Delete the batches that every output has, in steps that need little room each.

        The deletion is not synced: a power cut brings back only batches before the cursors, which
        are deleted again. Without room a later commit does it.
        """
        released = self._cursorTable.released
        space = self._space
        needed = space.cost(space.budget.piece, 0)
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            while True:
                if not space.canWrite(needed):
                    self._checkpoint()
                try:
                    removed = self._releaseOnce(released)
                except JournalFull:
                    space.reserve.giveUp()
                    self._checkpoint()
                    removed = self._releaseOnce(released)
                if not removed.octetsOf:
                    break
                self._batches.committed({}, removed.octetsOf)
                self._segments.released(removed.places)
            self._releasedTo = released
        except JournalFull:
            pass
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def _releaseOnce(self, seq: int) -> Released:
        self._begin()
        try:
            removed = self._batches.release(seq, self._space.budget.piece)
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit()
        return removed
