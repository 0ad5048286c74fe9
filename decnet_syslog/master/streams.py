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

from .gaps import GapTable
from .packing import octetsOf, textOf
from .values import Deposit, Grant, Known, Wish

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
    ) -> None:
        """
        @param streamsPerWorkerMax: of more the one that advanced longest ago is forgotten.
        @param isDelivered: whether every output has what came of a stream, by its row.
        @param forgotten: told of each row that is deleted.
        """
        self._db = db
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self._isDelivered = isDelivered
        self._forgotten = forgotten
        self._gaps = GapTable(db)
        # Of each worker: how many streams it has, and with how many it is looked again.
        self._streamsOf: dict[str, tuple[int, int]] = {}
        self._positions: dict[int, Position] = {}
        self._turn: int
        (self._turn,) = db.execute(
            "SELECT coalesce(max(turn), 0) + 1 FROM stream"
        ).fetchone()

    def grant(self, wish: Wish) -> Grant:
        """Give a connection the right to a stream, in a transaction."""
        key = (wish.worker, wish.stream, wish.generation)
        name, start = octetsOf(wish.name), wish.start
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

    def isKnown(self, wish: Wish) -> bool:
        """Whether a stream has a position."""
        found = self._db.execute(
            "SELECT 1 FROM stream WHERE worker = ? AND stream = ? AND generation = ?",
            (wish.worker, wish.stream, wish.generation),
        ).fetchone()
        return found is not None

    def known(self, worker: str) -> list[Known]:
        """Every stream of a worker, the newest first."""
        rows = self._db.execute(
            "SELECT stream, generation, offset, base, crc, name FROM stream"
            " WHERE worker = ? ORDER BY id DESC",
            (worker,),
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

    def committed(self, positions: Mapping[int, Position]) -> None:
        """A transaction is committed: know the positions that it moved."""
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
            rows = self._db.execute(
                "SELECT id FROM stream WHERE worker = ? ORDER BY turn DESC"
                " LIMIT -1 OFFSET ?",
                (worker, most - 1 - most // 16),
            ).fetchall()
            for (row,) in rows:
                if self._isDelivered(row):
                    self._db.execute("DELETE FROM stream WHERE id = ?", (row,))
                    self._forgotten(row)
                    has -= 1
            again = max(most, has + min(LOOKED_AGAIN, most // 16))
        self._streamsOf[worker] = has + 1, again
