"""Counts of what one forwarder delivered since it started, for metrics."""

from __future__ import annotations

from collections import Counter

__all__ = ["Counts"]

# Files whose divergence is remembered: at least as many as a report can name.
DIVERGED_MAX = 64


class Counts:
    """
    Counters that change once for a chunk or an acknowledgement, never for a line.

    @ivar acknowledgements: received from the master; with a plain receiver: arrived rounds.
    @ivar octets: octets of files that were acknowledged since the start.
    @ivar gaps: octet ranges that were given up, by reason. A range that is reported again on
        another connection counts again.
    @ivar gapOctets: the octets in the given-up ranges, by reason.
    @ivar diverged: for the name of each file found to differ from the master's content, the time
        of the discovery on the clock.
    """

    def __init__(self) -> None:
        self.acknowledgements = 0
        self.octets = 0
        self.gaps: Counter[str] = Counter()
        self.gapOctets: Counter[str] = Counter()
        self.diverged: dict[str, float] = {}

    def acknowledged(self, octets: int) -> None:
        """The master acknowledged this many more octets."""
        self.acknowledgements += 1
        self.octets += octets

    def skipped(self, octets: int, reason: str) -> None:
        """A gap was reported."""
        self.gaps[reason] += 1
        self.gapOctets[reason] += octets

    def divergedFrom(self, name: str, now: float) -> None:
        """The master holds another content for this file."""
        while len(self.diverged) >= DIVERGED_MAX:
            del self.diverged[next(iter(self.diverged))]
        self.diverged[name] = now
