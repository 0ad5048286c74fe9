"""A worker's entry in the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..wire import LAG, STATE, ForwarderReport, Provenance
from ._alarm import EASE_S, Alarm
from ._history import DAY_STEPS, LATELY_STEPS, RateHistory
from ._lag import Growth, Lag, ageAt, lagOf

__all__ = [
    "ADDRESSES_MAX",
    "ALARMS",
    "EXCERPT_OCTETS_MAX",
    "Committed",
    "Presence",
    "ReportedGap",
    "SentFile",
    "WorkerState",
]

# Addresses shown per name.
ADDRESSES_MAX = 4

# Octets shown of the newest line: enough to recognize it, not to read it.
EXCERPT_OCTETS_MAX = 200

# Characters shown of a file's name. A path has at most 4096, and most paths have fewer than this.
NAME_CHARACTERS_MAX = 200

# Per name: the files that sent last, and the last gaps.
STREAMS_KEPT = 8
GAPS_KEPT = 8

# The lag of a worker without a connection is not known after this time, in seconds. Then it is
# silent, or delivers elsewhere.
FORGET_S = 30.0

# The possible problems of a worker, the worst first, with the time for each to be over.
ALARMS: Mapping[str, float] = {
    "silent": EASE_S,
    "stuck": EASE_S,
    "diverged": EASE_S,
    "gap": 0.0,
    "lagging": EASE_S,
    "expiring": 0.0,
}


class Committed(Protocol):
    """The facts of a committed deposit."""

    @property
    def provenance(self) -> Provenance: ...

    @property
    def stream(self) -> str | None: ...

    @property
    def generation(self) -> int: ...

    @property
    def lines(self) -> int: ...

    @property
    def octets(self) -> bytes: ...

    @property
    def lengths(self) -> Sequence[int] | None: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def reason(self) -> str | None: ...


class SentFile(NamedTuple):
    """
    A file that sent octets.

    @ivar name: its name at the worker; hostile text.
    @ivar end: the octets committed so far.
    @ivar at: when the last octets came, RFC 3339.
    """

    name: str
    end: int
    at: str


class ReportedGap(NamedTuple):
    """
    Octets that will never arrive.

    @ivar name: the file's name; hostile text, as is C{reason}.
    @ivar at: when the gap was reported, RFC 3339.
    """

    name: str
    start: int
    end: int
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Presence:
    """
    The present connections of a name.

    @ivar heard: when the last octet came; now, if that is unknown.
    @ivar expires: the earliest expiry of the certificates in use.
    """

    connections: int
    addresses: tuple[str, ...]
    heard: float
    expires: float | None = None


@dataclass
class WorkerState:
    """
    One name.

    @ivar since: when the name became known, on the clock.
    @ivar expected: whether its absence is a problem.
    @ivar revoked: whether no certificate of this name is accepted.
    @ivar heard: when something was last received, on the clock; C{None}: not since the start.
    @ivar reportedAt: when the last report was made, on our clock.
    @ivar ends: for each file in the last report, the end of its committed octets.
    @ivar growth: how fast its files grow, by its reports.
    @ivar held: why the listener holds the worker back: a word and a text; C{None}: it does not.
    @ivar lineRate: recent lines per second; C{octetRate} likewise.
    @ivar newest: the beginning of the newest line, one octet longer than shown.
    @ivar newestFrom: the provenance of that line; C{None}: there is none.
    @ivar streams: the files that sent last, by stream and generation, the latest at the end.
    @ivar lately: lines per second in the last half hour; C{day}: in the last day.
    """

    name: str
    since: float = 0.0
    expected: bool = False
    revoked: bool = False
    expires: float | None = None
    connections: int = 0
    addresses: tuple[str, ...] = ()
    heard: float | None = None
    report: ForwarderReport | None = None
    reportedAt: float = 0.0
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    held: tuple[str, str] | None = None
    growth: Growth = field(default_factory=Growth)
    lines: int = 0
    octets: int = 0
    lineRate: float = 0.0
    octetRate: float = 0.0
    gaps: int = 0
    gapOctets: int = 0
    gapReason: str = ""
    gapAt: float | None = None
    newest: bytes = b""
    newestFrom: Provenance | None = None
    streams: dict[tuple[str, int], SentFile] = field(default_factory=dict)
    lastGaps: list[ReportedGap] = field(default_factory=list)
    lately: RateHistory = field(default_factory=lambda: RateHistory(LATELY_STEPS))
    day: RateHistory = field(default_factory=lambda: RateHistory(DAY_STEPS))
    alarms: dict[str, Alarm] = field(
        default_factory=lambda: {kind: Alarm(ease) for kind, ease in ALARMS.items()}
    )
    _weighed: tuple[int, int] = (0, 0)

    def took(self, batches: Sequence[Committed], now: float) -> int:
        """
        Batches of this worker were committed to the journal, in one commit.

        This also counts a worker that connected and left between two looks. It costs a few
        numbers per batch and one excerpt per commit; the lines are not read.

        @return: the number of lines.
        """
        self.heard = now
        lines = 0
        newest: Committed | None = None
        for batch in batches:
            if batch.reason is None:
                lines += batch.lines
                self.octets += len(batch.octets)
                newest = batch
            self._note(batch, now)
        self.lines += lines
        if newest is not None:
            self.newest = _newest(newest)
            self.newestFrom = newest.provenance
        return lines

    def _note(self, batch: Committed, now: float) -> None:
        """Note a batch's gap, and its file."""
        who = batch.provenance
        name = "" if who.log is None else who.log[:NAME_CHARACTERS_MAX]
        if batch.reason is not None:
            self.gaps += 1
            self.gapOctets += batch.end - batch.start
            self.gapReason = batch.reason
            self.gapAt = now
            self.lastGaps.append(
                ReportedGap(name, batch.start, batch.end, batch.reason, who.receivedAt)
            )
            del self.lastGaps[:-GAPS_KEPT]
        if batch.stream is not None:
            key = batch.stream, batch.generation
            if key in self.ends:
                self.ends[key] = batch.end
            streams = self.streams
            streams.pop(key, None)
            streams[key] = SentFile(name, batch.end, who.receivedAt)
            if len(streams) > STREAMS_KEPT:
                del streams[next(iter(streams))]

    def reported(self, report: ForwarderReport, now: float) -> None:
        """The worker sent a report."""
        self.heard = now
        self.report = report
        self.reportedAt = now - report.transitSeconds
        self.growth.reported(report, self.reportedAt)
        before = self.ends
        self.ends = {}
        for state in report.states:
            key = state.stream, state.generation
            sent = self.streams.get(key)
            end = before.get(key, 0 if sent is None else sent.end)
            self.ends[key] = max(end, state.position)

    def lag(self, now: float) -> Lag | None:
        """How far behind the worker is now; C{None}: it has sent no report, or is gone."""
        report = self.report
        if report is None or self.revoked:
            return None
        if not self.connections and now - self.reportedAt > FORGET_S:
            # Perhaps it delivers to another master.
            return None
        elapsed = max(0.0, now - self.reportedAt)
        return lagOf(report, elapsed, self.ends, self.growth.rate)

    def positions(self) -> list[tuple[STATE | LAG, int, float]]:
        """
        For each file in the last report: its line, the end of what is committed, and the age of
        the octet there when the report was made, in seconds.
        """
        found = []
        for state in () if self.report is None else self.report.states:
            here = max(
                state.position, self.ends.get((state.stream, state.generation), 0)
            )
            found.append((state, here, ageAt(state, here)))
        return found

    def weigh(self, passed: float, share: float) -> None:
        """Add the growth during the passed seconds to the rates, with this weight."""
        lines, octets = self._weighed
        self._weighed = self.lines, self.octets
        self.lineRate += share * ((self.lines - lines) / passed - self.lineRate)
        self.octetRate += share * ((self.octets - octets) / passed - self.octetRate)

    @property
    def state(self) -> str:
        """The state in one word: the first raised alarm, or else the connection's state."""
        if self.revoked:
            return "revoked"
        for kind, alarm in self.alarms.items():
            if alarm.raised:
                return kind
        if self.connections:
            return "ok" if self.held is None else "throttled"
        return "absent" if self.heard is None else "gone"


def _newest(batch: Committed) -> bytes:
    """The beginning of a batch's last line, as a copy: a view would keep the whole batch."""
    octets = batch.octets
    if batch.lengths is None:
        start = octets.rfind(b"\n", 0, -1) + 1
    else:
        start = len(octets) - batch.lengths[-1]
    return octets[start : start + EXCERPT_OCTETS_MAX + 1]
