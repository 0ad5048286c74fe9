"""What a sender and its connection ask of one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall

from ..wire.control import BYE, ControlLine

__all__ = ["IClock", "IConnection", "ISender", "ListenerProtocolError"]


@dataclass
class ListenerProtocolError(Exception):
    """The listener sent what it must not send here."""

    text: str

    def __str__(self) -> str:
        return self.text


class IClock(Protocol):
    """The time, and calls that are made later, by whoever made this one."""

    def seconds(self) -> float:
        """Seconds that never go back."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """Call later."""


class IConnection(Protocol):
    """What a sender asks of its connection."""

    @property
    def paused(self) -> bool:
        """Whether there is enough to be written for now. L{ISender.pump} is called after."""

    def sendOctets(self, octets: bytes) -> None:
        """Send."""

    def close(self, bye: BYE) -> None:
        """Say why and close."""

    def accepted(self) -> None:
        """The listener has accepted us: the next failure is a new one."""

    def whenArrived(self, call: Callable[[], None]) -> None:
        """Call when the peer's TCP has everything that was sent until now."""


class ISender(Protocol):
    """What one connection sends. Used by one thread at a time."""

    @property
    def inFlight(self) -> int:
        """Octets of files sent and not acknowledged."""

    @property
    def isStalled(self) -> bool:
        """Whether an answer is overdue."""

    @property
    def isGreeted(self) -> bool:
        """Whether the listener has accepted this connection."""

    def connectionMade(self) -> None:
        """Begin."""

    def controlReceived(self, line: ControlLine) -> None:
        """
        A control line has come.

        @raise ListenerProtocolError: it is not one for us, or not now.
        """

    def pump(self) -> None:
        """Send what there is, as far as window and transport allow."""

    def connectionLost(self) -> None:
        """Go back to what is acknowledged: the next connection reads from there."""
