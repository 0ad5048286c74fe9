"""
What each output has written of each stream, so that nothing is written twice.

A stream of JetStream that went back is filled again by the workers: with the same octets of the
same files, in other messages. A message's sequence does not show it. What the octets are does:
(worker, stream, generation, offset), which only one content of one file ever has.

What must be true:

* how far a stream is written is saved in one transaction with the cursor that says so, and with
  what was known of the history then;
* a batch of which all is written becomes one that has nothing in it: its sequence counts, and
  the cursor moves past it. Of a batch of which a part is written the rest remains. So what an
  output renders is still a function of the batches behind its cursor and of what is saved
  with that;
* it is bounded: of very many streams those that advanced longest ago are forgotten.

Peers without positions have none of this: what they sent is written again when it comes again.
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

# Streams whose ends an output knows. A row has some 200 octets.
STREAMS_MAX = 65536

# Worker, stream, generation.
Key: TypeAlias = tuple[str, str, int]


class OutputState(Journal):
    """
    The file of whoever writes the outputs: cursors, the lengths of files, and how far each
    stream is written. It has no batches.
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
        """What was known of the stream when the cursors were saved; C{None}: nothing."""
        text = self.note("history")
        return None if text is None else History.parse(text)

    def note(self, key: str) -> str | None:
        """A text that was kept."""
        found = self._asked(
            lambda: self._db.execute(
                "SELECT value FROM meta WHERE key = ?", (f"jetstream-{key}",)
            ).fetchone()
        )
        return None if found is None else str(found[0])

    def keep(self, key: str, text: str | None) -> None:
        """Keep a text, or none."""
        self.save((), {key: text}, {})

    def save(
        self,
        cursors: Collection[Cursor],
        notes: Mapping[str, str | None],
        ends: Mapping[str, Mapping[Key, tuple[int, int]]],
    ) -> None:
        """
        Save what the outputs have on disk, in one transaction.

        @param ends: of each output the streams that have advanced: their ends, and the
            sequence of the batch that did it.
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
        """How far an output has written each stream; the one that advanced last is the last."""
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
    Positions that are in no message of the stream for a moment: see
    L{decnet_syslog.nats.reader}. They are in the file, also when we die right there.

    @ivar positions: of each subject, the headers of the message that says it.
    """

    def __init__(self, state: OutputState) -> None:
        self._state = state
        text = state.note("limbo")
        self.positions: dict[str, dict[str, str]] = {} if text is None else loads(text)

    def add(self, subject: str, headers: Mapping[str, str]) -> None:
        """A position is about to be removed, and has to be published again."""
        self.positions[subject] = dict(headers)
        self._keep()

    def drop(self, subject: str) -> None:
        """It is in the stream again."""
        del self.positions[subject]
        self._keep()

    def _keep(self) -> None:
        text = dumps(self.positions) if self.positions else None
        self._state.keep("limbo", text)


@dataclass
class Written:
    """
    How far one output has written each stream.

    @ivar ends: saved, of each stream.
    """

    output: str
    ends: OrderedDict[Key, int]
    _read: deque[tuple[int, Key, int]] = field(default_factory=deque)
    # Of streams that have advanced since: their ends.
    _ahead: dict[Key, int] = field(default_factory=dict)
    _readTo: int = 0
    _log = Logger()

    def only(self, batches: Sequence[Batch]) -> list[Batch]:
        """What is not written yet of batches that were read in order."""
        return [self._rest(batch) for batch in batches]

    def _rest(self, batch: Batch) -> Batch:
        if batch.stream is None:
            return batch
        key = batch.provenance.worker, batch.stream, batch.generation
        if batch.seq <= self._readTo:
            # Read again, by an output that was blocked: as it was the first time.
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
            "octets {start} to {end} of {name!r} of {worker} are written already, and are not"
            " written again",
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
        """How far a stream was written before a batch that was read before."""
        end = self.ends.get(key, 0)
        for at, other, there in self._read:
            if at >= seq:
                break
            if other == key:
                end = there
        return end

    def saved(self, seq: int) -> dict[Key, tuple[int, int]]:
        """
        Everything up to a batch is on disk.

        @return: the streams that have advanced by that.
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
        """Streams that are too many to be remembered, and are forgotten."""
        gone: list[Key] = []
        while len(self.ends) > STREAMS_MAX:
            gone.append(self.ends.popitem(last=False)[0])
        return gone
