"""
An alarm: one thing that can be wrong, without flapping.

The states are a table::

    quiet   --bad-->                 raised   (said)
    raised  --good-->                easing
    easing  --bad-->                 raised
    easing  --good for so long-->    quiet    (said)

So a thing that goes to and fro is said once, and once more when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Alarm"]


@dataclass
class Alarm:
    """
    One thing that can be wrong.

    @ivar easeSeconds: how long it must have been good to be over.
    @ivar text: what was last bad about it.
    @ivar since: when it was raised, on the caller's clock; C{None}: it is not.
    """

    easeSeconds: float
    text: str = ""
    since: float | None = None
    _goodSince: float | None = None

    @property
    def raised(self) -> bool:
        """Whether it is raised, easing included."""
        return self.since is not None

    def see(self, text: str | None, now: float) -> bool:
        """
        Take what is the case.

        @param text: what is bad; C{None}: nothing is.
        @return: whether something is to be said: look at L{raised} for what.
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
