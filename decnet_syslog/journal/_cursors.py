"""The cursors of the outputs, in the journal: the last batch that each has on disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from ._values import Absence, Cursor, FileLength

__all__ = ["CursorTable"]

# The number of outputs that are remembered after they were removed from the configuration.
ABSENT_MAX = 64


class CursorTable:
    """
    The tables of cursors, of the outputs' files and of absent outputs.

    @ivar seqs: the cursor of each output, as committed.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.seqs: dict[str, int] = dict(db.execute("SELECT output, seq FROM cursor"))
        # Outputs that were absent before this start.
        self._returned: frozenset[str] | set[str] = frozenset()

    @property
    def released(self) -> int:
        """Every output has all batches up to this one."""
        return min(self.seqs.values(), default=0)

    def use(self, names: Sequence[str], oldest: int) -> Mapping[str, Absence]:
        """
        Note the configured outputs, in a transaction. Call L{used} when it is committed.

        @param oldest: the cursor of a new output.
        @return: the absences of outputs that were not configured before.
        """
        self._leaveOut(names)
        absences = {
            name: Absence(seq, since)
            for name, seq, since in self._db.execute(
                "SELECT output, seq, since FROM absent_output"
            )
        }
        for name in names:
            known = absences.get(name)
            begin = oldest if known is None else max(oldest, known.seq)
            self._db.execute(
                "INSERT OR IGNORE INTO cursor VALUES (?, ?)", (name, begin)
            )
        return absences

    def used(
        self, names: Sequence[str], absences: Mapping[str, Absence]
    ) -> dict[str, Cursor]:
        """The cursors of the configured outputs."""
        self.seqs = dict(self._db.execute("SELECT output, seq FROM cursor"))
        self._returned = absences.keys() & set(names)
        return {
            name: Cursor(name, self.seqs[name], self._filesOf(name), absences.get(name))
            for name in names
        }

    def _leaveOut(self, names: Sequence[str]) -> None:
        """Note the cursors of outputs that are not configured any more."""
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        marks = ", ".join("?" * len(names))
        self._db.execute(
            "INSERT OR IGNORE INTO absent_output SELECT output, seq, coalesce("
            "(SELECT received_at FROM batch WHERE batch.seq > cursor.seq"
            " ORDER BY batch.seq LIMIT 1), ?)"
            f" FROM cursor WHERE output NOT IN ({marks})",
            (now[:26] + "Z", *names),
        )
        self._db.execute(f"DELETE FROM cursor WHERE output NOT IN ({marks})", names)
        self._db.execute(
            "DELETE FROM absent_output WHERE output NOT IN (SELECT output FROM"
            " absent_output ORDER BY since DESC LIMIT ?)",
            (ABSENT_MAX,),
        )
        self._db.execute(
            "DELETE FROM output_file WHERE output NOT IN (SELECT output FROM"
            f" absent_output) AND output NOT IN ({marks})",
            names,
        )

    def _filesOf(self, output: str) -> dict[str, FileLength]:
        return {
            os.fsdecode(path): FileLength(*file)
            for path, *file in self._db.execute(
                "SELECT path, device, inode, length, anchor, ahead, boot"
                " FROM output_file WHERE output = ?",
                (output,),
            )
        }

    def save(self, cursor: Cursor) -> None:
        """Write a cursor, in a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO cursor VALUES (?, ?)", (cursor.output, cursor.seq)
        )
        if cursor.output in self._returned:
            # Its missing batches were reported. (Deleted again if this transaction is undone.)
            self._db.execute(
                "DELETE FROM absent_output WHERE output = ?", (cursor.output,)
            )
        self._db.executemany(
            "INSERT OR REPLACE INTO output_file (output, path, device, inode, length,"
            " anchor, ahead, boot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    cursor.output,
                    os.fsencode(path),
                    file.device,
                    file.inode,
                    file.length,
                    file.anchor,
                    file.ahead,
                    file.boot,
                )
                for path, file in cursor.files.items()
            ],
        )
