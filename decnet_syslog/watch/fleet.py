"""
The fleet: is every worker that is expected alive, and how far behind is it?

What must be true:

* a worker that is expected and of which nothing was heard for C{SILENT_S} is said to be
  silent, by name, at most C{LOOK_S} later;
* nobody is called silent for what is our doing: that we do not read, or have just started;
* a name is kept only if it is enrolled or has been authenticated, and not too many: no
  peer makes up entries here.

Hearing is octets. Under decnet-syslog/1.1 a forwarder says something every ten seconds;
of other peers all that can be known is that their connection is there.

A look compares what is the case with what was said (L{decnet_syslog.watch.alarm}). Lines
are not looked at here, only what commits and looks have summed up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone

from twisted.logger import Logger

from ..trust.names import showText
from ..wire.report import Report
from .alarm import Alarm
from .enrolled import Enrolled
from .history import DAY_S, LATELY_S, Steps
from .known import ADDRESSES_MAX, Committed, Presence, Worker

__all__ = ["EXPIRING_S", "LAGGING_S", "LOOK_S", "SILENT_S", "Fleet"]

# Two reports of a forwarder may be missing; together with LOOK_S below half a minute.
SILENT_S = 25.0

# How often the fleet is looked at.
LOOK_S = 3.0

# After our start nobody is silent for so long: a forwarder tries again after at most half
# a minute.
GRACE_S = 45.0

# A worker that is enrolled while we run needs somebody to carry its bundle there.
NEW_S = 600.0

# A line that was written so long ago and is not delivered; over when half as old.
LAGGING_S = 60.0

# Certificates that end sooner than this should be renewed: a month of warnings.
EXPIRING_S = 30 * 86400.0

# A gap is no state that ends; it is shown for so long, and others with it.
GAP_S = 600.0

# What a rate is an average over, in seconds.
RATE_S = 30.0

# Names that are watched. Each is about 4 KiB.
WORKERS_MAX = 10_000

_TODO = {
    "silent": "see that decnet-forwarder runs there and reaches this machine's port; if the"
    " worker is retired, revoke its certificate",
    "stuck": "give decnet-forwarder's user the right to read the file there",
    "diverged": "its state or disk was restored or copied; compare with decnet-syslog verify",
    "gap": "see the gap records in the outputs",
    "lagging": "see its link and this machine's disk",
    "expiring": "enrol it again with decnet-syslog enroll",
}


class Fleet:
    """
    Every worker that is expected, or was seen.

    @ivar workers: by name.
    @ivar ends: when our own certificates end, by what they are.
    @ivar ours: their alarms.
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
        @param clock: seconds that never go back.
        @param wallClock: seconds since the epoch.
        @param ends: when our own certificates end: by what they are.
        """
        self.workers: dict[str, Worker] = {}
        self.ends = dict(ends)
        self._clock = clock
        self._wallClock = wallClock
        self._enrolled = enrolled
        self._laggingSeconds = laggingSeconds
        self._started = self._lookedAt = now = clock()
        self._lately, self._day = Steps(LATELY_S, now), Steps(DAY_S, now)
        self.ours = {what: Alarm(0.0) for what in ends}
        self._crowded = False

    def _worker(self, name: str) -> Worker | None:
        """What is kept of a name; C{None}: there are too many."""
        worker = self.workers.get(name)
        if worker is not None:
            return worker
        if len(self.workers) >= WORKERS_MAX:
            if not self._crowded:
                self._crowded = True
                self._log.warn(
                    "more than {most} names: the others are served, not watched",
                    most=WORKERS_MAX,
                    event="limit",
                    reason="watched names",
                )
            return None
        worker = self.workers[name] = Worker(name, self._clock())
        return worker

    def reported(self, name: str, report: Report) -> None:
        """A forwarder has said how it is."""
        worker = self._worker(name)
        if worker is not None:
            worker.report = report
            worker.heard = self._clock()

    def committed(self, name: str, batch: Committed) -> None:
        """Something of a worker's is in the journal."""
        worker = self._worker(name)
        if worker is not None:
            worker.took(batch, self._clock())

    def look(self, present: Mapping[str, Presence]) -> None:
        """Compare what is the case with what was said, and say what is new."""
        now = self._clock()
        wall = self._wallClock()
        self._meet(present, now)
        self._rate(now)
        for worker in self.workers.values():
            for kind, text in self._wrong(worker, now, wall):
                alarm = worker.alarms[kind]
                if alarm.see(text, now):
                    self._say(worker, kind, alarm)
        for what, ends in self.ends.items():
            alarm = self.ours[what]
            if alarm.see(_ending(ends - wall, ends), now) and alarm.raised:
                self._log.warn(
                    "the {certificate} certificate {reason}",
                    event="expiring",
                    certificate=what,
                    reason=alarm.text,
                )

    def _meet(self, present: Mapping[str, Presence], now: float) -> None:
        enrolled = self._enrolled()
        for name in [*enrolled, *present]:
            self._worker(name)
        for name, worker in list(self.workers.items()):
            entry, presence = enrolled.get(name), present.get(name)
            worker.revoked = entry is not None and entry.revoked
            # Without a list, whoever was here is missed.
            worker.expected = not worker.revoked and (entry is not None or not enrolled)
            if presence is not None and presence.expires is not None:
                # What it has in use, not what was made for it last.
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
        if lately or day:
            for worker in self.workers.values():
                if lately:
                    worker.lately.note(worker.lines, lately)
                if day:
                    worker.day.note(worker.lines, day)

    def _wrong(
        self, worker: Worker, now: float, wall: float
    ) -> Iterable[tuple[str, str | None]]:
        """What is wrong with a worker: each alarm's text, or C{None}."""
        yield "silent", self._silent(worker, now)
        # Of who is not expected any more, nothing that it said last is to be mended.
        report = None if worker.revoked else worker.report
        troubles = () if report is None else report.troubles
        for kind in ("stuck", "diverged"):
            text = None
            for trouble in troubles:
                if trouble.kind == kind and text is None:
                    text = f"{showText(trouble.name, 300)}: {showText(trouble.reason, 200)}"
            yield kind, text
        gap = None
        if worker.gapAt is not None and now - worker.gapAt < GAP_S:
            gap = (
                f"{worker.gapOctets} octets in {worker.gaps} gap{'s'[: worker.gaps > 1]} will never"
                f" come, the last for {showText(worker.gapReason)}"
            )
        yield "gap", gap
        yield "lagging", self._lagging(worker, report)
        expiring = None
        if worker.expires is not None and not worker.revoked:
            expiring = _ending(worker.expires - wall, worker.expires)
        yield "expiring", expiring

    def _silent(self, worker: Worker, now: float) -> str | None:
        if not worker.expected:
            return None
        if worker.heard is None:
            known = now - worker.since
            isNew = worker.since - self._started > GRACE_S
            if known < (NEW_S if isNew else GRACE_S):
                return None
            return f"never heard of, for {known:.0f} s that we know of it"
        silence = now - worker.heard
        if silence < SILENT_S:
            return None
        how = "connected, and says nothing" if worker.connections else "not connected"
        return f"not heard of for {silence:.0f} s, {how}"

    def _lagging(self, worker: Worker, report: Report | None) -> str | None:
        if report is None:
            return None
        age = report.behindSeconds
        limit = self._laggingSeconds
        if age < (limit / 2 if worker.alarms["lagging"].raised else limit):
            return None
        return (
            f"its oldest undelivered line is {age:.0f} s old,"
            f" {report.behindOctets} octets are behind"
        )

    def _say(self, worker: Worker, kind: str, alarm: Alarm) -> None:
        facts = {
            "worker": worker.name,
            "address": worker.addresses[0] if worker.addresses else "",
            "kind": kind,
        }
        if alarm.raised:
            self._log.warn(
                "{worker}: {kind}: {reason}; {todo}",
                event=kind,
                reason=alarm.text,
                todo=_TODO[kind],
                **facts,
            )
        else:
            self._log.info(
                "{worker}: no longer {kind}", event=kind, over=True, reason="", **facts
            )


def _ending(seconds: float, ends: float) -> str | None:
    """What to say of a certificate that ends in so long."""
    if seconds >= EXPIRING_S:
        return None
    day = datetime.fromtimestamp(ends, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"ended on {day}" if seconds <= 0 else f"ends on {day}"
