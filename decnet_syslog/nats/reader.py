"""
The way out of the stream: batches in order.

What must be true:

* every message behind the place where reading begins is given, in order, once for each
  reading. The sequences have no holes there: what is missing was removed by somebody else,
  and is said;
* reading never continues in another history: the reader checks each era message, and checks the
  history before it creates a consumer. A consumer's replica can have other messages than the
  stream's leader, after a restore of some nodes. So the last message of each delivery is compared
  with the leader's: histories that have diverged do not converge again.

What is read and written is removed by L{decnet_syslog.nats.removing}.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.logger import Logger

from ..master.promise import JournalBlocked
from .bus import Silent
from .chronicle import Chronicle
from .history import ERA, History, erasSubject
from .lease import WentBack
from .messages import (
    ATTEMPT,
    HEADERS_OCTETS_MAX,
    Entry,
    Foreign,
    decode,
    subjectOf,
)
from .stream import Delivery, Stream

__all__ = ["Got", "Reader"]

# Places that are read on from: two outputs that are behind, and a third.
CONSUMERS_MAX = 4

# How often, and how long after one another in seconds, a consumer is asked for what the
# stream has.
LOOKS_MAX = 100
LOOK_S = 0.01

# Messages of one question.
MESSAGES_MAX = 512


@dataclass(frozen=True, slots=True)
class Got:
    """What a consumer has given at once, and whether it has more."""

    consumer: str
    deliveries: list[Delivery]
    isMore: bool


class Reader:
    """
    Reads a stream. All coroutines run in the bus's thread.

    @ivar forgiven: messages up to this sequence may be missing, because they were written.
    @ivar onRead: called with (sequence, subject, octets) of each message that was read.
    """

    _log = Logger()

    def __init__(self, stream: Stream, chronicle: Chronicle) -> None:
        self._stream = stream
        self._chronicle = chronicle
        self._turns = chronicle.turns
        chronicle.former = None
        self.forgiven = 0
        self.onRead: Callable[[int, str, int], None] = lambda seq, subject, octets: None
        # By the sequence before the next message.
        self._consumers: OrderedDict[int, str] = OrderedDict()
        # The same, of what a consumer has given that was too much.
        self._unread: OrderedDict[int, Got] = OrderedDict()

    @property
    def history(self) -> History:
        """The history that the messages read so far belong to."""
        chronicle = self._chronicle
        if chronicle.turns != self._turns and chronicle.former is not None:
            return chronicle.former
        return chronicle.known

    async def read(self, after: int, costMax: int) -> list[Entry]:
        """
        The messages with batches behind C{after}, at least one if there is one.

        @raise WentBack: the stream went back.
        """
        self.refuseOther()
        for _ in range(LOOKS_MAX):
            isMore = True
            while isMore:
                entries, after, isMore = await self._some(after, costMax)
                entries = [entry for entry in entries if entry.batch is not None]
                if entries:
                    return entries
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

    async def _fetch(self, after: int, costMax: int) -> Got:
        """Ask a consumer for what is behind a message."""
        octetsMax = max(costMax, self._stream.bus.payloadMax + HEADERS_OCTETS_MAX)
        remembered = self._consumers.pop(after, None)
        while True:
            consumer = remembered or await self._consume(after)
            try:
                got = Got(
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
                await self.compare(got)
                return got

    async def compare(self, got: Got) -> None:
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
        self.refuseOther()

    def refuseOther(self) -> None:
        """
        Make sure that no rollback was detected since the reading began.

        @raise WentBack: one was.
        """
        if self._chronicle.turns != self._turns:
            raise WentBack(
                "the stream went back, so its sequences belong to other messages now"
            )

    def _readEra(self, seq: int, token: str, octets: int) -> None:
        if not self._chronicle.readEra(seq, token):
            raise WentBack(f"the stream went back: message {seq} begins another era")
        self._chronicle.read(seq)
        self.onRead(seq, erasSubject(self._stream.name), octets)

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
        self.onRead(entry.seq, subject, stored)
