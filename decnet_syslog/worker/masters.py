"""
Which master is connected to next, and when.

Each master has a series of delays of its own: 1 s, 2 s, 4 s ... 30 s, each shortened at
random by up to half so that a fleet does not return in one instant; only a master that has
really taken us ends its series. Of those that need not be waited for, the first in the order
of preference is tried; if all are to be waited for, the one that is due first.

What must be true: a master that is away costs no more than one attempt in its series, however
many others there are; whoever has been taken by one stays there (L{homing} goes back).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

__all__ = ["DELAY_MAX_S", "DELAY_MIN_S", "Address", "Masters"]

DELAY_MIN_S = 1.0
DELAY_MAX_S = 30.0
FACTOR = 2.0

# A fleet that has lost its master comes to the next one spread over so many seconds.
FAILOVER_S = 0.5

_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\[\]:\s/]+))(?::(?P<port>[0-9]{1,5}))?"
)


class Address(NamedTuple):
    """Where a master is: a name or an address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, port: int) -> Address:
        """
        Read C{host}, C{host:port}, C{[address]:port}, or a bare IPv6 address.

        @param port: if none is given.
        @raise ValueError: with what is wrong.
        """
        text = text.strip()
        if text.count(":") > 1 and "[" not in text:
            return cls(text, port)
        match = _ADDRESS.fullmatch(text)
        if match is None or not 0 < int(match["port"] or port) < 65536:
            raise ValueError(
                f"{text!r} is no master: say host, host:port or [::1]:port"
            )
        return cls(match["v6"] or match["host"], int(match["port"] or port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass
class _Series:
    """
    @ivar delay: the next of the series, in seconds.
    @ivar due: not before then.
    """

    delay: float = field(default_factory=lambda: DELAY_MIN_S)
    due: float = float("-inf")


class Masters:
    """
    The masters there are, the preferred ones first.

    @ivar current: the one that is connected to, or tried next.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        clock: IReactorTime,
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        @param addresses: at least one, in order of preference.
        """
        self._clock = clock
        self._random = random
        self._addresses = tuple(dict.fromkeys(addresses))
        self._series = {address: _Series() for address in self._addresses}
        self.current = self._addresses[0]
        self._next: Address | None = None

    @property
    def preferred(self) -> tuple[Address, ...]:
        """Those that we would rather be connected to."""
        if self.current not in self._addresses:
            return self._addresses
        return self._addresses[: self._addresses.index(self.current)]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All of them."""
        return self._addresses

    def use(self, addresses: Sequence[Address]) -> None:
        """Take others; a connection that there is stays until it ends."""
        self._addresses = tuple(dict.fromkeys(addresses))
        known, self._series = self._series, {}
        for address in (*self._addresses, self.current):
            self._series[address] = known.get(address) or _Series()

    def restart(self) -> None:
        """Begin with the first."""
        self.current = self._addresses[0]

    def taken(self) -> None:
        """The current master has taken us: its next failure is a new one."""
        self._series[self.current] = _Series()

    def moveTo(self, address: Address) -> None:
        """Connect to this one when the connection that there is has ended."""
        self._next = address

    def failed(self) -> float:
        """
        There is no connection, or no more: choose who is tried next.

        @return: in so many seconds.
        """
        now = self._clock.seconds()
        wanted, self._next = self._next, None
        if wanted in self._addresses:
            self.current = wanted
            return 0.0
        series = self._series[self.current]
        series.due = now + series.delay * (1 - self._random() / 2)
        series.delay = min(FACTOR * series.delay, DELAY_MAX_S)
        before = self.current
        self.current = min(
            self._addresses, key=lambda one: max(self._series[one].due, now)
        )
        wait = self._series[self.current].due - now
        if self.current != before:
            wait = max(wait, FAILOVER_S * self._random())
        return max(wait, 0.0)
