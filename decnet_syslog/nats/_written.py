"""
How far each output has written each stream, so that nothing is written twice.

After a rollback the workers send the lost octets again, in new messages. Sequences do not show
that these octets were written before, and the name of a stream does not prove it: a worker that
was restored from a snapshot as well has other octets at the same offsets of the same stream and
generation. The checksum in each message does.

What must be true:

* octets are skipped only if the checksum of a message proves that the output has written the
  same octets (L{decnet_syslog.nats._proving}). Octets without a proof are written, and an event
  reports the range;
* the end of each written stream is saved with its checksum in one transaction with the output's
  cursor and the history that the cursor belongs to;
* a batch that is completely written is replaced by an empty one with the same sequence, so the
  cursor still moves past it. A batch that is partly written is cut. So the rendering remains a
  function of the batches after the cursor and of the saved state. A proof is a function of the
  stream. The decision that there is none depends on time, so it is saved before the
  octets are written (L{decnet_syslog.nats._outputstate.Again});
* the state is bounded: with very many streams, those that advanced longest ago are forgotten;
* one thread reads batches while another saves cursors, so each operation holds a lock.

Peers without positions are not covered: their messages are written again when they come again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace

from twisted.logger import Logger

from ..journal import Batch
from ._messages import Entry
from ._outputstate import Advance, Again, End, Key

__all__ = ["Written", "keyOf"]

# Maximum number of streams whose ends are kept for an output. A row takes about 200 octets.
STREAMS_MAX = 65536

_NOTHING = End(0)


def keyOf(batch: Batch) -> Key:
    """The stream of a batch that has one."""
    assert batch.stream is not None
    return batch.provenance.worker, batch.stream, batch.generation


@dataclass
class Written:
    """
    How far one output has written each stream.

    @ivar ends: the saved end of each stream.
    @ivar again: decisions that no batch has met yet.
    @ivar lock: the lock of the database that the ends are saved in.
    """

    output: str
    ends: OrderedDict[Key, End]
    again: dict[Key, Again] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    # In the order of reading: sequence, stream, and the stream's end after that message. An end
    # without a proof is a decision of L{again}.
    _read: deque[tuple[int, Key, End]] = field(default_factory=deque)
    # The ends of streams that have advanced since they were saved.
    _ahead: dict[Key, End] = field(default_factory=dict)
    # Ends up to which the octets that come again are proved to be the written ones.
    _proved: dict[Key, End] = field(default_factory=dict)
    _readTo: int = 0
    _log = Logger()

    def doubt(self, entry: Entry) -> End | None:
        """
        Ask whether a batch needs a decision before L{cut}.

        @return: the output's end, if the batch begins before that end and it is undecided whether
            the octets are the same; otherwise C{None}.
        """
        batch = entry.batch
        if batch is None or batch.stream is None or batch.seq <= self._readTo:
            return None
        key = keyOf(batch)
        with self.lock:
            again = self.again.get(key)
            if again is not None and batch.seq > again.seq:
                return None
            end = self._end(key)
            if batch.start >= end.offset or self._proved.get(key) == end:
                return None
            return end

    def prove(self, entry: Entry, end: End) -> None:
        """Record that the stream has the same octets as the output up to an end."""
        assert entry.batch is not None
        with self.lock:
            self._proved[keyOf(entry.batch)] = end

    def decide(self, key: Key, again: Again) -> None:
        """Record a saved decision."""
        with self.lock:
            self.again[key] = again

    def cut(self, entry: Entry) -> Batch:
        """Cut a batch, given in the order of reading, to the part that is not written yet."""
        batch = entry.batch
        assert batch is not None
        if batch.stream is None:
            return batch
        key = keyOf(batch)
        with self.lock:
            if batch.seq <= self._readTo:
                # The same batch again, for an output that was blocked: cut it as before.
                end = self._endBefore(batch.seq, key).offset
            else:
                end = self._extend(entry, batch, key).offset
        if batch.start >= end:
            return batch
        self._log.info(
            "skipping octets {start} to {end} of {name!r} of {worker}: {output} has them, as their"
            " checksum proves",
            output=self.output,
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

    def _end(self, key: Key) -> End:
        return self._ahead.get(key) or self.ends.get(key, _NOTHING)

    def _extend(self, entry: Entry, batch: Batch, key: Key) -> End:
        """Record a batch that is read for the first time, and return the stream's previous end."""
        again = self.again.get(key)
        if again is not None and batch.seq > again.seq:
            del self.again[key]
            self._put(batch.seq - 1, key, End(again.start))
        end = self._end(key)
        self._readTo = batch.seq
        if batch.end > end.offset:
            self._proved.pop(key, None)
            at = entry.position
            self._put(batch.seq, key, End(batch.end, (at.base, at.crc)))
        return end

    def _put(self, seq: int, key: Key, end: End) -> None:
        self._ahead[key] = end
        self._read.append((seq, key, end))

    def _endBefore(self, seq: int, key: Key) -> End:
        """The end of a stream when a batch was read for the first time."""
        end = self.ends.get(key, _NOTHING)
        for at, other, there in self._read:
            if at >= seq:
                break
            if other == key:
                end = there
        return end

    def advance(self, seq: int) -> Advance:
        """What to save together with a cursor. Call L{saved} when it is saved."""
        advance = Advance()
        with self.lock:
            for at, key, end in self._read:
                if at > seq:
                    break
                # In the order of the last batches.
                advance.ends.pop(key, None)
                advance.ends[key] = end, at
                if end.proof is None:
                    advance.settled[key] = at
        return advance

    def saved(self, seq: int) -> None:
        """Record that the cursor is saved, and L{advance} with it."""
        with self.lock:
            while self._read and self._read[0][0] <= seq:
                _, key, end = self._read.popleft()
                self.ends[key] = end
                self.ends.move_to_end(key)
                if self._ahead.get(key) == end:
                    del self._ahead[key]

    def forgetOldest(self) -> list[Key]:
        """Forget the oldest streams beyond the limit, and return them."""
        gone: list[Key] = []
        with self.lock:
            while len(self.ends) > STREAMS_MAX:
                gone.append(self.ends.popitem(last=False)[0])
                self._proved.pop(gone[-1], None)
        return gone
