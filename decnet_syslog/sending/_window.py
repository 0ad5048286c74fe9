"""
How much is sent ahead of acknowledgements, in which order, and how long an answer may take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ..files import Chunk, OpenContent
from ._chunks import byName, nextChunk

__all__ = ["ACK_TIMEOUT_S", "CHUNK_OCTETS", "Answers", "turns"]

# Octets of one read from a file and one write to the connection. Large enough that the fixed cost
# of each is small; small enough that the copies stay in the processor's cache, and in memory that
# malloc does not return to the kernel each time (measured: twice as fast as 256 KiB).
CHUNK_OCTETS = 64 * 1024

# Octets sent and not yet acknowledged, all files together. More than a fast disk commits within a
# round trip; and the most that is read again after a lost connection.
WINDOW_OCTETS = 8 * 1024 * 1024

# Up to this many contents are all asked for new octets. With more, only those in which the last
# look found something: otherwise asking would be most of the work.
ASKED_MAX = 64

# Without an acknowledgement for this long, in seconds, a connection with octets in flight is dead.
ACK_TIMEOUT_S = 60.0


class Answers:
    """When the listener last answered, while it owes an answer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heardAt = clock()

    def heard(self) -> None:
        """An answer has come."""
        self._heardAt = self._clock()

    def expected(self, isOwed: bool) -> None:
        """
        A request is about to be sent: the time for its answer starts now.

        @param isOwed: whether an answer was outstanding already.
        """
        if not isOwed:
            self._heardAt = self._clock()

    def areLate(self, isOwed: bool) -> bool:
        """Whether an answer is overdue."""
        return isOwed and self._clock() - self._heardAt > ACK_TIMEOUT_S


def turns(
    contents: Sequence[OpenContent],
    read: Callable[[OpenContent], Chunk | None],
    send: Callable[[OpenContent, Chunk], None],
    mayGoOn: Callable[[int], bool],
) -> None:
    """
    Send new octets, one chunk of each path in turn.

    @param mayGoOn: whether to send more, given the number of octets sent so far.
    """
    names = list(byName(contents).values())
    if len(contents) > ASKED_MAX:
        names = [name for name in names if any(one.isWaiting for one in name)]
    waiting = deque(names)
    octets = 0
    while waiting and mayGoOn(octets):
        found = nextChunk(waiting[0], read)
        if found is None:
            waiting.popleft()
            continue
        waiting.rotate(-1)
        one, chunk = found
        octets += chunk.end - chunk.start
        send(one, chunk)
