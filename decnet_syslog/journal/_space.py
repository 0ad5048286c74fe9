"""
The journal's share of its disk, divided so that a full journal can always free space again.

Requirements:

* the journal refuses lines while some room is left. That room is for the operations that free
  more: the outputs' cursors, the checkpoint that copies the WAL's pages to the database, a
  stop and a start;
* that room is a file that is allocated in advance: the reserve. Other programs cannot use it,
  and a quota has counted it. When such an operation fails for lack of room, the journal gives
  up the reserve, tries again, and allocates the reserve anew when there is room;
* a deposit is committed only if its pages fit into the WAL I{and} the following checkpoint
  fits into the database. Both are computed before the transaction begins.

The sizes follow from the disk: a journal on 24 MiB works, with a smaller WAL, smaller
transactions and a smaller reserve than one on 24 GiB. The computation is an estimate: other
programs write, too, and file systems have overheads of their own. SQLite's own error decides;
the estimate makes that error rare, and the reserve makes it harmless.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..wire import NUMBER_MAX
from ._diskfiles import available, journalFiles, sizeOf
from ._reserve import Reserve
from ._shares import MIB, DiskShares

__all__ = ["SEGMENTS_MIN", "Space"]

# Pages that a commit writes beyond the pages for its octets: leaves of tables and indices, the
# free list, the pointer map. Each deposit may touch a leaf of the stream table.
COMMIT_PAGES = 8
LEAVES_OCTETS_MAX = MIB

# Pages that a grant writes, at most: a stream's leaf or its index's, and a name's index's. They
# are anywhere in the tables, so hardly one is written twice. A worker that opens thousands of
# streams must not delay all others by a long checkpoint: after this many octets there is a
# short one.
GRANT_PAGES = 2
GRANTS_OCTETS_MAX = 16 * MIB
SPARE_PAGES = 3

# On a disk with fewer segments, one is too large a part of it: all octets are in rows.
SEGMENTS_MIN = 64


class Space:
    """
    How much more the journal can take.

    @ivar budget: by what the disk had when it was last looked at.
    @ivar room: octets of pages that fit into one transaction now, about.
    @ivar capacity: octets of deposits that can be accepted until it is full, about.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, reserve: bool) -> None:
        """
        @param path: of the journal.
        @param reserve: whether to keep a reserve.
        """
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._db = db
        # A journal keeps the pages it was made with.
        self._pageOctets = self.ask("page_size")
        self._octets = available(path)
        self.budget = DiskShares.of(self._octets)
        self.reserve = Reserve(path, self.budget.reserve if reserve else 0)
        # The most that the WAL holds and the database does not.
        self._walOctets = 0
        self._grantOctets = 0
        # The same at the last look at the files.
        self._lookedAt = 0
        # Deposits of up to this many octets need no new look at the disk.
        self._unlooked = 0
        self.room = self.capacity = NUMBER_MAX

    def ask(self, pragma: str) -> int:
        """A pragma's value."""
        (value,) = self._db.execute(f"PRAGMA {pragma}").fetchone()
        return int(value)

    @property
    def fileOctets(self) -> int:
        """The database's size after a checkpoint."""
        return self.ask("page_count") * self._pageOctets

    @property
    def unusedOctets(self) -> int:
        """The part of that in unused pages."""
        return self.ask("freelist_count") * self._pageOctets

    @property
    def walFileOctets(self) -> int:
        """The size of the WAL's file."""
        return sizeOf(self._wal)

    @property
    def isScarce(self) -> bool:
        """Whether to look at the disk again soon."""
        return self.capacity < 16 * self.budget.piece or bool(self.reserve.lacks)

    @property
    def isCheckpointDue(self) -> bool:
        """
        Whether the WAL is long, or the database is to grow much.

        How much was written is an estimate. The file does not lie: when it is longer than it is
        cut to at the beginning of a round, this round has written the whole log.
        """
        budget = self.budget
        if self._walOctets >= budget.wal or self._grantOctets >= GRANTS_OCTETS_MAX:
            return True
        if self._walOctets < self._lookedAt + budget.wal // 16:
            # Files are not looked at for every line.
            return False
        self._lookedAt = self._walOctets
        return self.walFileOctets > budget.wal or (
            self._walOctets >= budget.growth <= self._growth()
        )

    def _growth(self) -> int:
        return max(0, self.fileOctets - sizeOf(self._path))

    def cost(self, octets: int, rows: int) -> int:
        """
        The octets of the pages that a commit writes, at most, about.

        @param octets: of the deposits, rows counted.
        @param rows: that it writes.
        """
        pages = octets * 33 // 32 // self._pageOctets + COMMIT_PAGES + SPARE_PAGES
        leaves = min(rows, LEAVES_OCTETS_MAX // self._pageOctets)
        return (pages + leaves) * self._pageOctets

    def has(self, octets: int) -> bool:
        """Whether pages of C{octets} fit into the WAL and then into the database."""
        if octets <= self._unlooked:
            self._unlooked -= octets
            return True
        self.measure()
        self._unlooked = self.room // 4 if self.room >= 4 * octets else 0
        return octets <= self.room

    def adapt(self) -> None:
        """Divide the disk anew when it has much more room than when the journal was opened."""
        budget = DiskShares.of(self._octets)
        if budget.reserve > self.budget.reserve * 5 // 4:
            self.budget = budget
            if self.reserve.octets:
                self.reserve.octets = budget.reserve

    def canWrite(self, octets: int) -> bool:
        """Whether C{octets} can be written to the WAL without a new page in the database."""
        free = available(self._path) - sum(map(sizeOf, journalFiles(self._path)))
        unwritten = self.walFileOctets - self._walUsed()
        return free - self.reserve.lacks + unwritten >= octets

    def mayExtend(self, octets: int) -> bool:
        """
        Whether the disk has room for a new segment, beside the room that rows need.

        @param octets: of the segment.
        """
        if self._octets < SEGMENTS_MIN * octets:
            return False
        self.measure()
        if self._octets == NUMBER_MAX:
            return True
        free = self._octets - sum(map(sizeOf, journalFiles(self._path)))
        wal = max(0, self.budget.wal - self.walFileOctets)
        needed = self.reserve.lacks + self._growth() + wal + 4 * self.budget.piece
        return free - needed >= octets

    def measure(self) -> None:
        """Measure the room on the disk."""
        self._octets = available(self._path)
        if self._octets == NUMBER_MAX:
            self.room = self.capacity = NUMBER_MAX
            return
        free = self._octets - sum(map(sizeOf, journalFiles(self._path)))
        if not self.reserve.isHeld and free >= (self.reserve.lacks + self.budget.piece):
            lacked = self.reserve.lacks
            self.reserve.take()
            free -= lacked - self.reserve.lacks
        free -= self.reserve.lacks + self._growth()
        unused = self.unusedOctets
        # Pages need room in the WAL after its used part, and in the database unless it has free
        # pages of its own.
        written = max(0, self.walFileOctets - self._walUsed())
        both = (free + written + unused) // 2
        if both < max(written, unused):
            both = free + min(written, unused)
        self.room = max(0, both)
        # In the long run the WAL is rewritten in place, and the database gets the rest. Deposits
        # that are in memory already must fit as well.
        wal = self.budget.wal + self.budget.piece
        self.capacity = max(
            0,
            unused + max(0, free + self.walFileOctets - wal) - 4 * self.budget.piece,
        )

    def _walUsed(self) -> int:
        """
        Octets of the WAL that are used since the last checkpoint. The frames after that are
        older and have another salt (https://www.sqlite.org/fileformat2.html, section 4).
        """
        if not self._walOctets:
            return 0
        frame = self._pageOctets + 24
        try:
            with open(self._wal, "rb") as file:
                salt = os.pread(file.fileno(), 8, 16)
                low, high = 0, max(0, self.walFileOctets - 32) // frame
                while low < high:
                    middle = (low + high) // 2
                    if os.pread(file.fileno(), 8, 32 + middle * frame + 8) == salt:
                        low = middle + 1
                    else:
                        high = middle
        except OSError:
            return self._walOctets
        return 32 + low * frame

    def written(self, octets: int) -> None:
        """Count a committed transaction with deposits of C{octets}."""
        self._walOctets += COMMIT_PAGES * self._pageOctets + octets

    def granted(self, count: int) -> None:
        """Count a committed transaction of grants."""
        self._grantOctets += GRANT_PAGES * count * self._pageOctets

    def checkpointed(self) -> None:
        """The checkpoint is complete: SQLite will rewrite the WAL from its beginning."""
        self._walOctets = self._grantOctets = self._lookedAt = 0
        self._unlooked = 0
