"""
The forwarder's reports about itself, sent also when there are no lines to send.

What must be true:

* a master that accepts reports gets one every C{BEAT_S}: that the forwarder is alive, how far
  behind it is and which files it cannot read. It learns of new trouble at the next look;
* a report describes the files, not the sent octets: it has the sizes and times of the files;
* a report can be late, and the master can tell how late. While the forwarder is behind, it reports
  more often;
* a slow disk delays the files thread but not the reports: each repeats the last finished look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire import BEAT, LAG, REPORT, STATE, TROUBLE, ControlLine
from ._filestates import FilesSummary

__all__ = [
    "BEAT_S",
    "BEHIND_BEAT_S",
    "FILES_POLL_S",
    "StatusReporter",
    "lagLines",
    "stateLines",
]

# A master calls a worker silent when it misses two reports.
BEAT_S = 10.0

# The same while the forwarder is behind, to a master that can tell how late a report is. It is
# behind when its oldest undelivered line is older than an acknowledgement usually takes, or when
# more is undelivered than a steady trickle has at any time: then the next report may be late.
BEHIND_BEAT_S = 2.0
BEHIND_S = 1.5
BEHIND_OCTETS = 32 * 1024

# How often the sizes of the files are noted, in seconds: the precision of an age.
FILES_POLL_S = 1.0


def stateLines(report: FilesSummary) -> list[ControlLine]:
    """A report for a master that knows decnet-syslog/1.1 or /2."""
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


def lagLines(report: FilesSummary, now: float) -> list[ControlLine]:
    """
    A report for a master that knows decnet-syslog/2.1.

    @param now: the time, on the clock of the looks.
    """
    since = now - report.at

    def aged(age: float) -> int:
        """The age now; 0 stays: no line waits."""
        return round((age + since) * 1000) if age else 0

    lags = [
        LAG(
            file.stream,
            file.generation,
            file.size,
            tuple((at, aged(age)) for at, age in file.ages),
        )
        for file in report.files
        if file.behind and file.ages
    ]
    end = REPORT(round(now * 1000), report.followed, report.behind, aged(report.age))
    return [*lags, *report.troubles, end]


class StatusReporter:
    """
    Has the files looked at, and reports their state to the master.

    @ivar report: the result of the last look.
    """

    _log = Logger()

    def __init__(
        self,
        look: Callable[[], Deferred[FilesSummary]],
        clock: IReactorTime,
        sendReport: Callable[[Callable[[bool], Iterable[ControlLine]], bool], bool],
    ) -> None:
        """
        @param look: finds the state of the files.
        @param sendReport: sends a report; returns whether a master accepted it. It is passed a
            function that makes the report, with ages of version 2.1 or without, and whether only
            a master of that version should have it.
        """
        self.report = FilesSummary()
        self._survey = look
        self._clock = clock
        self._sendReport = sendReport
        self._saidAt: float | None = None
        self._saidTroubles: tuple[TROUBLE, ...] = ()
        self._timer: IDelayedCall | None = None
        self._isLooking = False

    def start(self) -> None:
        """Look now and every C{FILES_POLL_S}."""
        self._timer = None
        self.poll()
        self._timer = self._clock.callLater(FILES_POLL_S, self.start)

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connected(self) -> None:
        """A master connected: report at the next look."""
        self._saidAt = None

    def reportDue(self) -> None:
        """A connection should have a report now."""
        self._saidAt = None
        self._sendIfDue()

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

    def poll(self) -> None:
        """Start a look at the files; send a report if one is due."""
        if not self._isLooking:
            self._isLooking = True
            self._survey().addCallbacks(self._looked, self._failed)
        self._sendIfDue()

    def _looked(self, report: FilesSummary) -> None:
        self._isLooking = False
        isFirst = self.report.followed == 0
        self.report = report
        if isFirst or report.troubles != self._saidTroubles:
            self._sendIfDue()

    def _failed(self, failure: Failure) -> None:
        self._isLooking = False
        self._log.failure(
            "cannot look at the files for the status report; trying again", failure
        )

    def _sendIfDue(self) -> None:
        now, troubles = self._clock.seconds(), self.report.troubles
        passed = None if self._saidAt is None else now - self._saidAt
        due = passed is None or passed >= BEAT_S or troubles != self._saidTroubles
        isSoon = (
            passed is not None
            and passed >= BEHIND_BEAT_S
            and (self.report.age > BEHIND_S or self.report.behind > BEHIND_OCTETS)
        )
        if (due or isSoon) and self._sendReport(self._lines, not due):
            self._saidAt, self._saidTroubles = now, troubles

    def _lines(self, tellsLag: bool) -> list[ControlLine]:
        if tellsLag:
            return lagLines(self.report, self._clock.seconds())
        return stateLines(self.report)
