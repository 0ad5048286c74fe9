"""
Give the disk of a delivered backlog back while the journal is in use.

SQLite keeps the pages of deleted rows for later rows, and a WAL keeps its length. The journal
keeps the size that it needed recently: returning and taking it again would be endless work. It
returns the rest in bounded steps. Each step costs about as much as a commit of a few
megabytes, so that lines do not wait.

A journal that was made without C{auto_vacuum} gets it at a start, when it holds little.
"""

from __future__ import annotations

import sqlite3

from ._segments import Segments
from ._shares import MIB
from ._space import Space

__all__ = ["Tidying", "useVacuum"]

# Below this, and below the size of the WAL, returning room is not worth the work.
SLACK_OCTETS = 8 * MIB

# Returned in one step: about 20 ms when every page must be moved.
STEP_OCTETS = 8 * MIB

# At a start, a journal that holds less than this is rewritten: half a second.
VACUUM_OCTETS_MAX = 64 * MIB

_INCREMENTAL = 2


def useVacuum(db: sqlite3.Connection, space: Space) -> None:
    """
    Turn incremental vacuum on in a journal of an older program, if that is cheap.

    @raise sqlite3.DatabaseError: it has failed; without room for it the journal is as it was.
    """
    if space.ask("auto_vacuum") == _INCREMENTAL:
        return
    used = space.ask("page_count") - space.ask("freelist_count")
    octets = used * space.ask("page_size")
    space.measure()
    if octets > VACUUM_OCTETS_MAX or space.room < 2 * octets + 4 * MIB:
        return
    db.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    db.execute("VACUUM")


class Tidying:
    """
    The room that the journal needed recently, and the rest.
    """

    def __init__(
        self, db: sqlite3.Connection, space: Space, segments: Segments
    ) -> None:
        self._db = db
        self._space = space
        self._segments = segments
        self._canShrink = space.ask("auto_vacuum") == _INCREMENTAL
        self._pageOctets = space.ask("page_size")
        # The largest size of all batches in this round, and in the round before.
        self._peak = self._before = 0
        self._octets = 0
        self._keep: int | None = None

    @property
    def _slack(self) -> int:
        return min(SLACK_OCTETS, self._space.budget.wal)

    def used(self, octets: int) -> None:
        """Note the present size of all batches."""
        self._octets = octets
        self._peak = max(self._peak, octets)

    def isDue(self, octets: int) -> bool:
        """Whether the files are much larger than their content."""
        space = self._space
        return (
            (self._canShrink and space.unusedOctets > octets // 4 + 2 * self._slack)
            or space.walFileOctets > self._slack
            or self._segments.hasSpare
        )

    def step(self) -> bool:
        """
        Return one step's pages, if the file is larger than in the last two rounds was needed.

        @return: whether this round has more to return.
        @raise sqlite3.DatabaseError: it cannot.
        """
        if self._keep is None:
            self._keep = max(self._peak, self._before) * 5 // 4 + self._slack
            self._before, self._peak = self._peak, 0
            self._segments.startRound()
        space = self._space
        if self._segments.shrink():
            return True
        if space.reserve.lacks:
            # It comes first.
            self._keep = min(self._keep, self._octets * 5 // 4)
        # Positions, gaps and names stay, however many there are: only batches are counted.
        spare = space.unusedOctets - max(0, self._keep - self._octets)
        step = min(STEP_OCTETS, space.budget.piece)
        pages = min(spare, step) // self._pageOctets
        if self._canShrink and pages > 0:
            # Of one pragma: execute() would stop at the first page.
            self._db.executescript(f"PRAGMA incremental_vacuum({pages})")
            space.written(2 * pages * self._pageOctets)
            return True
        self._keep = None
        return False

    def isLongFor(self, written: int) -> bool:
        """
        Whether the WAL's file is much longer than recent writes need. Otherwise it is kept:
        writing over existing blocks costs less than making a file longer.

        @param written: octets since the last call.
        """
        length = self._space.walFileOctets
        return length > self._slack and length > 4 * written
