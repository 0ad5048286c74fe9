"""What is known of one worker, as the fleet has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..wire.report import Report
from .alarm import Alarm

__all__ = ["ADDRESSES_MAX", "ALARMS", "Committed", "Presence", "Worker"]

# How long a thing must be good again to be over.
EASE_S = 10.0

# Addresses of one name that are shown.
ADDRESSES_MAX = 4

# What can be wrong with a worker, in the order of how much it matters.
ALARMS: Mapping[str, float] = {
    "silent": EASE_S,
    "stuck": EASE_S,
    "diverged": EASE_S,
    "gap": 0.0,
    "lagging": EASE_S,
    "expiring": 0.0,
}


class Committed(Protocol):
    """What is known of a committed deposit."""

    @property
    def lines(self) -> int: ...

    @property
    def octets(self) -> bytes: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Presence:
    """
    The connections of a name, as they are now.

    @ivar heard: when the last octet came, or now if that says nothing.
    @ivar expires: the first end of the certificates in use.
    """

    connections: int
    addresses: tuple[str, ...]
    heard: float
    expires: float | None = None


@dataclass
class Worker:
    """
    One name.

    @ivar since: when it was first known of, on the clock.
    @ivar expected: whether it is missed when it is not there.
    @ivar revoked: no certificate of this name is accepted.
    @ivar heard: when it was last heard, on the clock; C{None}: never since the start.
    @ivar lineRate: lines a second, of late; C{octetRate} likewise.
    """

    name: str
    since: float = 0.0
    expected: bool = False
    revoked: bool = False
    expires: float | None = None
    connections: int = 0
    addresses: tuple[str, ...] = ()
    heard: float | None = None
    report: Report | None = None
    lines: int = 0
    octets: int = 0
    lineRate: float = 0.0
    octetRate: float = 0.0
    gaps: int = 0
    gapOctets: int = 0
    gapReason: str = ""
    gapAt: float | None = None
    alarms: dict[str, Alarm] = field(
        default_factory=lambda: {kind: Alarm(ease) for kind, ease in ALARMS.items()}
    )
    _weighed: tuple[int, int] = (0, 0)

    def weigh(self, passed: float, share: float) -> None:
        """Let what came in the seconds that passed have a share in the rates."""
        lines, octets = self._weighed
        self._weighed = self.lines, self.octets
        self.lineRate += share * ((self.lines - lines) / passed - self.lineRate)
        self.octetRate += share * ((self.octets - octets) / passed - self.octetRate)

    @property
    def state(self) -> str:
        """In one word: the first of its alarms, or how it is otherwise."""
        if self.revoked:
            return "revoked"
        for kind, alarm in self.alarms.items():
            if alarm.raised:
                return kind
        if self.connections:
            return "ok"
        return "absent" if self.heard is None else "gone"
