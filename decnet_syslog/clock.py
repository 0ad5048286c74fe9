"""The reactor's clock, and the time of a record."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from .reactors import IReactor

__all__ = ["useMonotonicClock", "utcNow"]


def useMonotonicClock(reactor: IReactor) -> None:
    """
    Make timers independent of the wall clock.

    Twisted's reactor.seconds is time.time: if an operator sets the clock back an hour, a retry
    that was due in a second becomes due in an hour. Call this before the first timer.
    """
    reactor.seconds = time.monotonic  # type: ignore[method-assign]


def utcNow() -> str:
    """The time of a record: RFC 3339, UTC, microseconds."""
    # strftime would be slower.
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"
