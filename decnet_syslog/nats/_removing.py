"""
Removing written messages from the stream.

What must be true:

* the last message of a subject stays, because it is the position of a stream. A message is removed
  only if a later one of its subject was read and is written in every output;
* nothing is removed after a rollback: sequences belong to other messages then. So the history is
  checked before each group of removals.

Each removal costs the cluster a round trip, so messages are removed in groups. The cost of a
message does not depend on the number of subjects.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..journal import DEPOSIT_COST
from ._bus import NoResponse
from ._history import ERA, erasSubject
from ._messages import UnrecognizedMessage, allOf, decode, subjectOf
from ._reader import MESSAGES_MAX, Got, Reader
from ._stream import JournalStream

__all__ = ["Remover"]

# Messages of a subject are removed when they have this size, and all messages when they have the
# second size together.
PURGE_OCTETS = 1024 * 1024
PURGE_ALL_OCTETS = 16 * 1024 * 1024

# The cost of a deletion is constant; the cost of a purge grows with the stream. So a subject is
# purged only if this many of its messages can go.
DELETES_MAX = 512

# Maximum number of subjects whose last written message is remembered. A sweep handles others.
LAST_MAX = 65536

# Maximum number of messages that one step of a sweep examines.
SWEEP_AT_ONCE = 8192

# Maximum number of messages to remember between reading and writing. A sweep removes the others.
UNWRITTEN_MAX = 65536

# Maximum number of concurrent requests.
AT_ONCE = 32


@dataclass(slots=True)
class _Ripe:
    """
    Messages of a subject that can be removed.

    @ivar octets: their size, including the last message, which stays.
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


class Remover:
    """Removes messages that are written. All coroutines run in the bus's thread."""

    def __init__(self, stream: JournalStream, reader: Reader) -> None:
        self._stream = stream
        self._reader = reader
        reader.onRead = self._remember
        # A small stream needs room sooner.
        self._purgeOctets = min(PURGE_OCTETS, stream.octetsMax // 16)
        self._purgeAllOctets = min(PURGE_ALL_OCTETS, stream.octetsMax // 16)
        # Sequence, subject, octets.
        self._unwritten: deque[tuple[int, str, int]] = deque()
        self._seen = 0
        # By subject: messages that can be removed, and the last written one, which stays.
        self._ripe: dict[str, _Ripe] = {}
        self._ripeOctets = 0
        self._lastOf: OrderedDict[str, int] = OrderedDict()
        self._sweeping: _Sweep | None = None
        self._sweepAt: int | None = None

    def _remember(self, seq: int, subject: str, octets: int) -> None:
        """Remember a message that was read."""
        if seq <= self._seen:
            return
        self._seen = seq
        if len(self._unwritten) >= UNWRITTEN_MAX:
            self._unwritten.clear()
            self._sweepAt = seq
        if self._sweepAt is not None:
            self._sweepAt = seq
            return
        self._unwritten.append((seq, subject, DEPOSIT_COST + octets))

    async def release(self, released: int) -> None:
        """
        Remove messages that every output has written, when there are enough.

        @param released: every output has all messages up to this one on disk.
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
        await self._reader.check()
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

    async def purgeRipe(self) -> None:
        """Remove everything that can be removed, however little it is."""
        await self._purge(list(self._ripe))

    async def sweep(self, released: int) -> None:
        """
        Begin to remove all messages that every output has written, including those from before
        our start. L{sweepSome} continues.
        """
        await self._reader.check()
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
        await self._reader.check()
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
            except NoResponse:
                return
            await self._reader.compare(Got(consumer, some, isMore))
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
        except UnrecognizedMessage:
            return None
        return subjectOf(self._stream.name, entry.worker, entry.grant())
