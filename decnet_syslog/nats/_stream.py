"""
The JetStream stream that is the journal: requests to the server about it and its messages.

What must be true: only the outputs remove messages, which they have written
(L{decnet_syslog.nats._removing}). L{decnet_syslog.nats._safety} creates the stream and checks its
settings.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from ..boundaries import Facts, JSONObject
from ..journal import JournalBlocked
from ._answers import (
    FULL,
    NAME_TAKEN,
    NO_MESSAGE,
    NO_STREAM,
    WRONG_SEQUENCE,
    Delivery,
    StoredMessage,
    errorOf,
    nanoseconds,
    parseHeaders,
)
from ._bus import Bus, NoResponse
from ._history import ERA
from ._messages import ATTEMPT

__all__ = ["EXPECTED", "JournalStream", "StreamFull"]


class StreamFull(JournalBlocked):
    """The stream, or the storage of its account, is full: the message was not stored."""


# The header with the expected last sequence of the subject. If it has another one, the server
# refuses the message.
EXPECTED = "Nats-Expected-Last-Subject-Sequence"

# Maximum number of messages in one answer. Each is shorter than the maximum of a header.
TAILS_AT_ONCE = 512

# Maximum number of attempts to list last messages. The newest one may be replaced and removed
# before the leader is asked about it.
TAILS_ATTEMPTS_MAX = 3


class JournalStream:
    """
    One stream, reached over a L{Bus}. Its coroutines run in the bus's thread.

    @ivar identity: 32 hex digits, made with the stream.
    @ivar octetsMax: its maximum size; if it has none, the maximum in the options.
    @ivar octets: its size at the last check, plus our own messages since then.
    """

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.identity = ""
        self.octetsMax = 0
        self.octets = 0

    async def ask(self, verb: str, **members: object) -> JSONObject:
        """
        Send a request about this stream to JetStream.

        @raise JournalBlocked: it did not answer, or refused.
        """
        try:
            answer = await self.bus.api(f"{verb}.{self.name}", **members)
        except NoResponse as silent:
            raise JournalBlocked(f"JetStream does not answer ({silent})") from None
        error = errorOf(answer)
        if error is not None and error[0] not in (NO_MESSAGE, NO_STREAM, NAME_TAKEN):
            raise JournalBlocked(f"JetStream refuses: {error[1]}")
        return answer

    @property
    def gone(self) -> str:
        """The text for an operator when the stream does not exist."""
        return (
            f"the stream {self.name} is gone: restore it from a copy; without a copy restart a"
            " listener, which creates an empty stream, and the workers send their files again"
        )

    async def last(self, subject: str) -> StoredMessage | None:
        """
        Read the last message of a subject from the stream's leader.

        A direct get is not used, because any replica answers it, also an outdated one.
        """
        answer = await self.ask("STREAM.MSG.GET", last_by_subj=subject)
        if errorOf(answer) is not None:
            return None
        return self._tail(answer["message"])

    async def at(self, seq: int) -> StoredMessage | None:
        """Read a message by its sequence, from the stream's leader."""
        answer = await self.ask("STREAM.MSG.GET", seq=seq)
        if errorOf(answer) is not None:
            return None
        return self._tail(answer["message"])

    def _tail(self, message: Facts) -> StoredMessage:
        return StoredMessage(
            int(message["seq"]),
            nanoseconds(str(message["time"])),
            parseHeaders(message.get("hdrs")),
            base64.b64decode(message.get("data", "")),
        )

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str]
    ) -> int | None:
        """
        Append a message.

        @return: its sequence; C{None}: the subject's last message is not the one in L{EXPECTED}.
        @raise JournalBlocked: it may be stored or not.
        """
        try:
            answer = await self.bus.ask(subject, body, headers)
            said = json.loads(answer.data)
        except (NoResponse, ValueError) as silent:
            raise JournalBlocked(f"JetStream does not answer ({silent})") from None
        error = errorOf(said)
        if error is None:
            return int(said["seq"])
        if error[0] in WRONG_SEQUENCE:
            return None
        if error[0] in FULL:
            raise StreamFull(f"JetStream refuses messages: {error[1]}")
        raise JournalBlocked(f"JetStream refuses messages: {error[1]}")

    async def tails(self, subjects: str) -> list[StoredMessage]:
        """
        Read the last message of each matching subject, without bodies, the oldest first.

        @raise JournalBlocked: the consumer's replica has another history than the stream's leader.
        """
        for _ in range(TAILS_ATTEMPTS_MAX):
            tails = await self._someTails(subjects)
            if not tails or await self._isLeaders(tails[-1]):
                return tails
        raise JournalBlocked(
            f"a replica of the stream has another message {tails[-1].seq} than its leader"
        )

    async def _isLeaders(self, tail: StoredMessage) -> bool:
        """
        Whether the leader has a message that a replica has delivered. Histories that have diverged
        do not converge again, so the last message shows that the earlier ones are the leader's.
        """
        theirs = await self.at(tail.seq)
        return theirs is not None and all(
            theirs.headers.get(name) == tail.headers.get(name)
            for name in (ATTEMPT, ERA)
        )

    async def _someTails(self, subjects: str) -> list[StoredMessage]:
        consumer = await self.consume(
            deliver_policy="last_per_subject",
            filter_subject=subjects,
            headers_only=True,
        )
        tails: list[StoredMessage] = []
        isMore = True
        while isMore:
            some, isMore = await self.fetch(consumer, 2**30, TAILS_AT_ONCE)
            tails += [
                StoredMessage(got.seq, got.time, got.message.headers, b"")
                for got in some
            ]
        return tails

    async def subjects(self, subjects: str) -> dict[str, int]:
        """How many messages each of some subjects has."""
        counts: dict[str, int] = {}
        while True:
            answer = await self.ask(
                "STREAM.INFO", subjects_filter=subjects, offset=len(counts)
            )
            some = answer.get("state", {}).get("subjects") or {}
            counts.update(some)
            if not some or len(counts) >= int(answer.get("total", 0)):
                return counts

    async def state(self) -> tuple[int, int, int]:
        """Return the size in octets, and the first and the last sequence."""
        answer = await self.ask("STREAM.INFO")
        if errorOf(answer) is not None:
            raise JournalBlocked(self.gone)
        state = answer["state"]
        return int(state["bytes"]), int(state["first_seq"]), int(state["last_seq"])

    async def purge(self, subject: str, before: int) -> None:
        """Remove the messages of a subject before a sequence."""
        if before < 2:
            # No message precedes the first one. And the server takes 0 and 1 for no bound: it
            # would remove everything, including the position.
            return
        await self.ask("STREAM.PURGE", filter=subject, seq=before)

    async def purgeAll(self, before: int) -> None:
        """Remove all messages before a sequence."""
        if before > 1:
            await self.ask("STREAM.PURGE", seq=before)

    async def delete(self, seq: int) -> None:
        """
        Remove one message. With many subjects this costs a hundredth of L{purge}, which scans the
        whole stream.
        """
        await self.ask("STREAM.MSG.DELETE", seq=seq, no_erase=True)

    async def consume(self, **config: object) -> str:
        """
        Create a consumer, which the server removes after some time without requests.

        @return: its name.
        """
        answer = await self.ask(
            "CONSUMER.CREATE",
            stream_name=self.name,
            config={
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": 60 * 10**9,
                **config,
            },
        )
        if errorOf(answer) is not None:
            raise JournalBlocked(self.gone)
        return str(answer["name"])

    async def fetch(
        self, consumer: str, octetsMax: int, countMax: int
    ) -> tuple[list[Delivery], bool]:
        """
        Fetch the next messages of a consumer, as many as are available at once.

        @return: the messages, and whether there are more.
        @raise NoResponse: the consumer or its server is gone.
        """
        answers = await self.bus.stream(
            f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{consumer}",
            b'{"batch": %d, "no_wait": true, "max_bytes": %d}' % (countMax, octetsMax),
            # Do not stop when nothing is pending: a message that comes just then would be lost.
            lambda got: got[-1].status is not None or len(got) == countMax,
        )
        if answers[0].status == "503":
            raise NoResponse("the consumer is gone")
        messages = []
        for answer in answers:
            if answer.status is None:
                # ... deliveries, stream sequence, consumer sequence, nanoseconds, pending.
                _, seq, _, stored, _ = answer.reply.rsplit(".", 5)[1:]
                messages.append(Delivery(int(seq), int(stored), answer))
        last = answers[-1]
        # 409: the next message would exceed max_bytes; 404 and 408: there is no other message.
        return messages, bool(messages) and last.status in (None, "409")
