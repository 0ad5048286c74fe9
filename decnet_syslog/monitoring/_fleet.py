"""
The fleet: whether every expected worker is alive, and how far behind each one is.

What must be true:

* an expected worker from which nothing was received for C{SILENT_S} is reported as silent, by
  name, at most C{REFRESH_S} later;
* a worker is not called silent because of us: because we do not read, or have just started;
* a name is kept only if it is enrolled or was authenticated, and only a limited number of names:
  no peer can make up entries here.

Any received octet counts as a sign of life. Under decnet-syslog/1.1 a forwarder reports every ten
seconds or more often; of other peers only the connection is known.

A look compares the present state with the reported one (L{decnet_syslog.monitoring._alarm}). It
does not touch lines, only the sums that commits and earlier looks have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone

from twisted.logger import Logger

from ..untrusted import escapeUntrusted
from ..wire import ForwarderReport
from ._alarm import EXPIRING_S, LAGGING_S, REFRESH_S, Alarm
from ._enrolled import Enrolled
from ._history import DAY_S, DAY_STEPS, LATELY_S, LATELY_STEPS, RateHistory, Steps
from ._problemkinds import PROBLEMS
from ._workerstate import ADDRESSES_MAX, Committed, Presence, WorkerState

__all__ = ["EXPIRING_S", "LAGGING_S", "REFRESH_S", "SILENT_S", "Fleet"]

# Two missed reports of a forwarder; together with REFRESH_S less than half a minute.
SILENT_S = 25.0

# No worker is called silent for this long after our start, in seconds: a forwarder connects again
# after at most half a minute.
GRACE_S = 45.0

# A worker enrolled while we run is not missed for this long, in seconds: an operator has to carry
# its certificates to it first.
NEW_S = 600.0

# A gap is an event, not a state; its alarm stays raised for this long, in seconds.
GAP_S = 600.0

# The time over which a rate is averaged, in seconds.
RATE_S = 30.0

# The maximum number of watched names. Each takes about 4 KiB.
WORKERS_MAX = 10_000

# For each kind of problem: the log message when it begins, which the remedy follows, and when it
# is over.
_BEGUN = {
    "silent": "worker {worker} is silent: {reason}",
    "stuck": "worker {worker} cannot read a file: {reason}",
    "diverged": "worker {worker} and this listener hold different content: {reason}",
    "gap": "worker {worker} has lost octets: {reason}",
    "lagging": "worker {worker} is behind: {reason}",
    "expiring": "the certificate of worker {worker} {reason}",
}
_OVER = {
    "silent": "worker {worker} is no longer silent",
    "stuck": "worker {worker} no longer reports an unreadable file",
    "diverged": "worker {worker} no longer reports different content",
    "gap": "no further gap of worker {worker} for 10 minutes",
    "lagging": "worker {worker} is no longer behind",
    "expiring": "the certificate of worker {worker} no longer expires soon",
}


class Fleet:
    """
    Every worker that is expected or was seen.

    @ivar workers: by name.
    @ivar ends: when our own certificates expire, by their role.
    @ivar certificateAlarms: the alarms of our own certificates, by role.
    @ivar lines: lines committed for all watched workers.
    @ivar lately: lines per second of all workers in the last half hour; C{day}: in the last day.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Callable[[], float],
        wallClock: Callable[[], float],
        enrolled: Callable[[], Mapping[str, Enrolled]],
        ends: Mapping[str, float],
        laggingSeconds: float = LAGGING_S,
    ) -> None:
        """
        @param clock: seconds of a clock that never goes back.
        @param wallClock: seconds since the epoch.
        @param ends: when our own certificates expire, by their role.
        """
        self.workers: dict[str, WorkerState] = {}
        self.ends = dict(ends)
        self._clock = clock
        self._wallClock = wallClock
        self._enrolled = enrolled
        self._laggingSeconds = laggingSeconds
        self._started = self._lookedAt = now = clock()
        self._lately, self._day = Steps(LATELY_S, now), Steps(DAY_S, now)
        self.certificateAlarms = {what: Alarm(0.0) for what in ends}
        self.lines = 0
        self.lately, self.day = RateHistory(LATELY_STEPS), RateHistory(DAY_STEPS)
        self._crowded = False

    def _worker(self, name: str) -> WorkerState | None:
        """The entry of a name; C{None}: there are too many names."""
        worker = self.workers.get(name)
        if worker is not None:
            return worker
        if len(self.workers) >= WORKERS_MAX:
            if not self._crowded:
                self._crowded = True
                self._log.warn(
                    "more than {most} worker names: further workers are served but not watched",
                    most=WORKERS_MAX,
                    event="limit",
                    reason="watched names",
                )
            return None
        worker = self.workers[name] = WorkerState(name, self._clock())
        return worker

    def reported(self, name: str, report: ForwarderReport) -> None:
        """A forwarder sent a report."""
        worker = self._worker(name)
        if worker is not None:
            worker.reported(report, self._clock())

    def committed(self, batches: Iterable[Committed]) -> None:
        """Batches were committed to the journal."""
        now = self._clock()
        parts: dict[str, list[Committed]] = {}
        for batch in batches:
            parts.setdefault(batch.provenance.worker, []).append(batch)
        for name, part in parts.items():
            worker = self._worker(name)
            if worker is not None:
                self.lines += worker.took(part, now)

    def updateAlarms(
        self,
        present: Mapping[str, Presence],
        held: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """
        Raise and clear alarms; log each change.

        @param held: why the listener holds back which worker: a word and a text.
        """
        now = self._clock()
        for name, worker in self.workers.items():
            worker.held = None if held is None else held.get(name)
        wall = self._wallClock()
        self._meet(present, now)
        self._rate(now)
        for worker in self.workers.values():
            for kind, text in self._wrong(worker, now, wall):
                alarm = worker.alarms[kind]
                if alarm.see(text, now):
                    self._say(worker, kind, alarm)
        for what, ends in self.ends.items():
            alarm = self.certificateAlarms[what]
            if alarm.see(_ending(ends - wall, ends), now) and alarm.raised:
                self._log.warn(
                    "the certificate of the {certificate} {reason}. Renew it (docs/trust.rst)",
                    event="expiring",
                    certificate="CA" if what == "ca" else what,
                    reason=alarm.text,
                )

    def _meet(self, present: Mapping[str, Presence], now: float) -> None:
        enrolled = self._enrolled()
        for name in [*enrolled, *present]:
            self._worker(name)
        for name, worker in list(self.workers.items()):
            entry, presence = enrolled.get(name), present.get(name)
            worker.revoked = entry is not None and entry.revoked
            # Without a list, every worker that was here is expected.
            worker.expected = not worker.revoked and (entry is not None or not enrolled)
            if presence is not None and presence.expires is not None:
                # The certificate in use, not the one issued last.
                worker.expires = presence.expires
            else:
                worker.expires = None if entry is None else entry.expires
            if presence is None:
                worker.connections, worker.addresses = 0, ()
                if worker.heard is None and entry is None and not worker.lines:
                    del self.workers[name]
                continue
            worker.connections = presence.connections
            worker.addresses = presence.addresses[:ADDRESSES_MAX]
            worker.heard = max(presence.heard, worker.heard or 0.0)

    def _rate(self, now: float) -> None:
        passed, self._lookedAt = now - self._lookedAt, now
        if passed > 0:
            share = min(1.0, passed / RATE_S)
            for worker in self.workers.values():
                worker.weigh(passed, share)
        lately, day = self._lately.over(now), self._day.over(now)
        if not lately and not day:
            return
        every: list[Fleet | WorkerState] = [self, *self.workers.values()]
        for counted in every:
            if lately:
                counted.lately.note(counted.lines, lately)
            if day:
                counted.day.note(counted.lines, day)

    def _wrong(
        self, worker: WorkerState, now: float, wall: float
    ) -> Iterable[tuple[str, str | None]]:
        """Every alarm of a worker, with its text; C{None}: no such problem."""
        yield "silent", self._silent(worker, now)
        # A revoked worker is not expected any more, so its last report needs no repair.
        report = None if worker.revoked else worker.report
        troubles = () if report is None else report.troubles
        for kind in ("stuck", "diverged"):
            text = None
            for trouble in troubles:
                if trouble.kind == kind and text is None:
                    name = escapeUntrusted(trouble.name, 300)
                    text = f"{name}: {escapeUntrusted(trouble.reason, 200)}"
            yield kind, text
        gap = None
        if worker.gapAt is not None and now - worker.gapAt < GAP_S:
            gap = (
                f"{worker.gapOctets} octets in {worker.gaps} gap{'s'[: worker.gaps > 1]} will never"
                f" arrive; reason of the last gap: {escapeUntrusted(worker.gapReason)}"
            )
        yield "gap", gap
        yield "lagging", self._lagging(worker, now)
        expiring = None
        if worker.expires is not None and not worker.revoked:
            expiring = _ending(worker.expires - wall, worker.expires)
        yield "expiring", expiring

    def _silent(self, worker: WorkerState, now: float) -> str | None:
        if not worker.expected:
            return None
        if worker.heard is None:
            known = now - worker.since
            isNew = worker.since - self._started > GRACE_S
            if known < (NEW_S if isNew else GRACE_S):
                return None
            return f"nothing received in the {known:.0f} s since it became known"
        silence = now - worker.heard
        if silence < SILENT_S:
            return None
        how = "connected, but sends nothing" if worker.connections else "not connected"
        return f"nothing received for {silence:.0f} s, {how}"

    def _lagging(self, worker: WorkerState, now: float) -> str | None:
        lag = worker.lag(now)
        if lag is None:
            return None
        limit = self._laggingSeconds
        if lag.seconds < (limit / 2 if worker.alarms["lagging"].raised else limit):
            return None
        held = "" if worker.held is None else f"; held back: {worker.held[1]}"
        return (
            f"its oldest undelivered line is {lag.seconds:.0f} s old,"
            f" {lag.octets} octets are undelivered{held}"
        )

    def _say(self, worker: WorkerState, kind: str, alarm: Alarm) -> None:
        facts = {
            "worker": worker.name,
            "address": worker.addresses[0] if worker.addresses else "",
            "kind": kind,
        }
        if alarm.raised:
            text = f"{_BEGUN[kind]}. {PROBLEMS[kind].remedy}"
            self._log.warn(text, event=kind, reason=alarm.text, **facts)
        else:
            self._log.info(_OVER[kind], event=kind, over=True, reason="", **facts)


def _ending(seconds: float, ends: float) -> str | None:
    """The text for a certificate that expires in this many seconds; C{None}: not soon."""
    if seconds >= EXPIRING_S:
        return None
    day = datetime.fromtimestamp(ends, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"expired on {day}" if seconds <= 0 else f"expires on {day}"
