"""
How far each output has written each stream, so that nothing is written twice.

After a rollback the workers send the lost octets again, in new messages. Sequences do not show
that these octets were written before. Their identity does: (worker, stream, generation, offset)
belongs to one content of one file only.

What must be true:

* the end of each written stream is saved in one transaction with the output's cursor and the
  history that the cursor belongs to;
* a batch that is completely written is replaced by an empty one with the same sequence, so the
  cursor still moves past it. A batch that is partly written is cut. So the rendering remains a
  function of the batches after the cursor and of the saved state;
* the state is bounded: with very many streams, those that advanced longest ago are forgotten.

Peers without positions are not covered: their messages are written again when they come again.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from json import dumps, loads
from pathlib import Path
from typing import TypeAlias

from twisted.logger import Logger

from ..master.journal import Journal
from ..master.limits import Limits
from ..master.values import Batch, Cursor
from .history import History

__all__ = ["Limbo", "OutputState", "Written"]

# Maximum number of streams whose ends are kept for an output. A row takes about 200 octets.
STREAMS_MAX = 65536

# Worker, stream, generation.
Key: TypeAlias = tuple[str, str, int]


class OutputState(Journal):
    """
    The database of the process that writes the outputs: cursors, file lengths, and the end of
    each written stream. It contains no batches.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        reserve: bool = False,
    ) -> OutputState:
        """As L{Journal.open}."""
        opened = super().open(path, streamsPerWorkerMax, reserve)
        assert isinstance(opened, cls)
        return opened

    def history(self) -> History | None:
        """The history that the saved cursors belong to; C{None} if there is none."""
        text = self.note("history")
        return None if text is None else History.parse(text)

    def note(self, key: str) -> str | None:
        """Read a text that was kept."""
        found = self._asked(
            lambda: self._db.execute(
                "SELECT value FROM meta WHERE key = ?", (f"jetstream-{key}",)
            ).fetchone()
        )
        return None if found is None else str(found[0])

    def keep(self, key: str, text: str | None) -> None:
        """Keep a text, or delete it."""
        self.save((), {key: text}, {})

    def save(
        self,
        cursors: Collection[Cursor],
        notes: Mapping[str, str | None],
        ends: Mapping[str, Mapping[Key, tuple[int, int]]],
    ) -> None:
        """
        Save the cursors of the outputs, in one transaction.

        @param ends: for each output, the streams that have advanced: (end, sequence of the
            last batch).
        """
        self._begin()
        try:
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
            self._db.executemany(
                "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (output, *key, *end)
                    for output, advanced in ends.items()
                    for key, end in advanced.items()
                ],
            )
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit()
        for cursor in cursors:
            self._cursorTable.seqs[cursor.output] = cursor.seq

    def ends(self, output: str) -> OrderedDict[Key, int]:
        """The end of each stream that an output has written; the latest to advance is the last."""
        rows = self._asked(
            lambda: self._db.execute(
                'SELECT worker, stream, generation, "end" FROM written'
                " WHERE output = ? ORDER BY seq",
                (output,),
            ).fetchall()
        )
        return OrderedDict(((w, s, g), end) for w, s, g, end in rows)

    def forget(self, output: str, keys: Sequence[Key]) -> None:
        """Forget streams of an output."""
        self._begin()
        try:
            self._db.executemany(
                "DELETE FROM written WHERE output = ? AND worker = ? AND stream = ?"
                " AND generation = ?",
                [(output, *key) for key in keys],
            )
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error
        self._commit()


class Limbo:
    """
    Positions whose message was removed to make room, and not yet published again: see
    L{decnet_syslog.nats.reader}. They are kept in the database, so they survive a crash.

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


@dataclass
class Written:
    """
    How far one output has written each stream.

    @ivar ends: the saved end of each stream.
    """

    output: str
    ends: OrderedDict[Key, int]
    _read: deque[tuple[int, Key, int]] = field(default_factory=deque)
    # The ends of streams that have advanced since they were saved.
    _ahead: dict[Key, int] = field(default_factory=dict)
    _readTo: int = 0
    _log = Logger()

    def only(self, batches: Sequence[Batch]) -> list[Batch]:
        """Cut batches, given in the order of reading, to the part that is not written yet."""
        return [self._rest(batch) for batch in batches]

    def _rest(self, batch: Batch) -> Batch:
        if batch.stream is None:
            return batch
        key = batch.provenance.worker, batch.stream, batch.generation
        if batch.seq <= self._readTo:
            # The same batch again, for an output that was blocked: cut it as before.
            end = self._endBefore(batch.seq, key)
        else:
            end = self._ahead.get(key, self.ends.get(key, 0))
            self._readTo = batch.seq
            if batch.end > end:
                self._ahead[key] = batch.end
                self._read.append((batch.seq, key, batch.end))
        if batch.start >= end:
            return batch
        self._log.warn(
            "skipping octets {start} to {end} of {name!r} of {worker}: they are in the output"
            " already",
            worker=batch.provenance.worker,
            stream=batch.stream,
            name=batch.provenance.log,
            start=batch.start,
            end=min(end, batch.end),
        )
        if batch.end <= end:
            return replace(batch, octets=b"", lengths=(), reason=None, lines=0)
        if batch.reason is not None:
            return replace(batch, start=end)
        return replace(
            batch, start=end, octets=batch.octets[end - batch.start :], lines=-1
        )

    def _endBefore(self, seq: int, key: Key) -> int:
        """The end of a stream when a batch was read for the first time."""
        end = self.ends.get(key, 0)
        for at, other, there in self._read:
            if at >= seq:
                break
            if other == key:
                end = there
        return end

    def saved(self, seq: int) -> dict[Key, tuple[int, int]]:
        """
        Record that everything up to a batch is on disk.

        @return: the streams that have advanced: (end, sequence of the last batch).
        """
        advanced: dict[Key, tuple[int, int]] = {}
        while self._read and self._read[0][0] <= seq:
            at, key, end = self._read.popleft()
            self.ends[key] = end
            self.ends.move_to_end(key)
            advanced[key] = end, at
            if self._ahead.get(key) == end:
                del self._ahead[key]
        return advanced

    def surplus(self) -> list[Key]:
        """Forget the oldest streams beyond the limit, and return them."""
        gone: list[Key] = []
        while len(self.ends) > STREAMS_MAX:
            gone.append(self.ends.popitem(last=False)[0])
        return gone
