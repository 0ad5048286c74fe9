"""
The streams of all workers, in the journal: each has one position, and one connection that may
move it.

A position moves only if it still is where the deposit starts, the connection holds the
newest grant, and worker, stream and generation are the row's. What is remembered beside the
database saves a look at it; the database decides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias
from zlib import crc32

from .filenames import NameTable
from .gaps import GapTable
from .packing import textOf
from .stored import STREAM_OCTETS, KeptOctets
from .values import KNOWN_NAME_OCTETS_MAX, Deposit, Grant, Known, Wish

__all__ = ["Position", "StreamTable"]

# When a worker has too many streams, a sixteenth of them goes at once: to find the oldest is to
# look at them all. When none can go, because the outputs do not have them yet, it is looked
# again after so many more.
LOOKED_AGAIN = 64

# Positions kept in memory beside the database's.
POSITIONS_MAX = 65536

# Epoch, offset, base, crc of a stream.
Position: TypeAlias = tuple[int, int, int, int]


class StreamTable:
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
        @param streamsPerWorkerMax: of more the one that advanced longest ago is forgotten.
        @param isDelivered: whether every output has what came of a stream, by its row.
        @param forgotten: told of each row that is deleted.
        @param kept: told of what is stored.
        @param lastBatch: the newest.
        """
        self._db = db
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self._isDelivered = isDelivered
        self._forgotten = forgotten
        self._names = names
        self._kept = kept
        self._gaps = GapTable(db, names, kept)
        # Of each worker: how many streams it has, and with how many it is looked again.
        self._streamsOf: dict[str, tuple[int, int]] = {}
        # Workers that have too much, all of it of batches, and the last of these.
        self._overfull: dict[str, int] = {}
        self._last = lastBatch
        # Of these, the ones that this transaction has freed.
        self._freed: dict[str, int] = {}
        self._positions: dict[int, Position] = {}
        self._turn: int
        (self._turn,) = db.execute(
            "SELECT coalesce(max(turn), 0) + 1 FROM stream"
        ).fetchone()

    def grant(self, wish: Wish) -> Grant:
        """Give a connection the right to a stream, in a transaction."""
        if self._names.isCrowded(wish.worker):
            self._freeNames(wish.worker)
        key = (wish.worker, wish.stream, wish.generation)
        name, start = self._names.numberOf(wish.worker, wish.name), wish.start
        known = self._db.execute(
            "UPDATE stream SET epoch = epoch + 1, name_id = ?"
            " WHERE worker = ? AND stream = ? AND generation = ?"
            " RETURNING id, epoch, offset, base, crc",
            (name, *key),
        ).fetchall()
        if not known:
            self._makeRoom(wish.worker)
            known = self._db.execute(
                "INSERT INTO stream"
                " (worker, stream, generation, name_id, offset, base, crc, epoch, turn)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, 1, ?)"
                " RETURNING id, epoch, offset, base, crc",
                (*key, name, start, start, self._turn),
            ).fetchall()
            self._turn += 1
            self._kept.add(wish.worker, STREAM_OCTETS)
        row, epoch, offset, base, crc = known[0]
        return Grant(row, epoch, wish.stream, wish.generation, offset, base, crc)

    def isKnown(self, wish: Wish) -> bool:
        """Whether a stream has a position."""
        found = self._db.execute(
            "SELECT 1 FROM stream WHERE worker = ? AND stream = ? AND generation = ?",
            (wish.worker, wish.stream, wish.generation),
        ).fetchone()
        return found is not None

    def known(self, worker: str) -> list[Known]:
        """Every stream of a worker, the newest first; names are cut."""
        rows = self._db.execute(
            "SELECT stream, generation, offset, base, crc,"
            " substr(name, 1, ?) FROM stream JOIN name ON name.id = name_id"
            " WHERE stream.worker = ? ORDER BY stream.id DESC",
            (KNOWN_NAME_OCTETS_MAX, worker),
        ).fetchall()
        return [Known(s, g, o, b, c, textOf(name)) for s, g, o, b, c, name in rows]

    def advance(
        self, deposit: Deposit, grant: Grant, positions: dict[int, Position]
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
            self._gaps.add(deposit, grant)
        return True

    def _position(self, row: int) -> Position | None:
        """What the database has of a stream: (epoch, offset, base, crc)."""
        found: Position | None = self._db.execute(
            "SELECT epoch, offset, base, crc FROM stream WHERE id = ?", (row,)
        ).fetchone()
        return found

    def granted(self, grants: Iterable[Grant]) -> None:
        """Grants are committed."""
        # Also because the number of a row that was forgotten is given again.
        self.committed({g.row: (g.epoch, g.offset, g.base, g.crc) for g in grants})

    def undone(self) -> None:
        """Grants are not committed: what was counted of them is counted again."""
        self._streamsOf.clear()
        self._freed.clear()

    def committed(self, positions: Mapping[int, Position], last: int = 0) -> None:
        """
        A transaction is committed: know the positions that it moved.

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
            has -= self._forgetOldest(worker, most - 1 - most // 16)
            if has >= most:
                self._overfull[worker] = self._last
            again = max(most, has + min(LOOKED_AGAIN, most // 16))
        self._streamsOf[worker] = has + 1, again

    def _forgetOldest(self, worker: str, most: int) -> int:
        """
        Forget the streams of a worker behind the C{most} that advanced last, but none with a
        batch.

        @return: how many.
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
        Every output has the batches up to C{seq}: forget what was too much, and was theirs. In
        a transaction.
        """
        for worker, last in list(self._overfull.items()):
            if last <= seq:
                self._freed[worker] = last
                self._streamsOf.pop(worker, None)
                self._forgetOldest(worker, self._streamsPerWorkerMax)
                self._freeNames(worker)

    def _freeNames(self, worker: str) -> None:
        """
        Free names of a worker that has too many: those that nothing refers to, or else those
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
