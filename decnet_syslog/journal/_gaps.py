"""
The gaps of all workers, in the journal: octets that can never be delivered.

A gap stays when its stream is forgotten. The number of gaps of each worker is bounded, and the
oldest are deleted first: the outputs have a record of every gap.
"""

from __future__ import annotations

import sqlite3
from collections import Counter

from ._filenames import NameTable
from ._stored import GAP_OCTETS, KeptOctets
from ._values import Deposit, StreamLease

__all__ = ["GAPS_KEPT", "GapTable"]

# Gaps kept for each worker; the limit is checked after this many new ones.
GAPS_PER_WORKER_MAX = 10_000
GAPS_PER_LOOK = 1000

#: The most gaps that there can be between two checks.
GAPS_KEPT = GAPS_PER_WORKER_MAX + GAPS_PER_LOOK


class GapTable:
    """The table of gaps."""

    def __init__(
        self, db: sqlite3.Connection, names: NameTable, kept: KeptOctets
    ) -> None:
        self._db = db
        self._names = names
        self._kept = kept
        # Counted for each worker, so that one worker cannot trigger or delay another's check.
        self._added: Counter[str] = Counter()

    def add(self, deposit: Deposit, grant: StreamLease) -> None:
        """Record a gap, in the transaction that moves the position over it."""
        worker = deposit.provenance.worker
        self._db.execute(
            "INSERT OR REPLACE INTO gap (worker, stream, generation, name_id, start,"
            ' "end", reason, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
            (
                worker,
                grant.stream,
                grant.generation,
                self._names.numberOf(worker, deposit.provenance.log or ""),
                deposit.start,
                deposit.end,
                deposit.reason,
                deposit.provenance.receivedAt,
            ),
        )
        self._kept.add(worker, GAP_OCTETS)
        self._added[worker] += 1
        if self._added[worker] % GAPS_PER_LOOK == 0:
            self.forget(worker, GAPS_PER_WORKER_MAX)

    def forget(self, worker: str, most: int) -> None:
        """Forget a worker's gaps except the C{most} newest: the outputs have them all."""
        deleted = self._db.execute(
            "DELETE FROM gap WHERE rowid IN (SELECT rowid FROM gap WHERE worker = ?"
            " ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
            (worker, most),
        )
        self._kept.add(worker, -GAP_OCTETS * deleted.rowcount)
