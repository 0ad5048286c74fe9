"""
The journal: with its commit, the master takes over responsibility for a line.

Requirements:

* a deposit and the position after it are committed in one transaction, and only if the
  stream's position is still at the start of the deposit and the connection still holds the
  newest grant of the stream. A replayed, stale or forked deposit cannot commit;
* everything that was reported (a commit that returned, a position that was granted) survives
  a power cut: C{synchronous=FULL}, and a checkpoint before the first report after a start.
  (SQLite recovers octets from the page cache that a killed process had written but not yet
  synced; without the checkpoint we would report octets that a power cut can take back);
* a batch is deleted only when every output has it on disk;
* a batch that was lost because the journal was put back comes before no mark of this journal
  (L{decnet_syslog.journal._eras}).

Chosen: SQLite in WAL mode, and a file of segments for the octets of large commits
(L{decnet_syslog.journal._segments}), so that they are written once. The rest is short rows, so
pages have 4 KiB: with 32 KiB a commit of 256 KiB writes a third more,
C{locking_mode=EXCLUSIVE} and exactly one connection: SQLite before 3.51.3 can corrupt a
WAL database that two connections write and checkpoint. Any error except "no space" ends the
process (L{JournalFailed}): after a failed fsync the kernel may have dropped the octets and
may report success the next time.

This module is what others use. L{decnet_syslog.journal._transactions} and
L{decnet_syslog.journal._committing} have the transactions; C{_streams}, C{_batches}, C{_cursors}
and C{_eras} have the changes to the tables.

Everything here blocks. L{decnet_syslog.journal._groupcommit} calls it from one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from uuid import uuid4

from ..database import NoSpace, openDatabase
from ..durable import StorageFailed, isFull
from ..errors import UserError
from ..limits import Limits
from ._batches import placesOf
from ._committing import Committing
from ._eras import EraTable
from ._errors import KIND, JournalFailed, JournalFull
from ._places import SIZES, SegmentSizes
from ._reserve import Reserve
from ._schema import journalSchema
from ._segmentfile import segmentsPath
from ._segments import Segments
from ._space import Space
from ._tidying import useVacuum
from ._transactions import identityOf
from ._values import (
    Absence,
    Batch,
    Cursor,
    Mark,
    OpenRequest,
    StreamLease,
    StreamPosition,
)

__all__ = ["Journal", "JournalFailed", "JournalFull"]

J = TypeVar("J", bound="Journal")

PAGE_OCTETS = 4096


class Journal(Committing):
    """
    The journal database.

    @ivar identity: 32 hex digits, made with the file.
    @ivar turns: always 0: an open file cannot be put back.
    @ivar refusals: always empty: a deposit is either stale or committed.
    @ivar capacity: octets that it can hold on its disk. Read in the reactor's thread, as is
        C{hasSpare}.
    @ivar hasSpare: whether to call L{giveBack} soon.
    """

    turns = 0
    refusals: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType({})

    @classmethod
    def open(
        cls: type[J],
        path: Path,
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        reserve: bool = False,
        sizes: SegmentSizes = SIZES,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    ) -> J:
        """
        Open or create the journal, and bring everything to disk that a killed process left.

        @param streamsPerWorkerMax: beyond it, the stream that advanced longest ago is
            forgotten, but none whose lines some output lacks.
        @param reserve: whether to keep a reserve (L{decnet_syslog.journal._space}).
        @param sizes: of its segments; always the same for a file.
        @param connect: makes the database's connection, as C{sqlite3.connect} does.
        @raise UserError: it is in use, of an unknown version or a file of another kind, or there
            is no space.
        @raise JournalFailed: it is damaged, or the disk has failed.
        """

        def make(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid4().hex,))

        def prepare(db: sqlite3.Connection) -> J:
            space = Space(path, db, reserve)
            db.execute(f"PRAGMA journal_size_limit = {space.budget.wal}")
            try:
                useVacuum(db, space)
            except sqlite3.DatabaseError as error:
                # A quota may show only now. The next start tries again.
                if not isFull(error, path):
                    raise
            EraTable.prepare(db)
            segments = Segments(
                path, identityOf(db), placesOf(db), space.mayExtend, sizes
            )
            try:
                return cls(path, db, streamsPerWorkerMax, space, segments)
            except BaseException:
                segments.close()
                raise

        def opened() -> J:
            return openDatabase(
                path, KIND, journalSchema(), prepare, make, PAGE_OCTETS, connect
            )

        try:
            try:
                return opened()
            except NoSpace:
                # The WAL of a killed process needs the room of the reserve.
                if not Reserve(path, 0).giveUp():
                    raise
                return opened()
        except StorageFailed as failed:
            if "not a database" in str(failed) and not segmentsPath(path).exists():
                raise UserError(
                    f"cannot use {path} as a journal: it is a file of another kind; give"
                    " --journal another path"
                ) from None
            raise JournalFailed(str(failed)) from failed

    def close(self) -> None:
        """Close the files. SQLite checkpoints and removes the WAL."""
        self._segments.close()
        self._db.close()

    @property
    def octetsOf(self) -> Mapping[str, int]:
        """The same for each worker. Read in the reactor's thread."""
        return self._batches.octetsOf

    @property
    def keptOctets(self) -> int:
        """The size of positions, gaps and names. Read in the reactor's thread."""
        return self._kept.octets

    @property
    def mark(self) -> Mark:
        """The last committed batch and its era's token. Read in the reactor's thread."""
        return self._eras.mark

    def grant(
        self, worker: str, stream: str, generation: int, start: int, name: str
    ) -> StreamLease:
        """
        Give a connection the right to extend a stream, and take it from any other.

        @param start: the position at which an unknown stream begins.
        """
        return self.grants([OpenRequest(worker, stream, generation, start, name)])[0]

    def grants(self, requests: Sequence[OpenRequest]) -> list[StreamLease]:
        """
        L{grant} all requests, in order, in one transaction.

        @raise JournalFull: none was granted.
        """
        cost = self._space.cost(0, len(requests))
        if not self._space.has(cost) and not self._areKnown(requests):
            # A known stream needs no room, and its connection waits together with us.
            self._makeSure(cost, [])
        # Most grants promise only octets that are on disk already: a stream's octets were
        # synced when they were committed, and no connection with an old epoch survives a power
        # cut. (Among several requests, one can make the journal forget the stream of another,
        # which is new then.)
        cheap = all(request.start == 0 for request in requests) or (
            len(requests) == 1 and self._areKnown(requests)
        )
        if cheap:
            self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self._begin()
            try:
                granted = [self._streams.grant(request) for request in requests]
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error
            self._space.granted(len(requests))
            self._commit()
        except BaseException:
            self._streams.undone()
            raise
        finally:
            if cheap:
                self._db.execute("PRAGMA synchronous = FULL")
        self._streams.granted(granted)
        self._names.committed()
        self._batches.committed(self._kept.committed(), {})
        return granted

    def _areKnown(self, requests: Sequence[OpenRequest]) -> bool:
        return self._asked(lambda: all(map(self._streams.isKnown, requests)))

    def known(self, worker: str) -> list[StreamPosition]:
        """Every stream of a worker, the newest first."""
        return self._asked(lambda: self._streams.known(worker))

    def holds(self, mark: Mark) -> bool:
        """See L{decnet_syslog.journal._promise.IJournal.holds}."""
        return self._asked(lambda: self._eras.holds(mark))

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches with a C{seq} greater than C{after}, in order; at least one if there is one.

        @param costMax: stop after the batch whose cost makes the total reach this value.
        """
        return self._asked(lambda: self._batches.read(after, costMax))

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """
        Set the outputs: batches wait for these and for no others.

        @return: the cursor of each. A new one begins at the oldest batch that is kept.
        """
        try:
            absences = self._useOnce(names)
        except JournalFull:
            # A start needs room only here.
            self._space.reserve.giveUp()
            self._checkpoint()
            absences = self._useOnce(names)
        cursors = self._asked(lambda: self._cursorTable.used(names, absences))
        # Batches that only an absent output lacks stay until another output's cursor moves, or
        # room is short.
        self._releasedTo = self._cursorTable.released
        return cursors

    def _useOnce(self, names: Sequence[str]) -> Mapping[str, Absence]:
        self._begin()
        try:
            absences = self._cursorTable.use(names, self._batches.oldest())
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit()
        return absences

    def giveBack(self) -> bool:
        """
        Measure the free room, and return some unused pages to the disk.

        @return: whether to call again at once.
        """
        if self._space.isScarce:
            self._release()
        if self._segments.hasSpare:
            # Segments are returned only when the deletion of their batches is on disk.
            self._checkpoint()
        more = False
        try:
            more = self._tidying.step()
        except sqlite3.DatabaseError as error:
            failure = self._failure(error)
            if not isinstance(failure, JournalFull):
                raise failure from error
        if self._space.isCheckpointDue:
            self._checkpoint()
        if not more:
            written, self._writtenSince = self._writtenSince, 0
            self._checkpoint(truncate=self._tidying.isLongFor(written))
            self._space.adapt()
        self._look()
        self.hasSpare = self._hasSpare()
        return more
