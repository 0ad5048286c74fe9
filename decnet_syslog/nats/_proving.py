"""
Whether octets that come again are those that an output has written.

What must be true:

* octets count as written only if a message of the same stream reaches the output's end with the
  checksum that the output recorded there. The checksum runs over all octets since the last gap, so
  one comparison proves all;
* batches are cut at other places the second time, so the first one that comes again mostly ends
  before the output's end. The stream is then read ahead. If it does not reach the end yet, the
  output waits: at most L{PATIENCE_S}, and L{QUIET_S} for a stream that does not move. It waits only
  after a rollback, or a worker that sends a forgotten stream again could delay all others' lines;
* octets without a proof are written and reported: better a repeated line than a lost one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from zlib import crc32

from twisted.logger import Logger

from ..journal import Batch, JournalBlocked
from ._bus import NoResponse
from ._messages import (
    ATTEMPT,
    Entry,
    MessagePosition,
    UnrecognizedMessage,
    decode,
    subjectOf,
)
from ._outputstate import Again, End, Key
from ._reader import MESSAGES_MAX, Got, Reader
from ._stream import JournalStream
from ._written import Written, keyOf

__all__ = ["REPEATED", "Prover", "Unproven", "WrittenView", "reaches"]

# The text of the event. A test campaign finds the ranges in it.
REPEATED = (
    "octets {start} to {end} of {name!r} of {worker} came again, and no checksum proves that"
    " {output} has them: {reason}; writing them, so lines may be repeated"
)

# Maximum time that the outputs wait for proofs, in seconds; and the time without waiting after it.
PATIENCE_S = 120.0
REST_S = 600.0

# In seconds: how long after a start that found a rollback the outputs wait at all; and how long
# they wait for a stream that does not move.
AFTER_S = 3600.0
QUIET_S = 15.0
# Maximum number of streams to remember while the outputs wait. Others begin to wait anew.
QUIET_STREAMS_MAX = 4096


class Unproven(Exception):
    """Nothing proves that octets are the written ones. Its text gives the reason."""


def _compare(at: MessagePosition, end: End) -> tuple[int, int]:
    """
    Compare the gaps before a position with those before an output's end.

    @return: the output's checksum.
    @raise Unproven: they differ.
    """
    if end.proof is None:
        raise Unproven("an older version has written them, without a checksum")
    if at.base != end.proof[0]:
        raise Unproven("the gaps are at other offsets")
    return end.proof


def reaches(entry: Entry, end: End) -> bool:
    """
    Whether a message proves that the stream has the octets that an output has written.

    @return: C{False} if the message ends before the output's end.
    @raise Unproven: the octets are others, or there was a gap.
    """
    at, batch = entry.position, entry.batch
    base, crc = _compare(at, end)
    if batch is not None and batch.start < base:
        raise Unproven("a gap is among them")
    if at.offset < end.offset:
        return False
    if at.offset > end.offset:
        if batch is None or batch.start > end.offset:
            raise Unproven("the message that proves them is gone")
        crc = crc32(batch.octets[end.offset - batch.start :], crc)
    if at.crc != crc:
        raise Unproven("the checksums differ")
    return True


class Prover:
    """Looks for proofs in the stream. All coroutines run in the bus's thread."""

    def __init__(self, stream: JournalStream, reader: Reader, isPatient: bool) -> None:
        """
        @param isPatient: whether the stream went back, at this start or shortly before.
        """
        self._stream = stream
        self._reader = reader
        self._until = float("-inf")
        self._patientUntil = monotonic() + AFTER_S if isPatient else float("-inf")
        # By stream: its last message, and since when.
        self._quiet: dict[Key, tuple[int, float]] = {}

    @property
    def isPatient(self) -> bool:
        """Whether this waits for proofs that are not in the stream yet."""
        return monotonic() < self._patientUntil

    async def judge(self, entry: Entry, end: End) -> bool:
        """
        Look for a proof that an output has written the octets of a batch.

        @param entry: the first batch that begins before the output's end.
        @return: whether there is one; if not, ask again soon.
        @raise Unproven: there is none, or it takes too long.
        @raise JournalBlocked: try again later.
        """
        assert entry.batch is not None
        key = keyOf(entry.batch)
        isProved = reaches(entry, end)
        if not isProved:
            isProved, last = await self._readAhead(entry, end)
            if not isProved:
                self._wait(key, last)
        return isProved

    def _wait(self, key: Key, last: int) -> None:
        """
        Decide whether it is worth waiting for more messages of a stream.

        @raise Unproven: it is not.
        """
        now = monotonic()
        if now >= self._until + REST_S:
            self._until = now + PATIENCE_S
        # The next output does not wait again for the same stream.
        before, since = self._quiet.setdefault(key, (last, now))
        if before != last:
            since = now
            self._quiet[key] = last, now
        while len(self._quiet) > QUIET_STREAMS_MAX:
            del self._quiet[next(iter(self._quiet))]
        if not self.isPatient or now >= min(self._until, since + QUIET_S):
            raise Unproven("the worker has not sent all octets again")

    async def _readAhead(self, entry: Entry, end: End) -> tuple[bool, int]:
        """
        Read the messages of a stream that follow a batch.

        @return: whether a message is a proof; and the last message of the stream.
        @raise Unproven: a message shows that there will be no proof.
        """
        subject = subjectOf(self._stream.name, entry.worker, entry.grant())
        tail = await self._stream.last(subject)
        last = None if tail is None else self._decoded(tail.seq, tail.headers)
        if last is None:
            return False, 0
        if last.position.offset < end.offset:
            _compare(last.position, end)
            return False, last.seq
        consumer = await self._stream.consume(
            deliver_policy="by_start_sequence",
            opt_start_seq=entry.seq + 1,
            filter_subject=subject,
            headers_only=True,
        )
        isMore = True
        while isMore:
            try:
                some, isMore = await self._stream.fetch(consumer, 2**30, MESSAGES_MAX)
            except NoResponse as error:
                raise JournalBlocked(
                    f"JetStream delivers no messages ({error})"
                ) from None
            await self._reader.compare(Got(consumer, some, isMore))
            for got in some:
                one = self._decoded(got.seq, got.message.headers)
                if one is None:
                    continue
                _compare(one.position, end)
                if one.position.offset >= end.offset:
                    return await self._isProof(one, end), last.seq
        raise JournalBlocked("a replica of the stream is behind")

    async def _isProof(self, found: Entry, end: End) -> bool:
        """
        Whether a message that reaches the output's end is a proof.

        @raise Unproven: it is not.
        @raise JournalBlocked: the stream's leader has another message.
        """
        tail = await self._stream.at(found.seq)
        if tail is None or tail.headers.get(ATTEMPT) != found.attempt:
            raise JournalBlocked("a replica of the stream has another message")
        return reaches(decode(tail.seq, tail.headers, tail.data), end)

    @staticmethod
    def _decoded(seq: int, headers: Mapping[str, str]) -> Entry | None:
        try:
            return decode(seq, headers, b"")
        except UnrecognizedMessage:
            return None


class WrittenView:
    """The journal without the octets that one output has written."""

    _log = Logger()

    def __init__(
        self,
        read: Callable[[int, int], list[Entry]],
        lastOf: Callable[[], int],
        written: Written,
        judge: Callable[[Entry, End], bool],
        save: Callable[[Key, Again], None],
    ) -> None:
        """
        @param read: the journal's.
        @param lastOf: the last message of the journal.
        @param judge: as L{Prover.judge}.
        @param save: save a decision.
        """
        self._read = read
        self._lastOf = lastOf
        self._written = written
        self._judge = judge
        self._save = save
        # The last batch that was read, and the end of the stream when no batch followed it.
        self._last = self._end = 0

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        Read the batches after C{after}, cut to the octets that are not written yet.

        @raise JournalBlocked: try again later; or a worker has not sent enough again to show
            whether the output has its octets.
        """
        batches: list[Batch] = []
        entries = self._read(after, costMax)
        for entry in entries:
            end = self._written.doubt(entry)
            if end is not None and not self._isDecided(entry, end):
                if batches:
                    break
                raise JournalBlocked(
                    f"octets of {entry.name!a} of {entry.worker} came again; waiting until all"
                    f" octets up to {end.offset} are there, to compare them with the output"
                )
            batches.append(self._written.cut(entry))
        if batches:
            self._last = batches[-1].seq
        else:
            self._end = self._lastOf()
        return batches

    def _isDecided(self, entry: Entry, end: End) -> bool:
        """Find out whether an output has the octets of a batch, or decide to write them."""
        batch = entry.batch
        assert batch is not None
        try:
            isProved = self._judge(entry, end)
        except Unproven as why:
            again = Again(batch.seq - 1, batch.start)
            self._save(keyOf(batch), again)
            self._written.decide(keyOf(batch), again)
            self._log.error(
                REPEATED,
                event="repeated",
                output=self._written.output,
                worker=batch.provenance.worker,
                stream=batch.stream,
                generation=batch.generation,
                name=batch.provenance.log,
                start=batch.start,
                end=end.offset,
                reason=str(why),
            )
            return True
        if isProved:
            self._written.prove(entry, end)
        return isProved

    def position(self, written: int) -> int:
        """
        The position of an output, for its status: it can have every line without the eras and
        short positions at the end of the stream, which have no lines.

        @param written: the last batch that the output has.
        """
        return max(written, self._end) if written >= self._last else written
