"""
Reports: what a forwarder says of itself now and then, put together of control lines.

STATE and TROUBLE lines are of the BEAT that follows them; a report counts when it is
complete. How many there are is bounded: what a worker says costs us memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from .control import BEAT, STATE, TROUBLE

__all__ = ["STATES_MAX", "TROUBLES_MAX", "Report", "ReportGatherer", "TooMuch"]

# Files of one report. With more, those that are furthest behind tell the most.
STATES_MAX = 64

# One file in trouble is to be seen; of hundreds, a few say what it is.
TROUBLES_MAX = 16


@dataclass
class TooMuch(Exception):
    """
    More lines than a report has.

    @ivar most: as many as it may have.
    """

    verb: str
    most: int

    def __str__(self) -> str:
        return f"more than {self.most} {self.verb} lines before BEAT"


@dataclass(frozen=True, slots=True)
class Report:
    """
    What a forwarder said at one moment.

    @ivar files: how many it follows.
    @ivar behindOctets: of all files, not acknowledged.
    @ivar behindSeconds: age of the oldest line that is not; 0: there is none.
    """

    files: int
    behindOctets: int
    behindSeconds: float
    states: tuple[STATE, ...] = ()
    troubles: tuple[TROUBLE, ...] = ()


class ReportGatherer:
    """Put the reports of one connection together."""

    def __init__(self) -> None:
        self._states: list[STATE] = []
        self._troubles: list[TROUBLE] = []

    def lineReceived(self, line: STATE | TROUBLE | BEAT) -> Report | None:
        """
        Take a line.

        @return: the report, if the line ends it.
        @raise TooMuch: it has more lines than it may.
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
