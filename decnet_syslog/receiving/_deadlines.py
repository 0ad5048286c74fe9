"""
Deadlines of a connection: its first octet, and the end of each frame.

While the listener does not read a connection, no deadline passes: the octets may be there.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from ..limits import Limits
from ._session import Violation

__all__ = ["Deadlines"]


class Deadlines:
    """When the peer has to send something."""

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._frameSince: float | None = None
        # The beginning of the wait for the first octet.
        self._silentSince: float | None = None

    def begin(self) -> None:
        """The handshake is done: wait for the first octet."""
        self._silentSince = self._clock.seconds()

    def received(self) -> None:
        """The peer has sent something."""
        self._silentSince = None

    def holds(self, octets: int) -> None:
        """
        Note how much of an unfinished frame there is.

        @param octets: C{0}: no frame is unfinished.
        """
        if not octets:
            self._frameSince = None
        elif self._frameSince is None:
            self._frameSince = self._clock.seconds()

    def frameEnded(self) -> None:
        """A frame is complete. The time of the next one begins when its first octets are there."""
        self._frameSince = None

    def resumed(self) -> None:
        """The frame could not end while the listener did not read: its time begins again."""
        if self._frameSince is not None:
            self._frameSince = self._clock.seconds()

    def exceeded(self, now: float) -> Violation | None:
        """The deadline that has passed, or C{None}."""
        since, most = self._frameSince, self._limits.frameSeconds
        if since is not None and now - since >= most:
            return Violation("limit", f"a frame that has not ended in {most:g} s")
        since, most = self._silentSince, self._limits.silenceSeconds
        if most and since is not None and now - since >= most:
            return Violation("limit", f"not one octet in {most:g} s")
        return None
