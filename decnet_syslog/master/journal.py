"""
The journal: where a line becomes the master's.

What must be true:

* a deposit and the position after it are committed in one transaction, and only if the
  position is still the one the deposit starts at and the connection still holds the
  newest grant of the stream. A replayed, stale or forked deposit cannot commit;
* what has been reported (a commit that returned, a position that was granted) survives a
  power cut: C{synchronous=FULL}, and a checkpoint before the first report after a start.
  (SQLite recovers from the page cache what a killed process had written but not yet
  synced; without the checkpoint we would report octets that a power cut can take back);
* a batch is deleted only when every output has it on disk;
* a batch that was lost because the journal was put back is before no mark of this journal
  (L{decnet_syslog.master.eras}).

Chosen: SQLite in WAL mode, 32 KiB pages (with 4 KiB a million lines take a third longer;
with 64 KiB as long, and a lone line writes 200 KiB instead of 100),
C{locking_mode=EXCLUSIVE} and exactly one connection: SQLite before 3.51.3 can corrupt a
WAL database that two connections write and checkpoint. An error that is not "no space" is
the end of the process (L{JournalFailed}): after a failed fsync the kernel may have dropped
the octets and say yes the next time.

Here are the transactions. What they do to the tables is in C{streams}, C{batches},
C{cursors} and C{eras}, which know nothing of them; whatever those keep in memory is told when
a transaction is committed.

Everything here blocks. L{decnet_syslog.master.groupcommit} calls it from one thread.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import uuid4

from ..database import DatabaseKind, openDatabase
from ..durable import StorageFailed, isFull
from .batches import BatchTable
from .cursors import CursorTable
from .eras import EraTable
from .filenames import NameTable
from .gaps import GAPS_KEPT
from .limits import Limits
from .promise import JournalBlocked
from .schema import journalSchema
from .stored import KeptOctets
from .streams import Position, StreamTable
from .values import Batch, Cursor, Deposit, Grant, Known, Mark, Wish

__all__ = ["Journal", "JournalFailed", "JournalFull"]

T = TypeVar("T")

PAGE_OCTETS = 32768

# Checkpoint when the WAL has 64 MiB: most pages in it have been written again by then, for
# other batches, and are copied once. At 16 MiB it took a fifth of the time. It never shrinks
# while we run, and is read once when we start after a kill.
WAL_OCTETS = 64 * 1024 * 1024

# Pages that a commit writes beside those of its octets, about.
COMMIT_PAGES = 4

_KIND = DatabaseKind(
    "the journal",
    "give --journal a file in a directory that this user can write",
    "is another decnet-listener running?",
    "put it back from a backup, or move it away together with its -wal: every worker then"
    " sends again what is still on its disk",
)


class JournalFull(JournalBlocked):
    """There is no space for a commit. Nothing was committed; try again later."""


class JournalFailed(StorageFailed):
    """The journal cannot be trusted any more: stop, and acknowledge nothing."""


class Journal:
    """
    The journal database.

    @ivar identity: 32 hex digits, made with the file.
    @ivar turns: 0: a file that is open here cannot be put back.
    @ivar refusals: none: a deposit is stale, or committed.
    """

    turns = 0
    refusals: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType({})

    def __init__(
        self, path: Path, connection: sqlite3.Connection, streamsPerWorkerMax: int
    ) -> None:
        """L{open} is how to get one."""
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
        self._batches = BatchTable(connection, self._names)
        self._streams = StreamTable(
            connection,
            streamsPerWorkerMax,
            self._isDelivered,
            self._batches.forget,
            self._names,
            self._kept,
            self._eras.mark.number,
        )
        # A journal keeps the pages it was made with.
        self._pageOctets: int = self._one("PRAGMA page_size")
        self._walOctets = 0

    @classmethod
    def open(
        cls, path: Path, streamsPerWorkerMax: int = Limits.filesPerWorker
    ) -> Journal:
        """
        Open or make the journal, and bring to disk whatever a killed process left.

        @param streamsPerWorkerMax: of more the one that advanced longest ago is forgotten,
            but none whose lines are not in every output.
        @raise UserError: it is in use, of an unknown version, or there is no space.
        @raise JournalFailed: it is damaged, or the disk has failed.
        """

        def make(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid4().hex,))

        def prepare(db: sqlite3.Connection) -> Journal:
            db.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS}")
            EraTable.prepare(db)
            return cls(path, db, streamsPerWorkerMax)

        try:
            return openDatabase(
                path, _KIND, journalSchema(), prepare, make, PAGE_OCTETS
            )
        except StorageFailed as failed:
            raise JournalFailed(str(failed)) from failed

    def close(self) -> None:
        """Close the database. SQLite checkpoints and removes the WAL."""
        self._db.close()

    @property
    def octets(self) -> int:
        """Of all batches that are not deleted yet, as they stand in the file."""
        return self._batches.octets

    @property
    def octetsOf(self) -> Mapping[str, int]:
        """Of these, each worker's. Read in the reactor's thread."""
        return self._batches.octetsOf

    @property
    def keptOctets(self) -> int:
        """Of positions, gaps and names. Read there, too."""
        return self._kept.octets

    @property
    def mark(self) -> Mark:
        """The last batch that is committed, and its era's token. Read there, too."""
        return self._eras.mark

    def grant(
        self, worker: str, stream: str, generation: int, start: int, name: str
    ) -> Grant:
        """
        Give a connection the right to extend a stream, and take it from any other.

        @param start: where a stream begins that is not known yet.
        """
        return self.grants([Wish(worker, stream, generation, start, name)])[0]

    def grants(self, wishes: Sequence[Wish]) -> list[Grant]:
        """L{grant} them all, in order, in one transaction."""
        # Mostly a grant promises nothing that is not on disk already: what a stream holds
        # was synced when it came, and of epochs nobody is left after a power cut. (One of
        # several can have another forgotten, which is then new.)
        cheap = all(wish.start == 0 for wish in wishes) or (
            len(wishes) == 1 and self._asked(lambda: self._streams.isKnown(wishes[0]))
        )
        if cheap:
            self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self._begin()
            try:
                granted = [self._streams.grant(wish) for wish in wishes]
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error
            self._commit()
        except BaseException:
            self._streams.undone()
            raise
        finally:
            if cheap:
                self._db.execute("PRAGMA synchronous = FULL")
        self._streams.granted(granted)
        self._batches.committed(self._kept.beyond(), {})
        return granted

    def known(self, worker: str) -> list[Known]:
        """Every stream of a worker, the newest first."""
        return self._asked(lambda: self._streams.known(worker))

    def holds(self, mark: Mark) -> bool:
        """As L{decnet_syslog.master.promise.JournalPromise.holds}."""
        return self._asked(lambda: self._eras.holds(mark))

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """
        Commit deposits and what the outputs have on disk, in one transaction.

        @return: for each deposit the batch it has become; C{None} if it was stale, or
            behind one of the same connection that was.
        @raise JournalFull: nothing was committed.
        @raise JournalFailed: nothing may be acknowledged any more.
        """
        added: Counter[str] = Counter()
        removed: dict[str, int] = {}
        batches: list[Batch | None] = []
        moved = dict(self._cursorTable.seqs)
        positions: dict[int, Position] = {}
        stale: set[tuple[str, str]] = set()
        last = 0
        self._begin()
        try:
            for deposit in deposits:
                sender = deposit.provenance.worker, deposit.provenance.address
                batch = None
                if deposit.grant is None or sender not in stale:
                    batch = self._insert(deposit, positions)
                batches.append(batch)
                if batch is None:
                    # What it has sent behind it comes again, and behind it.
                    stale.add(sender)
                else:
                    added[deposit.provenance.worker] += self._batches.cost(batch)
                    last = batch.seq
            for cursor in cursors:
                self._cursorTable.save(cursor)
                moved[cursor.output] = cursor.seq
            if moved != self._cursorTable.seqs:
                removed = self._batches.release(min(moved.values()))
                self._streams.released(min(moved.values()))
            if last:
                self._eras.begin()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit(added.total())
        if last:
            self._eras.committed(last)
        self._streams.committed(positions, last)
        self._cursorTable.seqs = moved
        added.update(self._kept.beyond())
        self._batches.committed(added, removed)
        return batches

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches behind C{after} in order, at least one if there is one.

        @param costMax: stop behind the batch with which they cost so much.
        """
        return self._asked(lambda: self._batches.read(after, costMax))

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """
        Say which outputs there are: batches wait for these and for no others.

        @return: the cursor of each. A new one begins at the oldest batch still here.
        """
        self._begin()
        try:
            absences = self._cursorTable.use(names, self._batches.oldest())
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit()
        return self._asked(lambda: self._cursorTable.used(names, absences))

    def _insert(self, deposit: Deposit, positions: dict[int, Position]) -> Batch | None:
        grant = deposit.grant
        if grant is not None and not self._streams.advance(deposit, grant, positions):
            return None
        return self._batches.insert(deposit)

    def _isDelivered(self, row: int) -> bool:
        """Whether every output has what came of a stream."""
        return self._batches.lastOf(row) <= self._cursorTable.released

    def _asked(self, question: Callable[[], T]) -> T:
        """Ask the tables something, outside of a transaction."""
        try:
            return question()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error

    def _one(self, query: str) -> Any:
        (value,) = self._db.execute(query).fetchone()
        return value

    def _begin(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error

    def _commit(self, octets: int = 0) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._walOctets += COMMIT_PAGES * self._pageOctets + octets
        if self._walOctets >= WAL_OCTETS:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Bring the WAL's pages to their places. What is committed stays committed."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            if not isFull(error, self.path):
                raise self._failure(error) from error
            # The next commit tries again; until then the WAL grows, or is full as well.
            return
        self._walOctets = 0

    def _failure(self, error: sqlite3.DatabaseError) -> Exception:
        """What an error of SQLite means for us. The transaction is undone."""
        full = isFull(error, self.path)
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
                self._kept.undone()
                self._names.undone()
        except sqlite3.DatabaseError:
            full = False
        if full:
            return JournalFull("no space for the journal")
        return JournalFailed(f"{type(error).__name__}: {error}")
