"""
Give the disk back that a backlog had, while the journal is in use.

SQLite keeps the pages of deleted rows for others, and a WAL its length. What was needed lately is
kept: to give it back and to take it again would be work without end. What is more goes
back in bounded steps, each about as much work as a commit of a few megabytes, so that
nobody's line waits for it.

A journal that was made without C{auto_vacuum} gets it at a start, when little is in it.
"""

from __future__ import annotations

import sqlite3

from .space import MIB, Space

__all__ = ["Tidying", "useVacuum"]

# Beneath this it is not worth the work.
SLACK_OCTETS = 8 * MIB

# Given back in a step: some 20 ms, when all pages behind have to be moved.
STEP_OCTETS = 8 * MIB

# A journal is written anew at a start if it has so little in it: half a second.
VACUUM_OCTETS_MAX = 64 * MIB

_INCREMENTAL = 2


def useVacuum(db: sqlite3.Connection, space: Space) -> None:
    """
    Have a journal of an older program give pages back, if it can be had cheaply.

    @raise sqlite3.DatabaseError: it has failed; without room for it the journal is as it was.
    """
    if space.ask("auto_vacuum") == _INCREMENTAL:
        return
    used = space.ask("page_count") - space.ask("freelist_count")
    octets = used * space.ask("page_size")
    space.look()
    if octets > VACUUM_OCTETS_MAX or space.room < 2 * octets + 4 * MIB:
        return
    db.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    db.execute("VACUUM")


class Tidying:
    """
    What was needed lately, and what can go.
    """

    def __init__(self, db: sqlite3.Connection, space: Space) -> None:
        self._db = db
        self._space = space
        self._canShrink = space.ask("auto_vacuum") == _INCREMENTAL
        self._pageOctets = space.ask("page_size")
        # The most that the batches had since the last round, and before that.
        self._peak = self._before = 0
        self._octets = 0
        self._keep: int | None = None

    def used(self, octets: int) -> None:
        """The batches have so many octets now."""
        self._octets = octets
        self._peak = max(self._peak, octets)

    def isDue(self, octets: int) -> bool:
        """Whether the files are much larger than what is in them."""
        space = self._space
        return (
            self._canShrink and space.fileOctets > octets * 5 // 4 + 2 * SLACK_OCTETS
        ) or space.walFileOctets > SLACK_OCTETS

    def step(self) -> bool:
        """
        Give a step's worth back, if more is there than was needed in the last two rounds.

        @return: whether there is more to do in this round.
        @raise sqlite3.DatabaseError: it cannot.
        """
        if self._keep is None:
            self._keep = max(self._peak, self._before) * 5 // 4 + SLACK_OCTETS
            self._before, self._peak = self._peak, 0
        space = self._space
        if space.reserve.lacks:
            # It comes first.
            self._keep = min(self._keep, self._octets * 5 // 4)
        pages = min(
            (space.fileOctets - self._keep) // self._pageOctets,
            space.ask("freelist_count"),
            min(STEP_OCTETS, space.budget.piece) // self._pageOctets,
        )
        if self._canShrink and pages > 0:
            # Of one pragma: execute() would stop at the first page.
            self._db.executescript(f"PRAGMA incremental_vacuum({pages})")
            space.written(2 * pages * self._pageOctets)
            return True
        self._keep = None
        return False

    def isLongFor(self, written: int) -> bool:
        """
        Whether the WAL's file is much longer than what is written to it now. One that is not
        is kept: to write where a file has blocks takes less of a disk than to make it longer.

        @param written: octets, since this was last asked.
        """
        length = self._space.walFileOctets
        return length > SLACK_OCTETS and length > 4 * written
