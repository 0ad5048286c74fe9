"""
Reads batches from the stream, in order.

What must be true:

* each reading returns every message after its starting point once, in order. The sequences have no
  holes there: another program has removed a missing message, and an event reports it;
* reading never continues in another history: the reader checks each era message, and checks the
  history before it creates a consumer. A consumer's replica can have other messages than the
  stream's leader, after a restore of some nodes. So the last message of each delivery is compared
  with the leader's: histories that have diverged do not converge again.

L{decnet_syslog.nats._removing} removes written messages.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.logger import Logger

from ..journal import JournalBlocked
from ._answers import Delivery
from ._bus import NoResponse
from ._chronicle import Chronicle
from ._history import ERA, StreamHistory, erasSubject
from ._lease import WentBack
from ._messages import (
    ATTEMPT,
    HEADERS_OCTETS_MAX,
    Entry,
    UnrecognizedMessage,
    decode,
    subjectOf,
)
from ._stream import JournalStream

__all__ = ["Got", "Reader"]

# Maximum number of consumers to keep: for two outputs at different positions, and a third.
CONSUMERS_MAX = 4

# Maximum number of requests to a consumer that does not deliver a stored message, and the delay
# between two of them in seconds.
LOOKS_MAX = 100
CONSUMER_POLL_S = 0.01

# Maximum number of messages in one answer.
MESSAGES_MAX = 512


@dataclass(frozen=True, slots=True)
class Got:
    """The messages in one answer of a consumer, and whether it has more."""

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

    def __init__(self, stream: JournalStream, chronicle: Chronicle) -> None:
        self._stream = stream
        self._chronicle = chronicle
        self._turns = chronicle.turns
        chronicle.former = None
        self.forgiven = 0
        self.onRead: Callable[[int, str, int], None] = lambda seq, subject, octets: None
        # Consumers by the sequence that precedes their next message.
        self._consumers: OrderedDict[int, str] = OrderedDict()
        # In the same way: messages that were delivered, but too many to return.
        self._unread: OrderedDict[int, Got] = OrderedDict()

    @property
    def history(self) -> StreamHistory:
        """The history that the messages read so far belong to."""
        chronicle = self._chronicle
        if chronicle.turns != self._turns and chronicle.former is not None:
            return chronicle.former
        return chronicle.known

    async def read(self, after: int, costMax: int) -> list[Entry]:
        """
        Read messages with batches after C{after}: at least one, if the stream has one.

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
                # None of these messages has lines.
            if after >= (await self._stream.state())[2]:
                return []
            # A consumer learns of a message a little later than its publisher. Or its delivery
            # was lost: ask another consumer.
            self._consumers.pop(after, None)
            await asyncio.sleep(CONSUMER_POLL_S)
        raise JournalBlocked("JetStream does not deliver stored messages")

    async def _some(self, after: int, costMax: int) -> tuple[list[Entry], int, bool]:
        """Read the next messages. Return them, the last sequence, and whether there are more."""
        got = self._unread.pop(after, None) or await self._fetch(after, costMax)
        entries: list[Entry] = []
        at, cost = after, 0
        for index, delivery in enumerate(got.deliveries):
            if cost >= costMax:
                # Packed messages can be long when unpacked: return the others later.
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
            except UnrecognizedMessage as error:
                self._log.error(
                    "skipping message {seq} of the stream, which another program has published:"
                    " {reason}; let only listeners publish there",
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
        """Ask a consumer for the messages after a message."""
        octetsMax = max(costMax, self._stream.bus.payloadMax + HEADERS_OCTETS_MAX)
        remembered = self._consumers.pop(after, None)
        while True:
            consumer = remembered or await self._consume(after)
            try:
                got = Got(
                    consumer,
                    *await self._stream.fetch(consumer, octetsMax, MESSAGES_MAX),
                )
            except NoResponse as error:
                if remembered is None:
                    raise JournalBlocked(
                        f"JetStream delivers no messages ({error})"
                    ) from None
                # The consumer's server is gone, or the consumer was idle for too long.
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
        Create a consumer that begins after a message.

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
        await self._chronicle.check()
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
        Check by storage time whether a sequence still belongs to the same message.

        A removed message counts as the same: only we remove messages, and only written ones.
        """
        tail = await self._stream.at(seq)
        if tail is None:
            return seq <= (await self._stream.state())[2]
        return tail.time == stored

    async def _missing(self, first: int, last: int) -> None:
        """
        Report missing messages, if the stream's leader does not have them either.

        @raise JournalBlocked: it has them, so a replica has skipped them: try again.
        """
        if await self._stream.at(first) is not None:
            raise JournalBlocked("a replica of the stream is behind")
        self._log.error(
            "messages {first} to {last} are missing in the stream: another program has removed"
            " them before they were written; their lines are lost",
            event="gap",
            first=first,
            last=last,
            reason="removed from the stream",
        )

    def _remember(self, entry: Entry, stored: int) -> None:
        subject = subjectOf(self._stream.name, entry.worker, entry.grant())
        self.onRead(entry.seq, subject, stored)
