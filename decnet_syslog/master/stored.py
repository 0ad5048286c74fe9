"""
What the journal holds, as it takes room on the disk.

What must be true: C{--journal-max} bounds the files, whatever a worker sends. So everything that
a worker can have stored is counted as SQLite stores it, in pages, and not as it was sent.

Batches are counted each (L{storedOctets}) until they are released. The rest (L{KeptOctets}) is
kept for as long as a stream is known: positions, gaps, names. Of each worker it is bounded in
numbers, and an honest worker never gets near that: a listener must not stop because of what a
fleet has had for years. What is beyond the bound counts as the worker's backlog.
"""

from __future__ import annotations

import sqlite3
from collections import Counter

from .values import DEPOSIT_COST

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

# Of a worker's names: four thousand paths of five hundred octets.
NAMES_OCTETS_MAX = 2 * 1024 * 1024

_KEPT = (
    f"SELECT worker, sum(octets) FROM ("
    f"SELECT worker, {STREAM_OCTETS} AS octets FROM stream"
    f" UNION ALL SELECT worker, {GAP_OCTETS} FROM gap"
    f" UNION ALL SELECT worker, length(name) + {NAME_OCTETS} FROM name) GROUP BY worker"
)


def storedOctets(payload: int, pageOctets: int) -> int:
    """
    What a row takes in a table that grows at its end, the room that it leaves unused included.

    A page takes what fits whole, and what does not fit begins the next one. Of a row that is
    longer than a page the rest is in pages of its own (https://www.sqlite.org/fileformat2.html,
    1.6).

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
        # Before it, less than it is left unused.
        local = local * pageOctets // (pageOctets - local)
    return local + rest


class KeptOctets:
    """
    What is kept of each worker beside its batches.

    @ivar octets: of all workers.
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
        # What this transaction has changed; for the first call of L{committed}, all.
        self._changes: Counter[str] = Counter(self._octetsOf)
        # Octets beyond the bound, as they were counted last.
        self._beyond: Counter[str] = Counter()

    def add(self, worker: str, octets: int) -> None:
        """Count octets of a transaction; negative: they are deleted."""
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

        @return: how much a worker's excess over the bound has grown; negative: shrunk.
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
    The row of a batch.

    @param lengths: how many messages have theirs stored.
    @param name: octets of the name that a batch of an older schema has.
    """
    return DEPOSIT_COST + octets + 4 * lengths + name
