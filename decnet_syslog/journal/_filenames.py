"""
The names of the workers' files, in the journal: each is stored once.

Streams, batches and gaps refer to a name by its number. A name may have 4,096 octets, and a
worker can send a batch with a name for each octet of a line; a thousand rotations of a file
share one name.

A name stays while something refers to it. When a worker has too many names, the journal deletes
the ones without a reference.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable
from hashlib import sha256

from ._packing import octetsOf
from ._stored import NAME_OCTETS, NAMES_OCTETS_MAX, KeptOctets

__all__ = ["NameTable"]

# The number of cached names.
KNOWN_MAX = 1024

# If a worker has too many names and all are in use, the next sweep comes after this many more
# octets of names.
LOOKED_AGAIN_OCTETS = 256 * 1024


class NameTable:
    """The table of names."""

    def __init__(
        self,
        db: sqlite3.Connection,
        kept: KeptOctets,
        isReleased: Callable[[int], bool],
        lastBatch: int,
    ) -> None:
        """
        @param isReleased: whether a batch is in every output, by its number.
        @param lastBatch: the newest batch; all up to it may refer to any name.
        """
        self._db = db
        self._kept = kept
        self._isReleased = isReleased
        self._before = lastBatch
        # The last batch with a name.
        self._lastOf: dict[int, int] = {}
        self._known: OrderedDict[tuple[str, str], int] = OrderedDict()
        octets = db.execute(
            f"SELECT worker, sum(length(name) + {NAME_OCTETS}) FROM name GROUP BY worker"
        )
        self._octetsOf: Counter[str] = Counter(dict(octets))
        # What this transaction has changed.
        self._changes: Counter[str] = Counter()
        # The size of a worker's names at which the next sweep comes.
        self._again: dict[str, int] = {}

    def undone(self) -> None:
        """The transaction is undone."""
        self._known.clear()
        self._again.clear()
        self._octetsOf.subtract(self._changes)
        self._changes.clear()

    def committed(self) -> None:
        """The transaction is committed."""
        self._changes.clear()

    def numberOf(self, worker: str, name: str) -> int:
        """The number of a name; a new name is stored. Runs in a transaction."""
        key = worker, name
        number = self._known.get(key)
        if number is None:
            number = self._find(worker, octetsOf(name))
            if len(self._known) >= KNOWN_MAX:
                self._known.popitem(last=False)
            self._known[key] = number
        return number

    def _find(self, worker: str, octets: bytes) -> int:
        digest = sha256(octets).digest()
        found = self._db.execute(
            "SELECT id FROM name WHERE worker = ? AND digest = ?", (worker, digest)
        ).fetchone()
        if found is None:
            found = self._db.execute(
                "INSERT INTO name (worker, digest, name) VALUES (?, ?, ?) RETURNING id",
                (worker, digest, octets),
            ).fetchall()[0]
            self._count(worker, NAME_OCTETS + len(octets))
        return int(found[0])

    def _count(self, worker: str, octets: int) -> None:
        self._octetsOf[worker] += octets
        self._changes[worker] += octets
        self._kept.add(worker, octets)

    def used(self, number: int, seq: int) -> None:
        """Note that a batch refers to a name."""
        self._lastOf[number] = seq

    def isCrowded(self, worker: str) -> bool:
        """Whether a worker has too many names."""
        most = self._again.get(worker, NAMES_OCTETS_MAX)
        return self._octetsOf[worker] > most

    def sweep(self, worker: str) -> bool:
        """
        Delete a worker's names without a reference. Runs in a transaction.

        @return: whether that was enough. If not, another sweep comes later.
        """
        rows = self._db.execute(
            "SELECT id, length(name) FROM name WHERE worker = ?1"
            " AND id NOT IN (SELECT name_id FROM stream WHERE worker = ?1)"
            " AND id NOT IN (SELECT name_id FROM gap WHERE worker = ?1)",
            (worker,),
        ).fetchall()
        for number, octets in rows:
            if self._isReleased(self._lastOf.get(number, self._before)):
                self._db.execute("DELETE FROM name WHERE id = ?", (number,))
                self._lastOf.pop(number, None)
                self._count(worker, -NAME_OCTETS - octets)
        self._known.clear()
        has = self._octetsOf[worker]
        if has <= NAMES_OCTETS_MAX:
            self._again.pop(worker, None)
            return True
        self._again[worker] = has + LOOKED_AGAIN_OCTETS
        return False
