"""
Answers to LIST: long, asked for with five octets, and read or not.

What must be true:

* an answer is sent in pieces, the next when the peer has read the one before. Between two
  pieces the reactor serves everybody else;
* the journal is asked for one answer of a worker at a time, and for L{ASKED_AT_ONCE} of all;
* unsent answers hold at most L{HELD_OCTETS_MAX}, all together. A new one that does not fit
  closes the connection whose peer has not read for longest. If all peers are reading, it
  waits for them.

Set aside: a time limit for an answer. A slow link is no attack, and a peer that does not read
does no harm while there is room.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from .values import Known

__all__ = ["ASKED_AT_ONCE", "HELD_OCTETS_MAX", "PIECE_STREAMS", "Asker", "Listings"]

# Answers that the journal is asked for at a time. Its thread makes one after the other.
ASKED_AT_ONCE = 2

# Of all answers that are not sent yet: eight of the longest. An honest one has some kilobytes.
HELD_OCTETS_MAX = 16 * 1024 * 1024

# A stream of an answer that is held: the objects it is made of, its name included.
STREAM_OCTETS = 512

# Streams in a piece: 64 KiB if each name is as long as can be.
PIECE_STREAMS = 128


class Asker(Protocol):
    """A connection that asks, once."""

    def ask(self) -> list[Known]:
        """The answer, the newest first; called in the journal's thread."""

    def reads(self) -> bool:
        """Whether the peer keeps up with our answers."""

    def sendKnown(self, known: list[Known], isLast: bool) -> None:
        """Send a piece."""

    def listingFailed(self, failure: Failure) -> None:
        """The journal cannot answer."""

    def listingRefused(self) -> None:
        """Close the connection: others need the room."""


class Listings:
    """
    The answers of a listener.

    @ivar octets: held by all unsent answers.
    """

    def __init__(
        self,
        perform: Callable[[Callable[[], list[Known]]], Deferred[list[Known]]],
        clock: IReactorTime,
    ) -> None:
        """
        @param perform: call in the journal's thread.
        """
        self._perform = perform
        self._clock = clock
        self.octets = 0
        # By worker: connections whose turn at the journal has not come.
        self._waiting: dict[str, deque[Asker]] = {}
        self._asked: set[str] = set()
        # Answers that do not fit yet.
        self._parked: deque[tuple[Asker, list[Known]]] = deque()
        # The unsent rest of each, the next stream last.
        self._rests: dict[Asker, list[Known]] = {}
        # Of these: those whose peer does not read, for longest first; and those to send next.
        self._stalled: OrderedDict[Asker, None] = OrderedDict()
        self._ready: OrderedDict[Asker, None] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def begin(self, worker: str, asker: Asker) -> None:
        """Answer when it is this connection's turn."""
        self._waiting.setdefault(worker, deque()).append(asker)
        self._askNext()

    def peerReads(self, asker: Asker) -> None:
        """The peer has caught up."""
        if asker in self._stalled:
            del self._stalled[asker]
            self._makeReady(asker)

    def forget(self, worker: str, asker: Asker) -> None:
        """The connection is gone, or closing."""
        waiting = self._waiting.get(worker, ())
        if asker in waiting:
            self._waiting[worker] = deque(a for a in waiting if a is not asker)
            if not self._waiting[worker]:
                del self._waiting[worker]
        self._parked = deque(pair for pair in self._parked if pair[0] is not asker)
        self._drop(asker)
        self._askNext()

    def stop(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self._ready.clear()

    def _askNext(self) -> None:
        while self._parked and self._admit(*self._parked[0]):
            self._parked.popleft()
        for worker in list(self._waiting):
            if self._parked or len(self._asked) >= ASKED_AT_ONCE:
                return
            if worker in self._asked:
                continue
            waiting = self._waiting.pop(worker)
            asker = waiting.popleft()
            if waiting:
                # Behind the other workers'.
                self._waiting[worker] = waiting
            self._asked.add(worker)
            self._perform(asker.ask).addCallbacks(
                self._answered,
                self._failed,
                callbackArgs=(worker, asker),
                errbackArgs=(worker, asker),
            )

    def _answered(self, known: list[Known] | None, worker: str, asker: Asker) -> None:
        self._asked.discard(worker)
        if known is not None:
            known.reverse()
            if self._parked or not self._admit(asker, known):
                self._parked.append((asker, known))
        self._askNext()

    def _failed(self, failure: Failure, worker: str, asker: Asker) -> None:
        self._asked.discard(worker)
        asker.listingFailed(failure)
        self._askNext()

    def _admit(self, asker: Asker, known: list[Known]) -> bool:
        """Begin to send an answer, if there is room."""
        octets = STREAM_OCTETS * len(known)
        while self._rests and self.octets + octets > HELD_OCTETS_MAX:
            if not self._stalled:
                return False
            oldest = next(iter(self._stalled))
            self._drop(oldest)
            oldest.listingRefused()
        self.octets += octets
        self._rests[asker] = known
        self._sendPiece(asker)
        return True

    def _drop(self, asker: Asker) -> None:
        self.octets -= STREAM_OCTETS * len(self._rests.pop(asker, ()))
        self._stalled.pop(asker, None)
        self._ready.pop(asker, None)

    def _makeReady(self, asker: Asker) -> None:
        """Send the next piece, but not in this turn of the reactor."""
        self._ready[asker] = None
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._sendNext)

    def _sendNext(self) -> None:
        self._timer = None
        if self._ready:
            asker, _ = self._ready.popitem(last=False)
            self._sendPiece(asker)
        if self._ready and self._timer is None:
            self._timer = self._clock.callLater(0, self._sendNext)

    def _sendPiece(self, asker: Asker) -> None:
        if not asker.reads():
            self._stalled[asker] = None
            return
        rest = self._rests[asker]
        piece = rest[: -PIECE_STREAMS - 1 : -1]
        del rest[-PIECE_STREAMS:]
        self.octets -= STREAM_OCTETS * len(piece)
        asker.sendKnown(piece, not rest)
        if not rest:
            self._drop(asker)
            if self._parked:
                self._askNext()
        elif asker in self._rests:
            self._makeReady(asker)
