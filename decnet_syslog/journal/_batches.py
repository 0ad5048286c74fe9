"""The batches in the journal: lines that are committed and not yet on disk in every output."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from ..boundaries import Stored
from ..wire import NUMBER_MAX, Provenance
from ._filenames import NameTable
from ._packing import packLengths, textOf, unpackLengths
from ._places import Place
from ._segments import Segments
from ._stored import payloadOctets, storedOctets
from ._values import Batch, Deposit, batchOf

__all__ = ["LAST_BATCH", "LOST", "BatchTable", "Released", "placesOf"]

# The reason of a gap whose octets the journal had, and lost.
LOST = "journal-damaged"

# The octets of each worker up to a batch. The LIMIT keeps SQLite from sorting the octets, too.
_COST = (
    "stored_octets(length(octets), coalesce(length(lengths) / 4, 0),"
    " coalesce(length(name), 0)) + coalesce(size, 0)"
)
_COSTS = (
    f"SELECT worker, sum(cost) FROM (SELECT worker, {_COST} AS cost"
    " FROM batch WHERE seq <= ? LIMIT -1) GROUP BY worker"
)

# The last batch ever: SQLite remembers its number after its deletion.
LAST_BATCH = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'batch'), 0)"


@dataclass
class Released:
    """
    What a deletion has freed.

    @ivar octetsOf: octets of each worker.
    @ivar places: in segments.
    """

    octetsOf: Counter[str] = field(default_factory=Counter)
    places: list[Place] = field(default_factory=list)


def placesOf(db: sqlite3.Connection) -> Iterator[Place]:
    """The places of all batches in segments, in order."""
    for row in db.execute(
        "SELECT place, size, rest FROM batch WHERE place IS NOT NULL ORDER BY seq"
    ):
        yield Place(*row)


class BatchTable:
    """
    The table of batches.

    @ivar octets: the size of all committed batches in the file.
    @ivar octetsOf: the same for each worker. Read in the reactor's thread.
    """

    def __init__(
        self, db: sqlite3.Connection, names: NameTable, segments: Segments
    ) -> None:
        self._db = db
        self._names = names
        self._segments = segments
        # A journal keeps the pages that it was made with.
        (self._pageOctets,) = db.execute("PRAGMA page_size").fetchone()
        db.create_function("stored_octets", 3, self._stored, deterministic=True)
        self.octetsOf: dict[str, int] = dict(db.execute(_COSTS, (NUMBER_MAX,)))
        self.octets = sum(self.octetsOf.values())
        # The last batch of each stream. Asked of the table, the journal's one thread would
        # look at every batch there is whenever a worker opens a stream.
        self._lastOf: dict[int, int] = dict(
            db.execute(
                "SELECT stream_id, max(seq) FROM batch WHERE stream_id IS NOT NULL"
                " GROUP BY stream_id"
            )
        )

    def _stored(self, octets: int, lengths: int, name: int = 0) -> int:
        return storedOctets(payloadOctets(octets, lengths, name), self._pageOctets)

    def rowOctets(self, deposit: Deposit, isPlaced: bool = False) -> int:
        """
        The room in the database of the batch that a deposit will become.

        @param isPlaced: whether its octets are in segments.
        """
        octets = 0 if isPlaced else len(deposit.octets)
        return self._stored(octets, len(deposit.lengths or ()))

    def oldest(self) -> int:
        """The number before the oldest batch; without batches, that of the last one ever."""
        (found,) = self._db.execute(
            f"SELECT coalesce(min(seq) - 1, {LAST_BATCH}) FROM batch"
        ).fetchone()
        return int(found)

    def lastOf(self, row: int) -> int:
        """The last batch of a stream; 0 if all are deleted."""
        return self._lastOf.get(row, 0)

    def forget(self, row: int) -> None:
        """A stream is forgotten."""
        self._lastOf.pop(row, None)

    def insert(
        self,
        deposit: Deposit,
        place: Place | None = None,
        checksums: tuple[int, int] | None = None,
    ) -> Batch:
        """
        Make a batch of a deposit, in the transaction that moves its stream.

        @param place: where its octets are; C{None}: in the row.
        @param checksums: of its stream, before and after it; C{None}: it has no stream.
        """
        grant, provenance = deposit.grant, deposit.provenance
        name = None
        if provenance.log is not None:
            name = self._names.numberOf(provenance.worker, provenance.log)
        there: tuple[object, ...] = (None,) * 5
        if place is not None:
            seed, crc = checksums or (0, crc32(deposit.octets))
            there = (place.start, place.octets, place.rest, seed, crc)
        seq = self._db.execute(
            "INSERT INTO batch (worker, fingerprint, address, received_at, name_id,"
            ' marks, stream_id, start, "end", reason, lengths, octets,'
            " place, size, rest, seed, crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                provenance.worker,
                provenance.fingerprint,
                provenance.address,
                provenance.receivedAt,
                name,
                provenance.flagHostnameMismatch,
                None if grant is None else grant.row,
                deposit.start,
                deposit.end,
                deposit.reason,
                packLengths(deposit.lengths),
                deposit.octets if place is None else b"",
                *there,
            ),
        ).lastrowid
        assert seq is not None
        if grant is not None:
            # If the transaction is undone, this number is too high, which is harmless.
            self._lastOf[grant.row] = seq
        if name is not None:
            self._names.used(name, seq)
        return batchOf(seq, deposit)

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches after C{after} in order, until their cost reaches C{costMax}. Of a batch
        whose octets are lost, a gap.

        @raise SegmentsFailed: the disk has failed.
        """
        batches: list[Batch] = []
        cost = 0
        for row in self._db.execute(
            "SELECT seq, batch.worker, fingerprint, address, received_at,"
            " coalesce(name.name, batch.name), marks, stream.stream, stream.generation,"
            ' start, "end", octets, lengths, reason, place, size, rest, seed, batch.crc'
            " FROM batch LEFT JOIN stream ON stream.id = stream_id"
            " LEFT JOIN name ON name.id = batch.name_id"
            " WHERE seq > ? ORDER BY seq",
            (after,),
        ):
            batch = self._batch(row)
            batches.append(batch)
            cost += batch.cost
            if cost >= costMax:
                break
        return batches

    def _batch(self, row: Sequence[Stored]) -> Batch:
        """A row of L{read}."""
        seq, worker, fingerprint, address, receivedAt, name, marks, *rest = row
        stream, generation, start, end, octets, lengths, reason, *there = rest
        place, size, more, seed, crc = there
        if place is not None:
            octets = self._segments.read(Place(place, size, more))
            if len(octets) != size or crc32(octets, seed) != crc:
                octets, lengths, reason = b"", None, LOST
                if stream is None:
                    # It is in no file: only its length is known.
                    end = start + size
        log = None if name is None else textOf(name)
        return Batch(
            seq,
            Provenance(worker, fingerprint, address, receivedAt, log, bool(marks)),
            stream,
            generation or 0,
            start,
            end,
            octets,
            unpackLengths(lengths),
            reason,
        )

    def release(self, seq: int, costMax: int) -> Released:
        """
        Delete the oldest batches up to C{seq}, in a transaction: at least one if there is one.

        @param costMax: stop after the batch whose size makes the total reach this value.
        """
        released = Released()
        last = None
        total = 0
        for number, worker, cost, *place in self._db.execute(
            f"SELECT seq, worker, {_COST}, place, size, rest FROM batch WHERE seq <= ?"
            " ORDER BY seq",
            (seq,),
        ):
            released.octetsOf[worker] += cost
            if place[0] is not None:
                released.places.append(Place(*place))
            last = number
            total += cost
            if total >= costMax:
                break
        if last is not None:
            self._db.execute("DELETE FROM batch WHERE seq <= ?", (last,))
        return released

    def committed(self, added: Mapping[str, int], removed: Mapping[str, int]) -> None:
        """
        A transaction is committed: update the octets of each worker. Workers without any have
        no entry.

        @param added: octets of each worker, including the overhead of rows.
        @param removed: octets of each worker in the result of L{release}.
        """
        for worker in added.keys() | removed.keys():
            has = self.octetsOf.get(worker, 0)
            has += added.get(worker, 0) - removed.get(worker, 0)
            if has:
                self.octetsOf[worker] = has
            else:
                self.octetsOf.pop(worker, None)
        self.octets += sum(added.values()) - sum(removed.values())
