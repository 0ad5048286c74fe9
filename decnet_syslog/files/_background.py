"""Work on many files that is spread over looks, so that no look takes long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from ._follower import FileFollower
from ._open import OpenContent
from ._troubles import Troubles

__all__ = ["Background"]

# Octets that are summed ahead of being read, at a look: a copy of a file that is far behind is
# known by them.
SUMMED_OCTETS = 32 * 1024 * 1024

# Ended contents whose files are looked at again, at a look: somebody may have written to one.
# A fixed number, so that idle costs nothing that grows with rotated files.
RECHECKED = 16


class Background:
    """A share of the work at each look."""

    def __init__(
        self, followers: Mapping[str, FileFollower], troubles: Troubles
    ) -> None:
        self._followers = followers
        self._troubles = troubles
        self._due: list[tuple[FileFollower, str]] = []

    def recheck(self) -> None:
        """See whether somebody has written to a few of the files that were finished."""
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
        """Extend the checksum of contents that are far behind, before their files are gone."""
        room = SUMMED_OCTETS
        for one in opened:
            if room <= 0:
                return
            if one.size > one.content.proof.end and one.position < one.size:
                try:
                    room -= one.extendProof(room)
                except OSError as error:
                    reason = error.strerror or str(error)
                    self._troubles.tellOnce(one.name, reason)
