"""
The way out of the stream: batches in order, and the end of those that are written.

What must be true:

* every message behind the place where reading begins is given, in order, once for each
  reading. The sequences have no holes there: what is missing was removed by somebody else,
  and is said;
* reading goes on only in the history that it began in: the eras are read on the way, and the
  stream is looked at before a consumer is made;
* the last message of a subject stays: it is the position of a stream. What is removed is
  before a message that was read and is written in every output;
* a stream that is full of what is written becomes free again. A short position is published
  behind the long one; where there is no room for that, the long one is removed first, and its
  position is noted in a file until it is there again.

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
from .chronicle import Chronicle
from .history import ERA, History, erasSubject
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
from .stream import EXPECTED, Delivery, Stream, StreamFull, Tail
from .written import Limbo

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
    """
    Reads a stream. All coroutines run in the bus's thread.

    @ivar forgiven: what is missing up to here was removed because it was written.
    """

    _log = Logger()

    def __init__(self, stream: Stream, chronicle: Chronicle) -> None:
        self._stream = stream
        self._chronicle = chronicle
        self._turns = chronicle.turns
        chronicle.former = None
        self.forgiven = 0
        # Of a small stream as well there must be room again in time.
        self._purgeOctets = min(PURGE_OCTETS, stream.octetsMax // 16)
        self._purgeAllOctets = min(PURGE_ALL_OCTETS, stream.octetsMax // 16)
        self._tidied = float("-inf")
        # By the sequence before the next message.
        self._consumers: OrderedDict[int, str] = OrderedDict()
        # The same, of what a consumer has given that was too much.
        self._unread: OrderedDict[int, _Got] = OrderedDict()
        # Sequence, subject, octets.
        self._unwritten: deque[tuple[int, str, int]] = deque()
        self._seen = 0
        # What can go: of each subject, up to where, and how much it is.
        self._ripe: dict[str, tuple[int, int]] = {}
        self._ripeOctets = 0
        self._sweepAt: int | None = None

    @property
    def history(self) -> History:
        """The history that what was read is of."""
        chronicle = self._chronicle
        if chronicle.turns != self._turns and chronicle.former is not None:
            return chronicle.former
        return chronicle.known

    async def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches behind C{after}, at least one if there is one.

        @raise WentBack: the stream is not the one that was read.
        """
        self._refuseOther()
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
            if seq != at + 1 and seq - 1 > self.forgiven:
                await self._missing(max(at, self.forgiven) + 1, seq - 1)
            at = seq
            if ERA in message.headers:
                self._readEra(seq, message.headers[ERA], len(message.data))
                continue
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
            self._chronicle.read(seq)
            entries.append(entry)
            cost += 0 if entry.batch is None else entry.batch.cost
            self._remember(entry, len(message.data))
        self._consumers[at] = got.consumer
        while len(self._consumers) > CONSUMERS_MAX:
            self._consumers.popitem(last=False)
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
        await self.check()
        return await self._stream.consume(
            deliver_policy="by_start_sequence", opt_start_seq=after + 1
        )

    async def check(self) -> None:
        """
        See that the stream is the one that was read, before anything is done with sequences.

        @raise WentBack: it is not.
        @raise JournalBlocked: that cannot be known now.
        """
        await self._chronicle.look()
        self._refuseOther()

    def _refuseOther(self) -> None:
        if self._chronicle.turns != self._turns:
            raise WentBack(
                "the stream went back: what was read may not be what is there"
            )

    def _readEra(self, seq: int, token: str, octets: int) -> None:
        if not self._chronicle.readEra(seq, token):
            raise WentBack(f"the stream went back: message {seq} begins another era")
        self._chronicle.read(seq)
        self._rememberAs(seq, erasSubject(self._stream.name), octets)

    async def isStill(self, seq: int, stored: int) -> bool:
        """
        Whether a message that was written is still the one with its sequence, as far as the
        time of its storing shows.

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
        subject = subjectOf(self._stream.name, entry.worker, entry.grant())
        self._rememberAs(entry.seq, subject, stored)

    def _rememberAs(self, seq: int, subject: str, stored: int) -> None:
        if seq <= self._seen:
            return
        self._seen = seq
        if len(self._unwritten) >= UNWRITTEN_MAX:
            self._unwritten.clear()
            self._sweepAt = seq
        if self._sweepAt is not None:
            self._sweepAt = seq
            return
        self._unwritten.append((seq, subject, DEPOSIT_COST + stored))

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
        await self.check()
        for subject in subjects:
            seq, octets = self._ripe[subject]
            # Before the last one that was written: that is, or was, the position.
            await self._stream.purge(subject, seq)
            del self._ripe[subject]
            self._ripeOctets -= octets

    async def tidy(self, released: int, limbo: Limbo) -> None:
        """
        Say positions in few octets: see L{SETTLED_OCTETS}.

        @param limbo: positions that are in no message.
        """
        await self.check()
        await self.restore(limbo)
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
            and ERA not in tail.headers
            and int(tail.headers.get("Nats-Msg-Size", 0)) > SETTLED_OCTETS
        ]
        # What frees most comes first: behind it there is room to publish.
        long.sort(key=lambda tail: -int(tail.headers.get("Nats-Msg-Size", 0)))
        for tail in long[:TIDY_AT_ONCE]:
            await self._settle(tail, limbo)
        if len(long) <= TIDY_AT_ONCE:
            self._tidied = time.monotonic()

    async def _settle(self, tail: Tail, limbo: Limbo) -> None:
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
        try:
            await self._chronicle.sure()
            seq = await self._stream.publish(
                subject, body, {**headers, EXPECTED: str(tail.seq)}
            )
        except StreamFull:
            # There is not even room for this. What is removed was written; and of whoever
            # appends behind it just now, nothing is removed.
            limbo.add(subject, headers)
            await self._stream.purge(subject, tail.seq + 1)
            await self.restore(limbo)
            return
        if seq is not None:
            await self._stream.purge(subject, seq)

    async def restore(self, limbo: Limbo) -> None:
        """Publish positions again that were removed to make room, as far as there is room."""
        for subject, headers in list(limbo.positions.items()):
            try:
                await self._chronicle.sure()
                await self._stream.publish(subject, b"", {**headers, EXPECTED: "0"})
            except StreamFull:
                return
            # Or the subject has another message by now, and with it a position.
            limbo.drop(subject)

    async def sweep(self, released: int) -> None:
        """Remove what every output has, also what was written before we were started."""
        await self.check()
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
