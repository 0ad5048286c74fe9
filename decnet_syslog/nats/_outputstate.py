"""
The database of the process that writes the outputs: cursors, file lengths, the end of each written
stream, and positions that are not in the stream at the moment.

Two threads use it: one saves cursors, the other one reads the stream and waits for the network. So
each operation holds the database's lock, and none waits for the network while it does.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from json import dumps, loads
from typing import TypeAlias

from ..boundaries import Foreign, Stored
from ..journal import Cursor, Journal
from ._history import StreamHistory

__all__ = ["Advance", "Again", "End", "Key", "Limbo", "OutputState"]

# Worker, stream, generation.
Key: TypeAlias = tuple[str, str, int]

_OF_KEY = "output = ? AND worker = ? AND stream = ? AND generation = ?"


@dataclass(frozen=True, slots=True)
class End:
    """
    How far an output has written a stream.

    @ivar offset: octets of the file, including gaps.
    @ivar proof: C{(base, crc)}, the checksum of the octets [base, offset) as of
        L{decnet_syslog.nats._messages.MessagePosition}; C{None}: it is not known.
    """

    offset: int
    proof: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """
    A decision to write octets of a stream although the output has octets at the same offsets.

    @ivar seq: it applies to the messages that follow this one.
    @ivar start: the offset from which everything is written.
    """

    seq: int
    start: int


@dataclass
class Advance:
    """
    The effects of a saved cursor on the streams of an output.

    @ivar ends: the streams that have advanced: their end, and the sequence of the last batch.
    @ivar settled: the streams whose L{Again} the cursor has passed, and the sequence of the last
        batch before its octets.
    """

    ends: dict[Key, tuple[End, int]] = field(default_factory=dict)
    settled: dict[Key, int] = field(default_factory=dict)


class OutputState(Journal):
    """
    A database without batches, see above.

    @ivar lock: held by each operation; an owner can hold it during several.
    """

    def __init__(self, *given: Foreign) -> None:
        """Use L{open} instead."""
        self.lock = threading.RLock()
        super().__init__(*given)

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """As L{Journal.useOutputs}."""
        with self.lock:
            return super().useOutputs(names)

    def history(self) -> StreamHistory | None:
        """The history that the saved cursors belong to; C{None} if there is none."""
        text = self.note("history")
        return None if text is None else StreamHistory.parse(text)

    def note(self, key: str) -> str | None:
        """Read a text that was kept."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", f"jetstream-{key}")
        return str(rows[0][0]) if rows else None

    def keep(self, key: str, text: str | None) -> None:
        """Keep a text, or delete it."""
        self.save((), {key: text}, {})

    def save(
        self,
        cursors: Collection[Cursor],
        notes: Mapping[str, str | None],
        advances: Mapping[str, Advance],
    ) -> None:
        """
        Save the cursors of the outputs, in one transaction.

        @param advances: by output, the effects on its streams.
        """
        with self._changing():
            for cursor in cursors:
                self._cursorTable.save(cursor)
            for key, text in notes.items():
                if text is None:
                    self._db.execute(
                        "DELETE FROM meta WHERE key = ?", (f"jetstream-{key}",)
                    )
                else:
                    self._db.execute(
                        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                        (f"jetstream-{key}", text),
                    )
            for output, advance in advances.items():
                self._advance(output, advance)
        for cursor in cursors:
            self._cursorTable.seqs[cursor.output] = cursor.seq

    def _advance(self, output: str, advance: Advance) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO written"
            ' (output, worker, stream, generation, "end", base, crc, seq)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (output, *key, end.offset, *(end.proof or (None, None)), seq)
                for key, (end, seq) in advance.ends.items()
            ],
        )
        # A later decision about the same stream stays.
        self._db.executemany(
            f"DELETE FROM written_again WHERE {_OF_KEY} AND seq <= ?",
            [(output, *key, seq) for key, seq in advance.settled.items()],
        )

    def ends(self, output: str) -> OrderedDict[Key, End]:
        """The end of each stream that an output has written; the latest to advance is the last."""
        rows = self._rows(
            'SELECT worker, stream, generation, "end", base, crc FROM written'
            " WHERE output = ? ORDER BY seq",
            output,
        )
        return OrderedDict(
            ((w, s, g), End(end, None if crc is None else (base, crc)))
            for w, s, g, end, base, crc in rows
        )

    def again(self, output: str) -> dict[Key, Again]:
        """The decisions that the output's cursor has not passed yet."""
        rows = self._rows(
            "SELECT worker, stream, generation, seq, start FROM written_again"
            " WHERE output = ?",
            output,
        )
        return {(w, s, g): Again(seq, start) for w, s, g, seq, start in rows}

    def decide(self, output: str, key: Key, again: Again) -> None:
        """Save a decision, before the octets are written."""
        self._change(
            "INSERT OR REPLACE INTO written_again"
            " (output, worker, stream, generation, seq, start) VALUES (?, ?, ?, ?, ?, ?)",
            [(output, *key, again.seq, again.start)],
        )

    def carryOut(self, output: str) -> None:
        """
        Apply the decisions of an output now: their sequences belong to other messages since the
        stream went back.
        """
        ends = self.ends(output)
        advance = Advance()
        for key, again in self.again(output).items():
            start = min(again.start, ends.get(key, End(0)).offset)
            advance.ends[key] = End(start), 0
            advance.settled[key] = again.seq
        self.save((), {}, {output: advance})

    def forget(self, output: str, keys: Sequence[Key]) -> None:
        """Forget streams of an output."""
        self._change(
            f"DELETE FROM written WHERE {_OF_KEY}", [(output, *key) for key in keys]
        )

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Execute a statement for some rows, in one transaction."""
        with self._changing():
            self._db.executemany(statement, rows)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction, under the lock."""
        with self.lock:
            self._begin()
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error
            self._commit()

    def _rows(self, query: str, *values: object) -> list[tuple[Stored, ...]]:
        with self.lock:
            return self._asked(lambda: self._db.execute(query, values).fetchall())


class Limbo:
    """
    Positions whose message was removed to make room, and not yet published again: see
    L{decnet_syslog.nats._reader}. They are kept in the database, so they survive a crash.

    @ivar positions: for each subject, the headers of the message to publish.
    """

    def __init__(self, state: OutputState) -> None:
        self._state = state
        text = state.note("limbo")
        self.positions: dict[str, dict[str, str]] = {} if text is None else loads(text)

    def add(self, subject: str, headers: Mapping[str, str]) -> None:
        """Keep a position whose message is about to be removed."""
        self.positions[subject] = dict(headers)
        self._keep()

    def drop(self, subject: str) -> None:
        """Forget a position that is in the stream again."""
        del self.positions[subject]
        self._keep()

    def _keep(self) -> None:
        text = dumps(self.positions) if self.positions else None
        self._state.keep("limbo", text)
