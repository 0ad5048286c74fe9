"""
Reports: a forwarder's regular reports about itself, assembled from control lines.

STATE, LAG and TROUBLE lines belong to the BEAT or REPORT that follows them; a report counts when it
is complete. The number of lines is bounded, because they cost us memory.

A report can wait behind octets that were sent before it, at either end and on the way. REPORT
says when it was made, on the forwarder's clock, and L{Transit} finds how long it has travelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._state import BEAT, LAG, REPORT, STATE, TROUBLE

__all__ = [
    "STATES_MAX",
    "TROUBLES_MAX",
    "ForwarderReport",
    "ReportGatherer",
    "TooMuch",
    "Transit",
]

# Files in one report. With more files, those furthest behind tell the most.
STATES_MAX = 64

# Enough to show one file in trouble; of hundreds, a few show the cause.
TROUBLES_MAX = 16


# How much faster than ours a forwarder's clock may run: ten times what quartz does.
DRIFT = 1e-4

# No longer transit is believed, in seconds: a forwarder's clock can be wrong, or lie.
TRANSIT_MAX_S = 86_400.0


@dataclass
class TooMuch(Exception):
    """
    The report has too many lines.

    @ivar most: the maximum.
    """

    verb: str
    most: int

    def __str__(self) -> str:
        return f"more than {self.most} {self.verb} lines in one report"


@dataclass(frozen=True, slots=True)
class ForwarderReport:
    """
    A forwarder's report at one moment.

    @ivar files: the number of followed files.
    @ivar behindOctets: octets of all files that are not acknowledged.
    @ivar behindSeconds: age of the oldest line that is not acknowledged; 0: none.
    @ivar transitSeconds: how old the report was when it arrived; 0 if the peer does not say when
        it was made.
    """

    files: int
    behindOctets: int
    behindSeconds: float
    states: tuple[STATE | LAG, ...] = ()
    troubles: tuple[TROUBLE, ...] = ()
    transitSeconds: float = 0.0


class Transit:
    """
    How long the reports of a connection travelled.

    The two clocks have nothing in common but their speed. The first report follows HELLO with
    nothing before it, so it travels only as long as the network takes: the smallest difference of
    the clocks that was ever seen belongs to the fastest report, and the others took longer by what
    their difference is larger.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._least = float("inf")
        self._at = 0.0

    def of(self, clock: float) -> float:
        """
        The time that a report took, beyond that of the fastest report, in seconds.

        @param clock: when it was made, in seconds on the forwarder's clock.
        """
        now = self._seconds()
        self._least += DRIFT * (now - self._at)
        self._at = now
        self._least = min(self._least, now - clock)
        return min(now - clock - self._least, TRANSIT_MAX_S)


class ReportGatherer:
    """Assembles the reports of a connection."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        """
        @param seconds: our clock.
        """
        self._transit = Transit(seconds)
        self._states: list[STATE | LAG] = []
        self._troubles: list[TROUBLE] = []

    def lineReceived(
        self, line: STATE | LAG | TROUBLE | BEAT | REPORT
    ) -> ForwarderReport | None:
        """
        Take a line.

        @return: the report, if this line completes it.
        @raise TooMuch: the report has too many lines.
        """
        match line:
            case STATE() | LAG():
                if len(self._states) >= STATES_MAX:
                    raise TooMuch(type(line).__name__, STATES_MAX)
                self._states.append(line)
            case TROUBLE():
                if len(self._troubles) >= TROUBLES_MAX:
                    raise TooMuch("TROUBLE", TROUBLES_MAX)
                self._troubles.append(line)
            case BEAT(files, behind, age):
                return self._complete(files, behind, age, 0.0)
            case REPORT(clock, files, behind, age):
                return self._complete(
                    files, behind, age, self._transit.of(clock / 1000)
                )
        return None

    def _complete(
        self, files: int, behind: int, age: int, transit: float
    ) -> ForwarderReport:
        report = ForwarderReport(
            files,
            behind,
            age / 1000,
            tuple(self._states),
            tuple(self._troubles),
            transit,
        )
        self._states, self._troubles = [], []
        return report
