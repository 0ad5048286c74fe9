"""
Follows the history of the stream: reads it, begins eras, detects a rollback.

L{decnet_syslog.nats._history} has the theory. What must be true here:

* L{sure} precedes every publish. It returns after a recent check, or after a new era of our own,
  has shown that the stream did not go back;
* a deposed leader that has not noticed can answer with an old state. So an answer alone never
  proves a rollback: we begin an era first, which needs a quorum, and decide by its sequence and
  the eras that precede it;
* settings that could lose lines stop all commits: each check of the history includes the
  stream's settings.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from uuid import uuid4

from twisted.logger import Logger

from ..journal import JournalBlocked, Mark
from ._history import ERA, Era, StreamHistory, erasSubject
from ._safety import StreamSettings
from ._stream import EXPECTED, JournalStream

__all__ = ["Chronicle"]

# How long the result of a check is used, in seconds. After a leader dies, a cluster needs at least
# four seconds until the next leader takes its first message.
SURE_S = 0.5

# Maximum number of attempts to begin an era while other processes begin theirs.
ATTEMPTS_MAX = 20


class Chronicle:
    """
    The history of the stream, as seen by this process. All coroutines run in the bus's thread.

    @ivar known: the history, verified up to its end.
    @ivar turns: number of rollbacks that were detected.
    @ivar former: the history before the first rollback since this was set to C{None}.
    @ivar mark: the end of the stream, for forwarders; read in the reactor's thread.
    @ivar wentBack: called in the bus's thread after a rollback was detected.
    """

    _log = Logger()

    def __init__(self, stream: JournalStream, settings: StreamSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._subject = erasSubject(stream.name)
        self.known = StreamHistory.of(stream.identity)
        self.mark = self.known.mark()
        # The tokens of the eras at the last check. Eras that were only read are not among them.
        self._adopted: set[str] = set()
        self.turns = 0
        self.former: StreamHistory | None = None
        self.wentBack: Callable[[], None] = lambda: None
        # The highest sequence of our own commits: later messages must have higher ones.
        self._committed = 0
        # The bus's count of breaks when we last began an era; None: never.
        self._breaks: int | None = None
        self._lookedAt = float("-inf")
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """
        Read the history for the first time.

        @raise JournalBlocked: try again later.
        """
        self.known, _ = await self._fetch()
        self._adopted = {era.token for era in self.known.eras}
        self.mark = self.known.mark()

    def noted(self, seq: int) -> None:
        """Record that the stream has a message with this sequence."""
        self._committed = max(self._committed, seq)
        if seq > self.mark.number:
            self.mark = Mark(seq, self.mark.token)

    def read(self, seq: int) -> None:
        """Record that all messages up to this sequence were read in order, including eras."""
        self.known = self.known.upTo(seq)
        self.noted(seq)

    def isEra(self, seq: int) -> bool:
        """Whether the message with this sequence begins a known era."""
        return any(era.first == seq for era in self.known.eras)

    def readEra(self, seq: int, token: str) -> bool:
        """
        Record that a message that begins an era was read.

        @return: C{False} if it contradicts the known history: the stream went back.
        """
        for era in self.known.eras:
            if era.first == seq:
                return era.token == token
        if seq <= self.known.eras[-1].first:
            # An era that we do not know: fine if it is older than those that we remember.
            return seq < self.known.eras[0].first
        self.known = self.known.behind(Era(token, seq))
        self.mark = Mark(max(self.mark.number, seq), token)
        return True

    async def sure(self) -> None:
        """
        Make sure that the stream did not go back, before a publish.

        @raise JournalBlocked: try again later, or the settings could lose lines.
        """
        async with self._lock:
            if self._breaks != self._stream.bus.breaks:
                await self._begin()
            elif time.monotonic() - self._lookedAt > SURE_S:
                await self._check()
            if self._settings.unsafe:
                raise JournalBlocked(self._settings.unsafe)

    async def check(self) -> None:
        """
        Check the stream's history and its settings.

        @raise JournalBlocked: try again later.
        """
        async with self._lock:
            await self._check()

    async def checkIfDue(self) -> None:
        """
        Call L{check} unless the last check is recent.

        @raise JournalBlocked: try again later.
        """
        async with self._lock:
            if time.monotonic() - self._lookedAt > SURE_S:
                await self._check()

    async def doubt(self) -> None:
        """
        Find out whether the stream went back, when there is a reason to suspect it.

        @raise JournalBlocked: try again later.
        """
        async with self._lock:
            await self._begin()

    async def fork(self) -> None:
        """
        Announce a rollback that only the caller's records show.

        @raise JournalBlocked: try again later.
        """
        async with self._lock:
            await self._begin()
            was = self.known
            await self._append(forked=True)
            self._turn(was)

    async def holds(self, mark: Mark) -> bool:
        """
        Whether the stream still has everything up to a mark.

        @raise JournalBlocked: try again later.
        """
        async with self._lock:
            if time.monotonic() - self._lookedAt > SURE_S or not self.known.holds(mark):
                await self._check()
            return self.known.holds(mark)

    async def _fetch(self) -> tuple[StreamHistory, int]:
        """
        Read the stream's present history, and the sequence of its last era message.

        The state is read first: an era that begins between the two requests then only extends
        the history.
        """
        last = await self._settings.check()
        tail = await self._stream.last(self._subject)
        if tail is None:
            return StreamHistory.of(self._stream.identity, last), 0
        try:
            before = StreamHistory.parse(tail.data)
            forked = bool(json.loads(tail.data).get("forked"))
            token = tail.headers[ERA]
        except (ValueError, KeyError) as error:
            raise JournalBlocked(
                f"message {tail.seq} of the stream does not begin an era: {error};"
                f" another program has published on {self._subject}: purge that subject up to"
                " there"
            ) from None
        history = before.behind(Era(token, tail.seq, forked)).upTo(last)
        return history, tail.seq

    async def _check(self) -> None:
        breaks = self._stream.bus.breaks
        view, _ = await self._fetch()
        self._settings.report()
        if self.known.isIn(view) and self._committed <= view.last:
            self._adopt(view)
        else:
            await self._begin()
        if breaks == self._stream.bus.breaks:
            self._lookedAt = time.monotonic()

    def _adopt(self, view: StreamHistory) -> None:
        """Take over a view that includes everything we knew."""
        was, had = self.known, self._adopted
        self.known = view
        self._adopted = {era.token for era in view.eras}
        self.mark = Mark(max(view.last, self._committed), view.eras[-1].token)
        if any(era.forked and era.token not in had for era in view.eras):
            # Another process has announced a rollback.
            self._turn(was)

    async def _begin(self) -> None:
        """Begin an era, and compare our history with the one that precedes it."""
        breaks = self._stream.bus.breaks
        was, committed = self.known, self._committed
        view, first = await self._append(forked=False)
        self._settings.report()
        if not was.isIn(view) or first <= committed:
            at = min(was.common(view), first - 1)
            self._log.error(
                "the stream went back: it had {before} messages, and only messages up to {at}"
                " are unchanged; asking the workers to offer their files again",
                event="went-back",
                before=max(was.last, committed),
                at=at,
                reason="restored from a copy, recreated, or its end was lost",
            )
            self._committed = 0
            if view.isForkedBehind(at):
                # Another process has announced it already.
                self.known, self.mark = view, view.mark()
                self._adopted = {era.token for era in view.eras}
            else:
                await self._append(forked=True)
            self._turn(was)
        else:
            self._adopt(view)
        # A break during these requests leads to another era.
        self._breaks = breaks
        self._lookedAt = time.monotonic()

    async def _append(self, forked: bool) -> tuple[StreamHistory, int]:
        """
        Append an era to the stream's present history.

        @return: the history including it, and a sequence above all earlier messages.
        """
        for _ in range(ATTEMPTS_MAX):
            view, before = await self._fetch()
            if not forked and before == view.last > 0 and self.known.isIn(view):
                # The last era has no other message yet: another era would add nothing.
                return view, before + 1
            token = uuid4().hex
            said = {**json.loads(view.asText()), "forked": forked}
            seq = await self._stream.publish(
                self._subject,
                json.dumps(said).encode(),
                {ERA: token, EXPECTED: str(before)},
            )
            if seq is not None:
                history = view.behind(Era(token, seq, forked)).cut(seq)
                if forked:
                    self.known = history
                    self.mark = history.mark()
                    self._adopted = {era.token for era in history.eras}
                    self._committed = 0
                return history, seq
            # Another process has begun one, or ours was stored and the answer was lost.
        raise JournalBlocked("other processes keep beginning eras")

    def _turn(self, was: StreamHistory) -> None:
        self.former = self.former or was
        self.turns += 1
        self.wentBack()
