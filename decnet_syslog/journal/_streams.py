"""
The streams of all workers, in the journal: each has one position, and one connection that may
move it.

A position moves only if it is still at the start of the deposit, the connection holds the
newest grant, and worker, stream and generation match the row. Cached positions only save
queries; the database decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias
from zlib import crc32

from ._filenames import NameTable
from ._gaps import GapTable
from ._packing import textOf
from ._stored import STREAM_OCTETS, KeptOctets
from ._values import (
    KNOWN_NAME_OCTETS_MAX,
    Deposit,
    OpenRequest,
    StreamLease,
    StreamPosition,
)

__all__ = ["CachedPosition", "StoredStreams"]

# When a worker has too many streams, the journal forgets a sixteenth of them at once, because
# finding the oldest means reading them all. If it can forget none, because the outputs lack
# their batches, it tries again after this many more streams.
LOOKED_AGAIN = 64

# Cached positions.
POSITIONS_MAX = 65536

# A stream's epoch, offset, base and CRC.
CachedPosition: TypeAlias = tuple[int, int, int, int]


class StoredStreams:
    """The table of streams."""

    def __init__(
        self,
        db: sqlite3.Connection,
        streamsPerWorkerMax: int,
        isDelivered: Callable[[int], bool],
        forgotten: Callable[[int], None],
        names: NameTable,
        kept: KeptOctets,
        lastBatch: int,
    ) -> None:
        """
        @param streamsPerWorkerMax: beyond it, the stream that advanced longest ago is
            forgotten.
        @param isDelivered: whether every output has all batches of a stream, by its row.
        @param forgotten: called with each row that is deleted.
        @param kept: counts the stored octets.
        @param lastBatch: the newest batch.
        """
        self._db = db
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self._isDelivered = isDelivered
        self._forgotten = forgotten
        self._names = names
        self._kept = kept
        self._gaps = GapTable(db, names, kept)
        # For each worker: the number of its streams, and the number for the next attempt to
        # forget some.
        self._streamsOf: dict[str, tuple[int, int]] = {}
        # Workers with too many streams, all with batches, and the last of these batches.
        self._overfull: dict[str, int] = {}
        self._last = lastBatch
        # The overfull workers that this transaction has freed.
        self._freed: dict[str, int] = {}
        self._positions: dict[int, CachedPosition] = {}
        self._turn: int
        (self._turn,) = db.execute(
            "SELECT coalesce(max(turn), 0) + 1 FROM stream"
        ).fetchone()

    def grant(self, request: OpenRequest) -> StreamLease:
        """Give a connection the right to a stream, in a transaction."""
        if self._names.isCrowded(request.worker):
            self._freeNames(request.worker)
        key = (request.worker, request.stream, request.generation)
        name, start = self._names.numberOf(request.worker, request.name), request.start
        known = self._db.execute(
            "UPDATE stream SET epoch = epoch + 1, name_id = ?"
            " WHERE worker = ? AND stream = ? AND generation = ?"
            " RETURNING id, epoch, offset, base, crc",
            (name, *key),
        ).fetchall()
        if not known:
            self._makeRoom(request.worker)
            known = self._db.execute(
                "INSERT INTO stream"
                " (worker, stream, generation, name_id, offset, base, crc, epoch, turn)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, 1, ?)"
                " RETURNING id, epoch, offset, base, crc",
                (*key, name, start, start, self._turn),
            ).fetchall()
            self._turn += 1
            self._kept.add(request.worker, STREAM_OCTETS)
        row, epoch, offset, base, crc = known[0]
        return StreamLease(
            row, epoch, request.stream, request.generation, offset, base, crc
        )

    def isKnown(self, request: OpenRequest) -> bool:
        """Whether a stream has a position."""
        found = self._db.execute(
            "SELECT 1 FROM stream WHERE worker = ? AND stream = ? AND generation = ?",
            (request.worker, request.stream, request.generation),
        ).fetchone()
        return found is not None

    def known(self, worker: str) -> list[StreamPosition]:
        """All streams of a worker, the newest first; long names are cut."""
        rows = self._db.execute(
            "SELECT stream, generation, offset, base, crc,"
            " substr(name, 1, ?) FROM stream JOIN name ON name.id = name_id"
            " WHERE stream.worker = ? ORDER BY stream.id DESC",
            (KNOWN_NAME_OCTETS_MAX, worker),
        ).fetchall()
        return [
            StreamPosition(s, g, o, b, c, textOf(name)) for s, g, o, b, c, name in rows
        ]

    def advance(
        self, deposit: Deposit, grant: StreamLease, positions: dict[int, CachedPosition]
    ) -> tuple[int, int] | None:
        """
        Move the stream's position if it is still at the start of the deposit.

        @param positions: the positions that this transaction has moved.
        @return: the checksums before and after the deposit; C{None}: the deposit is stale.
        """
        known = positions.get(grant.row) or self._positions.get(grant.row)
        if known is None or known[:2] != (grant.epoch, deposit.start):
            known = self._position(grant.row)
        if known is None or known[:2] != (grant.epoch, deposit.start):
            return None
        _, _, base, seed = known
        crc = seed
        if deposit.reason is None:
            crc = crc32(deposit.octets, crc)
        else:
            base, crc = deposit.end, 0
        worker = deposit.provenance.worker
        # SQLite reuses the number of a forgotten row, perhaps for another worker's stream.
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
            # The cache was wrong; the database decides.
            return None
        self._turn += 1
        positions[grant.row] = (grant.epoch, deposit.end, base, crc)
        if deposit.reason is not None:
            self._gaps.add(deposit, grant)
        return seed, crc

    def _position(self, row: int) -> CachedPosition | None:
        """A stream's position in the database."""
        found: CachedPosition | None = self._db.execute(
            "SELECT epoch, offset, base, crc FROM stream WHERE id = ?", (row,)
        ).fetchone()
        return found

    def granted(self, grants: Iterable[StreamLease]) -> None:
        """Grants are committed."""
        # The cache may have the position of a forgotten row with the same number.
        self.committed({g.row: (g.epoch, g.offset, g.base, g.crc) for g in grants})

    def undone(self) -> None:
        """Grants were not committed: forget the counts, so that they are made anew."""
        self._streamsOf.clear()
        self._freed.clear()

    def committed(self, positions: Mapping[int, CachedPosition], last: int = 0) -> None:
        """
        A transaction is committed: cache the positions that it moved.

        @param last: its last batch, if it has one.
        """
        self._last = max(self._last, last)
        for worker, freed in self._freed.items():
            if self._overfull.get(worker) == freed:
                del self._overfull[worker]
        self._freed.clear()
        if len(self._positions) >= POSITIONS_MAX:
            self._positions.clear()
        self._positions.update(positions)

    def _makeRoom(self, worker: str) -> None:
        """
        Count a stream that will be added. If the worker has too many, forget its oldest ones
        that have no batch.
        """
        most = self._streamsPerWorkerMax
        if worker not in self._streamsOf:
            (has,) = self._db.execute(
                "SELECT count(*) FROM stream WHERE worker = ?", (worker,)
            ).fetchone()
            self._streamsOf[worker] = has, most
        has, again = self._streamsOf[worker]
        if has >= again:
            has -= self._forgetOldest(worker, most - 1 - most // 16)
            if has >= most:
                self._overfull[worker] = self._last
            again = max(most, has + min(LOOKED_AGAIN, most // 16))
        self._streamsOf[worker] = has + 1, again

    def _forgetOldest(self, worker: str, most: int) -> int:
        """
        Forget a worker's streams without a batch, except the C{most} that advanced last.

        @return: the number of forgotten streams.
        """
        rows = self._db.execute(
            "SELECT id FROM stream WHERE worker = ? ORDER BY turn DESC"
            " LIMIT -1 OFFSET ?",
            (worker, most),
        ).fetchall()
        gone = [row for (row,) in rows if self._isDelivered(row)]
        for row in gone:
            self._db.execute("DELETE FROM stream WHERE id = ?", (row,))
            self._forgotten(row)
        self._kept.add(worker, -STREAM_OCTETS * len(gone))
        return len(gone)

    def released(self, seq: int) -> None:
        """
        Every output has the batches up to C{seq}: forget the surplus streams that had to wait
        for that. Runs in a transaction.
        """
        for worker, last in list(self._overfull.items()):
            if last <= seq:
                self._freed[worker] = last
                self._streamsOf.pop(worker, None)
                self._forgetOldest(worker, self._streamsPerWorkerMax)
                self._freeNames(worker)

    def _freeNames(self, worker: str) -> None:
        """
        Free names of a worker that has too many: the unused ones; if there are none, the names
        of the older half of its streams and gaps.
        """
        if self._names.sweep(worker):
            return
        self._streamsOf.pop(worker, None)
        for table, forget in (
            ("stream", self._forgetOldest),
            ("gap", self._gaps.forget),
        ):
            (has,) = self._db.execute(
                f"SELECT count(*) FROM {table} WHERE worker = ?", (worker,)
            ).fetchone()
            forget(worker, has // 2)
        if not self._names.sweep(worker):
            self._overfull[worker] = self._last
