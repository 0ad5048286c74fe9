"""
The recent history of a rate: the mean of each of the last steps, for a curve.

A look adds to it; commits and lines do not. Each value takes four octets.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ._factparts import CurveFacts

__all__ = ["DAY_S", "DAY_STEPS", "LATELY_S", "LATELY_STEPS", "RateHistory", "Steps"]

# Half an hour, for a curve to glance at.
LATELY_S = 20.0
LATELY_STEPS = 90

# A day, to see the nights.
DAY_S = 600.0
DAY_STEPS = 144


class Steps:
    """Tells when a step is over: never more often than a look, and without drift."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._since = now
        self._due = now + seconds

    def over(self, now: float) -> float:
        """The length of a step that is over, in seconds; 0: it is not over."""
        if now < self._due:
            return 0.0
        passed, self._since = now - self._since, now
        self._due += self._seconds
        if self._due <= now:
            # The machine was suspended.
            self._due = now + self._seconds
        return passed


class RateHistory:
    """The mean growth of a counter in each of the last steps."""

    __slots__ = ("_counted", "_steps", "_values")

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._counted = 0
        self._values = array("f")

    def note(self, counter: int, seconds: float) -> None:
        """A step of this many seconds is over."""
        self._values.append((counter - self._counted) / seconds)
        self._counted = counter
        if len(self._values) > self._steps:
            del self._values[0]

    @property
    def values(self) -> Sequence[float]:
        """The means per second, the oldest first."""
        return self._values

    def asRecord(self, seconds: float) -> CurveFacts:
        """
        The curve for JSON, the oldest value first.

        @param seconds: the length of a step.
        """
        return {"step": seconds, "values": [round(value, 3) for value in self._values]}
