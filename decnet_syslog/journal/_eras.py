"""
The journal's history, as marks that can be recognised.

A mark names a batch and an era. Each opening of the journal that commits begins an era, in the
transaction of its first batch. A journal can only be put back to an older copy while it is
closed, so batches that are committed afterwards belong to another era than the lost ones, and
the marks of lost batches are recognised. (A virtual machine's snapshot puts the journal back
together with the memory of the process. That is recognised only until the journal has grown to
its old length again.)
"""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from ._batches import LAST_BATCH
from ._values import Mark

__all__ = ["EraTable"]

# The number of eras that are kept. A mark of an older era counts as lost.
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
        # The token of the era that the first commit begins.
        self._token: str | None = uuid4().hex

    @staticmethod
    def prepare(db: sqlite3.Connection) -> None:
        """Begin the first era of a journal that has none."""
        db.execute(
            f"INSERT INTO era (token, first) SELECT ?, {LAST_BATCH}"
            " WHERE NOT EXISTS (SELECT 1 FROM era)",
            (uuid4().hex,),
        )

    def holds(self, mark: Mark) -> bool:
        """See L{decnet_syslog.journal._promise.IJournal.holds}."""
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
        Begin an era after the last batch, if this opening has not begun one, and forget the
        oldest. Runs in the transaction of a batch.
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
