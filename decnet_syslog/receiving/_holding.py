"""
Which workers the listener holds back, why, and for how long.

A connection that is not read for more than a part of the time is held back: by the worker's own
rate, by memory, by the journal, or by an output. The listener tells the forwarder, so that both
ends show the same reason, and so that the forwarder does not send far ahead: what waits in the
buffers between the two would delay every report about it.

Only connections that were paused lately are looked at, once a second. A pause of milliseconds, as
every fast transfer has them, does not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ._flowcontrol import FlowControl, Pause

__all__ = [
    "FREE",
    "HELD_REASONS",
    "Held",
    "Holding",
    "IHeldConnection",
    "windowFor",
    "windowOf",
]

# The time between two looks at paused connections, in seconds.
DEADLINE_CHECK_S = 1.0

# The weight of the last second in the share of the time that a connection is paused.
WEIGHT = 0.3

# A connection is held back from the first share on, until its share is below the second.
HELD_SHARE = 0.3
FREE_SHARE = 0.05

# A worker with a rate may have the octets of this many seconds unacknowledged.
WINDOW_S = 1.5

# Never less: what a forwarder reads at a time.
WINDOW_OCTETS_MIN = 16 * 1024


class Held(NamedTuple):
    """
    Why a connection is held back.

    @ivar reason: a word from a fixed set: C{rate}, C{memory}, C{journal}, C{output}; C{none}.
    """

    reason: str
    text: str


FREE = Held("none", "-")

# What a worker with a rate may have unacknowledged while it is not held back: enough for an
# acknowledgement at once, so that a burst goes as fast as the connection.
WINDOW_OCTETS_FREE = 256 * 1024

# Why a worker can be held back.
HELD_REASONS = ("rate", "memory", "journal", "output")


def windowOf(window: int, held: Held) -> int:
    """
    How many octets may be unacknowledged now; 0: no limit.

    @param window: the result of L{windowFor}.
    """
    if not window or held.reason == "rate":
        return window
    return max(window, WINDOW_OCTETS_FREE)


class IHeldConnection(Protocol):
    """The services that this needs of a connection."""

    worker: str | None

    @property
    def flow(self) -> FlowControl:
        """When it is read."""

    def tellHeld(self, held: Held) -> None:
        """Tell the peer, if it understands it."""


@dataclass
class _Share:
    """How much of its time a connection was paused."""

    at: float
    before: dict[Pause, float]
    share: float = 0.0
    held: Held = field(default=FREE)


def windowFor(rate: int) -> int:
    """
    How many octets a worker with a limited rate may have unacknowledged; 0: no limit.

    @param rate: octets a second; 0: no limit.
    """
    return max(WINDOW_OCTETS_MIN, int(rate * WINDOW_S)) if rate else 0


class Holding:
    """
    Looks at the paused connections of a listener.

    @ivar seconds: for each worker and reason, how long its connections were not read.
    """

    def __init__(
        self, clock: IReactorTime, rate: int, whyFull: Callable[[str], Held]
    ) -> None:
        """
        @param rate: octets a second that a worker may send; 0: no limit.
        @param whyFull: why a worker's octets have to wait in the listener.
        """
        self.seconds: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._rate = rate
        self._whyFull = whyFull
        self._paused: dict[IHeldConnection, _Share] = {}
        self._timer: IDelayedCall | None = None

    def useRate(self, rate: int) -> None:
        """Use another rate."""
        self._rate = rate

    def of(self, connection: IHeldConnection) -> Held:
        """Why a connection is held back now; L{FREE}: it is not."""
        share = self._paused.get(connection)
        return FREE if share is None else share.held

    def held(self) -> dict[str, Held]:
        """All workers that are held back now."""
        return {
            connection.worker: share.held
            for connection, share in self._paused.items()
            if share.held is not FREE and connection.worker is not None
        }

    def pausing(self, connection: IHeldConnection) -> None:
        """A connection is about to be paused for a reason of ours."""
        if connection not in self._paused:
            self._paused[connection] = _Share(
                self._clock.seconds(), dict(connection.flow.passed)
            )
            if self._timer is None:
                self._timer = self._clock.callLater(DEADLINE_CHECK_S, self._look)

    def lost(self, connection: IHeldConnection) -> None:
        """A connection is gone."""
        share = self._paused.pop(connection, None)
        if share is not None:
            self._account(connection, share)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._paused = {}

    def _look(self) -> None:
        self._timer = None
        for connection, share in list(self._paused.items()):
            self._lookAt(connection, share)
        if self._paused:
            self._timer = self._clock.callLater(DEADLINE_CHECK_S, self._look)

    def _lookAt(self, connection: IHeldConnection, share: _Share) -> None:
        passed = self._clock.seconds() - share.at
        held, why = self._account(connection, share)
        if passed > 0:
            share.share += WEIGHT * (min(1.0, held / passed) - share.share)
        now = share.held
        if why is not FREE and share.share >= HELD_SHARE:
            now = why
        elif share.share < FREE_SHARE:
            now = FREE
        if now != share.held:
            share.held = now
            connection.tellHeld(now)
        if now is FREE and not held:
            del self._paused[connection]

    def _account(
        self, connection: IHeldConnection, share: _Share
    ) -> tuple[float, Held]:
        """Add the time since the last look. Return how much it was, and the main reason."""
        worker = connection.worker
        assert worker is not None
        total, most, why = 0.0, 0.0, FREE
        now = connection.flow.passedNow()
        for pause, seconds in now.items():
            grown = seconds - share.before.get(pause, 0.0)
            if grown <= 0:
                continue
            reason = self._why(pause, worker)
            self.seconds[worker, reason.reason] += grown  # type: ignore[assignment]
            total += grown
            if grown > most:
                most, why = grown, reason
        share.before = now
        share.at = self._clock.seconds()
        return total, why

    def _why(self, pause: Pause, worker: str) -> Held:
        if pause is Pause.RATE:
            return Held("rate", f"--max-rate allows {self._rate} octets a second")
        return self._whyFull(worker)
