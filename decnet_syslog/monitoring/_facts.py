"""
The shapes of the status: one for each program.

docs/reference.rst explains each member. A member with C{None} is not known yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeVar

from ._factparts import (
    CertificateFacts,
    CurveFacts,
    DurationsFacts,
    EventsFacts,
    FileFacts,
    FoundFacts,
    OutputFacts,
    ProblemFacts,
    ThrottledFacts,
    WorkerFacts,
)

__all__ = [
    "AnyFacts",
    "ForwarderFacts",
    "ListenerFacts",
    "OutputsFacts",
    "ProgramFacts",
    "TlsFacts",
    "WritingFacts",
]


class _WatchedFacts(TypedDict, total=False):
    """What the watching service adds."""

    events: EventsFacts


class ProgramFacts(_WatchedFacts):
    """Every program's part of its status."""

    role: str
    version: str
    hot_path: str
    host: str
    time: str
    build: Mapping[str, str]
    started: str
    uptime: float
    ok: bool


class TlsFacts(ProgramFacts):
    """The part of both ends of TLS."""

    certificates: list[CertificateFacts]


class WritingFacts(ProgramFacts):
    """The part of a program that writes outputs."""

    outputs: Sequence[OutputFacts]


class _JournalFacts(TypedDict):
    octets: int
    kept_octets: int
    octets_max: int
    full: bool
    waiting_octets: int
    position: int


class ListenerFacts(TlsFacts, WritingFacts):
    """The status of a listener."""

    problems: list[ProblemFacts]
    workers: list[WorkerFacts]
    states: Mapping[str, int]
    connected_workers: int
    connections: int
    handshakes: int
    commits: DurationsFacts
    acknowledgements: int
    lines: int
    lines_per_second_lately: CurveFacts
    lines_per_second_day: CurveFacts
    journal: _JournalFacts


class _MasterFacts(TypedDict):
    host: str
    port: int
    all: list[str]
    connected: bool
    acknowledges: bool
    ends: Mapping[str, int]
    refusals: Mapping[str, int]


class _TroubleFacts(TypedDict):
    kind: str
    name: str
    reason: str


class ForwarderFacts(TlsFacts):
    """The status of a forwarder."""

    problems: list[FoundFacts]
    master: _MasterFacts
    followed: int
    files: list[FileFacts]
    troubles: list[_TroubleFacts]
    behind_octets: int
    behind_seconds: float
    throttled: ThrottledFacts | None
    throttled_seconds: Mapping[str, float]
    in_flight_octets: int
    acknowledgements: int
    octets: int
    gaps: Mapping[str, int]
    gap_octets: Mapping[str, int]


class _SharedJournalFacts(TypedDict):
    name: str
    octets: int
    octets_max: int
    position: int
    silence: float


class OutputsFacts(WritingFacts):
    """The status of the process that writes the outputs of a shared journal."""

    problems: list[FoundFacts]
    writing: bool
    holder: str | None
    journal: _SharedJournalFacts


AnyFacts = TypeVar("AnyFacts", bound=ProgramFacts)
