"""A worker in the listener's status: connections, delivery, lag, alarms."""

from __future__ import annotations

from ..monitoring import PROBLEMS, WorkerFacts, WorkerState, newestRecord, severityOf
from ..receiving import HELD_REASONS, ListenerFactory

__all__ = ["workerFacts"]

# The status shows only this many files of a worker, the ones that are furthest behind.
STREAMS_SHOWN = 8


def workerFacts(
    worker: WorkerState,
    factory: ListenerFactory,
    now: float,
    wall: float,
    hideLines: bool,
) -> WorkerFacts:
    """
    The state of a worker, as the JSON document has it.

    @param now: the monotonic time.
    @param wall: the time of day.
    @param hideLines: whether the worker's lines are left out.
    """
    report = worker.report
    expired = worker.expires is not None and worker.expires <= wall
    lag = worker.lag(now)
    held = factory.holding.seconds
    return {
        "name": worker.name,
        "state": worker.state,
        "expected": worker.expected,
        "revoked": worker.revoked,
        "connections": worker.connections,
        "addresses": list(worker.addresses),
        "silence": None if worker.heard is None else now - worker.heard,
        "lines": worker.lines,
        "octets": worker.octets,
        "lines_per_second": round(worker.lineRate, 3),
        "octets_per_second": round(worker.octetRate, 3),
        "gaps": worker.gaps,
        "gap_octets": worker.gapOctets,
        "empty_frames": factory.emptyFrames.get(worker.name, 0),
        "expires": worker.expires,
        "newest": newestRecord(worker, hideLines),
        "files": None if report is None else report.files,
        "behind_octets": None if lag is None else lag.octets,
        "behind_seconds": None if lag is None else round(lag.seconds, 3),
        "report_seconds": None
        if report is None
        else round(max(0.0, now - worker.reportedAt), 3),
        "throttled": None
        if worker.held is None
        else {"reason": worker.held[0], "text": worker.held[1]},
        "throttled_seconds": {
            reason: round(held[worker.name, reason], 3) for reason in HELD_REASONS
        },
        "streams": []
        if report is None
        else [
            {
                "stream": state.stream,
                "generation": state.generation,
                # What is committed can be more than the worker knew of when it reported.
                "size": max(state.size, position),
                "position": position,
                "behind_seconds": round(
                    age + now - worker.reportedAt if age else 0.0, 3
                ),
            }
            for state, position, age in worker.positions()[:STREAMS_SHOWN]
        ],
        "alarms": {
            kind: {
                "severity": severityOf(kind, expired and kind == "expiring"),
                "text": alarm.text,
                "remedy": PROBLEMS[kind].remedy,
                "seconds": now - (alarm.since or now),
            }
            for kind, alarm in worker.alarms.items()
            if alarm.raised
        },
    }
