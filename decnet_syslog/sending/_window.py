"""
How much is sent ahead of acknowledgements, in which order, and how long an answer may take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ..files import Chunk, OpenContent
from ._chunks import byName, nextChunk

__all__ = ["ACK_TIMEOUT_S", "CHUNK_OCTETS", "Answers", "Window", "turns"]

# Octets of one read from a file and one write to the connection. Large enough that the fixed cost
# of each is small; small enough that the copies stay in the processor's cache, and in memory that
# malloc does not return to the kernel each time (measured: twice as fast as 256 KiB).
CHUNK_OCTETS = 64 * 1024

# Octets sent and not yet acknowledged, all files together: at most this many. More than a fast
# disk commits within a round trip; and the most that is read again after a lost connection.
WINDOW_OCTETS = 8 * 1024 * 1024

# The window of a new connection, and the least without a limit of the listener's: one read. A fast
# connection has the whole window after four round trips.
WINDOW_OCTETS_FIRST = CHUNK_OCTETS

# The least that is read while the window is nearly used up: less would be all overhead.
READ_OCTETS_MIN = 16 * 1024

# An acknowledgement should come within this time of its octets, in seconds. What takes longer
# waits in a buffer, at an end or on the way, and so does every later report. A master whose
# disk takes longer than this for a commit gets less at a time.
WAIT_S = 4.0

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


class Window:
    """
    How many octets may be sent ahead of acknowledgements.

    The window is measured in rounds: a round begins when the window is used up, and is over when
    the octets then under way are acknowledged. A round of less than half of C{WAIT_S} doubles
    the window, and one of less than an eighth makes it four times as large. One that took longer
    than C{WAIT_S} makes it what the listener would have acknowledged in that time. So a fast
    connection has the whole window within a few round trips, and behind a slow link or a
    listener that reads slowly no buffer fills up.

    @ivar octets: the window; the listener's own limit is included.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._measured = WINDOW_OCTETS_FIRST
        self._limit = 0
        # The total of octets sent and acknowledged; the end of the round, and when it began.
        self._sent = self._acknowledged = 0
        self._until: int | None = None
        self._began = 0.0
        self._inFlight = 0

    @property
    def octets(self) -> int:
        """How many octets may be unacknowledged."""
        return min(self._measured, self._limit) if self._limit else self._measured

    def room(self, inFlight: int, octetsMax: int) -> int:
        """How many octets to read next, at most C{octetsMax}."""
        return min(octetsMax, max(READ_OCTETS_MIN, self.octets - inFlight))

    def limit(self, octets: int) -> None:
        """
        Take the listener's limit.

        @param octets: 0: no limit.
        """
        self._limit = max(octets, READ_OCTETS_MIN) if octets else 0

    def sent(self, octets: int) -> None:
        """Octets were sent."""
        self._sent += octets

    def filled(self) -> None:
        """There is more to send than the window allows: measure how long that takes."""
        if self._until is None:
            self._until = self._sent
            self._began = self._clock()
            self._inFlight = self._sent - self._acknowledged

    def acknowledged(self, octets: int) -> None:
        """Octets were acknowledged."""
        self._acknowledged += octets
        if self._until is not None and self._acknowledged >= self._until:
            self._roundEnded(self._clock() - self._began)
            self._until = None

    def _roundEnded(self, seconds: float) -> None:
        if seconds > WAIT_S:
            fits = int(self._inFlight * WAIT_S / seconds)
            self._measured = max(WINDOW_OCTETS_FIRST, min(fits, self._measured))
        elif seconds < WAIT_S / 2:
            times = 4 if seconds < WAIT_S / 8 else 2
            self._measured = min(times * self._measured, WINDOW_OCTETS)


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
