"""
The journal in JetStream: many listeners, one authority.

What must be true (L{decnet_syslog.master.promise} has the words that every journal keeps):

* the octets and the position behind them are one message, and the server takes it only if
  the last message of its subject is the one we think it is. Who thinks wrong, because
  another listener has extended the stream meanwhile, is stale;
* a listener keeps nothing that it could lose: what it remembers of a stream saves it a
  question, and is compared by the server. It can be killed at any time, anywhere;
* an answer that did not come is no answer. The same message is sent again, with the same
  number before it: if the first one was taken, the second is refused, and the last message
  of the subject says, by its attempt, whether it is ours.

A grant asks the stream's leader for the last message. A leader that was deposed and has
not noticed could give an old one. The forwarder then hears of a position that is behind,
and may even decide on a gap; what it sends next names the old number and is refused. So
nothing comes of it but another connection.

Of two connections of one stream, the newer is granted; the older is known to be stale here
(its row is forgotten), and at another listener when the newer one has committed something.
Until then either may go on: the one that is later loses.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from operator import is_
from typing import Any, TypeVar
from uuid import uuid4

from twisted.logger import Logger

from ..errors import UserError
from ..master.limits import Limits
from ..master.promise import JournalBlocked
from ..master.values import Batch, Cursor, Deposit, Grant, Known, Mark, Wish, batchOf
from ..wire.record import Provenance
from .bus import Bus, Silent
from .messages import (
    ATTEMPT,
    HEADERS_OCTETS_MAX,
    PIECE_OCTETS,
    Entry,
    Foreign,
    Position,
    decode,
    encode,
    pieces,
    streamsOf,
    subjectOf,
)
from .outbox import Outbox, releasedOf
from .packing import packer
from .reader import Reader
from .stream import EXPECTED, Layout, Stream, Tail, opening

__all__ = ["JetStreamJournal", "committedSubject"]

T = TypeVar("T")

# Streams whose last message we remember: those that are open here, mostly. Who holds one
# that is forgotten is stale and opens it again.
STREAMS_MAX = 65536

# When a worker has too many streams, a sixteenth of them goes at once; how many it has is asked
# again after so many more at most: a stream is soon made, a question to a cluster is not.
COUNTED_AGAIN = 64

# Questions under way at once. Each may have a piece of a quarter megabyte with it.
AT_ONCE = 64

# How often a message is sent that the server refuses behind one that is the last, and how
# long after one another, in seconds: others may be storing one.
ATTEMPTS_MAX = 40
ATTEMPT_S = 0.05

_NOWHERE = Position(0, 0, 0)


def committedSubject(name: str) -> str:
    """Where it is said that there is something new. It is none of the journal's."""
    return f"decnet-committed.{name}"


@dataclass(slots=True)
class _Held:
    """A stream that was granted here: what we believe of it."""

    subject: str
    seq: int
    position: Position


@dataclass(slots=True)
class _Progress:
    """
    A deposit that is being committed.

    @ivar left: pieces that are not committed, with the attempt of each.
    """

    deposit: Deposit
    left: list[tuple[Deposit, str]]
    batch: Batch | None = None
    stale: bool = False


class JetStreamJournal:
    """
    A journal in a cluster.

    @ivar identity: 32 hex digits, made with the stream; the same at every listener.
    @ivar octets: 0: the stream's own limit is for all, and refuses when it is reached.
    @ivar mark: the last message that is known here, and its attempt: another message at its
        place, in a stream that was put back, has another. A message that was removed since
        is not held any more, which is safe.
    """

    _log = Logger()

    def __init__(
        self,
        bus: Bus,
        stream: Stream,
        outbox: Outbox | None,
        streamsPerWorkerMax: int,
        encoding: str,
    ) -> None:
        """L{open} is how to get one."""
        self._pack = packer(encoding)
        self._streamsPerWorkerMax = streamsPerWorkerMax
        # Of each worker, how many streams may be made before they are counted again.
        self._uncounted: dict[str, int] = {}
        self.identity = stream.identity
        self.octets = 0
        self.mark = Mark(0, stream.identity)
        self._bus = bus
        self._stream = stream
        self._outbox = outbox
        self._reader = Reader(stream)
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._rows: dict[str, int] = {}
        self._newRow = count(1)
        self._pieceOctets = min(PIECE_OCTETS, bus.payloadMax - HEADERS_OCTETS_MAX)
        self._progress: list[_Progress] = []
        self._gate = asyncio.Semaphore(AT_ONCE)

    @classmethod
    def open(
        cls,
        bus: Bus,
        layout: Layout,
        messageOctetsMax: int,
        outbox: Outbox | None = None,
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        encoding: str = "zstd",
    ) -> JetStreamJournal:
        """
        Find the stream, or make it.

        @param messageOctetsMax: the longest line that will come.
        @param outbox: where the outputs' cursors are; C{None}: no output is here.
        @param streamsPerWorkerMax: of more the one that advanced longest ago is forgotten, but
            none whose lines are not in every output; about, since others make some, too.
        @param encoding: of what is committed here, C{zstd} or C{none}. Read are both.
        @raise UserError: it cannot be used.
        """
        if messageOctetsMax + 1 + HEADERS_OCTETS_MAX > bus.payloadMax:
            raise UserError(
                f"the NATS server takes messages of {bus.payloadMax} octets: too few for"
                f" lines of {messageOctetsMax}; set max_payload there to"
                f" {messageOctetsMax + 1 + HEADERS_OCTETS_MAX} or more, or lower"
                " --max-message"
            )
        stream = Stream(bus, layout.name)
        what = f"the journal {layout.name}"
        opening(bus, what, lambda: stream.ensure(layout))
        journal = cls(bus, stream, outbox, streamsPerWorkerMax, encoding)
        opening(bus, what, journal._lookForMark)
        return journal

    @property
    def octetsOf(self) -> Mapping[str, int]:
        """
        Nothing: what others have committed for a worker is not known here, and the stream's
        limit is for all.
        """
        return {}

    def close(self) -> None:
        """Let go of the outputs, and close the connection."""
        if self._outbox is not None:
            self._outbox.leave()
            self._outbox.close()
        self._bus.close()

    # History.

    def holds(self, mark: Mark) -> bool:
        """As L{decnet_syslog.master.promise.JournalPromise.holds}."""
        if mark.number == 0:
            return mark.token == self.identity
        last = self._run(self._stream.at(mark.number))
        return last is not None and last.headers.get(ATTEMPT) == mark.token

    async def _lookForMark(self) -> None:
        _, _, seq = await self._stream.state()
        last = await self._stream.at(seq) if seq else None
        if seq:
            # Of a message that was removed no mark can be held.
            known = last.headers.get(ATTEMPT) if last is not None else None
            self._note(seq, known or uuid4().hex)

    def _note(self, seq: int, attempt: str) -> None:
        """There is a message. Nobody may be told of a position before it is noted."""
        if seq > self.mark.number:
            self.mark = Mark(seq, attempt)

    # Positions.

    def grant(
        self, worker: str, stream: str, generation: int, start: int, name: str
    ) -> Grant:
        """One of L{grants}."""
        return self.grants([Wish(worker, stream, generation, start, name)])[0]

    def grants(self, wishes: Sequence[Wish]) -> list[Grant]:
        """As L{decnet_syslog.master.promise.JournalPromise.grants}."""
        return self._run(self._grants(wishes))

    async def _grants(self, wishes: Sequence[Wish]) -> list[Grant]:
        found = await asyncio.gather(*(self._find(wish) for wish in wishes))
        return [
            self._hold(wish, *where) for wish, where in zip(wishes, found, strict=True)
        ]

    def _hold(self, wish: Wish, subject: str, seq: int, position: Position) -> Grant:
        """Remember what was granted; an older grant of the stream is forgotten."""
        before = self._held.pop(self._rows.get(subject, 0), None)
        if before is not None and before.seq > seq:
            # The answer is older than what we have committed ourselves.
            seq, position = before.seq, before.position
        row = self._rows[subject] = next(self._newRow)
        grant = Grant(
            row,
            1,
            wish.stream,
            wish.generation,
            position.offset,
            position.base,
            position.crc,
        )
        self._held[row] = _Held(subject, seq, position)
        while len(self._held) > STREAMS_MAX:
            _, oldest = self._held.popitem(last=False)
            del self._rows[oldest.subject]
        return grant

    def _forget(self, subject: str) -> None:
        row = self._rows.pop(subject, None)
        if row is not None:
            del self._held[row]

    async def _find(self, wish: Wish) -> tuple[str, int, Position]:
        """Subject, last message and position of a stream."""
        asked = Grant(0, 0, wish.stream, wish.generation, 0, 0, 0)
        subject = subjectOf(self._stream.name, wish.worker, asked)
        async with self._gate:
            last = await self._stream.last(subject)
            if last is None:
                await self._makeRoom(wish.worker)
                if wish.start == 0:
                    return subject, 0, _NOWHERE
                # That it begins there is a promise as well.
                last = await self._begin(wish, asked, subject)
        entry = self._entry(last)
        self._note(last.seq, entry.attempt)
        return subject, last.seq, entry.position

    async def _begin(self, wish: Wish, asked: Grant, subject: str) -> Tail:
        who = Provenance(wish.worker, "-", "-", "-", wish.name)
        deposit = Deposit(who, asked, wish.start, wish.start, b"")
        position = Position(wish.start, wish.start, 0)
        headers, body = encode(deposit, position, uuid4().hex)
        await self._stream.publish(subject, body, {**headers, EXPECTED: "0"})
        # Ours, or of somebody who was faster.
        last = await self._stream.last(subject)
        if last is None:
            raise JournalBlocked("the stream's leader is behind")
        return last

    def _entry(self, tail: Tail) -> Entry:
        try:
            return decode(tail.seq, tail.headers, tail.data)
        except Foreign as error:
            raise JournalBlocked(
                f"message {tail.seq} of the stream is somebody else's: {error}"
            ) from None

    def known(self, worker: str) -> list[Known]:
        """As L{decnet_syslog.master.promise.JournalPromise.known}."""
        entries = self._run(self._known(worker))
        if entries:
            self._note(entries[0].seq, entries[0].attempt)
        return [entry.known() for entry in entries[: self._streamsPerWorkerMax]]

    async def _known(self, worker: str) -> list[Entry]:
        """The last message of each stream of a worker, without its body, the newest first."""
        subjects = streamsOf(self._stream.name, worker)
        entries = {
            subjectOf(self._stream.name, worker, entry.grant()): entry
            for entry in map(self._entry, await self._stream.tails(subjects))
        }
        # A consumer's replica may be behind; the leader knows them all. Of one that is
        # missing here the forwarder would think that we have nothing.
        for subject in (await self._stream.subjects(subjects)).keys() - entries.keys():
            last = await self._stream.last(subject)
            if last is not None:
                entries[subject] = self._entry(last)
        return sorted(entries.values(), key=lambda entry: -entry.seq)

    async def _makeRoom(self, worker: str) -> None:
        """Forget the oldest streams of a worker that has too many, but none with a batch."""
        left = self._uncounted.get(worker, 0)
        if left > 0:
            self._uncounted[worker] = left - 1
            return
        most = self._streamsPerWorkerMax
        step = min(COUNTED_AGAIN, most // 16)
        # For those that are asked for at the same time.
        self._uncounted[worker] = step
        subjects = streamsOf(self._stream.name, worker)
        has = len(await self._stream.subjects(subjects))
        # Another listener may be making some, too.
        self._uncounted[worker] = min(step, max(0, most - has) // 2)
        if has < most:
            return
        released = await releasedOf(self._bus, self._stream.name)
        for entry in (await self._known(worker))[most - 1 - most // 16 :]:
            if entry.seq <= released:
                subject = subjectOf(self._stream.name, worker, entry.grant())
                # Only what was seen: what comes meanwhile keeps the position.
                await self._stream.purge(subject, entry.seq + 1)

    # Batches.

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """As L{decnet_syslog.master.promise.JournalPromise.commit}."""
        if not (
            len(self._progress) == len(deposits)
            and all(map(is_, deposits, [p.deposit for p in self._progress]))
        ):
            self._progress = [self._started(deposit) for deposit in deposits]
        progress = self._progress
        if progress:
            self._run(self._commit(progress))
        cursors = list(cursors)
        if cursors and self._outbox is not None:
            self._outbox.save(cursors, self._reader.timeOf)
            try:
                self._run(self._reader.release(self._outbox.released))
            except JournalBlocked:
                # Nobody waits for that: the next time.
                pass
        self._progress = []
        return [p.batch for p in progress]

    def _started(self, deposit: Deposit) -> _Progress:
        left = [(piece, uuid4().hex) for piece in pieces(deposit, self._pieceOctets)]
        return _Progress(deposit, left)

    async def _commit(self, progress: Sequence[_Progress]) -> None:
        chains: dict[tuple[str, str], list[_Progress]] = {}
        for one in progress:
            who = one.deposit.provenance
            chains.setdefault((who.worker, who.address), []).append(one)
        # All are over before anything is said: none may still be under way then.
        results = await asyncio.gather(
            *map(self._chain, chains.values()), return_exceptions=True
        )
        if any(p.batch is not None for p in progress):
            await self._bus.tell(committedSubject(self._stream.name))
        failed = [error for error in results if isinstance(error, BaseException)]
        if failed:
            raise next(
                (e for e in failed if not isinstance(e, JournalBlocked)), failed[0]
            )

    async def _chain(self, chain: Sequence[_Progress]) -> None:
        """Commit what one connection has sent, one after the other."""
        stale = False
        for one in chain:
            if stale and one.deposit.grant is not None:
                # It comes again, behind what comes again.
                one.stale = True
            elif one.batch is None and not one.stale:
                await self._deposit(one)
            stale = stale or one.stale

    async def _deposit(self, one: _Progress) -> None:
        deposit, held = one.deposit, None
        if deposit.grant is not None:
            held = self._held.get(deposit.grant.row)
            one.stale = held is None
        subject = subjectOf(self._stream.name, deposit.provenance.worker, deposit.grant)
        seq = 0
        while one.left and not one.stale:
            piece, attempt = one.left[0]
            position = _NOWHERE
            if held is not None:
                if held.position.offset != piece.start:
                    one.stale = True
                    return
                position = held.position.behind(piece)
            headers, body = encode(piece, position, attempt, self._pack)
            async with self._gate:
                taken = await self._append(subject, headers, body, held, attempt)
            if taken is None:
                one.stale = True
                # What we believe of it is wrong, whatever the reason: asked anew.
                self._forget(subject)
                return
            seq = taken
            self._note(seq, attempt)
            if held is not None:
                held.seq, held.position = seq, position
            del one.left[0]
        if not one.stale:
            one.batch = batchOf(seq, deposit)

    async def _append(
        self,
        subject: str,
        headers: dict[str, str],
        body: bytes,
        held: _Held | None,
        attempt: str,
    ) -> int | None:
        """
        Publish one message, behind the one that we know.

        @param held: C{None}: behind any; whoever has no positions sends once or twice.
        @return: its sequence; C{None}: there is another behind the one that we know.
        @raise JournalBlocked: it may have been taken or not.
        """
        if held is None:
            headers["Nats-Msg-Id"] = attempt
            return await self._stream.publish(subject, body, headers)
        for _ in range(ATTEMPTS_MAX):
            headers[EXPECTED] = str(held.seq)
            seq = await self._stream.publish(subject, body, headers)
            if seq is not None:
                return seq
            last = await self._stream.last(subject)
            if last is not None and last.headers.get(ATTEMPT) == attempt:
                # Taken before; only the answer was lost.
                return last.seq
            if held.seq == (0 if last is None else last.seq):
                # Another message is under way, and is not stored yet, or never will be.
                await asyncio.sleep(ATTEMPT_S)
                continue
            if last is None or last.seq < held.seq:
                return None
            entry = self._entry(last)
            if entry.batch is not None or entry.position != held.position:
                return None
            # Nobody has appended: the same position was only said in fewer octets.
            held.seq = last.seq
        raise JournalBlocked("the stream's leader is behind")

    def read(self, after: int, costMax: int) -> list[Batch]:
        """As L{decnet_syslog.master.promise.JournalPromise.read}."""
        if self._outbox is not None:
            after = max(after, self._outbox.released)
        return self._run(self._reader.read(after, costMax))

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """As L{decnet_syslog.master.promise.JournalPromise.useOutputs}."""
        assert self._outbox is not None, "no output is here"
        seqMax = self._run(self._writtenAtMost(self._outbox))
        cursors = self._outbox.useOutputs(names, self.identity, seqMax)
        self._run(self._reader.sweep(self._outbox.released))
        return cursors

    async def _writtenAtMost(self, outbox: Outbox) -> int:
        """
        What can have been written: all that there is, mostly. If the stream is not the one
        that was written, or has lost its end, nothing that has been stored since, whatever
        its sequence.
        """
        before = outbox.before
        if before.journal and before.journal != self.identity:
            seqMax, why = 0, "it was made anew"
        else:
            for output, seq in before.cursors.items():
                time = before.times.get(output, 0)
                if time and not await self._reader.isStill(seq, time):
                    break
            else:
                return (await self._stream.state())[2]
            oldest = min(time for time in before.times.values() if time)
            seqMax, why = await self._stream.behindTime(oldest), "it has lost its end"
        self._log.error(
            "the stream is not what was written: {reason}; the outputs go on behind message"
            " {seq}, and some lines may be there twice",
            event="diverged",
            reason=why,
            seq=seqMax,
        )
        return seqMax

    def tidy(self) -> None:
        """
        Make room of what is kept for its position only. For those who write the outputs, now
        and then.

        @raise JournalBlocked: not now.
        """
        assert self._outbox is not None, "no output is here"
        self._run(self._reader.tidy(self._outbox.released))

    @property
    def octetsMax(self) -> int:
        """What the stream may take."""
        return self._stream.octetsMax

    def size(self) -> tuple[int, int]:
        """
        What the stream takes, in octets, and its last message.

        @raise JournalBlocked: not now.
        """
        octets, _, last = self._run(self._stream.state())
        return octets, last

    def onCommitted(self, heard: Callable[[], None]) -> None:
        """
        Call C{heard}, in the bus's thread, when a listener has committed something.

        It may be missed: ask as well.
        """
        self._run(self._bus.listen(committedSubject(self._stream.name), heard))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._bus.run(work)
        except Silent as error:
            raise JournalBlocked(f"JetStream does not answer ({error})") from None
