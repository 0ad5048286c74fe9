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

The stream can go back (L{decnet_syslog.nats.history}). L{Chronicle.sure} detects this before each
publish. After a rollback all grants are void, pending deposits are not committed, and the listener
closes all connections with C{journal-went-back}. The forwarders then ask about their mark, learn
that it is lost, and offer all files on their disks again.

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
from ..wire.control import NUMBER_MAX
from ..wire.record import Provenance
from .bus import Bus, Silent
from .chronicle import Chronicle
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
from .outbox import Outbox, Plan, releasedOf
from .packing import packer
from .reader import Reader
from .removing import Remover
from .shortening import Shortener
from .stream import EXPECTED, Layout, Stream, StreamFull, Tail, opening
from .written import Limbo, Written

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

# Space in the stream that is reserved for positions and eras: this fraction of its size, up to a
# maximum in octets.
RESERVE_PART = 16
RESERVE_OCTETS_MAX = 4 * 1024 * 1024

# A code of C{BYE}: the forwarder has to offer its files again.
WENT_BACK = "journal-went-back"

# Maximum number of connections whose refusal is remembered.
REFUSALS_MAX = 1024

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

    @ivar turns: the journal's count of rollbacks at the beginning.
    @ivar pieces: all pieces, each with its attempt.
    @ivar left: pieces that are not committed.
    @ivar isCut: whether a piece was divided after an attempt to publish it.
    """

    deposit: Deposit
    turns: int
    pieces: tuple[tuple[Deposit, str], ...]
    left: list[tuple[Deposit, str]]
    batch: Batch | None = None
    stale: bool = False
    isCut: bool = False


class _Stale(Exception):
    """
    A deposit cannot be committed, and its connection must be closed.

    @ivar code: the code for C{BYE}; C{None} if another connection has taken over the stream.
    """

    def __init__(self, code: str | None = None, text: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def _octetsOf(headers: Mapping[str, str], body: bytes) -> int:
    """Estimate the size that counts for the server's max_payload; never too low."""
    return sum(len(k) + len(v) + 4 for k, v in headers.items()) + 128 + len(body)


class WrittenView:
    """The journal without the octets that one output has written."""

    def __init__(self, journal: JetStreamJournal, written: Written) -> None:
        self._journal = journal
        self._written = written
        # The last batch that was read, and the end of the stream when no batch followed it.
        self._last = self._end = 0

    def read(self, after: int, costMax: int) -> list[Batch]:
        """As L{JetStreamJournal.read}, cut to the octets that are not written yet."""
        batches = self._journal.read(after, costMax)
        if batches:
            self._last = batches[-1].seq
        else:
            self._end = self._journal.mark.number
        return self._written.only(batches)

    def position(self, written: int) -> int:
        """
        The position of an output, for its status: eras and short positions at the end of the
        stream have no lines, so an output can have everything without them.

        @param written: the last batch that the output has.
        """
        return max(written, self._end) if written >= self._last else written


class JetStreamJournal:
    """
    A journal in a cluster.

    @ivar octets: 0: the stream's own limit is for all, and refuses when it is reached.
    @ivar keptOctets: 0, too.
    @ivar refusals: by worker and address, the reason why a deposit was not committed: a code
        for C{BYE} and a text.
    """

    _log = Logger()

    def __init__(
        self,
        bus: Bus,
        stream: Stream,
        chronicle: Chronicle,
        outbox: Outbox | None,
        streamsPerWorkerMax: int,
        encoding: str,
        messageOctetsMax: int,
    ) -> None:
        """L{open} is how to get one."""
        self._pack = packer(encoding)
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self._messageOctetsMax = messageOctetsMax
        self._saidPayload = 0
        # Of each worker, how many streams may be made before they are counted again.
        self._uncounted: dict[str, int] = {}
        self.octets = self.keptOctets = 0
        self.refusals: dict[tuple[str, str], tuple[str, str]] = {}
        self.capacity = NUMBER_MAX
        self.hasSpare = False
        self._bus = bus
        self._stream = stream
        self._outbox = outbox
        self._chronicle = chronicle
        self._chronicle.wentBack = self._wentBack
        self._heardWentBack: Callable[[], None] = lambda: None
        self._makeReader()
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._rows: dict[str, int] = {}
        self._newRow = count(1)
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
        mayMake = outbox is None or outbox.state.history() is None
        opening(bus, what, lambda: stream.ensure(layout, mayMake))
        chronicle = Chronicle(stream, layout)
        opening(bus, what, chronicle.open)
        return cls(
            bus,
            stream,
            chronicle,
            outbox,
            streamsPerWorkerMax,
            encoding,
            messageOctetsMax,
        )

    def _makeReader(self) -> None:
        """Begin to read in the present history."""
        stream, chronicle = self._stream, self._chronicle
        self._reader = Reader(stream, chronicle)
        self._remover = Remover(stream, self._reader)
        self._shortener = Shortener(stream, chronicle, self._reader, self._remover)

    @property
    def identity(self) -> str:
        """32 hex digits, made with the stream; the same at every listener."""
        return self._stream.identity

    @property
    def mark(self) -> Mark:
        """The last message that this process knows, and its era."""
        return self._chronicle.mark

    @property
    def turns(self) -> int:
        """As L{decnet_syslog.master.promise.JournalPromise.turns}."""
        return self._chronicle.turns

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

    def giveBack(self) -> bool:
        """As L{decnet_syslog.master.promise.JournalPromise.giveBack}: the servers do it."""
        return False

    # History.

    def holds(self, mark: Mark) -> bool:
        """As L{decnet_syslog.master.promise.JournalPromise.holds}."""
        return self._run(self._chronicle.holds(mark))

    def look(self) -> None:
        """
        Check the stream's history and its settings. Call this regularly, also while no lines
        arrive.

        @raise JournalBlocked: try again later.
        @raise WentBack: the stream went back, and this process writes the outputs.
        """
        if self._outbox is None:
            self._run(self._chronicle.look())
            self._lookAtPayload()
            return
        self._run(self._reader.check())
        self._run(self._remover.sweepSome())
        if self._outbox.owesFork:
            self._run(self._chronicle.fork())
            self._outbox.hasForked()

    def onWentBack(self, heard: Callable[[], None]) -> None:
        """Call C{heard}, in the bus's thread, after each rollback."""
        self._heardWentBack = heard

    def _wentBack(self) -> None:
        """Forget all grants and positions."""
        self._held.clear()
        self._rows.clear()
        self._uncounted.clear()
        self._heardWentBack()

    def _refuse(self, deposit: Deposit, code: str, text: str) -> None:
        who = deposit.provenance
        self.refusals.pop((who.worker, who.address), None)
        self.refusals[who.worker, who.address] = code, text
        while len(self.refusals) > REFUSALS_MAX:
            del self.refusals[next(iter(self.refusals))]

    def _lookAtPayload(self) -> None:
        """Log when the servers stop accepting our longest lines, and when they resume."""
        most = self._bus.payloadMax
        needs = self._messageOctetsMax + 1 + HEADERS_OCTETS_MAX
        if most == self._saidPayload or (most >= needs and not self._saidPayload):
            return
        if most < needs:
            self._saidPayload = most
            self._log.error(
                "the NATS server accepts messages of at most {most} octets now, so longer lines"
                " wait at their workers; set max_payload to {needs} or more",
                event="unsafe",
                most=most,
                needs=needs,
                reason="max_payload",
            )
        else:
            self._saidPayload = 0
            self._log.info(
                "the NATS server accepts messages of {most} octets again",
                event="unsafe",
                over=True,
                most=most,
                reason="max_payload",
            )

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
        await self._chronicle.fresh()
        found = await asyncio.gather(*(self._find(wish) for wish in wishes))
        if any(self._isBehind(subject, seq) for subject, seq, _ in found):
            # A deposed leader has answered, or the stream has lost messages. Beginning an era
            # needs a quorum, so it shows which.
            await self._chronicle.doubt()
            found = await asyncio.gather(*(self._find(wish) for wish in wishes))
        return [
            self._hold(wish, *where) for wish, where in zip(wishes, found, strict=True)
        ]

    def _hold(self, wish: Wish, subject: str, seq: int, position: Position) -> Grant:
        """Remember what was granted; an older grant of the stream is forgotten."""
        self._held.pop(self._rows.get(subject, 0), None)
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

    def _isBehind(self, subject: str, seq: int) -> bool:
        """Whether an answer is older than our own last commit."""
        held = self._held.get(self._rows.get(subject, 0))
        return held is not None and held.seq > seq

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
        self._chronicle.noted(last.seq)
        return subject, last.seq, entry.position

    async def _begin(self, wish: Wish, asked: Grant, subject: str) -> Tail:
        who = Provenance(wish.worker, "-", "-", "-", wish.name)
        deposit = Deposit(who, asked, wish.start, wish.start, b"")
        position = Position(wish.start, wish.start, 0)
        headers, body = encode(deposit, position, uuid4().hex)
        await self._chronicle.sure()
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
            self._chronicle.noted(entries[0].seq)
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
            self.saveCursors(cursors)
            try:
                self._run(self._remover.release(self._outbox.released))
            except JournalBlocked:
                # Nobody waits for that: the next time.
                pass
        self._progress = []
        return [p.batch for p in progress]

    def saveCursors(self, cursors: Sequence[Cursor], tell: bool = True) -> None:
        """
        Save the cursors of the outputs, together with the history that their batches were read
        from. After a rollback that is not the stream's present history.

        @param tell: whether other hosts should see them as well.
        @raise LeaseLost: they are saved locally, but another process has the outputs.
        """
        assert self._outbox is not None, "no output is here"
        if tell and max(c.seq for c in cursors) > self._reader.history.last:
            # The saved history must include the cursor.
            self._run(self._chronicle.look())
        self._outbox.save(cursors, self._reader.history, tell)

    def _started(self, deposit: Deposit) -> _Progress:
        left = [(piece, uuid4().hex) for piece in pieces(deposit, self._pieceOctets)]
        return _Progress(deposit, self.turns, tuple(left), left)

    @property
    def _pieceOctets(self) -> int:
        """Maximum size of a piece, unless one line is longer."""
        return max(1, min(PIECE_OCTETS, self._bus.payloadMax - HEADERS_OCTETS_MAX))

    async def _commit(self, progress: Sequence[_Progress]) -> None:
        chains: dict[tuple[str, str], list[_Progress]] = {}
        for one in progress:
            who = one.deposit.provenance
            chains.setdefault((who.worker, who.address), []).append(one)
        # All are over before anything is said: none may still be under way then.
        results = await asyncio.gather(
            *map(self._chain, chains.values()), return_exceptions=True
        )
        failed = [error for error in results if isinstance(error, BaseException)]
        if not failed and not all(map(self._isOfNow, progress)):
            # Some of these commits may be lost: try the group again.
            failed = [JournalBlocked("the stream went back in the middle")]
        if any(p.batch is not None for p in progress):
            await self._bus.tell(committedSubject(self._stream.name))
        if failed:
            raise next(
                (e for e in failed if not isinstance(e, JournalBlocked)), failed[0]
            )

    def _isOfNow(self, one: _Progress) -> bool:
        return one.turns == self.turns

    async def _chain(self, chain: Sequence[_Progress]) -> None:
        """Commit what one connection has sent, one after the other."""
        await self._chronicle.sure()
        stale = False
        for one in chain:
            if not self._isOfNow(one):
                # Its commits may be lost. Workers send their lines again. Lines of plain peers are
                # published again with the same ids, so the server drops those that it has.
                one.turns, one.batch = self.turns, None
                one.stale = one.deposit.grant is not None
                one.left = list(one.pieces)
            if stale and one.deposit.grant is not None:
                # It comes again, behind what comes again.
                one.stale = True
            elif one.batch is None and not one.stale:
                try:
                    await self._deposit(one)
                except _Stale as error:
                    one.stale = True
                    if error.code is not None:
                        self._refuse(one.deposit, error.code, error.text)
            stale = stale or one.stale

    async def _deposit(self, one: _Progress) -> None:
        """
        Commit the remaining pieces of a deposit.

        @raise _Stale: that is impossible, and the connection must be closed.
        """
        deposit, held = one.deposit, None
        if deposit.grant is not None:
            held = self._held.get(deposit.grant.row)
            if held is None:
                raise _Stale
        subject = subjectOf(self._stream.name, deposit.provenance.worker, deposit.grant)
        seq = 0
        while one.left:
            piece, attempt = one.left[0]
            position = _NOWHERE
            if held is not None:
                if held.position.offset != piece.start:
                    raise _Stale
                position = held.position.behind(piece)
            headers, body = encode(piece, position, attempt, self._pack)
            if _octetsOf(headers, body) > self._bus.payloadMax:
                self._cut(one)
                continue
            async with self._gate:
                try:
                    seq = await self._append(subject, headers, body, held, one)
                except _Stale:
                    # Our position is wrong, whatever the reason: ask again at the next grant.
                    self._forget(subject)
                    raise
            self._chronicle.noted(seq)
            if held is not None:
                held.seq, held.position = seq, position
            del one.left[0]
        if seq:
            one.batch = batchOf(seq, deposit)

    def _cut(self, one: _Progress) -> None:
        """
        Divide a piece that is too long since the server's max_payload became smaller.

        @raise _Stale: it is a single line. Its worker has to wait; other workers continue.
        """
        piece, _ = one.left[0]
        smaller = list(pieces(piece, self._pieceOctets))
        if len(smaller) > 1:
            one.left[:1] = [(part, uuid4().hex) for part in smaller]
            one.isCut = True
            return
        most = self._bus.payloadMax
        why = (
            f"{len(piece.octets)} octets are too long for the NATS servers' max_payload"
        )
        self._log.error(
            "{worker}: a line of {octets} octets is too long for the NATS server, which accepts"
            " messages of at most {most} octets now; the line {what}, raise max_payload",
            event="limit",
            worker=piece.provenance.worker,
            octets=len(piece.octets),
            most=most,
            what="waits" if piece.grant is not None else "is lost",
            reason="max_payload",
        )
        if piece.grant is not None:
            raise _Stale("no-space", why)
        # A plain peer does not send it again, and must not stop the other peers.
        del one.left[0]

    async def _append(
        self,
        subject: str,
        headers: dict[str, str],
        body: bytes,
        held: _Held | None,
        one: _Progress,
    ) -> int:
        """
        Publish the first remaining piece, as the successor of the last message that we know.

        @param held: C{None} for a plain peer, whose messages have no order.
        @return: the sequence of the new message.
        @raise _Stale: the last message of the subject is another one.
        @raise JournalBlocked: the message may have been stored or not.
        """
        _, attempt = one.left[0]
        await self._makeSure(one, _octetsOf(headers, body))
        if held is None:
            headers["Nats-Msg-Id"] = attempt
            seq = await self._stream.publish(subject, body, headers)
            assert seq is not None, "the server refused a message without a condition"
            return seq
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
                await self._makeSure(one)
                continue
            if last is None or last.seq < held.seq:
                # The stream went back, or another program has removed the position.
                await self._chronicle.doubt()
                raise _Stale(WENT_BACK, "the committed lines of this stream are gone")
            entry = self._entry(last)
            if entry.batch is not None or entry.position != held.position:
                if one.isCut:
                    raise _Stale(
                        "no-space", "the NATS servers take shorter messages now"
                    )
                raise _Stale
            # Nobody has appended: the same position was only said in fewer octets.
            held.seq = last.seq
        raise JournalBlocked("the stream's leader is behind")

    async def _makeSure(self, one: _Progress, octets: int = 0) -> None:
        """
        Make sure that the stream did not go back and has room for lines.

        @raise _Stale: it went back.
        @raise JournalBlocked: try again later.
        """
        await self._chronicle.sure()
        if not self._isOfNow(one):
            raise _Stale(WENT_BACK, "the journal went back")
        stream = self._stream
        if octets and self._isFull(octets):
            # The outputs may have made room since.
            await self._chronicle.look()
            if self._isFull(octets):
                raise StreamFull(await self._whyFull())
        stream.octets += octets

    @property
    def _reserve(self) -> int:
        return min(RESERVE_OCTETS_MAX, self._stream.octetsMax // RESERVE_PART)

    def _isFull(self, octets: int) -> bool:
        """Whether the stream has no room for lines, according to our last check."""
        stream = self._stream
        return stream.octets + octets > stream.octetsMax - self._reserve

    async def _whyFull(self) -> str:
        """Explain to the operator why the stream has no room."""
        stream = self._stream
        said = (
            f"the stream {stream.name} is full: {stream.octets} of its maximum bytes,"
            f" {stream.octetsMax}, less {self._reserve} for positions"
        )
        written = await releasedOf(self._bus, stream.name)
        if not await self._isAllWritten(written):
            last = self._chronicle.known.last
            return (
                f"{said}; the outputs have all up to message {written} of {last}: see that"
                " decnet-outputs runs and can write"
            )
        return (
            f"{said}; all of it is written, only positions of streams are left:"
            " decnet-outputs shortens them within a minute; otherwise raise max_bytes"
        )

    async def _isAllWritten(self, written: int) -> bool:
        """Whether only eras and positions follow the last written message."""
        known = self._chronicle.known
        if known.last - written <= known.erasBehind(written):
            return True
        return not await self._reader.read(written, 1)

    def isAllWritten(self) -> bool:
        """
        Whether every output has all lines of the stream.

        @raise JournalBlocked: try again later.
        """
        assert self._outbox is not None, "no output is here"
        self._run(self._chronicle.look())
        return self._run(self._isAllWritten(self._outbox.released))

    def read(self, after: int, costMax: int) -> list[Batch]:
        """As L{decnet_syslog.master.promise.JournalPromise.read}."""
        if self._outbox is not None:
            after = max(after, self._outbox.released)
        return self._run(self._reader.read(after, costMax))

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """As L{decnet_syslog.master.promise.JournalPromise.useOutputs}."""
        assert self._outbox is not None, "no output is here"
        outbox = self._outbox
        plan = self._run(self._plan(outbox, names))
        owes = False
        if plan.at is not None and not self._chronicle.known.isForkedBehind(plan.at):
            # Before our own record changes: listeners and workers must learn of the rollback.
            try:
                self._run(self._chronicle.fork())
            except StreamFull:
                # Announce it later, when written messages have made room.
                owes = True
        outbox.begin(plan, self.identity, self._chronicle.known, owes)
        self._makeReader()
        self._reader.forgiven = outbox.before.released
        self._limbo = Limbo(outbox.state)
        self._run(self._shortener.restore(self._limbo))
        self._run(self._remover.sweep(outbox.released))
        return plan.cursors

    async def _plan(self, outbox: Outbox, names: Sequence[str]) -> Plan:
        """Find where the outputs continue in the present stream."""
        await self._chronicle.look()
        before, isTrusted = outbox.before, True
        if before.history is None:
            # An older program wrote it: it has only the storage times of the messages.
            isTrusted = before.journal in ("", self.identity)
            for output, seq in before.cursors.items():
                time = before.times.get(output, 0)
                if time and not await self._reader.isStill(seq, time):
                    isTrusted = False
        return outbox.plan(names, self._chronicle.known, isTrusted)

    def written(self, output: str) -> WrittenView:
        """The journal without the octets that an output has written."""
        assert self._outbox is not None, "no output is here"
        return WrittenView(self, self._outbox.written[output])

    def tidy(self) -> None:
        """
        Make room of what is kept for its position only. For those who write the outputs, now
        and then.

        @raise JournalBlocked: not now.
        """
        assert self._outbox is not None, "no output is here"
        self._run(self._shortener.tidy(self._outbox.released, self._limbo))

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
