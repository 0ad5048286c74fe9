"""
Committing deposits, and the cursors of outputs.

A commit is cut into pieces that fit. Each piece is one transaction: the streams' positions, and
rows with the octets or with their places in segments, which are on disk before.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence

from ._errors import JournalFailed, JournalFull, NotWritten
from ._segmentfile import SegmentsFailed
from ._shares import pieces
from ._streams import CachedPosition
from ._transactions import Transactions
from ._values import (
    Batch,
    Cursor,
    Deposit,
)

__all__ = ["Committing"]


class Committing(Transactions):
    """
    The transactions that add batches.
    """

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
        stale = {
            (deposit.provenance.worker, deposit.provenance.address)
            for deposit, batch in zip(deposits, done, strict=False)
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
                except NotWritten:
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
        @raise NotWritten: they cannot be written there. Nothing was committed.
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

        @raise NotWritten: the transaction is undone.
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
            raise NotWritten

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
