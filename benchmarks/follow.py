"""Follow a growing file, and record when each line arrived."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Follower", "percentile"]

_STAMP = re.compile(rb" at=([0-9]{20}) by=([0-9]{6})\n")


def percentile(values: Sequence[float], share: float) -> float:
    """
    The value that a given share of all values does not exceed.

    @param share: from 0 to 1.
    """
    every = sorted(values)
    return every[min(len(every) - 1, int(share * len(every)))]


class Follower:
    """
    Reads new lines each time it is polled.

    @ivar lines: the number of lines read up to now.
    @ivar delays: of stamped lines, by the number of the worker, in seconds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = b""
        self.lines = 0
        self.delays: defaultdict[int, list[float]] = defaultdict(list)

    def look(self) -> bytes:
        """Return the new complete lines."""
        try:
            with open(self._path, "rb", buffering=0) as file:
                file.seek(self._at)
                octets = file.read()
        except FileNotFoundError:
            return b""
        if not octets:
            return b""
        self._at += len(octets)
        whole, feed, self._rest = (self._rest + octets).rpartition(b"\n")
        self.lines += whole.count(b"\n") + len(feed)
        return whole + feed

    def lookAtStamps(self) -> None:
        """Record the delays of the new lines."""
        octets = self.look()
        now = time.monotonic_ns()
        for at, by in _STAMP.findall(octets):
            self.delays[int(by)].append((now - int(at)) / 1e9)
