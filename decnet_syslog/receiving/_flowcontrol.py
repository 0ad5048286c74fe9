"""
Flow control of a connection: the reasons for which the listener does not read it.

The listener reads again when no reason is left. Nothing is discarded: octets that are not read
stay in the kernel's buffers and, when these are full, with the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from ..transports import ITLSConnection

__all__ = ["FlowControl", "Pause"]


class Pause(Enum):
    """Why the listener does not read a connection."""

    ROOM = "the session is full"
    PEER = "the peer does not read"
    RATE = "the worker sends too fast"
    STOP = "the listener is stopping"


class _Receiver(Protocol):
    """Decodes what its transport receives."""

    transport: ITLSConnection

    def halt(self) -> None:
        """Decode no more."""

    def proceed(self) -> None:
        """Decode again."""


class FlowControl:
    """
    Pauses and resumes one connection.

    @ivar isLost: whether the connection is gone, and has no transport to pause.
    @ivar passed: for each reason that is the listener's, the seconds of all pauses that are over.
    """

    def __init__(
        self,
        receiver: _Receiver,
        resumed: Callable[[], None],
        clock: IReactorTime,
        pausing: Callable[[], None],
    ) -> None:
        """
        @param resumed: called before the connection is read again.
        @param pausing: called before a pause for a reason that is the listener's.
        """
        self.isLost = False
        self.passed: dict[Pause, float] = {}
        self._since: dict[Pause, float] = {}
        self._clock = clock
        self._pausing = pausing
        self._receiver = receiver
        self._resumed = resumed
        self._pauses: set[Pause] = set()

    @property
    def isPaused(self) -> bool:
        """Whether the connection is not read."""
        return bool(self._pauses)

    @property
    def isPeerReading(self) -> bool:
        """Whether the peer reads the listener's answers."""
        return Pause.PEER not in self._pauses

    @property
    def isSilenceOurs(self) -> bool:
        """Whether the peer may be silent because the listener does not read it."""
        return bool(self._pauses - {Pause.PEER})

    def passedNow(self) -> dict[Pause, float]:
        """For each reason that is the listener's, the seconds of all pauses until now."""
        now = self._clock.seconds()
        passed = dict(self.passed)
        for why, since in self._since.items():
            passed[why] = passed.get(why, 0.0) + now - since
        return passed

    def pause(self, why: Pause) -> None:
        """Stop reading."""
        if why is not Pause.PEER and why not in self._since:
            self._pausing()
            self._since[why] = self._clock.seconds()
        self._pauses.add(why)
        self._receiver.halt()
        if not self.isLost:
            self._receiver.transport.pauseProducing()

    def resume(self, why: Pause) -> None:
        """A reason is gone: read again, unless there is another one."""
        since = self._since.pop(why, None)
        if since is not None:
            passed = self.passed.get(why, 0.0) + self._clock.seconds() - since
            self.passed[why] = passed
        self._pauses.discard(why)
        if self._pauses or self.isLost:
            return
        self._resumed()
        self._receiver.transport.resumeProducing()
        self._receiver.proceed()
