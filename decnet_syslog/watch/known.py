"""What is known of one worker, as the fleet has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..wire.record import Provenance
from ..wire.report import Report
from .alarm import Alarm
from .history import DAY_STEPS, LATELY_STEPS, History

__all__ = [
    "ADDRESSES_MAX",
    "ALARMS",
    "EXCERPT_OCTETS_MAX",
    "Committed",
    "Gap",
    "Presence",
    "Stream",
    "Worker",
]

# How long a thing must be good again to be over.
EASE_S = 10.0

# Addresses of one name that are shown.
ADDRESSES_MAX = 4

# Of the newest line. It is to be recognized, not to be read.
EXCERPT_OCTETS_MAX = 200

# Of a file's name, in characters. A path has at most 4096, and most have less than this.
NAME_CHARACTERS_MAX = 200

# Files of one name that sent last, and its last gaps.
STREAMS_KEPT = 8
GAPS_KEPT = 8

# What can be wrong with a worker, in the order of how much it matters.
ALARMS: Mapping[str, float] = {
    "silent": EASE_S,
    "stuck": EASE_S,
    "diverged": EASE_S,
    "gap": 0.0,
    "lagging": EASE_S,
    "expiring": 0.0,
}


class Committed(Protocol):
    """What is known of a committed deposit."""

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


class Stream(NamedTuple):
    """
    A file that has sent.

    @ivar name: as the worker calls it; hostile text.
    @ivar end: what of it is committed.
    @ivar at: when the last of it came, RFC 3339.
    """

    name: str
    end: int
    at: str


class Gap(NamedTuple):
    """
    Octets that will never come.

    @ivar name: of the file; hostile text, as C{reason} is.
    @ivar at: when that was told, RFC 3339.
    """

    name: str
    start: int
    end: int
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Presence:
    """
    The connections of a name, as they are now.

    @ivar heard: when the last octet came, or now if that says nothing.
    @ivar expires: the first end of the certificates in use.
    """

    connections: int
    addresses: tuple[str, ...]
    heard: float
    expires: float | None = None


@dataclass
class Worker:
    """
    One name.

    @ivar since: when it was first known of, on the clock.
    @ivar expected: whether it is missed when it is not there.
    @ivar revoked: no certificate of this name is accepted.
    @ivar heard: when it was last heard, on the clock; C{None}: never since the start.
    @ivar lineRate: lines a second, of late; C{octetRate} likewise.
    @ivar newest: the beginning of the newest line, one octet more than is shown of it.
    @ivar newestFrom: where that came from; C{None}: there is none.
    @ivar streams: the files that sent last, by stream and generation, the last one last.
    @ivar lately: lines a second in the last half hour; C{day} in the last day.
    """

    name: str
    since: float = 0.0
    expected: bool = False
    revoked: bool = False
    expires: float | None = None
    connections: int = 0
    addresses: tuple[str, ...] = ()
    heard: float | None = None
    report: Report | None = None
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
    streams: dict[tuple[str, int], Stream] = field(default_factory=dict)
    lastGaps: list[Gap] = field(default_factory=list)
    lately: History = field(default_factory=lambda: History(LATELY_STEPS))
    day: History = field(default_factory=lambda: History(DAY_STEPS))
    alarms: dict[str, Alarm] = field(
        default_factory=lambda: {kind: Alarm(ease) for kind, ease in ALARMS.items()}
    )
    _weighed: tuple[int, int] = (0, 0)

    def took(self, batch: Committed, now: float) -> None:
        """
        Something of it is in the journal.

        Also of who came and went between two looks. A few numbers and one excerpt for each
        batch; what it holds is not gone through.
        """
        self.heard = now
        who = batch.provenance
        name = "" if who.log is None else who.log[:NAME_CHARACTERS_MAX]
        if batch.reason is None:
            self.lines += batch.lines
            self.octets += len(batch.octets)
            self.newest = _newest(batch)
            self.newestFrom = who
        else:
            self.gaps += 1
            self.gapOctets += batch.end - batch.start
            self.gapReason = batch.reason
            self.gapAt = now
            self.lastGaps.append(
                Gap(name, batch.start, batch.end, batch.reason, who.receivedAt)
            )
            del self.lastGaps[:-GAPS_KEPT]
        if batch.stream is not None:
            key = batch.stream, batch.generation
            streams = self.streams
            streams.pop(key, None)
            streams[key] = Stream(name, batch.end, who.receivedAt)
            if len(streams) > STREAMS_KEPT:
                del streams[next(iter(streams))]

    def weigh(self, passed: float, share: float) -> None:
        """Let what came in the seconds that passed have a share in the rates."""
        lines, octets = self._weighed
        self._weighed = self.lines, self.octets
        self.lineRate += share * ((self.lines - lines) / passed - self.lineRate)
        self.octetRate += share * ((self.octets - octets) / passed - self.octetRate)

    @property
    def state(self) -> str:
        """In one word: the first of its alarms, or how it is otherwise."""
        if self.revoked:
            return "revoked"
        for kind, alarm in self.alarms.items():
            if alarm.raised:
                return kind
        if self.connections:
            return "ok"
        return "absent" if self.heard is None else "gone"


def _newest(batch: Committed) -> bytes:
    """The beginning of a batch's last line: of its own, not a view that keeps the batch."""
    octets = batch.octets
    if batch.lengths is None:
        start = octets.rfind(b"\n", 0, -1) + 1
    else:
        start = len(octets) - batch.lengths[-1]
    return octets[start : start + EXCERPT_OCTETS_MAX + 1]
