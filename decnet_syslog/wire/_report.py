"""
Reports: a forwarder's regular reports about itself, assembled from control lines.

STATE and TROUBLE lines belong to the BEAT that follows them; a report counts when it is complete.
The number of lines is bounded, because they cost us memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._control import BEAT, STATE, TROUBLE

__all__ = ["STATES_MAX", "TROUBLES_MAX", "Report", "ReportGatherer", "TooMuch"]

# Files in one report. With more files, those furthest behind tell the most.
STATES_MAX = 64

# Enough to show one file in trouble; of hundreds, a few show the cause.
TROUBLES_MAX = 16


@dataclass
class TooMuch(Exception):
    """
    The report has too many lines.

    @ivar most: the maximum.
    """

    verb: str
    most: int

    def __str__(self) -> str:
        return f"more than {self.most} {self.verb} lines before BEAT"


@dataclass(frozen=True, slots=True)
class Report:
    """
    A forwarder's report at one moment.

    @ivar files: the number of followed files.
    @ivar behindOctets: octets of all files that are not acknowledged.
    @ivar behindSeconds: age of the oldest line that is not acknowledged; 0: none.
    """

    files: int
    behindOctets: int
    behindSeconds: float
    states: tuple[STATE, ...] = ()
    troubles: tuple[TROUBLE, ...] = ()


class ReportGatherer:
    """Assembles the reports of one connection."""

    def __init__(self) -> None:
        self._states: list[STATE] = []
        self._troubles: list[TROUBLE] = []

    def lineReceived(self, line: STATE | TROUBLE | BEAT) -> Report | None:
        """
        Take a line.

        @return: the report, if this line completes it.
        @raise TooMuch: the report has too many lines.
        """
        match line:
            case STATE():
                if len(self._states) >= STATES_MAX:
                    raise TooMuch("STATE", STATES_MAX)
                self._states.append(line)
            case TROUBLE():
                if len(self._troubles) >= TROUBLES_MAX:
                    raise TooMuch("TROUBLE", TROUBLES_MAX)
                self._troubles.append(line)
            case BEAT(files, behind, age):
                report = Report(
                    files,
                    behind,
                    age / 1000,
                    tuple(self._states),
                    tuple(self._troubles),
                )
                self._states, self._troubles = [], []
                return report
        return None
