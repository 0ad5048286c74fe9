"""
The way out of the stream: batches in order, and the end of those that are written.

What must be true:

* every message behind the place where reading begins is given, in order, once for each
  reading. The sequences have no holes there: what is missing was removed by somebody else,
  and is said;
* reading never continues in another history: the reader checks each era message, and checks the
  history before it creates a consumer. A consumer's replica can have other messages than the
  stream's leader, after a restore of some nodes. So the last message of each delivery is compared
  with the leader's: histories that have diverged do not converge again;
* the last message of a subject stays: it is the position of a stream. What is removed is
  before a message that was read and is written in every output;
* a stream that is full of written messages becomes free again. The reader replaces the last
  message of a quiet subject by a short one. Without room for the short one it removes the long one
  first, and keeps the position in the database until it is published again.

Each removal costs the cluster a round trip, so messages are removed in groups. The cost of a
message does not depend on the number of subjects.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    ATTEMPT,
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

# The cost of a deletion is constant; the cost of a purge grows with the stream. So a subject is
# purged only if this many of its messages can go.
DELETES_MAX = 512

# Maximum number of subjects whose last written message is remembered. A sweep handles others.
LAST_MAX = 65536

# Maximum number of messages that one step of a sweep examines.
SWEEP_AT_ONCE = 8192

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
TIDY_AT_ONCE = 1024
LONG_MAX = 16384

# Questions under way at once.
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class _Got:
    """What a consumer has given at once, and whether it has more."""

    consumer: str
    deliveries: list[Delivery]
    isMore: bool


@dataclass(slots=True)
class _Ripe:
    """
    Messages of a subject that can be removed.

    @ivar octets: their size, including the last one, which stays.
    """

    seqs: list[int] = field(default_factory=list)
    octets: int = 0


@dataclass(slots=True)
class _Sweep:
    """
    The removal, in steps, of messages that were written before we started.

    @ivar next: the next sequence to examine.
    @ivar released: the last sequence that may be removed.
    @ivar tails: the last message of each subject when the sweep began.
    """

    next: int
    released: int
    tails: Mapping[str, int]


class Reader:
    """
    Reads a stream. All coroutines run in the bus's thread.

    @ivar forgiven: messages up to this sequence may be missing, because they were written.
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
        # Messages to replace by short ones, the largest first, and whether the list is complete.
        self._long: deque[Tail] = deque()
        self._isAll = True
        # By the sequence before the next message.
        self._consumers: OrderedDict[int, str] = OrderedDict()
        # The same, of what a consumer has given that was too much.
        self._unread: OrderedDict[int, _Got] = OrderedDict()
        # Sequence, subject, octets.
        self._unwritten: deque[tuple[int, str, int]] = deque()
        self._seen = 0
        # By subject: messages that can be removed, and the last written one, which stays.
        self._ripe: dict[str, _Ripe] = {}
        self._ripeOctets = 0
        self._lastOf: OrderedDict[str, int] = OrderedDict()
        self._sweeping: _Sweep | None = None
        self._sweepAt: int | None = None

    @property
    def history(self) -> History:
        """The history that the messages read so far belong to."""
        chronicle = self._chronicle
        if chronicle.turns != self._turns and chronicle.former is not None:
            return chronicle.former
        return chronicle.known

    async def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches behind C{after}, at least one if there is one.

        @raise WentBack: the stream went back.
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
                got = _Got(
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
            else:
                await self._compare(got)
                return got

    async def _compare(self, got: _Got) -> None:
        """
        Compare a delivery with the stream's leader.

        @raise JournalBlocked: the consumer's replica has another history.
        """
        if not got.deliveries:
            return
        last = got.deliveries[-1]
        theirs = await self._stream.at(last.seq)
        ours = last.message.headers
        if (
            theirs is not None
            and (theirs.headers.get(ATTEMPT), theirs.headers.get(ERA))
            != (ours.get(ATTEMPT), ours.get(ERA))
        ) or any(
            ERA not in each.message.headers and self._chronicle.isEra(each.seq)
            for each in got.deliveries
        ):
            raise JournalBlocked(
                f"a replica of the stream has another message {last.seq} than its leader"
            )

    async def _consume(self, after: int) -> str:
        """
        Read from here on.

        @raise WentBack: the stream went back.
        """
        await self.check()
        return await self._stream.consume(
            deliver_policy="by_start_sequence", opt_start_seq=after + 1
        )

    async def check(self) -> None:
        """
        Make sure that sequences still mean the messages that were read.

        @raise WentBack: they do not.
        @raise JournalBlocked: try again later.
        """
        await self._chronicle.look()
        self._refuseOther()

    def _refuseOther(self) -> None:
        if self._chronicle.turns != self._turns:
            raise WentBack(
                "the stream went back, so its sequences belong to other messages now"
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
            ripe = self._ripe.setdefault(subject, _Ripe())
            before = self._lastOf.pop(subject, None)
            if before is not None:
                ripe.seqs.append(before)
            # The last written message is, or was, the position.
            self._lastOf[subject] = seq
            ripe.octets += octets
            self._ripeOctets += octets
            if ripe.octets >= self._purgeOctets:
                await self._purge([subject])
        while len(self._lastOf) > LAST_MAX:
            self._lastOf.popitem(last=False)
        if self._ripeOctets >= self._purgeAllOctets:
            await self._purge(list(self._ripe))

    async def _purge(self, subjects: Sequence[str]) -> None:
        """Remove the messages of some subjects that can be removed."""
        await self.check()
        seqs: list[int] = []
        for subject in subjects:
            ripe = self._ripe.pop(subject)
            self._ripeOctets -= ripe.octets
            if len(ripe.seqs) > DELETES_MAX:
                await self._stream.purge(subject, ripe.seqs[-1] + 1)
            else:
                seqs += ripe.seqs
        await self._delete(seqs)

    async def _delete(self, seqs: Sequence[int]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def deleted(seq: int) -> None:
            async with gate:
                await self._stream.delete(seq)

        await asyncio.gather(*map(deleted, seqs))

    async def tidy(self, released: int, limbo: Limbo) -> None:
        """
        Replace long messages that are only positions by short ones: see L{SETTLED_OCTETS}.

        @param limbo: keeps positions while they are in no message.
        """
        await self.check()
        await self.restore(limbo)
        octets, _, _ = await self._stream.state()
        isTight = octets >= self._stream.octetsMax // 2
        if isTight:
            await self._purge(list(self._ripe))
        if not self._long:
            # Listing all subjects is expensive, so the list is used up before the next one.
            if not isTight and time.monotonic() < self._tidied + TIDY_S:
                return
            self._long = await self._findLong(released, isTight)
        some = [self._long.popleft() for _ in range(min(TIDY_AT_ONCE, len(self._long)))]
        gate = asyncio.Semaphore(AT_ONCE)

        async def settled(tail: Tail) -> Tail | None:
            async with gate:
                try:
                    await self._settle(tail)
                except StreamFull:
                    return tail
            return None

        for tail in await asyncio.gather(*map(settled, some)):
            if tail is not None:
                await self._settleFull(tail, limbo)
        if not self._long and self._isAll:
            self._tidied = time.monotonic()

    async def _findLong(self, released: int, isTight: bool) -> deque[Tail]:
        """List long messages that are kept for their position only."""
        before = time.time() - (0 if isTight else QUIET_S)
        long = [
            tail
            for tail in await self._stream.tails(allOf(self._stream.name))
            if tail.seq <= released
            and tail.time <= before * 10**9
            and ERA not in tail.headers
            and int(tail.headers.get("Nats-Msg-Size", 0)) > SETTLED_OCTETS
        ]
        # The largest first: after it there is room to publish.
        long.sort(key=lambda tail: -int(tail.headers.get("Nats-Msg-Size", 0)))
        self._isAll = len(long) <= LONG_MAX
        return deque(long[:LONG_MAX])

    def _short(self, tail: Tail) -> tuple[str, Mapping[str, str] | None] | None:
        """
        Find the subject of a message, and the headers of a short message with its position; the
        headers are C{None} if it has no position.

        @return: C{None} if the message is foreign.
        """
        try:
            entry = decode(tail.seq, tail.headers, b"")
        except Foreign:
            return None
        grant = entry.grant()
        subject = subjectOf(self._stream.name, entry.worker, grant)
        if grant is None:
            return subject, None
        at = entry.position
        who = Provenance(entry.worker, "-", "-", "-", entry.name)
        deposit = Deposit(who, grant, at.offset, at.offset, b"")
        headers, _ = encode(deposit, at, uuid4().hex)
        return subject, headers

    async def _settle(self, tail: Tail) -> None:
        """
        Publish a short message with the position of a written one, and remove the latter.

        @raise StreamFull: there is no room for the short message.
        """
        short = self._short(tail)
        if short is None:
            return
        subject, headers = short
        theirs = await self._stream.at(tail.seq)
        if theirs is None or theirs.headers.get(ATTEMPT) != tail.headers.get(ATTEMPT):
            # It was removed, or the list came from a replica with another history.
            return
        if headers is not None:
            await self._chronicle.sure()
            self._refuseOther()
            seq = await self._stream.publish(
                subject, b"", {**headers, EXPECTED: str(tail.seq)}
            )
            if seq is None:
                # A listener has appended: this message is not the position any more.
                return
        await self._stream.delete(tail.seq)

    async def _settleFull(self, tail: Tail, limbo: Limbo) -> None:
        """Without room for a second message: remove the long one, then publish the short one."""
        short = self._short(tail)
        if short is None:
            return
        subject, headers = short
        await self.check()
        if headers is not None:
            limbo.add(subject, headers)
        # A message that a listener appends at this moment is not removed.
        await self._stream.delete(tail.seq)
        await self.restore(limbo)

    async def restore(self, limbo: Limbo) -> None:
        """Publish positions that were removed to make room, as far as there is room."""
        for subject, headers in list(limbo.positions.items()):
            try:
                await self._chronicle.sure()
                await self._stream.publish(subject, b"", {**headers, EXPECTED: "0"})
            except StreamFull:
                return
            # Published, or the subject has a newer message with a position.
            limbo.drop(subject)

    async def sweep(self, released: int) -> None:
        """
        Begin to remove all messages that every output has written, including those from before
        our start. L{sweepSome} continues.
        """
        await self.check()
        counts = await self._stream.subjects(allOf(self._stream.name))
        if all(count == 1 for count in counts.values()):
            return
        tails: dict[str, int] = {}
        for tail in await self._stream.tails(allOf(self._stream.name)):
            subject = self._subjectOf(tail.seq, tail.headers)
            if subject is not None:
                tails[subject] = tail.seq
        if len(tails) < len(counts):
            # Some subjects are foreign or new: do not remove their messages.
            first = (await self._stream.state())[1]
        else:
            # Everything before the first position, with one request.
            first = min(*tails.values(), released + 1)
            await self._stream.purgeAll(first)
        self._sweeping = _Sweep(first, released, tails)
        await self.sweepSome()

    async def sweepSome(self) -> None:
        """Do the next step of the sweep, if there is one."""
        sweep = self._sweeping
        if sweep is None:
            return
        await self.check()
        consumer = await self._stream.consume(
            deliver_policy="by_start_sequence",
            opt_start_seq=max(1, sweep.next),
            headers_only=True,
        )
        seqs: list[int] = []
        isMore, looked = True, 0
        while isMore and looked < SWEEP_AT_ONCE:
            try:
                some, isMore = await self._stream.fetch(consumer, 2**30, MESSAGES_MAX)
            except Silent:
                return
            await self._compare(_Got(consumer, some, isMore))
            for got in some:
                sweep.next = got.seq + 1
                subject = self._subjectOf(got.seq, got.message.headers)
                if got.seq <= sweep.released and got.seq < sweep.tails.get(
                    subject or "", 0
                ):
                    seqs.append(got.seq)
            looked += len(some)
            isMore = isMore and sweep.next <= sweep.released
        await self._delete(seqs)
        if not isMore:
            self._sweeping = None

    def _subjectOf(self, seq: int, headers: Mapping[str, str]) -> str | None:
        """The subject of a message, from its headers; C{None} if it is foreign."""
        if ERA in headers:
            return erasSubject(self._stream.name)
        try:
            entry = decode(seq, headers, b"")
        except Foreign:
            return None
        return subjectOf(self._stream.name, entry.worker, entry.grant())
