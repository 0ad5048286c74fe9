"""
The way out of the stream: batches in order, and the end of those that are written.

What must be true:

* every message behind the place where reading begins is given, in order, once for each
  reading. The sequences have no holes there: what is missing was removed by somebody else,
  and is said;
* the last message of a subject stays: it is the position of a stream. What is removed is
  before a message that was read and is written in every output.

Purging costs the cluster a round each, and so is done when there is something to gain.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from twisted.logger import Logger

from ..master.promise import JournalBlocked
from ..master.values import DEPOSIT_COST, Batch, Deposit
from ..wire.record import Provenance
from .bus import Silent
from .lease import WentBack
from .messages import (
    HEADERS_OCTETS_MAX,
    Entry,
    Foreign,
    allOf,
    decode,
    encode,
    subjectOf,
)
from .stream import EXPECTED, Delivery, Stream, Tail

__all__ = ["Reader"]

# Places that are read on from: two outputs that are behind, and a third.
CONSUMERS_MAX = 4

# How often, and how long after one another in seconds, a consumer is asked for what the
# stream has.
LOOKS_MAX = 100
LOOK_S = 0.01

# Messages of one question.
MESSAGES_MAX = 512

# A subject is purged when so many octets can go, or all are when so many can.
PURGE_OCTETS = 1024 * 1024
PURGE_ALL_OCTETS = 16 * 1024 * 1024

# Messages that were read and are not written by every output that we remember. Of more,
# the stream is looked through when they are.
UNWRITTEN_MAX = 65536


# Messages whose times we remember: more than two outputs have between read and written.
TIMES_MAX = 65536


# The last message of a subject is kept as the position of its stream. When that is all it is
# for, and it is longer than so many octets, a short one says the same.
SETTLED_OCTETS = 1024

# It is done for streams that have been quiet for so long, in seconds, and for all when the
# stream is half full; looked at so often, at so many at once.
QUIET_S = 600
TIDY_S = 3600
TIDY_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class _Got:
    """What a consumer has given at once, and whether it has more."""

    consumer: str
    deliveries: list[Delivery]
    isMore: bool


class Reader:
    """Reads a stream. All coroutines run in the bus's thread."""

    _log = Logger()

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        # Of a small stream as well there must be room again in time.
        self._purgeOctets = min(PURGE_OCTETS, stream.octetsMax // 16)
        self._purgeAllOctets = min(PURGE_ALL_OCTETS, stream.octetsMax // 16)
        self._tidied = float("-inf")
        # By the sequence before the next message.
        self._consumers: OrderedDict[int, str] = OrderedDict()
        # The same, of what a consumer has given that was too much.
        self._unread: OrderedDict[int, _Got] = OrderedDict()
        # When what was read was stored: it is no other message as long as that is so.
        self._times: OrderedDict[int, int] = OrderedDict()
        # Sequence, subject, octets.
        self._unwritten: deque[tuple[int, str, int]] = deque()
        self._seen = 0
        # What can go: of each subject, up to where, and how much it is.
        self._ripe: dict[str, tuple[int, int]] = {}
        self._ripeOctets = 0
        self._sweepAt: int | None = None

    async def read(self, after: int, costMax: int) -> list[Batch]:
        """The batches behind C{after}, at least one if there is one."""
        for _ in range(LOOKS_MAX):
            isMore = True
            while isMore:
                entries, after, isMore = await self._some(after, costMax)
                batches = [e.batch for e in entries if e.batch is not None]
                if batches:
                    return batches
                # Of these nothing is to be written.
            if after >= (await self._stream.state())[2]:
                return []
            # A consumer hears a little later than a publisher that something is stored. Or
            # it has sent it, and we have not heard that: another one is asked.
            self._consumers.pop(after, None)
            await asyncio.sleep(LOOK_S)
        raise JournalBlocked("JetStream does not give what it has")

    async def _some(self, after: int, costMax: int) -> tuple[list[Entry], int, bool]:
        """What comes next; behind which message it ends; and whether there is more."""
        got = self._unread.pop(after, None) or await self._fetch(after, costMax)
        entries: list[Entry] = []
        at, cost = after, 0
        for index, delivery in enumerate(got.deliveries):
            if cost >= costMax:
                # What was short on its way can be long unpacked: later.
                self._unread[at] = replace(got, deliveries=got.deliveries[index:])
                while len(self._unread) > CONSUMERS_MAX:
                    self._unread.popitem(last=False)
                return entries, at, True
            seq, message = delivery.seq, delivery.message
            self._times[seq] = delivery.time
            if seq != at + 1:
                await self._missing(at + 1, seq - 1)
            at = seq
            try:
                entry = decode(seq, message.headers, message.data)
            except Foreign as error:
                self._log.error(
                    "message {seq} of the stream is somebody else's and left out: {reason}",
                    event="refused",
                    seq=seq,
                    reason=str(error),
                )
                continue
            entries.append(entry)
            cost += 0 if entry.batch is None else entry.batch.cost
            self._remember(entry, len(message.data))
        self._consumers[at] = got.consumer
        while len(self._consumers) > CONSUMERS_MAX:
            self._consumers.popitem(last=False)
        while len(self._times) > TIMES_MAX:
            self._times.popitem(last=False)
        return entries, at, got.isMore

    async def _fetch(self, after: int, costMax: int) -> _Got:
        """Ask a consumer for what is behind a message."""
        octetsMax = max(costMax, self._stream.bus.payloadMax + HEADERS_OCTETS_MAX)
        remembered = self._consumers.pop(after, None)
        while True:
            consumer = remembered or await self._consume(after)
            try:
                return _Got(
                    consumer,
                    *await self._stream.fetch(consumer, octetsMax, MESSAGES_MAX),
                )
            except Silent as error:
                if remembered is None:
                    raise JournalBlocked(
                        f"JetStream gives no messages ({error})"
                    ) from None
                # Its server is gone, or it was idle for too long.
                remembered = None

    async def _consume(self, after: int) -> str:
        """
        Read from here on.

        @raise WentBack: what was read before is not what is there.
        """
        if after in self._times and not await self.isStill(after, self._times[after]):
            raise WentBack(
                f"the stream has lost its end: message {after} is not what it was"
            )
        return await self._stream.consume(
            deliver_policy="by_start_sequence", opt_start_seq=after + 1
        )

    def timeOf(self, seq: int) -> int:
        """When a message that was read was stored; 0: that is not known any more."""
        return self._times.get(seq, 0)

    async def isStill(self, seq: int, stored: int) -> bool:
        """
        Whether a message that was written is still the one with its sequence.

        One that was removed since is: only we remove, and only what is written.
        """
        tail = await self._stream.at(seq)
        if tail is None:
            return seq <= (await self._stream.state())[2]
        return tail.time == stored

    async def _missing(self, first: int, last: int) -> None:
        """
        Say that messages are gone, if they are.

        @raise JournalBlocked: they are there; whoever left them out is asked again.
        """
        if await self._stream.at(first) is not None:
            raise JournalBlocked("a replica of the stream is behind")
        self._log.error(
            "messages {first} to {last} are gone from the stream: somebody else has removed"
            " them",
            event="gap",
            first=first,
            last=last,
            reason="removed from the stream",
        )

    def _remember(self, entry: Entry, stored: int) -> None:
        if entry.seq <= self._seen:
            return
        self._seen = entry.seq
        if len(self._unwritten) >= UNWRITTEN_MAX:
            self._unwritten.clear()
            self._sweepAt = entry.seq
        if self._sweepAt is not None:
            self._sweepAt = entry.seq
            return
        subject = subjectOf(self._stream.name, entry.worker, entry.grant())
        self._unwritten.append((entry.seq, subject, DEPOSIT_COST + stored))

    async def release(self, released: int) -> None:
        """
        Remove what every output has, when it is worth it.

        @param released: every output has what is up to here on disk.
        """
        if self._sweepAt is not None and released >= self._sweepAt:
            await self.sweep(released)
            self._sweepAt = None
        while self._unwritten and self._unwritten[0][0] <= released:
            seq, subject, octets = self._unwritten.popleft()
            _, before = self._ripe.get(subject, (0, 0))
            self._ripe[subject] = seq, before + octets
            self._ripeOctets += octets
            if before + octets >= self._purgeOctets:
                await self._purge([subject])
        if self._ripeOctets >= self._purgeAllOctets:
            await self._purge(list(self._ripe))

    async def _purge(self, subjects: Sequence[str]) -> None:
        for subject in subjects:
            seq, octets = self._ripe[subject]
            # Before the last one that was written: that is, or was, the position.
            await self._stream.purge(subject, seq)
            del self._ripe[subject]
            self._ripeOctets -= octets

    async def tidy(self, released: int) -> None:
        """Say positions in few octets: see L{SETTLED_OCTETS}."""
        octets, _, _ = await self._stream.state()
        isTight = octets >= self._stream.octetsMax // 2
        if isTight:
            await self._purge(list(self._ripe))
        elif time.monotonic() < self._tidied + TIDY_S:
            return
        before = time.time() - (0 if isTight else QUIET_S)
        long = [
            tail
            for tail in await self._stream.tails(allOf(self._stream.name))
            if tail.seq <= released
            and tail.time <= before * 10**9
            and int(tail.headers.get("Nats-Msg-Size", 0)) > SETTLED_OCTETS
        ]
        for tail in long[:TIDY_AT_ONCE]:
            await self._settle(tail)
        if len(long) <= TIDY_AT_ONCE:
            self._tidied = time.monotonic()

    async def _settle(self, tail: Tail) -> None:
        """Put a short message behind one that is written, and remove that."""
        try:
            entry = decode(tail.seq, tail.headers, b"")
        except Foreign:
            return
        grant = entry.grant()
        subject = subjectOf(self._stream.name, entry.worker, grant)
        if grant is None:
            # It is no position.
            await self._stream.purge(subject, tail.seq + 1)
            return
        at = entry.position
        who = Provenance(entry.worker, "-", "-", "-", entry.name)
        deposit = Deposit(who, grant, at.offset, at.offset, b"")
        headers, body = encode(deposit, at, uuid4().hex)
        seq = await self._stream.publish(
            subject, body, {**headers, EXPECTED: str(tail.seq)}
        )
        if seq is not None:
            await self._stream.purge(subject, seq)

    async def sweep(self, released: int) -> None:
        """Remove what every output has, also what was written before we were started."""
        counts = await self._stream.subjects(allOf(self._stream.name))
        if all(count == 1 for count in counts.values()):
            return
        for tail in await self._stream.tails(allOf(self._stream.name)):
            try:
                entry = decode(tail.seq, tail.headers, b"")
            except Foreign:
                continue
            subject = subjectOf(self._stream.name, entry.worker, entry.grant())
            if counts.get(subject, 0) > 1:
                await self._stream.purge(subject, min(tail.seq, released + 1))
