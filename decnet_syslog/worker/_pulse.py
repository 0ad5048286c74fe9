"""
The forwarder's reports about itself, sent also when there are no lines to send.

What must be true:

* a master that accepts reports gets one every C{BEAT_S}: that the forwarder is alive, how far
  behind it is and which files it cannot read. It learns of new trouble at the next look;
* a report describes the files, not what was sent: sizes and times are those of the files;
* a slow disk delays the files thread but not the reports: each repeats the last finished look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire import BEAT, STATE, TROUBLE, ControlLine
from ._filestates import Report

__all__ = ["BEAT_S", "LOOK_S", "Pulse"]

# A master calls a worker silent when it misses two reports.
BEAT_S = 10.0

# How often the sizes of the files are noted, in seconds: the precision of an age.
LOOK_S = 1.0


class Pulse:
    """
    Has the files looked at, and reports their state to the master.

    @ivar report: the result of the last look.
    """

    _log = Logger()

    def __init__(
        self,
        look: Callable[[], Deferred[Report]],
        clock: IReactorTime,
        say: Callable[[Iterable[ControlLine]], bool],
    ) -> None:
        """
        @param look: finds the state of the files.
        @param say: sends control lines; returns whether a master accepted them.
        """
        self.report = Report()
        self._look = look
        self._clock = clock
        self._say = say
        self._saidAt: float | None = None
        self._saidTroubles: tuple[TROUBLE, ...] = ()
        self._timer: IDelayedCall | None = None
        self._isLooking = False

    def start(self) -> None:
        """Look now and every C{LOOK_S}."""
        self._timer = None
        self.look()
        self._timer = self._clock.callLater(LOOK_S, self.start)

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connected(self) -> None:
        """A master connected: report at the next look."""
        self._saidAt = None

    @property
    def behind(self) -> int:
        """Octets of all files that are not acknowledged."""
        return self.report.behind

    @property
    def age(self) -> float:
        """The age of the oldest complete line that is not acknowledged, in seconds."""
        return self.report.age

    def troubles(self) -> tuple[TROUBLE, ...]:
        """Present trouble with files, at most as many as a report holds."""
        return self.report.troubles

    def look(self) -> None:
        """Start a look at the files; send a report if one is due."""
        if not self._isLooking:
            self._isLooking = True
            self._look().addCallbacks(self._looked, self._failed)
        self._tell()

    def _looked(self, report: Report) -> None:
        self._isLooking = False
        isFirst = self.report.followed == 0
        self.report = report
        if isFirst or report.troubles != self._saidTroubles:
            self._tell()

    def _failed(self, failure: Failure) -> None:
        self._isLooking = False
        self._log.failure(
            "cannot look at the files for the status report; trying again", failure
        )

    def _tell(self) -> None:
        now, troubles = self._clock.seconds(), self.report.troubles
        due = self._saidAt is None or now - self._saidAt >= BEAT_S
        if (due or troubles != self._saidTroubles) and self._say(self._lines()):
            self._saidAt, self._saidTroubles = now, troubles

    def _lines(self) -> list[ControlLine]:
        report = self.report
        states = [
            STATE(
                file.stream,
                file.generation,
                file.size,
                file.position,
                round(file.age * 1000),
            )
            for file in report.files
            if file.behind
        ]
        beat = BEAT(report.followed, report.behind, round(report.age * 1000))
        return [*states, *report.troubles, beat]
