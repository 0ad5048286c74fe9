"""
Shortening positions: the last message of a subject stays in the stream as a position, although its
lines are written.

What must be true:

* a stream that is full of written messages becomes free again. The last message of a quiet subject
  is replaced by a short one with the same position. Without room for the short one, the long one
  is removed first, and the database keeps the position until it is published again;
* the replacement names the message that it replaces, so a listener that appends at the same time
  wins.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from uuid import uuid4

from ..journal import Deposit
from ..wire import Provenance
from ._answers import StoredMessage
from ._chronicle import Chronicle
from ._history import ERA
from ._messages import ATTEMPT, UnrecognizedMessage, allOf, decode, encode, subjectOf
from ._outputstate import Limbo
from ._reader import Reader
from ._removing import AT_ONCE, Remover
from ._stream import EXPECTED, JournalStream, StreamFull

__all__ = ["Shortener"]

# A written message that is kept only as a position is replaced if it is longer, in octets.
SETTLED_OCTETS = 1024

# Only streams that are quiet for QUIET_S are shortened, unless the journal is half full; every
# TIDY_S at most, TIDY_AT_ONCE in one step, and LONG_MAX from one listing.
QUIET_S = 600
TIDY_S = 3600
TIDY_AT_ONCE = 1024
LONG_MAX = 16384


class Shortener:
    """Shortens positions. All coroutines run in the bus's thread."""

    def __init__(
        self,
        stream: JournalStream,
        chronicle: Chronicle,
        reader: Reader,
        remover: Remover,
    ) -> None:
        self._stream = stream
        self._chronicle = chronicle
        self._reader = reader
        self._remover = remover
        self._tidied = float("-inf")
        # Messages to replace by short ones, the largest first, and whether the list is complete.
        self._long: deque[StoredMessage] = deque()
        self._isAll = True

    async def tidy(self, released: int, limbo: Limbo) -> None:
        """
        Replace long messages that are only positions by short ones: see L{SETTLED_OCTETS}.

        @param limbo: keeps positions while they are in no message.
        """
        await self._reader.check()
        await self.restore(limbo)
        octets, _, _ = await self._stream.state()
        isTight = octets >= self._stream.octetsMax // 2
        if isTight:
            await self._remover.purgeRipe()
        if not self._long:
            # Listing all subjects is expensive, so the list is used up before the next one.
            if not isTight and time.monotonic() < self._tidied + TIDY_S:
                return
            self._long = await self._findLong(released, isTight)
        some = [self._long.popleft() for _ in range(min(TIDY_AT_ONCE, len(self._long)))]
        gate = asyncio.Semaphore(AT_ONCE)

        async def settled(tail: StoredMessage) -> StoredMessage | None:
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

    async def _findLong(self, released: int, isTight: bool) -> deque[StoredMessage]:
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

    def _short(
        self, tail: StoredMessage
    ) -> tuple[str, Mapping[str, str] | None] | None:
        """
        Find the subject of a message, and the headers of a short message with its position; the
        headers are C{None} if it has no position.

        @return: C{None} if the message is foreign.
        """
        try:
            entry = decode(tail.seq, tail.headers, b"")
        except UnrecognizedMessage:
            return None
        grant = entry.grant()
        subject = subjectOf(self._stream.name, entry.worker, grant)
        if grant is None:
            return subject, None
        at = entry.position
        who = Provenance(entry.worker, "-", "-", "-", entry.name, False)
        deposit = Deposit(who, grant, at.offset, at.offset, b"")
        headers, _ = encode(deposit, at, uuid4().hex)
        return subject, headers

    async def _settle(self, tail: StoredMessage) -> None:
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
            self._reader.refuseOther()
            seq = await self._stream.publish(
                subject, b"", {**headers, EXPECTED: str(tail.seq)}
            )
            if seq is None:
                # A listener has appended: this message is not the position any more.
                return
        await self._stream.delete(tail.seq)

    async def _settleFull(self, tail: StoredMessage, limbo: Limbo) -> None:
        """Without room for a second message: remove the long one, then publish the short one."""
        short = self._short(tail)
        if short is None:
            return
        subject, headers = short
        await self._reader.check()
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
