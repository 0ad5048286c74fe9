"""
The room that the journal's content takes on the disk.

Requirement: C{--journal-max} bounds the size of the files, whatever a worker sends. So the
journal counts everything that a worker can make it store as SQLite stores it, in pages, and not
as it was sent.

Each batch counts (L{storedOctets}) until it is released. Positions, gaps and names
(L{KeptOctets}) are kept as long as a stream is known. Their number is bounded for each worker,
far above the needs of an honest one: a listener must not stop because of rows that a fleet
accumulated over years. Octets beyond the bound count as the worker's backlog.
"""

from __future__ import annotations

import sqlite3
from collections import Counter

from ._values import DEPOSIT_COST

__all__ = [
    "GAP_OCTETS",
    "NAMES_OCTETS_MAX",
    "STREAM_OCTETS",
    "KeptOctets",
    "payloadOctets",
    "storedOctets",
]

# A row and its entry in an index, half of whose pages may be empty: a worker's name has 64
# characters at most.
STREAM_OCTETS = 512
GAP_OCTETS = 512
NAME_OCTETS = 512

# The size of a worker's names: four thousand paths of five hundred octets.
NAMES_OCTETS_MAX = 2 * 1024 * 1024

_KEPT = (
    f"SELECT worker, sum(octets) FROM ("
    f"SELECT worker, {STREAM_OCTETS} AS octets FROM stream"
    f" UNION ALL SELECT worker, {GAP_OCTETS} FROM gap"
    f" UNION ALL SELECT worker, length(name) + {NAME_OCTETS} FROM name) GROUP BY worker"
)


def storedOctets(payload: int, pageOctets: int) -> int:
    """
    The room of a row in a table that grows at its end, including the room it leaves unused.

    A row that does not fit into a page begins the next one. If a row is longer than a page, its
    rest is in overflow pages (https://www.sqlite.org/fileformat2.html, 1.6).

    @param payload: octets of the row.
    """
    most = pageOctets - 35
    local, rest = payload, 0
    if payload > most:
        least = (pageOctets - 12) * 32 // 255 - 23
        local = least + (payload - least) % (pageOctets - 4)
        if local > most:
            local = least
        rest = -(-(payload - local) // (pageOctets - 4)) * pageOctets
    if 2 * local > pageOctets:
        local = pageOctets
    elif 16 * local > pageOctets:
        # If the previous page has less room for this row, that room stays unused.
        local = local * pageOctets // (pageOctets - local)
    return local + rest


class KeptOctets:
    """
    The size of each worker's positions, gaps and names.

    @ivar octets: the size for all workers together.
    """

    def __init__(self, db: sqlite3.Connection, streamsMax: int, gapsMax: int) -> None:
        """
        @param streamsMax: streams of a worker that are kept.
        @param gapsMax: gaps of a worker that are kept.
        """
        self._most = (
            streamsMax * STREAM_OCTETS + gapsMax * GAP_OCTETS + NAMES_OCTETS_MAX
        )
        self._octetsOf: Counter[str] = Counter(dict(db.execute(_KEPT)))
        self.octets = self._octetsOf.total()
        # The changes of this transaction; before the first call of L{committed}, everything.
        self._changes: Counter[str] = Counter(self._octetsOf)
        # The octets beyond the bound at the last count.
        self._beyond: Counter[str] = Counter()

    def add(self, worker: str, octets: int) -> None:
        """Count octets of a transaction; negative if they are deleted."""
        self._octetsOf[worker] += octets
        self._changes[worker] += octets
        self.octets += octets

    def undone(self) -> None:
        """The transaction is undone."""
        self._octetsOf.subtract(self._changes)
        self.octets -= self._changes.total()
        self._changes.clear()

    def committed(self) -> dict[str, int]:
        """
        The transaction is committed.

        @return: the growth of each worker's excess over the bound; negative if it has shrunk.
        """
        moved: dict[str, int] = {}
        for worker in self._changes:
            now = max(0, self._octetsOf[worker] - self._most)
            if now != self._beyond[worker]:
                moved[worker] = now - self._beyond[worker]
                self._beyond[worker] = now
        self._changes.clear()
        return moved


def payloadOctets(octets: int, lengths: int, name: int = 0) -> int:
    """
    The size of a batch's row.

    @param lengths: the number of messages whose lengths are stored.
    @param name: octets of the name in the row of an older schema.
    """
    return DEPOSIT_COST + octets + 4 * lengths + name
