"""
The journal's history, as points that can be recognised.

A batch that was lost because the journal was put back is before no mark of this journal. Each
opening that commits begins an era, in the transaction of its first batch: putting back takes
an opening, so what is committed behind it is of another era than what was lost. (Put back
together with the memory of the process, as a virtual machine's snapshot does, it shows only
until it has grown as far as it was.)
"""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from .batches import LAST_BATCH
from .values import Mark

__all__ = ["EraTable"]

# Eras that are remembered: openings that committed something. A mark of an older one counts
# as lost.
ERAS_MAX = 4096


class EraTable:
    """
    The table of eras.

    @ivar mark: the last batch that is committed, and its era's token.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        (number,) = db.execute(f"SELECT {LAST_BATCH}").fetchone()
        (token,) = db.execute(
            "SELECT token FROM era ORDER BY number DESC LIMIT 1"
        ).fetchone()
        self.mark = Mark(number, token)
        # Of the era that the first commit begins.
        self._token: str | None = uuid4().hex

    @staticmethod
    def prepare(db: sqlite3.Connection) -> None:
        """Have a journal that has no era yet begin its first."""
        db.execute(
            f"INSERT INTO era (token, first) SELECT ?, {LAST_BATCH}"
            " WHERE NOT EXISTS (SELECT 1 FROM era)",
            (uuid4().hex,),
        )

    def holds(self, mark: Mark) -> bool:
        """As L{decnet_syslog.master.promise.JournalPromise.holds}."""
        found = self._db.execute(
            "SELECT (SELECT later.first FROM era AS later"
            " WHERE later.number > era.number ORDER BY later.number LIMIT 1)"
            " FROM era WHERE token = ?",
            (mark.token,),
        ).fetchone()
        if found is None:
            return False
        (end,) = found
        return mark.number <= (self.mark.number if end is None else end)

    def begin(self) -> None:
        """
        Begin an era behind what was committed before, if this opening has not begun one, and
        forget the oldest. In the transaction of a batch.
        """
        if self._token is None:
            return
        (number,) = self._db.execute(
            "INSERT INTO era (token, first) VALUES (?, ?) RETURNING number",
            (self._token, self.mark.number),
        ).fetchone()
        self._db.execute("DELETE FROM era WHERE number <= ?", (number - ERAS_MAX,))

    def committed(self, seq: int) -> None:
        """The transaction of the batch C{seq} is committed."""
        self.mark = Mark(seq, self._token or self.mark.token)
        self._token = None
