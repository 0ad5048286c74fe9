"""The depositors: sessions of connections, as the journal's side uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.logger import Logger

from ._values import Batch, Deposit

__all__ = ["Depositor", "blame", "notify"]

_log = Logger()


class Depositor(Protocol):
    """A source of deposits: the session of a connection."""

    def take(self, receivedAt: str) -> Sequence[Deposit]:
        """
        Give everything received since the last call.

        @param receivedAt: the time of arrival for deposits that have none yet; RFC 3339.
        """

    def committed(self, batches: Sequence[Batch | None], now: float) -> None:
        """
        The taken deposits are durable.

        @param batches: C{None} for each deposit that was stale.
        @param now: the time on the clock.
        """

    def acknowledge(self) -> None:
        """Send the acknowledgements that are due."""

    def resumeReading(self) -> None:
        """There may be room again: resume reading, or wait again."""

    def failed(self) -> None:
        """Close: one of the above has failed because of an internal error."""


def notify(depositor: Depositor, call: Callable[[], None]) -> None:
    """Call a method of a depositor."""
    try:
        call()
    except Exception:
        blame(depositor)


def blame(depositor: Depositor) -> None:
    """Close only this connection: one of its methods has raised the present exception."""
    _log.failure("internal error: closing one connection")
    depositor.failed()
