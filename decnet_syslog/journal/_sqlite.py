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

This module has the transactions. The changes to the tables are in C{streams}, C{batches},
C{cursors} and C{eras}, which know no transactions: this module notifies them when one is
committed or undone, so that their caches follow.

Everything here blocks. L{decnet_syslog.journal._groupcommit} calls it from one thread.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import uuid4

from ..database import STRANGE, DatabaseKind, NoSpace, openDatabase
from ..durable import StorageFailed, isFull, whyBlocked
from ..limits import Limits
from ..wire import NUMBER_MAX
from ._batches import BatchTable, Released, placesOf
from ._cursors import CursorTable
from ._eras import EraTable
from ._filenames import NameTable
from ._gaps import GAPS_KEPT
from ._places import SIZES, SegmentSizes
from ._promise import JournalBlocked
from ._reserve import Reserve
from ._schema import journalSchema
from ._segmentfile import SegmentsFailed
from ._segments import Segments
from ._shares import pieces
from ._space import Space
from ._stored import KeptOctets
from ._streams import CachedPosition, StoredStreams
from ._tidying import Tidying, useVacuum
from ._values import (
    Absence,
    Batch,
    Cursor,
    Deposit,
    Mark,
    OpenRequest,
    StreamLease,
    StreamPosition,
)

__all__ = ["Journal", "JournalFailed", "JournalFull"]

T = TypeVar("T")
J = TypeVar("J", bound="Journal")

PAGE_OCTETS = 4096

_KIND = DatabaseKind(
    "the journal",
    "give --journal a file in a directory that this user can write",
    "is another decnet-listener running?",
    "restore it from a backup, or move it away together with its -wal and -segments: every"
    " worker then sends the lines again that are still on its disk",
)


class JournalFull(JournalBlocked):
    """There is no space for a commit. Nothing was committed; try again later."""


class _NotWritten(Exception):
    """Octets could not be written to a segment. The transaction is undone."""


class JournalFailed(StorageFailed):
    """The journal cannot be trusted any more: stop, and acknowledge nothing."""


class Journal:
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
        self.identity = str(self._one("SELECT value FROM meta WHERE key = 'identity'"))
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
        # The deposits of a blocked commit, and the batches made of them so far.
        self._partial: tuple[Sequence[Deposit], list[Batch | None]] = (), []
        self._writtenSince = 0
        # Whether a transaction has begun.
        self._isChanging = False
        # Batches up to here are deleted.
        self._releasedTo = self._cursorTable.released
        self.capacity = NUMBER_MAX
        self._look()
        self.hasSpare = self._hasSpare()

    @classmethod
    def open(
        cls: type[J],
        path: Path,
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        reserve: bool = False,
        sizes: SegmentSizes = SIZES,
    ) -> J:
        """
        Open or create the journal, and bring everything to disk that a killed process left.

        @param streamsPerWorkerMax: beyond it, the stream that advanced longest ago is
            forgotten, but none whose lines some output lacks.
        @param reserve: whether to keep a reserve (L{decnet_syslog.journal._space}).
        @param sizes: of its segments; always the same for a file.
        @raise UserError: it is in use or of an unknown version, or there is no space.
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
            segments = Segments(path, placesOf(db), space.mayExtend, sizes)
            try:
                return cls(path, db, streamsPerWorkerMax, space, segments)
            except BaseException:
                segments.close()
                raise

        def opened() -> J:
            return openDatabase(
                path, _KIND, journalSchema(), prepare, make, PAGE_OCTETS
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
            raise JournalFailed(str(failed)) from failed

    def close(self) -> None:
        """Close the files. SQLite checkpoints and removes the WAL."""
        self._segments.close()
        self._db.close()

    @property
    def octets(self) -> int:
        """The size in the file of all batches that are not deleted yet."""
        return self._batches.octets

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

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """
        Commit deposits and the outputs' cursors in one transaction; in several, in order, when
        the deposits are long or room is short.

        @return: for each deposit its batch; C{None} if it was stale, or followed a stale one
            of the same connection.
        @raise JournalFull: call again, with the same deposits. The journal remembers which of
            them are committed and does not commit these again.
        @raise JournalFailed: nothing may be acknowledged any more.
        """
        left = list(cursors)
        if not deposits:
            self._transact((), left, set())
            return []
        before, done = self._partial
        self._partial = (), []
        if any(a is not b for a, b in zip(before, deposits[: len(done)], strict=False)):
            done = []
        senders = [(d.provenance.worker, d.provenance.address) for d in deposits]
        stale = {
            sender
            for sender, batch in zip(senders, done, strict=False)
            if batch is None
        }
        done = list(done)
        try:
            for piece in pieces(deposits[len(done) :], self._space.budget.piece):
                done += self._commitPiece(piece, left, stale)
                left.clear()
        except JournalFull:
            self._partial = deposits, done
            raise
        return done

    def _commitPiece(
        self, piece: Sequence[Deposit], left: list[Cursor], stale: set[tuple[str, str]]
    ) -> list[Batch | None]:
        """
        Commit a piece in one transaction: its octets in segments if they are many, or if rows
        have no room for them.

        @param left: as for L{_makeSure}.
        @param stale: as for L{_transact}.
        @raise JournalFull: there is room in neither.
        """
        octets = sum([len(deposit.octets) for deposit in piece])
        inRows = self._cost(piece, isPlaced=False)
        isLarge = octets >= self._segments.sizes.commitMin or not self._space.has(
            inRows
        )
        if isLarge:
            # First: this may release batches, and return segments to the disk.
            self._makeSure(self._cost(piece, isPlaced=True), left)
            if self._reserve(octets):
                try:
                    return self._transact(piece, left, stale, isPlaced=True)
                except _NotWritten:
                    # SQLite tries, and says why it cannot.
                    pass
        self._makeSure(inRows, left)
        return self._transact(piece, left, stale)

    def _reserve(self, octets: int) -> bool:
        """Whether there is room for octets in segments."""
        try:
            return self._segments.reserve(octets)
        except SegmentsFailed as error:
            raise JournalFailed(str(error)) from error

    def _cost(self, piece: Sequence[Deposit], isPlaced: bool) -> int:
        """The octets of the pages that a piece needs."""
        octets = sum([self._batches.rowOctets(deposit, isPlaced) for deposit in piece])
        return self._space.cost(octets, len(piece))

    def _makeSure(self, octets: int, cursors: list[Cursor]) -> None:
        """
        Make room for pages of C{octets}.

        @param cursors: the outputs' cursors: without deposits they fit, and free room. The
            list is emptied when they are committed.
        @raise JournalFull: the pages do not fit.
        """
        if self._space.has(octets):
            return
        if cursors:
            self._transact((), cursors, set())
            cursors.clear()
        # A killed process may have left batches that every output has.
        self._release()
        self._checkpoint()
        self._segments.shrink(everything=True)
        if not self._space.has(octets):
            self._look()
            self.hasSpare = self._hasSpare()
            raise JournalFull(f"no space for the journal {self.path}")

    def _transact(
        self,
        deposits: Sequence[Deposit],
        cursors: Sequence[Cursor],
        stale: set[tuple[str, str]],
        isPlaced: bool = False,
    ) -> list[Batch | None]:
        """
        Commit in one transaction. Cursors may use the room of the reserve, too.

        @param stale: the connections that sent a stale deposit.
        @param isPlaced: whether the octets go to segments, which are reserved.
        @raise _NotWritten: they cannot be written there. Nothing was committed.
        """
        try:
            return self._transactOnce(deposits, cursors, stale, isPlaced)
        except JournalFull:
            # Another program took the room after we looked, or a quota is used up.
            self._space.reserve.giveUp()
            self._checkpoint()
            if cursors:
                self._transactOnce((), cursors, set(), False)
            if deposits or not cursors:
                raise
        return []

    def _transactOnce(
        self,
        deposits: Sequence[Deposit],
        cursors: Sequence[Cursor],
        stale: set[tuple[str, str]],
        isPlaced: bool,
    ) -> list[Batch | None]:
        added: Counter[str] = Counter()
        rowOctets = 0
        batches: list[Batch | None] = []
        moved = dict(self._cursorTable.seqs)
        positions: dict[int, CachedPosition] = {}
        last = 0
        self._begin()
        try:
            for deposit in deposits:
                sender = deposit.provenance.worker, deposit.provenance.address
                batch = None
                if deposit.grant is None or sender not in stale:
                    batch, inRow, inSegments = self._insert(
                        deposit, positions, isPlaced
                    )
                batches.append(batch)
                if batch is None:
                    # The forwarder sends this deposit again, and then the later ones.
                    stale.add(sender)
                else:
                    added[deposit.provenance.worker] += inRow + inSegments
                    rowOctets += inRow
                    last = batch.seq
            for cursor in cursors:
                self._cursorTable.save(cursor)
                moved[cursor.output] = cursor.seq
            if moved != self._cursorTable.seqs:
                self._streams.released(min(moved.values()))
            if last:
                self._eras.begin()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        # Rows must not be on disk before their octets.
        self._writeOctets()
        self._commit(rowOctets)
        # A transaction without changes is not synced.
        self._segments.committed(isSynced=bool(last or cursors))
        if last:
            self._eras.committed(last)
        self._streams.committed(positions, last)
        self._cursorTable.seqs = moved
        added.update(self._kept.committed())
        self._names.committed()
        self._batches.committed(added, {})
        if self._cursorTable.released > self._releasedTo:
            self._release()
        self._tidying.used(self.octets)
        if cursors:
            # Only a release leaves pages to give back.
            self.hasSpare = self._hasSpare()
        return batches

    def _writeOctets(self) -> None:
        """
        Bring the octets of this transaction's places to disk.

        @raise _NotWritten: the transaction is undone.
        @raise JournalFailed: the sync has failed.
        """
        try:
            isWritten = self._segments.write()
        except SegmentsFailed as error:
            raise JournalFailed(str(error)) from error
        if not isWritten:
            try:
                self._undo()
            except sqlite3.DatabaseError as error:
                raise JournalFailed(f"{type(error).__name__}: {error}") from error
            raise _NotWritten

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

    def _insert(
        self, deposit: Deposit, positions: dict[int, CachedPosition], isPlaced: bool
    ) -> tuple[Batch | None, int, int]:
        """
        Move a stream, and add its batch.

        @return: the batch, its size in the database, and in segments. C{None}: it is stale.
        """
        grant, checksums = deposit.grant, None
        if grant is not None:
            checksums = self._streams.advance(deposit, grant, positions)
            if checksums is None:
                return None, 0, 0
        place = None
        if isPlaced and deposit.octets and deposit.reason is None:
            place = self._segments.place(deposit.octets)
        batch = self._batches.insert(deposit, place, checksums)
        inRow = self._batches.rowOctets(deposit, place is not None)
        return batch, inRow, 0 if place is None else place.octets

    def _isDelivered(self, row: int) -> bool:
        """Whether every output has all batches of a stream."""
        return self._batches.lastOf(row) <= self._cursorTable.released

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
                f"the journal {self.path} is damaged ({error}): {_KIND.remedy}"
            ) from error

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

    def _hasSpare(self) -> bool:
        return self._tidying.isDue(self.octets) or self._space.isScarce

    def _look(self) -> None:
        """Compute the capacity from the room on the disk."""
        self._space.measure()
        room = self._space.capacity
        if room:
            # Rows need some, too.
            room += self._segments.unusedOctets
        self.capacity = min(NUMBER_MAX, self.octets + room)

    def _one(self, query: str) -> Any:
        (value,) = self._db.execute(query).fetchone()
        return value

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
