"""The interfaces between a sender and its connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall

from ..wire import BYE, ControlLine

__all__ = ["IClock", "IConnection", "ISender", "ListenerProtocolError"]


@dataclass
class ListenerProtocolError(Exception):
    """The listener sent a line that it must not send, or not at this point."""

    text: str

    def __str__(self) -> str:
        return self.text


class IClock(Protocol):
    """The time, and delayed calls; both in the thread of the caller."""

    def seconds(self) -> float:
        """Seconds of a clock that never goes back."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """Call after a delay in seconds."""


class IConnection(Protocol):
    """The services that a sender needs of its connection."""

    @property
    def paused(self) -> bool:
        """Whether enough is waiting to be written. L{ISender.pump} is called when it is not."""

    def sendOctets(self, octets: bytes) -> None:
        """Send octets, in order."""

    def close(self, bye: BYE) -> None:
        """Send the reason and close."""

    def accepted(self) -> None:
        """The listener accepted us: the next failure begins a new series of delays."""

    def whenArrived(self, call: Callable[[], None]) -> None:
        """Call when the peer's TCP has acknowledged everything sent until now."""


class ISender(Protocol):
    """The sender for a connection. Only one thread uses it at a time."""

    @property
    def inFlight(self) -> int:
        """Octets of files that are sent and not acknowledged."""

    @property
    def isStalled(self) -> bool:
        """Whether an answer is overdue."""

    @property
    def isGreeted(self) -> bool:
        """Whether the listener has accepted this connection."""

    def connectionMade(self) -> None:
        """The connection is up: begin."""

    def controlReceived(self, line: ControlLine) -> None:
        """
        A control line arrived.

        @raise ListenerProtocolError: the listener must not send it, or not at this point.
        """

    def pump(self) -> None:
        """Send new octets, as far as the window and the transport allow."""

    def connectionLost(self) -> None:
        """Return to the acknowledged positions: the next connection reads from there."""
