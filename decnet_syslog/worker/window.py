"""
How much is sent ahead of acknowledgements, in which turns, and how long an answer may take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ..files import Chunk, OpenContent
from .chunks import byName, nextChunk

__all__ = ["ACK_TIMEOUT_S", "CHUNK_OCTETS", "Answers", "turns"]

# One read of a file and one write to the connection: large enough that the cost of each
# is small against its octets; small enough that its copies stay in the processor's cache,
# and in memory that malloc does not give back to the kernel each time (measured: twice as
# fast as 256 KiB).
CHUNK_OCTETS = 64 * 1024

# Sent and not yet acknowledged, all files together. More than a fast disk commits in the
# time of a round trip; what a lost connection makes us read again.
WINDOW_OCTETS = 8 * 1024 * 1024

# Up to this many contents are all asked whether they have grown since the last look. Of more,
# only those in which it has found something: else the asking is most of the work.
ASKED_MAX = 64

# In flight, and no acknowledgement for this long: the connection is of no use, in seconds.
ACK_TIMEOUT_S = 60.0


class Answers:
    """When the listener was last heard of, while it owes an answer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heardAt = clock()

    def heard(self) -> None:
        """An answer has come."""
        self._heardAt = self._clock()

    def expected(self, isOwed: bool) -> None:
        """
        We are about to ask: from now on it counts how long an answer takes.

        @param isOwed: whether one was owed already.
        """
        if not isOwed:
            self._heardAt = self._clock()

    def areLate(self, isOwed: bool) -> bool:
        """Whether one is overdue."""
        return isOwed and self._clock() - self._heardAt > ACK_TIMEOUT_S


def turns(
    contents: Sequence[OpenContent],
    read: Callable[[OpenContent], Chunk | None],
    send: Callable[[OpenContent, Chunk], None],
    mayGoOn: Callable[[int], bool],
) -> None:
    """
    Send what there is, one chunk of each path in turn.

    @param mayGoOn: whether more is to be sent, after this many octets.
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
