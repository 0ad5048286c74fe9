"""Counts of what one forwarder delivered since it started, for metrics."""

from __future__ import annotations

from collections import Counter

__all__ = ["LIMITS", "NOT_LIMITED", "Counts"]

# The reasons for which a listener holds a worker back, as L{LIMIT} has them. A later release may
# have others.
LIMITS = ("none", "rate", "memory", "journal", "output", "other")
NOT_LIMITED = ("none", "-")

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
    @ivar limit: why the master holds this worker back: a word and a text; the word C{none}: it
        does not.
    """

    def __init__(self) -> None:
        self.acknowledgements = 0
        self.octets = 0
        self.gaps: Counter[str] = Counter()
        self.gapOctets: Counter[str] = Counter()
        self.diverged: dict[str, float] = {}
        self.limit = NOT_LIMITED
        self._limitedSince = 0.0
        self._limitedSeconds = dict.fromkeys(LIMITS, 0.0)

    def acknowledged(self, octets: int) -> None:
        """The master acknowledged this many more octets."""
        self.acknowledgements += 1
        self.octets += octets

    def skipped(self, octets: int, reason: str) -> None:
        """A gap was reported."""
        self.gaps[reason] += 1
        self.gapOctets[reason] += octets

    def limited(self, reason: str, text: str, now: float) -> None:
        """
        The master holds this worker back, or no more.

        @param reason: C{none}: no more.
        """
        if reason not in LIMITS:
            reason = "other"
        before, _ = self.limit
        if before != "none":
            self._limitedSeconds[before] += now - self._limitedSince
        self.limit, self._limitedSince = (reason, text), now

    def limitedSeconds(self, now: float) -> dict[str, float]:
        """For each reason, how long the master has held this worker back, in seconds."""
        seconds: dict[str, float] = {
            why: self._limitedSeconds[why] for why in LIMITS if why != "none"
        }
        reason, _ = self.limit
        if reason != "none":
            seconds[reason] += now - self._limitedSince
        return seconds

    def divergedFrom(self, name: str, now: float) -> None:
        """The master holds another content for this file."""
        while len(self.diverged) >= DIVERGED_MAX:
            del self.diverged[next(iter(self.diverged))]
        self.diverged[name] = now
