"""
The positions of streams: grants, and the listener's memory of granted streams.

A grant asks the stream's leader for the last message of a subject. The memory of a granted stream
only saves a request; the server compares it with each append.

What must be true: a stream begins after 0 only if the worker believes in the present history. The
octets before the beginning count as delivered. If the subject is missing because the stream went
back, the worker has to learn that first, and offers these octets again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from uuid import uuid4

from ..journal import Deposit, JournalBlocked, OpenRequest, StreamLease
from ..wire import Provenance
from ._answers import StoredMessage
from ._bucket import releasedOf
from ._bus import Bus
from ._chronicle import Chronicle
from ._messages import (
    Entry,
    MessagePosition,
    UnrecognizedMessage,
    decode,
    encode,
    streamsOf,
    subjectOf,
)
from ._stream import EXPECTED, JournalStream

__all__ = ["NOWHERE", "Held", "Positions"]

# Maximum number of streams whose last message is remembered. The holder of a forgotten stream is
# stale and has to open it again.
STREAMS_MAX = 65536

# When a worker has too many streams, a sixteenth of them is removed. Counting them is expensive, so
# they are counted again after at most this many new streams.
COUNTED_AGAIN = 64

NOWHERE = MessagePosition(0, 0, 0)


@dataclass(slots=True)
class Held:
    """The last message and the position of a granted stream, as far as we know."""

    subject: str
    seq: int
    position: MessagePosition


class Positions:
    """
    The positions of streams, as a listener grants them. All coroutines run in the bus's thread.

    @ivar gate: limits the number of requests at the same time.
    """

    def __init__(
        self,
        bus: Bus,
        stream: JournalStream,
        chronicle: Chronicle,
        streamsPerWorkerMax: int,
        gate: asyncio.Semaphore,
    ) -> None:
        """
        @param streamsPerWorkerMax: as of L{decnet_syslog.nats._journal.JetStreamJournal.open}.
        """
        self._bus = bus
        self._stream = stream
        self._chronicle = chronicle
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self.gate = gate
        # By worker: how many streams can be opened before they are counted again.
        self._uncounted: dict[str, int] = {}
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._rows: dict[str, int] = {}
        self._newRow = count(1)

    def clear(self) -> None:
        """Forget all grants and positions."""
        self._held.clear()
        self._rows.clear()
        self._uncounted.clear()

    def held(self, grant: StreamLease) -> Held | None:
        """The position of a granted stream; C{None} if it was granted again or forgotten."""
        return self._held.get(grant.row)

    async def grants(self, requests: Sequence[OpenRequest]) -> list[StreamLease]:
        """As L{decnet_syslog.journal._promise.IJournal.grants}."""
        turns = self._chronicle.turns
        requests = [
            request if request.turns is not None else replace(request, turns=turns)
            for request in requests
        ]
        await self._chronicle.checkIfDue()
        found = await asyncio.gather(*(self._find(request) for request in requests))
        if any(self._isBehind(subject, seq) for subject, seq, _ in found):
            # A deposed leader has answered, or the stream has lost messages. Beginning an era
            # needs a quorum, so it shows which.
            await self._chronicle.doubt()
            found = await asyncio.gather(*(self._find(request) for request in requests))
        return [
            self._hold(request, *where)
            for request, where in zip(requests, found, strict=True)
        ]

    def _hold(
        self, request: OpenRequest, subject: str, seq: int, position: MessagePosition
    ) -> StreamLease:
        """Remember a grant, and forget an older grant of the same stream."""
        self._held.pop(self._rows.get(subject, 0), None)
        row = self._rows[subject] = next(self._newRow)
        grant = StreamLease(
            row,
            1,
            request.stream,
            request.generation,
            position.offset,
            position.base,
            position.crc,
        )
        self._held[row] = Held(subject, seq, position)
        while len(self._held) > STREAMS_MAX:
            _, oldest = self._held.popitem(last=False)
            del self._rows[oldest.subject]
        return grant

    def _isBehind(self, subject: str, seq: int) -> bool:
        """Whether an answer is older than our own last commit."""
        held = self._held.get(self._rows.get(subject, 0))
        return held is not None and held.seq > seq

    def forget(self, subject: str) -> None:
        """Forget a subject: the next grant asks the server again."""
        row = self._rows.pop(subject, None)
        if row is not None:
            del self._held[row]

    async def _find(self, request: OpenRequest) -> tuple[str, int, MessagePosition]:
        """Find the subject, the last message and the position of a stream."""
        asked = StreamLease(0, 0, request.stream, request.generation, 0, 0, 0)
        subject = subjectOf(self._stream.name, request.worker, asked)
        async with self.gate:
            last = await self._stream.last(subject)
            if last is None:
                await self._makeRoom(request.worker)
                if request.start == 0:
                    return subject, 0, NOWHERE
                # The beginning of the stream must be durable as well.
                last = await self._begin(request, asked, subject)
        entry = self.entry(last)
        self._chronicle.noted(last.seq)
        return subject, last.seq, entry.position

    async def _begin(
        self, request: OpenRequest, asked: StreamLease, subject: str
    ) -> StoredMessage:
        who = Provenance(request.worker, "-", "-", "-", request.name, False)
        deposit = Deposit(who, asked, request.start, request.start, b"")
        position = MessagePosition(request.start, request.start, 0)
        headers, body = encode(deposit, position, uuid4().hex)
        # Ignore our memory: the subject is missing in the leader's stream.
        await self._chronicle.check()
        await self._chronicle.sure()
        if request.turns != self._chronicle.turns:
            raise JournalBlocked("the stream went back since the worker has connected")
        await self._stream.publish(subject, body, {**headers, EXPECTED: "0"})
        # The last message is ours, or that of a faster listener.
        last = await self._stream.last(subject)
        if last is None:
            raise JournalBlocked("the stream's leader is behind")
        return last

    def entry(self, tail: StoredMessage) -> Entry:
        """
        Decode a message.

        @raise JournalBlocked: it is foreign.
        """
        try:
            return decode(tail.seq, tail.headers, tail.data)
        except UnrecognizedMessage as error:
            raise JournalBlocked(
                f"message {tail.seq} of the stream comes from another program: {error}"
            ) from None

    async def known(self, worker: str) -> list[Entry]:
        """The last message of each stream of a worker, without bodies, newest first."""
        subjects = streamsOf(self._stream.name, worker)
        entries = {
            subjectOf(self._stream.name, worker, entry.grant()): entry
            for entry in map(self.entry, await self._stream.tails(subjects))
        }
        # A consumer's replica may be outdated, but the leader knows all subjects. Without this
        # check the forwarder could believe that a stream is missing.
        for subject in (await self._stream.subjects(subjects)).keys() - entries.keys():
            last = await self._stream.last(subject)
            if last is not None:
                entries[subject] = self.entry(last)
        return sorted(entries.values(), key=lambda entry: -entry.seq)

    async def _makeRoom(self, worker: str) -> None:
        """Remove the oldest streams of a worker with too many, except those with batches."""
        left = self._uncounted.get(worker, 0)
        if left > 0:
            self._uncounted[worker] = left - 1
            return
        most = self._streamsPerWorkerMax
        step = min(COUNTED_AGAIN, most // 16)
        # For concurrent requests.
        self._uncounted[worker] = step
        subjects = streamsOf(self._stream.name, worker)
        has = len(await self._stream.subjects(subjects))
        # Another listener may open streams at the same time.
        self._uncounted[worker] = min(step, max(0, most - has) // 2)
        if has < most:
            return
        released = await releasedOf(self._bus, self._stream.name)
        for entry in (await self.known(worker))[most - 1 - most // 16 :]:
            if entry.seq <= released:
                subject = subjectOf(self._stream.name, worker, entry.grant())
                # Keep messages that arrive meanwhile, with their position.
                await self._stream.purge(subject, entry.seq + 1)
