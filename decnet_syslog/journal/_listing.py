"""
Answers to LIST. A request has five octets, its answer is long, and the peer may not read it.

Requirements:

* an answer is sent in pieces, each when the peer has read the previous one. Between two
  pieces the reactor serves all other connections;
* the journal prepares one answer per worker at a time, and at most L{ASKED_AT_ONCE} in all;
* all unsent answers together hold at most L{HELD_OCTETS_MAX}. A new answer that does not fit
  closes the connection whose peer has not read for the longest time. If all peers are
  reading, the new answer waits for them.

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

from ._values import StreamPosition

__all__ = ["ASKED_AT_ONCE", "HELD_OCTETS_MAX", "PIECE_STREAMS", "Asker", "Listings"]

# Answers that the journal prepares at a time. Its thread makes one after the other.
ASKED_AT_ONCE = 2

# The size of all unsent answers: eight of the longest. An honest one has some kilobytes.
HELD_OCTETS_MAX = 16 * 1024 * 1024

# The size of a stream in an unsent answer: its objects, including the name.
STREAM_OCTETS = 512

# Streams in a piece: 64 KiB if every name has the maximum length.
PIECE_STREAMS = 128


class Asker(Protocol):
    """A connection that has sent a LIST."""

    def ask(self) -> list[StreamPosition]:
        """Read the streams, the newest first; called in the journal's thread."""

    def reads(self) -> bool:
        """Whether the peer keeps up with our answers."""

    def sendKnown(self, known: list[StreamPosition], isLast: bool) -> None:
        """Send a piece."""

    def listingFailed(self, failure: Failure) -> None:
        """The journal cannot answer."""

    def listingRefused(self) -> None:
        """Close the connection: other answers need the room."""


class Listings:
    """
    The answers of a listener.

    @ivar octets: the size of all unsent answers.
    """

    def __init__(
        self,
        perform: Callable[
            [Callable[[], list[StreamPosition]]], Deferred[list[StreamPosition]]
        ],
        clock: IReactorTime,
    ) -> None:
        """
        @param perform: call in the journal's thread.
        """
        self._perform = perform
        self._clock = clock
        self.octets = 0
        # By worker: connections that wait for the journal.
        self._waiting: dict[str, deque[Asker]] = {}
        self._asked: set[str] = set()
        # Answers that do not fit yet.
        self._parked: deque[tuple[Asker, list[StreamPosition]]] = deque()
        # The unsent rest of each answer, the next stream last.
        self._rests: dict[Asker, list[StreamPosition]] = {}
        # The answers whose peer does not read, the longest wait first; and those to send next.
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
                # The worker's next turn comes after the other workers'.
                self._waiting[worker] = waiting
            self._asked.add(worker)
            self._perform(asker.ask).addCallbacks(
                self._answered,
                self._failed,
                callbackArgs=(worker, asker),
                errbackArgs=(worker, asker),
            )

    def _answered(
        self, known: list[StreamPosition] | None, worker: str, asker: Asker
    ) -> None:
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

    def _admit(self, asker: Asker, known: list[StreamPosition]) -> bool:
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
