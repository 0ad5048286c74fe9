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
* a batch that was lost because the journal was put back is before no mark of this journal.
  Each opening that commits begins an era, in the transaction of its first batch: putting back
  takes an opening, so what is committed behind it is of another era than what was lost. (Put
  back together with the memory of the process, as a virtual machine's snapshot does, it
  shows only until it has grown as far as it was.)

Chosen: SQLite in WAL mode, 32 KiB pages (with 4 KiB a million lines take a third longer;
with 64 KiB as long, and a lone line writes 200 KiB instead of 100),
C{locking_mode=EXCLUSIVE} and exactly one connection: SQLite before 3.51.3 can corrupt a
WAL database that two connections write and checkpoint. An error that is not "no space" is
the end of the process (L{JournalFailed}): after a failed fsync the kernel may have dropped
the octets and say yes the next time.

Everything here blocks. L{decnet_syslog.master.groupcommit} calls it from one thread.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

from ..durable import StorageFailed, isFailure, isFull, syncDirectory, useWAL
from ..errors import UserError
from ..migration import SchemaUnknown, bringUp
from ..private import openPrivate
from ..wire.control import NUMBER_MAX
from ..wire.record import Provenance
from .limits import Limits
from .promise import JournalBlocked
from .schema import journalSchema
from .values import (
    DEPOSIT_COST,
    Absence,
    Batch,
    Cursor,
    Deposit,
    FileLength,
    Grant,
    Known,
    Mark,
    Wish,
    batchOf,
)

__all__ = ["Journal", "JournalFailed", "JournalFull"]

PAGE_OCTETS = 32768

# Checkpoint when the WAL has 64 MiB: most pages in it have been written again by then, for
# other batches, and are copied once. At 16 MiB it took a fifth of the time. It never shrinks
# while we run, and is read once when we start after a kill.
WAL_OCTETS = 64 * 1024 * 1024

# Pages that a commit writes beside those of its octets, about.
COMMIT_PAGES = 4

# When a worker has too many streams, a sixteenth of them goes at once: to find the oldest is to
# look at them all. When none can go, because the outputs do not have them yet, it is looked
# again after so many more.
LOOKED_AGAIN = 64

# Positions kept in memory beside the database's.
POSITIONS_MAX = 65536

# Eras that are remembered: openings that committed something. A mark of an older one counts
# as lost.
ERAS_MAX = 4096

# Gaps that are remembered of one worker, and how often that is looked at.
GAPS_PER_WORKER_MAX = 10_000
GAPS_PER_LOOK = 1000

# Outputs that are remembered although they are not configured any more.
ABSENT_MAX = 64

# What each worker has up to a batch. The limit keeps SQLite from sorting the octets, too.
_COSTS = (
    f"SELECT worker, sum(cost) FROM (SELECT worker, length(octets) + {DEPOSIT_COST}"
    " AS cost FROM batch WHERE seq <= ? LIMIT -1) GROUP BY worker"
)


# The last batch there ever was: SQLite remembers it when it is deleted.
_LAST_BATCH = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'batch'), 0)"

# Epoch, offset, base, crc of a stream.
_Position = tuple[int, int, int, int]


class JournalFull(JournalBlocked):
    """There is no space for a commit. Nothing was committed; try again later."""


class JournalFailed(StorageFailed):
    """The journal cannot be trusted any more: stop, and acknowledge nothing."""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _packLengths(lengths: Sequence[int] | None) -> bytes | None:
    if lengths is None:
        return None
    packed = array("I", lengths)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpackLengths(blob: bytes | None) -> tuple[int, ...] | None:
    if blob is None:
        return None
    packed = array("I", blob)
    if sys.byteorder == "big":
        packed.byteswap()
    return tuple(packed)


def _batch(row: Sequence[Any]) -> Batch:
    """A row of L{Journal.read}."""
    seq, worker, fingerprint, address, receivedAt, name, marks, *rest = row
    stream, generation, start, end, octets, lengths, reason = rest
    log = None if name is None else _text(name)
    return Batch(
        seq,
        Provenance(worker, fingerprint, address, receivedAt, log, bool(marks)),
        stream,
        generation or 0,
        start,
        end,
        octets,
        _unpackLengths(lengths),
        reason,
    )


def _prepareFile(path: Path) -> None:
    """Make the database file ours alone before SQLite opens it."""
    os.close(
        openPrivate(
            path,
            "the journal",
            "give --journal a file in a directory that this user can write",
        )
    )


class Journal:
    """
    The journal database.

    @ivar identity: 32 hex digits, made with the file.
    @ivar octets: of all batches that are not deleted yet, rows counted.
    @ivar octetsOf: of these, each worker's. Read in the reactor's thread.
    @ivar mark: the last batch that is committed, and its era's token. Read there, too.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, streamsPerWorkerMax: int
    ) -> None:
        """L{open} is how to get one."""
        self.path = path
        self._streamsPerWorkerMax = streamsPerWorkerMax
        # Of each worker: how many streams it has, and with how many it is looked again.
        self._streamsOf: dict[str, tuple[int, int]] = {}
        self._db = connection
        self.identity = str(self._one("SELECT value FROM meta WHERE key = 'identity'"))
        self.octetsOf: dict[str, int] = dict(connection.execute(_COSTS, (NUMBER_MAX,)))
        self.octets = sum(self.octetsOf.values())
        number = self._one(f"SELECT {_LAST_BATCH}")
        token = self._one("SELECT token FROM era ORDER BY number DESC LIMIT 1")
        self.mark = Mark(number, token)
        # Of the era that the first commit begins.
        self._eraToken: str | None = uuid4().hex
        self._turn: int = self._one("SELECT coalesce(max(turn), 0) + 1 FROM stream")
        self._positions: dict[int, _Position] = {}
        # Of each worker: another's must not be what is counted on.
        self._gapsAdded: Counter[str] = Counter()
        # A journal keeps the pages it was made with.
        self._pageOctets: int = self._one("PRAGMA page_size")
        self._walOctets = 0
        # The last batch of each stream. Asked of the table, the journal's one thread would
        # look at every batch there is whenever a worker opens a stream.
        self._lastBatch: dict[int, int] = dict(
            connection.execute(
                "SELECT stream_id, max(seq) FROM batch WHERE stream_id IS NOT NULL"
                " GROUP BY stream_id"
            )
        )
        # Deleted with the next commit; found here so that no commit has to look.
        self._cursors = dict(self._db.execute("SELECT output, seq FROM cursor"))
        # Outputs that were absent before this start.
        self._returned: frozenset[str] | set[str] = frozenset()

    @classmethod
    def open(
        cls, path: Path, streamsPerWorkerMax: int = Limits.filesPerWorker
    ) -> Journal:
        """
        Open or make the journal, and bring to disk whatever a killed process left.

        @param streamsPerWorkerMax: of more the one that advanced longest ago is forgotten,
            but none whose lines are not in every output.
        @raise UserError: it is in use, of an unknown version or no journal at all.
        @raise JournalFailed: the disk has failed.
        """
        _prepareFile(path)
        db = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=2
        )
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Journals of single statements hold nothing that a crash must find again.
            db.execute("PRAGMA temp_store = MEMORY")

            def prepare() -> None:
                db.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
                useWAL(db)

            def fill() -> None:
                db.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid4().hex,))

            # Before anything else of a journal is changed: WAL mode would be a change.
            bringUp(db, journalSchema(), prepare, fill)
            useWAL(db)
            db.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS}")
            db.execute(
                f"INSERT INTO era (token, first) SELECT ?, {_LAST_BATCH}"
                " WHERE NOT EXISTS (SELECT 1 FROM era)",
                (uuid4().hex,),
            )
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise UserError(f"the journal {path} is in use by another program")
            # SQLite syncs the names of its files, and does not look whether it worked.
            syncDirectory(path.parent)
        except OSError as error:
            db.close()
            raise JournalFailed(
                f"cannot sync {path.parent}: {error.strerror}"
            ) from None
        except SchemaUnknown as error:
            db.close()
            raise UserError(
                f"cannot use the journal {path}: {error}; nothing of it was changed: run"
                " the program that made it"
            ) from None
        except sqlite3.DatabaseError as error:
            db.close()
            if "locked" in str(error):
                raise UserError(
                    f"the journal {path} is in use: is another decnet-listener running?"
                ) from None
            if "full" in str(error):
                raise UserError(f"no space for the journal {path}: make room") from None
            if isFailure(error):
                raise JournalFailed(f"the journal {path}: {error}") from error
            raise UserError(f"cannot use {path} as a journal: {error}") from None
        except BaseException:
            db.close()
            raise
        return cls(path, db, streamsPerWorkerMax)

    def close(self) -> None:
        """Close the database. SQLite checkpoints and removes the WAL."""
        self._db.close()

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
            len(wishes) == 1 and self._isKnown(wishes[0])
        )
        if cheap:
            self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            self._begin()
            try:
                granted = [self._grant(wish) for wish in wishes]
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error
            self._commit()
        except BaseException:
            # What was counted is undone.
            self._streamsOf.clear()
            raise
        finally:
            if cheap:
                self._db.execute("PRAGMA synchronous = FULL")
        # Also because the number of a row that was forgotten is given again.
        self._remember({g.row: (g.epoch, g.offset, g.base, g.crc) for g in granted})
        return granted

    def _isKnown(self, wish: Wish) -> bool:
        try:
            found = self._db.execute(
                "SELECT 1 FROM stream WHERE worker = ? AND stream = ? AND generation = ?",
                (wish.worker, wish.stream, wish.generation),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        return found is not None

    def _grant(self, wish: Wish) -> Grant:
        key = (wish.worker, wish.stream, wish.generation)
        name, start = _octets(wish.name), wish.start
        known = self._db.execute(
            "UPDATE stream SET epoch = epoch + 1, name = ?"
            " WHERE worker = ? AND stream = ? AND generation = ?"
            " RETURNING id, epoch, offset, base, crc",
            (name, *key),
        ).fetchall()
        if not known:
            self._makeRoom(wish.worker)
            known = self._db.execute(
                "INSERT INTO stream"
                " (worker, stream, generation, name, offset, base, crc, epoch, turn)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, 1, ?)"
                " RETURNING id, epoch, offset, base, crc",
                (*key, name, start, start, self._turn),
            ).fetchall()
            self._turn += 1
        row, epoch, offset, base, crc = known[0]
        return Grant(row, epoch, wish.stream, wish.generation, offset, base, crc)

    def known(self, worker: str) -> list[Known]:
        """Every stream of a worker, the newest first."""
        try:
            rows = self._db.execute(
                "SELECT stream, generation, offset, base, crc, name FROM stream"
                " WHERE worker = ? ORDER BY id DESC",
                (worker,),
            ).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        return [Known(s, g, o, b, c, _text(name)) for s, g, o, b, c, name in rows]

    def holds(self, mark: Mark) -> bool:
        """As L{decnet_syslog.master.promise.JournalPromise.holds}."""
        try:
            found = self._db.execute(
                "SELECT (SELECT min(later.first) FROM era AS later"
                " WHERE later.number > era.number) FROM era WHERE token = ?",
                (mark.token,),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        if found is None:
            return False
        (end,) = found
        return mark.number <= (self.mark.number if end is None else end)

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
        moved = dict(self._cursors)
        positions: dict[int, _Position] = {}
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
                    added[deposit.provenance.worker] += DEPOSIT_COST + len(batch.octets)
                    last = batch.seq
            for cursor in cursors:
                self._saveCursor(cursor)
                moved[cursor.output] = cursor.seq
            if moved != self._cursors:
                removed = self._release(min(moved.values()))
            if last and self._eraToken is not None:
                self._beginEra(self._eraToken)
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        total = added.total()
        self._commit(total)
        if last:
            self.mark = Mark(last, self._eraToken or self.mark.token)
            self._eraToken = None
        self._remember(positions)
        self._cursors = moved
        self._count(added, removed)
        self.octets += total - sum(removed.values())
        return batches

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches behind C{after} in order, at least one if there is one.

        @param costMax: stop behind the batch with which they cost so much.
        """
        batches: list[Batch] = []
        cost = 0
        try:
            for row in self._db.execute(
                "SELECT seq, batch.worker, fingerprint, address, received_at,"
                " batch.name, marks, stream.stream, stream.generation,"
                ' start, "end", octets, lengths, reason'
                " FROM batch LEFT JOIN stream ON stream.id = stream_id"
                " WHERE seq > ? ORDER BY seq",
                (after,),
            ):
                batch = _batch(row)
                batches.append(batch)
                cost += batch.cost
                if cost >= costMax:
                    break
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        return batches

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """
        Say which outputs there are: batches wait for these and for no others.

        @return: the cursor of each. A new one begins at the oldest batch still here.
        """
        oldest = self._one(
            "SELECT coalesce(min(seq) - 1, (SELECT max(seq) FROM sqlite_sequence), 0)"
            " FROM batch"
        )
        self._begin()
        try:
            self._leaveOut(names)
            absences = {
                name: Absence(seq, since)
                for name, seq, since in self._db.execute(
                    "SELECT output, seq, since FROM absent_output"
                )
            }
            for name in names:
                known = absences.get(name)
                begin = oldest if known is None else max(oldest, known.seq)
                self._db.execute(
                    "INSERT OR IGNORE INTO cursor VALUES (?, ?)", (name, begin)
                )
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit()
        self._cursors = dict(self._db.execute("SELECT output, seq FROM cursor"))
        self._returned = absences.keys() & set(names)
        return {
            name: Cursor(
                name, self._cursors[name], self._filesOf(name), absences.get(name)
            )
            for name in names
        }

    def _leaveOut(self, names: Sequence[str]) -> None:
        """Note where the outputs were that have a cursor and are not named."""
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        marks = ", ".join("?" * len(names))
        self._db.execute(
            "INSERT OR IGNORE INTO absent_output SELECT output, seq, coalesce("
            "(SELECT received_at FROM batch WHERE batch.seq > cursor.seq"
            " ORDER BY batch.seq LIMIT 1), ?)"
            f" FROM cursor WHERE output NOT IN ({marks})",
            (now[:26] + "Z", *names),
        )
        self._db.execute(f"DELETE FROM cursor WHERE output NOT IN ({marks})", names)
        self._db.execute(
            "DELETE FROM absent_output WHERE output NOT IN (SELECT output FROM"
            " absent_output ORDER BY since DESC LIMIT ?)",
            (ABSENT_MAX,),
        )
        self._db.execute(
            "DELETE FROM output_file WHERE output NOT IN (SELECT output FROM"
            f" absent_output) AND output NOT IN ({marks})",
            names,
        )

    def _filesOf(self, output: str) -> dict[str, FileLength]:
        return {
            os.fsdecode(path): FileLength(*file)
            for path, *file in self._db.execute(
                "SELECT path, device, inode, length, anchor, ahead, boot"
                " FROM output_file WHERE output = ?",
                (output,),
            )
        }

    def _insert(
        self, deposit: Deposit, positions: dict[int, _Position]
    ) -> Batch | None:
        grant = deposit.grant
        provenance = deposit.provenance
        if grant is not None and not self._advance(deposit, grant, positions):
            return None
        seq = self._db.execute(
            "INSERT INTO batch (worker, fingerprint, address, received_at, name,"
            ' marks, stream_id, start, "end", reason, lengths, octets)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                provenance.worker,
                provenance.fingerprint,
                provenance.address,
                provenance.receivedAt,
                None if provenance.log is None else _octets(provenance.log),
                provenance.marks,
                None if grant is None else grant.row,
                deposit.start,
                deposit.end,
                deposit.reason,
                _packLengths(deposit.lengths),
                deposit.octets,
            ),
        ).lastrowid
        assert seq is not None
        if grant is not None:
            # Of a stream; of a transaction that is undone it is too much, which is harmless.
            self._lastBatch[grant.row] = seq
        return batchOf(seq, deposit)

    def _isDelivered(self, row: int) -> bool:
        """Whether every output has what came of a stream."""
        return self._lastBatch.get(row, 0) <= min(self._cursors.values(), default=0)

    def _remember(self, positions: dict[int, _Position]) -> None:
        if len(self._positions) >= POSITIONS_MAX:
            self._positions.clear()
        self._positions.update(positions)

    def _position(self, row: int) -> _Position | None:
        """What the database has of a stream: (epoch, offset, base, crc)."""
        found: _Position | None = self._db.execute(
            "SELECT epoch, offset, base, crc FROM stream WHERE id = ?", (row,)
        ).fetchone()
        return found

    def _advance(
        self, deposit: Deposit, grant: Grant, positions: dict[int, _Position]
    ) -> bool:
        """
        Move the stream's position if it is still where the deposit starts.

        @param positions: of the streams that this transaction has moved.
        """
        known = positions.get(grant.row) or self._positions.get(grant.row)
        if known is None or known[:2] != (grant.epoch, deposit.start):
            known = self._position(grant.row)
        if known is None or known[:2] != (grant.epoch, deposit.start):
            return False
        _, _, base, crc = known
        if deposit.reason is None:
            crc = crc32(deposit.octets, crc)
        else:
            base, crc = deposit.end, 0
        worker = deposit.provenance.worker
        # The number of a row that was forgotten is given again, to another's stream perhaps.
        moved = self._db.execute(
            "UPDATE stream SET offset = ?, base = ?, crc = ?, turn = ?"
            " WHERE id = ? AND epoch = ? AND offset = ?"
            " AND worker = ? AND stream = ? AND generation = ?",
            (
                deposit.end,
                base,
                crc,
                self._turn,
                grant.row,
                grant.epoch,
                deposit.start,
                worker,
                grant.stream,
                grant.generation,
            ),
        )
        if moved.rowcount != 1:
            # What we remember saves a look; the database decides.
            return False
        self._turn += 1
        positions[grant.row] = (grant.epoch, deposit.end, base, crc)
        if deposit.reason is not None:
            self._insertGap(deposit, grant)
        return True

    def _insertGap(self, deposit: Deposit, grant: Grant) -> None:
        worker = deposit.provenance.worker
        self._db.execute(
            "INSERT OR REPLACE INTO gap (worker, stream, generation, name, start,"
            ' "end", reason, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
            (
                worker,
                grant.stream,
                grant.generation,
                _octets(deposit.provenance.log or ""),
                deposit.start,
                deposit.end,
                deposit.reason,
                deposit.provenance.receivedAt,
            ),
        )
        self._gapsAdded[worker] += 1
        if self._gapsAdded[worker] % GAPS_PER_LOOK == 0:
            self._forgetGaps(worker)

    def _beginEra(self, token: str) -> None:
        """Begin an era behind what was committed before, and forget the oldest."""
        (number,) = self._db.execute(
            "INSERT INTO era (token, first) VALUES (?, ?) RETURNING number",
            (token, self.mark.number),
        ).fetchone()
        self._db.execute("DELETE FROM era WHERE number <= ?", (number - ERAS_MAX,))

    def _saveCursor(self, cursor: Cursor) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO cursor VALUES (?, ?)", (cursor.output, cursor.seq)
        )
        if cursor.output in self._returned:
            # What it lacks was reported. (Deleted again if this transaction is undone.)
            self._db.execute(
                "DELETE FROM absent_output WHERE output = ?", (cursor.output,)
            )
        self._db.executemany(
            "INSERT OR REPLACE INTO output_file (output, path, device, inode, length,"
            " anchor, ahead, boot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    cursor.output,
                    os.fsencode(path),
                    file.device,
                    file.inode,
                    file.length,
                    file.anchor,
                    file.ahead,
                    file.boot,
                )
                for path, file in cursor.files.items()
            ],
        )

    def _count(self, added: Mapping[str, int], removed: Mapping[str, int]) -> None:
        """Know what each worker has here; of those who have nothing, nothing."""
        for worker in added.keys() | removed.keys():
            has = self.octetsOf.get(worker, 0)
            has += added.get(worker, 0) - removed.get(worker, 0)
            if has:
                self.octetsOf[worker] = has
            else:
                self.octetsOf.pop(worker, None)

    def _release(self, seq: int) -> dict[str, int]:
        """Delete the batches that every output has. Their octets, of each worker."""
        octets = dict(self._db.execute(_COSTS, (seq,)))
        self._db.execute("DELETE FROM batch WHERE seq <= ?", (seq,))
        return octets

    def _makeRoom(self, worker: str) -> None:
        """
        Count a stream that is about to be made. If they are too many, forget the worker's
        oldest, but none with a batch.
        """
        most = self._streamsPerWorkerMax
        if worker not in self._streamsOf:
            (has,) = self._db.execute(
                "SELECT count(*) FROM stream WHERE worker = ?", (worker,)
            ).fetchone()
            self._streamsOf[worker] = has, most
        has, again = self._streamsOf[worker]
        if has >= again:
            rows = self._db.execute(
                "SELECT id FROM stream WHERE worker = ? ORDER BY turn DESC"
                " LIMIT -1 OFFSET ?",
                (worker, most - 1 - most // 16),
            ).fetchall()
            for (row,) in rows:
                if self._isDelivered(row):
                    self._db.execute("DELETE FROM stream WHERE id = ?", (row,))
                    self._lastBatch.pop(row, None)
                    has -= 1
            again = max(most, has + min(LOOKED_AGAIN, most // 16))
        self._streamsOf[worker] = has + 1, again

    def _forgetGaps(self, worker: str) -> None:
        """Forget a worker's oldest gaps, if there are very many: the outputs have them."""
        self._db.execute(
            "DELETE FROM gap WHERE rowid IN (SELECT rowid FROM gap WHERE worker = ?"
            " ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
            (worker, GAPS_PER_WORKER_MAX),
        )

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
        except sqlite3.DatabaseError:
            full = False
        if full:
            return JournalFull("no space for the journal")
        return JournalFailed(f"{type(error).__name__}: {error}")
