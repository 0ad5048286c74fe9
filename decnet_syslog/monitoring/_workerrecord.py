"""The facts about one worker for JSON: everything that its page shows."""

from __future__ import annotations

from collections.abc import Iterable

from ._events import Event
from ._factparts import NewestFacts, WorkerFacts, WorkerRecord
from ._facts import ListenerFacts
from ._history import DAY_S, LATELY_S
from ._workerstate import EXCERPT_OCTETS_MAX, WorkerState

__all__ = ["newestRecord", "workerRecord"]


def newestRecord(worker: WorkerState, hidden: bool) -> NewestFacts | None:
    """
    The beginning of a worker's newest line, unescaped, with its provenance. An octet that is not
    UTF-8 becomes C{\\xNN}.

    @return: C{None}: there is none, or lines are hidden.
    """
    who = worker.newestFrom
    if hidden or who is None:
        return None
    octets = worker.newest.removesuffix(b"\n")[:EXCERPT_OCTETS_MAX]
    return {
        "text": octets.decode("utf-8", "backslashreplace"),
        "time": who.receivedAt,
        "address": who.address,
        "file": who.log,
    }


def workerRecord(
    status: ListenerFacts,
    fact: WorkerFacts,
    worker: WorkerState,
    recent: Iterable[Event],
) -> dict[str, str | WorkerRecord]:
    """
    Everything about a worker.

    @param fact: the part of C{/status.json} about it; C{status}: all of that.
    @param recent: its events, the newest first.
    """
    return {
        "role": status["role"],
        "version": status["version"],
        "time": status["time"],
        "worker": {
            **fact,
            "lines_per_second_lately": worker.lately.asRecord(LATELY_S),
            "lines_per_second_day": worker.day.asRecord(DAY_S),
            "sent": [
                {
                    "stream": stream,
                    "generation": generation,
                    "file": sent.name,
                    "position": sent.end,
                    "time": sent.at,
                }
                for (stream, generation), sent in reversed(worker.streams.items())
            ],
            "last_gaps": [
                {
                    "file": gap.name,
                    "start": gap.start,
                    "end": gap.end,
                    "reason": gap.reason,
                    "time": gap.at,
                }
                for gap in reversed(worker.lastGaps)
            ],
            "events": [event.asRecord() for event in recent],
        },
    }
