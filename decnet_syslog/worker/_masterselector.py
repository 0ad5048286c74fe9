"""
The choice of the next master, and of the time to connect.

Each master has its own series of delays: 1 s, 2 s, 4 s ... 30 s, each shortened at random by up
to half so that a fleet does not return all at once. Only a master that has accepted this worker
ends its series. Among the masters whose delay is over, the first in the order of preference is
tried; if all delays are still running, the one that ends first.

What must be true: a master that is away costs no more than one attempt per delay of its series,
however many other masters there are. Once accepted by a master, the forwarder stays with it
(L{decnet_syslog.worker._failback} returns to a preferred one).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IReactorTime

from ..addresses import checkName, isNumeric, portElsewhere

__all__ = ["DELAY_MAX_S", "DELAY_MIN_S", "Address", "MasterSelector"]

DELAY_MIN_S = 1.0
DELAY_MAX_S = 30.0
FACTOR = 2.0

# A fleet that lost its master spreads its connections to the next one over this time, in seconds.
FAILOVER_S = 0.5

_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\[\]:\s/,]+))(?::(?P<port>[0-9]+))?"
)


def _flawOf(host: str | None, port: str | None) -> str:
    """What makes a name or a port unusable, in brackets; C{""}: nothing."""
    try:
        if port is not None:
            portElsewhere(port)
        if host is not None:
            checkName(host)
            if isNumeric(host) and not isIPAddress(host):
                raise ValueError("an IPv4 address has four numbers from 0 to 255")
    except ValueError as error:
        return f" ({error})"
    return ""


class Address(NamedTuple):
    """The address of a master: a name or an IP address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, port: int) -> Address:
        """
        Read C{host}, C{host:port}, C{[address]:port}, or a bare IPv6 address.

        @param port: the port, if the text has none.
        @raise ValueError: the text is no such address; the message says why.
        """
        text = text.strip()
        if isIPv6Address(text):
            return cls(text, port)
        url = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
        if url:
            raise ValueError(
                f"{text!r} is a URL: write host or host:port, without {url[0]!r} and path"
            )
        match = _ADDRESS.fullmatch(text)
        why = ""
        if match is not None:
            why = _flawOf(match["host"], match["port"])
        if match is None or why:
            raise ValueError(
                f"{text[:80]!r} is not a master{why}: write host, host:port or [::1]:port"
            )
        return cls(match["v6"] or match["host"], int(match["port"] or port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass
class _Series:
    """
    @ivar delay: the next delay of the series, in seconds.
    @ivar due: the earliest time of the next attempt.
    """

    delay: float = field(default_factory=lambda: DELAY_MIN_S)
    due: float = float("-inf")


class MasterSelector:
    """
    All masters, the preferred ones first.

    @ivar current: the connected master, or the one to try next.
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
        """The masters that come before the current one."""
        if self.current not in self._addresses:
            return self._addresses
        return self._addresses[: self._addresses.index(self.current)]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All masters."""
        return self._addresses

    def use(self, addresses: Sequence[Address]) -> None:
        """Replace the list; a present connection stays until it ends."""
        self._addresses = tuple(dict.fromkeys(addresses))
        known, self._series = self._series, {}
        for address in (*self._addresses, self.current):
            self._series[address] = known.get(address) or _Series()

    def restart(self) -> None:
        """Begin with the first master."""
        self.current = self._addresses[0]

    def accepted(self) -> None:
        """The current master accepted us: its next failure begins a new series."""
        self._series[self.current] = _Series()

    def moveTo(self, address: Address) -> None:
        """Connect to this master when the present connection has ended."""
        self._next = address

    def failed(self) -> float:
        """
        An attempt failed or a connection ended: choose the next master.

        @return: the delay before the attempt, in seconds.
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
