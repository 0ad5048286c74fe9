"""The reactor's clock."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["useMonotonicClock"]


def useMonotonicClock(reactor: Any) -> None:
    """
    Make timers independent of the wall clock.

    Twisted's reactor.seconds is time.time: if an operator sets the clock back an hour, a retry
    that was due in a second becomes due in an hour. Call this before the first timer.
    """
    reactor.seconds = time.monotonic
