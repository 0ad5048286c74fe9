"""
An alarm: one possible problem, reported without flapping.

The states are a table::

    quiet   --bad-->                       raised   (reported)
    raised  --good-->                      easing
    easing  --bad-->                       raised
    easing  --good for easeSeconds-->      quiet    (reported)

So a problem that comes and goes is reported once, and once more when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EASE_S", "EXPIRING_S", "LAGGING_S", "REFRESH_S", "Alarm"]

# The interval between two looks for problems, in seconds.
REFRESH_S = 3.0

# A line undelivered for this long raises an alarm, in seconds; the alarm ends at half that age.
LAGGING_S = 60.0

# A problem counts as over when it has been gone for this long, in seconds.
EASE_S = 10.0

# Certificates that expire within this time should be renewed, in seconds: a month of warnings.
EXPIRING_S = 30 * 86400.0


@dataclass
class Alarm:
    """
    One possible problem.

    @ivar easeSeconds: how long the problem must be absent before it is over.
    @ivar text: the last description of the problem.
    @ivar since: when the alarm was raised, on the caller's clock; C{None}: it is not raised.
    """

    easeSeconds: float
    text: str = ""
    since: float | None = None
    _goodSince: float | None = None

    @property
    def raised(self) -> bool:
        """Whether the alarm is raised; an easing one is."""
        return self.since is not None

    def see(self, text: str | None, now: float) -> bool:
        """
        Take the present state.

        @param text: the problem; C{None}: there is none.
        @return: whether to report a change; L{raised} says which.
        """
        if text is not None:
            self.text = text
            self._goodSince = None
            if self.since is None:
                self.since = now
                return True
            return False
        if self.since is None:
            return False
        if self._goodSince is None:
            self._goodSince = now
        if now - self._goodSince < self.easeSeconds:
            return False
        self.since = self._goodSince = None
        return True
