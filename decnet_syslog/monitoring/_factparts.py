"""
The shapes of the status: problems, certificates, outputs, workers and other parts.

docs/reference.rst explains each member. A member with C{None} is not known yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict

__all__ = [
    "AlarmFacts",
    "CertificateFacts",
    "CurveFacts",
    "DurationsFacts",
    "EventFacts",
    "EventsFacts",
    "FileFacts",
    "FoundFacts",
    "GapFacts",
    "NewestFacts",
    "OutputFacts",
    "ProblemFacts",
    "SentFacts",
    "StreamFacts",
    "ThrottledFacts",
    "WorkerFacts",
    "WorkerRecord",
    "Writer",
    "outputFacts",
]


class FoundFacts(TypedDict):
    """A problem that a forwarder or the outputs process reports about itself."""

    kind: str
    what: str
    text: str
    seconds: float


class ProblemFacts(FoundFacts):
    """A problem that a listener reports."""

    severity: str
    remedy: str


class AlarmFacts(TypedDict):
    """A problem of the worker that it belongs to, by its kind."""

    severity: str
    text: str
    remedy: str
    seconds: float


class CertificateFacts(TypedDict):
    """When a certificate expires, in seconds since the epoch."""

    role: str
    name: str
    expires: float


class CurveFacts(TypedDict):
    """Means per second, the oldest first; a step has this many seconds."""

    step: float
    values: list[float]


class DurationsFacts(TypedDict):
    """A histogram: for each upper bound the number of durations up to it."""

    count: int
    seconds: float
    buckets: list[tuple[str, int]]


class EventFacts(TypedDict):
    """An event. See L{decnet_syslog.monitoring._events.Event}."""

    time: str
    kind: str
    text: str
    worker: str
    address: str
    stream: str
    reason: str
    over: bool


class EventsFacts(TypedDict):
    """The events that an operator needs to know about, by kind, and the newest ones."""

    counts: Mapping[str, int]
    refusals: Mapping[str, int]
    recent: list[EventFacts]


class OutputFacts(TypedDict):
    """An output, and the last batch that it has."""

    name: str
    path: str
    position: int
    blocked: str | None


class ThrottledFacts(TypedDict):
    """Why a worker is held back: a word, and a text for people."""

    reason: str
    text: str


class StreamFacts(TypedDict):
    """What is delivered of a content of a file."""

    stream: str
    generation: int
    size: int
    position: int
    behind_seconds: float


class FileFacts(StreamFacts):
    """The same with the name of the file."""

    name: str


class NewestFacts(TypedDict):
    """The beginning of a worker's newest line, and where it came from."""

    text: str
    time: str
    address: str
    file: str | None


class WorkerFacts(TypedDict):
    """A worker, as a listener sees it."""

    name: str
    state: str
    expected: bool
    revoked: bool
    connections: int
    addresses: list[str]
    silence: float | None
    lines: int
    octets: int
    lines_per_second: float
    octets_per_second: float
    gaps: int
    gap_octets: int
    empty_frames: int
    expires: float | None
    newest: NewestFacts | None
    files: int | None
    behind_octets: int | None
    behind_seconds: float | None
    report_seconds: float | None
    throttled: ThrottledFacts | None
    throttled_seconds: Mapping[str, float]
    streams: Sequence[StreamFacts]
    alarms: Mapping[str, AlarmFacts]


class SentFacts(TypedDict):
    """The end of the octets that came from a content of a file."""

    stream: str
    generation: int
    file: str | None
    position: int
    time: str


class GapFacts(TypedDict):
    """Octets of a file that will never arrive."""

    file: str | None
    start: int
    end: int
    reason: str
    time: str


class WorkerRecord(WorkerFacts):
    """A worker with everything that its page shows."""

    lines_per_second_lately: CurveFacts
    lines_per_second_day: CurveFacts
    sent: list[SentFacts]
    last_gaps: list[GapFacts]
    events: list[EventFacts]


class _Output(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...


class Writer(Protocol):
    """Writes an output, or says why it cannot."""

    @property
    def output(self) -> _Output: ...

    @property
    def blocked(self) -> str | None: ...


def outputFacts(writer: Writer, position: int) -> OutputFacts:
    """
    The state of an output.

    @param position: the number of the newest batch that it has.
    """
    return {
        "name": writer.output.name,
        "path": writer.output.path,
        "position": position,
        "blocked": writer.blocked,
    }
