"""
The pulse: what a forwarder says of itself, also when it has nothing to send.

What must be true:

* a master that can hear it is told every C{BEAT_S} that we are alive, how far behind we
  are and what we cannot read; of new trouble at the next look;
* it says what is the case, not what was sent: sizes and times are of the files;
* a disk that makes the files' thread wait does not make us silent: the report is of the last
  look that was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire.control import BEAT, STATE, TROUBLE, ControlLine
from .filestates import Report

__all__ = ["BEAT_S", "LOOK_S", "Pulse"]

# A master calls us silent when it misses two.
BEAT_S = 10.0

# How often the files' sizes are noted, in seconds: what an age is exact to.
LOOK_S = 1.0


class Pulse:
    """
    Have the files looked at, and tell the master how they are.

    @ivar report: of the last look.
    """

    _log = Logger()

    def __init__(
        self,
        look: Callable[[], Deferred[Report]],
        clock: IReactorTime,
        say: Callable[[Iterable[ControlLine]], bool],
    ) -> None:
        """
        @param look: see how the files are.
        @param say: send control lines; whether there was somebody to take them.
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
        """Look, now and every C{LOOK_S}."""
        self._timer = None
        self.look()
        self._timer = self._clock.callLater(LOOK_S, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connected(self) -> None:
        """Somebody new listens: tell at the next look."""
        self._saidAt = None

    @property
    def behind(self) -> int:
        """Octets of all files that are not acknowledged."""
        return self.report.behind

    @property
    def age(self) -> float:
        """Of the oldest complete line of all that is not acknowledged, in seconds."""
        return self.report.age

    def troubles(self) -> tuple[TROUBLE, ...]:
        """What is wrong with files now; as many as a report has."""
        return self.report.troubles

    def look(self) -> None:
        """See how the files are, and tell it if it is time."""
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
        self._log.failure("cannot see how the files are", failure)

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
