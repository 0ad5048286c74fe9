"""
Appending one message to a subject, as the successor of the last message that we know.

What must be true: a message is stored at most once, however often it is sent. A missing answer and
a refusal prove nothing; the attempt in the subject's last message shows whether that message is
ours (L{decnet_syslog.nats._journal} has the theory).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..journal import JournalBlocked
from ._chronicle import Chronicle
from ._messages import ATTEMPT
from ._positions import Held, Positions
from ._room import Room
from ._stream import EXPECTED, JournalStream

__all__ = ["Appender", "Stale", "messageOctets"]

# Maximum number of attempts, and the delay in seconds, when the server refuses a message although
# its predecessor is the last: another message of the subject may be in progress.
ATTEMPTS_MAX = 40
ATTEMPT_S = 0.05

# A code of C{BYE}: the forwarder has to offer its files again.
WENT_BACK = "journal-went-back"


class Stale(Exception):
    """
    A deposit cannot be committed, and its connection must be closed.

    @ivar code: the code for C{BYE}; C{None} if another connection has taken over the stream.
    """

    def __init__(self, code: str | None = None, text: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def messageOctets(headers: Mapping[str, str], body: bytes) -> int:
    """Estimate the size that counts for the server's max_payload; never too low."""
    return sum(len(k) + len(v) + 4 for k, v in headers.items()) + 128 + len(body)


class Appender:
    """Appends messages. All coroutines run in the bus's thread."""

    def __init__(
        self,
        stream: JournalStream,
        chronicle: Chronicle,
        positions: Positions,
        room: Room,
    ) -> None:
        """
        @param room: the room that is left for lines.
        """
        self._stream = stream
        self._chronicle = chronicle
        self._positions = positions
        self._room = room

    async def append(
        self,
        subject: str,
        headers: dict[str, str],
        body: bytes,
        held: Held | None,
        turns: int,
    ) -> int:
        """
        Publish a message, as the successor of the last message that we know.

        @param held: C{None} for a plain peer, whose messages have no order.
        @param turns: the journal's count of rollbacks when its deposit came.
        @return: the sequence of the new message.
        @raise Stale: the last message of the subject is another one.
        @raise JournalBlocked: the message may have been stored or not.
        """
        attempt = headers[ATTEMPT]
        await self._makeSure(turns, messageOctets(headers, body))
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
                # Another message is in progress, and not stored yet, or never will be.
                await asyncio.sleep(ATTEMPT_S)
                await self._makeSure(turns)
                continue
            if last is None or last.seq < held.seq:
                # The stream went back, or another program has removed the position.
                await self._chronicle.doubt()
                raise Stale(WENT_BACK, "the committed lines of this stream are gone")
            entry = self._positions.entry(last)
            if entry.batch is not None or entry.position != held.position:
                raise Stale
            # The outputs have replaced the message by a short one with the same position.
            held.seq = last.seq
        raise JournalBlocked("the stream's leader is behind")

    async def _makeSure(self, turns: int, octets: int = 0) -> None:
        """
        Make sure that the stream did not go back and has room for lines.

        @raise Stale: it went back.
        @raise JournalBlocked: try again later.
        """
        await self._chronicle.sure()
        if turns != self._chronicle.turns:
            raise Stale(WENT_BACK, "the journal went back")
        if octets:
            await self._room.take(octets)
