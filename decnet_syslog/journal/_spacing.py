"""
The time between commits.

A single line is committed at once, and a flood costs one sync for megabytes. Without spacing, a
fleet that sends a trickle would cause a commit for every few lines, each with its pages, its sync
and a turn of every output.
"""

from __future__ import annotations

__all__ = ["SPACED_OCTETS_MAX", "SPACING_S", "CommitSpacing"]

# The average time between the beginnings of two commits, in seconds, unless
# SPACED_OCTETS_MAX octets wait. A line may wait that long for others: a tenth of the delay
# that a human notices. After a quiet time, SPACINGS_SAVED commits may begin early, so that a
# steady line per interval does not wait because it came a little early. After a commit with
# CROWD_DEPOSITS deposits the interval is CROWD_SPACINGS times as long: the next lines come at once
# there, and the interval decides how many deposits share a commit.
SPACING_S = 0.01
SPACINGS_SAVED = 3
CROWD_SPACINGS = 1.5
CROWD_DEPOSITS = 32
SPACED_OCTETS_MAX = 1024 * 1024


class CommitSpacing:
    """
    When the next commit may begin.

    @ivar due: that time; any time before now if it may begin at once.
    """

    def __init__(self, spacing: float) -> None:
        """
        @param spacing: the average time between two commits, in seconds.
        """
        self.due = float("-inf")
        self._spacing = spacing

    def begun(self, now: float, deposits: int) -> None:
        """A commit of some deposits begins."""
        isCrowd = deposits >= CROWD_DEPOSITS
        saved = 0 if isCrowd else SPACINGS_SAVED * self._spacing
        spacing = self._spacing * (CROWD_SPACINGS if isCrowd else 1)
        self.due = min(max(self.due, now - saved), now) + spacing
