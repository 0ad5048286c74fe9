"""Work on many files, divided among the looks so that no look takes long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from ._follower import FileFollower
from ._open import OpenContent
from ._troubles import Troubles

__all__ = ["Background"]

# Maximum number of octets that one look sums ahead of reading. The sum identifies a copy of a
# file that the forwarder is far behind in reading.
SUMMED_OCTETS = 32 * 1024 * 1024

# The same for the first look, before anything is sent: a master that accepts lines reads the rest
# sooner than the next look.
SUMMED_FIRST_OCTETS = 4 * 1024 * 1024

# Ended contents whose files one look checks again for late writes. A fixed number, so that the
# cost of an idle forwarder does not grow with the number of rotated files.
RECHECKED = 16


class Background:
    """Does a share of the work at each look."""

    def __init__(
        self, followers: Mapping[str, FileFollower], troubles: Troubles
    ) -> None:
        self._followers = followers
        self._troubles = troubles
        self._summed = SUMMED_FIRST_OCTETS
        self._due: list[tuple[FileFollower, str]] = []

    def recheck(self) -> None:
        """Check a few of the finished files for late writes."""
        if not self._due:
            self._due = [
                (follower, path)
                for follower in self._followers.values()
                for path in follower.quietPaths()
            ]
        for follower, path in self._due[-RECHECKED:]:
            self._troubles.isolated(follower.path, partial(follower.recheck, path))
        del self._due[-RECHECKED:]

    def sum(self, opened: Iterable[OpenContent]) -> None:
        """Extend the checksums of contents that are far behind, while their files exist."""
        room, self._summed = self._summed, SUMMED_OCTETS
        for one in opened:
            if room <= 0:
                return
            if one.size > one.content.proof.end and one.position < one.size:
                try:
                    room -= one.extendProof(room)
                except OSError as error:
                    reason = error.strerror or str(error)
                    self._troubles.tellOnce(one.name, reason)
