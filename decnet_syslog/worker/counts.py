"""Counts of what one forwarder has delivered since it started, for metrics."""

from __future__ import annotations

from collections import Counter

__all__ = ["Counts"]

# Files whose divergence is remembered: as many as a report can name, and more.
DIVERGED_MAX = 64


class Counts:
    """
    Counts, changed once a piece or an acknowledgement, never for a line.

    @ivar acknowledgements: heard from the master; of a plain one, rounds that arrived.
    @ivar octets: of files, acknowledged since the start.
    @ivar gaps: octet ranges that were given up, by reason. A range that is told again on
        another connection counts again.
    @ivar gapOctets: of these.
    @ivar diverged: when a file was found to differ from what the master holds, on the
        clock, by its name.
    """

    def __init__(self) -> None:
        self.acknowledgements = 0
        self.octets = 0
        self.gaps: Counter[str] = Counter()
        self.gapOctets: Counter[str] = Counter()
        self.diverged: dict[str, float] = {}

    def acknowledged(self, octets: int) -> None:
        """The master has so many more."""
        self.acknowledgements += 1
        self.octets += octets

    def skipped(self, octets: int, reason: str) -> None:
        """A gap was told."""
        self.gaps[reason] += 1
        self.gapOctets[reason] += octets

    def divergedFrom(self, name: str, now: float) -> None:
        """The master holds another content of a file."""
        while len(self.diverged) >= DIVERGED_MAX:
            del self.diverged[next(iter(self.diverged))]
        self.diverged[name] = now
