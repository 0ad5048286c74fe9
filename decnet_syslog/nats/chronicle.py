"""
Keeps up the history of the stream: looks at it, begins eras, notices that it went back.

L{decnet_syslog.nats.history} has the theory. What must be true here:

* nothing is published but by somebody who is L{sure}: who knows by a look of the last moment, or by
  an era of its own, that the stream is the one it knew;
* a look can be answered by a leader that was deposed and has not noticed. So a look alone never
  says that the stream went back: an era is begun first, which takes a quorum, and its sequence and
  the eras before it decide;
* what could lose lines stops us: the stream's settings are looked at with its history.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from uuid import uuid4

from twisted.logger import Logger

from ..master.promise import JournalBlocked
from ..master.values import Mark
from .history import ERA, Era, History, erasSubject
from .stream import EXPECTED, Layout, Stream

__all__ = ["Chronicle"]

# A look is believed for so long, in seconds. A cluster needs four at least from the death of a
# leader that somebody puts back to the next leader's first message.
SURE_S = 0.5

# Settings that could lose lines, and a stream that is gone, are said again so often, in seconds.
SAID_AGAIN_S = 60.0

# How often an era is tried to be begun while others begin theirs.
ATTEMPTS_MAX = 20


class Chronicle:
    """
    The history of the stream as we know it. All coroutines run in the bus's thread.

    @ivar known: what we know, and everything up to its end was compared.
    @ivar turns: how often the stream was found to have gone back.
    @ivar former: what we knew when it did for the first time since this was set to C{None}.
    @ivar mark: how far the stream is, for forwarders; read in the reactor's thread.
    @ivar unsafe: why nothing may be accepted: the stream's settings. Empty: they are well.
    @ivar wentBack: called in the bus's thread when the stream has gone back.
    """

    _log = Logger()

    def __init__(self, stream: Stream, layout: Layout) -> None:
        self._stream = stream
        self._layout = layout
        self._subject = erasSubject(stream.name)
        self.known = History.of(stream.identity)
        self.mark = self.known.mark()
        self.turns = 0
        self.former: History | None = None
        self.unsafe = ""
        self.wentBack: Callable[[], None] = lambda: None
        self._saidAt = float("-inf")
        # The last sequence that was committed here: every new one is behind it.
        self._committed = 0
        # Of the bus, when we last began an era; None: never.
        self._breaks: int | None = None
        self._lookedAt = float("-inf")
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """
        Learn the history for the first time.

        @raise JournalBlocked: not now.
        """
        self.known, _ = await self._fetch()
        self.mark = self.known.mark()

    def noted(self, seq: int) -> None:
        """A message was committed here, or is known to be there."""
        self._committed = max(self._committed, seq)
        if seq > self.mark.number:
            self.mark = Mark(seq, self.mark.token)

    def read(self, seq: int) -> None:
        """Everything up to a message was read in order, eras too."""
        self.known = self.known.upTo(seq)
        self.noted(seq)

    def readEra(self, seq: int, token: str) -> bool:
        """
        The message that begins an era was read.

        @return: whether it is where it belongs; if not, the stream went back.
        """
        for era in self.known.eras:
            if era.first == seq:
                return era.token == token
        if seq <= self.known.eras[-1].first:
            # Between those that are known, or before them.
            return seq < self.known.eras[0].first
        self.known = self.known.behind(Era(token, seq))
        self.mark = Mark(max(self.mark.number, seq), token)
        return True

    async def sure(self) -> None:
        """
        Know that the stream is the one that we knew.

        @raise JournalBlocked: not now, or its settings could lose lines.
        """
        async with self._lock:
            if self._breaks != self._stream.bus.breaks:
                await self._begin()
            elif time.monotonic() - self._lookedAt > SURE_S:
                await self._look()
            if self.unsafe:
                raise JournalBlocked(self.unsafe)

    async def look(self) -> None:
        """
        See whether the stream went back, and whether its settings are what they have to be.

        @raise JournalBlocked: not now.
        """
        async with self._lock:
            await self._look()

    async def fresh(self) -> None:
        """
        L{look}, unless we have just looked.

        @raise JournalBlocked: not now.
        """
        async with self._lock:
            if time.monotonic() - self._lookedAt > SURE_S:
                await self._look()

    async def doubt(self) -> None:
        """
        Somebody has a reason to think that the stream went back: find out.

        @raise JournalBlocked: not now.
        """
        async with self._lock:
            await self._begin()

    async def fork(self) -> None:
        """
        Say to all that the stream has lost something, as somebody has found who knows more.

        @raise JournalBlocked: not now.
        """
        async with self._lock:
            await self._begin()
            was = self.known
            await self._append(forked=True)
            self._turn(was)

    async def holds(self, mark: Mark) -> bool:
        """
        Whether what was committed up to a mark is there.

        @raise JournalBlocked: not now.
        """
        async with self._lock:
            if time.monotonic() - self._lookedAt > SURE_S or not self.known.holds(mark):
                await self._look()
            return self.known.holds(mark)

    async def _fetch(self) -> tuple[History, int]:
        """
        What the stream says, and the sequence of its last era's message.

        Its state first: an era that begins in between is then behind what is known.
        """
        last = await self._stream.look(self._layout)
        tail = await self._stream.last(self._subject)
        if tail is None:
            return History.of(self._stream.identity, last), 0
        try:
            before = History.parse(tail.data)
            forked = bool(json.loads(tail.data).get("forked"))
            token = tail.headers[ERA]
        except (ValueError, KeyError) as error:
            raise JournalBlocked(
                f"message {tail.seq} of the stream begins no era: {error}; somebody else"
                f" has published on {self._subject}: purge it up to there"
            ) from None
        history = before.behind(Era(token, tail.seq, forked)).upTo(last)
        return history, tail.seq

    async def _look(self) -> None:
        breaks = self._stream.bus.breaks
        view, _ = await self._fetch()
        self._compareSettings()
        if self.known.isIn(view) and self._committed <= view.last:
            self._adopt(view)
        else:
            await self._begin()
        if breaks == self._stream.bus.breaks:
            self._lookedAt = time.monotonic()

    def _adopt(self, view: History) -> None:
        """What we knew is in it."""
        was, had = self.known, {era.token for era in self.known.eras}
        fresh = [era for era in view.eras if era.token not in had]
        self.known = view
        self.mark = Mark(max(view.last, self._committed), view.eras[-1].token)
        if any(era.forked for era in fresh):
            # Somebody else has found that it went back.
            self._turn(was)

    async def _begin(self) -> None:
        """Begin an era, and compare what we knew with what is before it."""
        breaks = self._stream.bus.breaks
        was, committed = self.known, self._committed
        view, first = await self._append(forked=False)
        self._compareSettings()
        if not was.isIn(view) or first <= committed:
            at = min(was.common(view), first - 1)
            self._log.error(
                "the stream went back: it was at message {before}, and only what is up to"
                " message {at} is still the same; workers are asked to offer again what they"
                " have",
                event="went-back",
                before=max(was.last, committed),
                at=at,
                reason="put back from a copy, made anew, or its end was lost",
            )
            self._committed = 0
            if view.isForkedBehind(at):
                # Whoever has noticed it first has said it to all.
                self.known, self.mark = view, view.mark()
            else:
                await self._append(forked=True)
            self._turn(was)
        else:
            self._adopt(view)
        # What broke meanwhile is a reason to begin another.
        self._breaks = breaks
        self._lookedAt = time.monotonic()

    async def _append(self, forked: bool) -> tuple[History, int]:
        """
        Begin an era behind those that there are, and know nothing but what is there.

        @return: the history with it, and before which sequence everything is that was there.
        """
        for _ in range(ATTEMPTS_MAX):
            view, before = await self._fetch()
            if not forked and before == view.last > 0 and self.known.isIn(view):
                # Nobody has published in the last era: ours would say nothing that it does not.
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
                    self._committed = 0
                return history, seq
            # Somebody else has begun one, or ours was taken and its answer lost.
        raise JournalBlocked("others begin eras all the time")

    def _turn(self, was: History) -> None:
        self.former = self.former or was
        self.turns += 1
        self.wentBack()

    def _compareSettings(self) -> None:
        """Say that the stream's settings could lose lines, and that they do no more."""
        before, self.unsafe = self.unsafe, self._stream.unsafe
        now = time.monotonic()
        if self.unsafe and (not before or now - self._saidAt > SAID_AGAIN_S):
            self._saidAt = now
            self._log.error(
                "{reason}: nothing is accepted until that is mended, and lines that were"
                " accepted may be lost meanwhile",
                event="unsafe",
                reason=self.unsafe,
            )
        elif before and not self.unsafe:
            self._log.info(
                "the settings of the stream {stream} are as they have to be again",
                event="unsafe",
                over=True,
                stream=self._stream.name,
                reason="mended",
            )
