"""
The well-behaved worker: writes stamped lines, and looks when they are in master.json.

A process of its own, so that what attacks the listener does not delay the clock:

    python -m tests.siege.witness LOG JSON

It writes until its standard input ends, then waits for the rest and prints what it saw.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Seen"]

NAME = "good"

# A line each so many seconds.
EVERY_S = 0.01

# The file beside its log.
WAITS = "waits"

# How long the last lines may take, in seconds.
PATIENCE_S = 60.0


@dataclass
class Seen:
    """
    What became of the lines.

    @ivar worst: the longest time from a line's append to its record, in seconds.
    """

    written: int = 0
    delivered: int = 0
    repeated: int = 0
    disordered: int = 0
    foreign: int = 0
    worst: float = 0.0
    median: float = 0.0

    @property
    def good(self) -> bool:
        """Whether all came once, in order, and as ours."""
        return self.delivered == self.written and not (
            self.repeated or self.disordered or self.foreign
        )


class Witness:
    """Write and look."""

    def __init__(self, log: Path, output: Path) -> None:
        # A line for each of its lines: when it was written, and how long it took, in seconds.
        self.waits = open(log.with_name(WAITS), "a", buffering=1)  # noqa: SIM115
        self._log = open(log, "ab", buffering=0)  # noqa: SIM115
        self._output = output
        self._at = 0
        self._rest = b""
        self._times: Counter[int] = Counter()
        self._delays: list[float] = []
        self._last = -1
        self.seen = Seen()

    def write(self) -> None:
        """A line."""
        line = b"<134>1 2026-04-18T00:00:00Z %s ssh - login - %d %d\n"
        number = self.seen.written
        self._log.write(line % (NAME.encode(), number, time.monotonic_ns()))
        self.seen.written += 1

    def look(self) -> None:
        """What is new in master.json."""
        if not self._output.exists():
            return
        with open(self._output, "rb") as file:
            file.seek(self._at)
            octets = file.read()
        self._at += len(octets)
        *lines, self._rest = (self._rest + octets).split(b"\n")
        now = time.monotonic_ns()
        wanted = f'"source_worker": "{NAME}"'.encode()
        for line in lines:
            if wanted in line:
                self._take(json.loads(line), now)

    def _take(self, record: dict[str, str], now: int) -> None:
        if record["source_worker"] != NAME:
            return
        words = record["raw_line"].split(" ")
        if words[2] != NAME or len(words) != 9:
            self.seen.foreign += 1
            return
        number = int(words[7])
        self._times[number] += 1
        if self._times[number] > 1:
            self.seen.repeated += 1
            return
        self.seen.disordered += number != self._last + 1
        self._last = number
        self.seen.delivered += 1
        wait = (now - int(words[8])) / 1e9
        self._delays.append(wait)
        self.waits.write(f"{int(words[8]) / 1e9:.6f} {wait:.6f}\n")

    def finish(self) -> None:
        """Wait for what was written."""
        deadline = time.monotonic() + PATIENCE_S
        while self.seen.delivered < self.seen.written and time.monotonic() < deadline:
            time.sleep(EVERY_S)
            self.look()
        delays = sorted(self._delays) or [float("inf")]
        self.seen.worst, self.seen.median = delays[-1], delays[len(delays) // 2]


def main(log: str, output: str) -> None:
    """Write until told to stop."""
    witness = Witness(Path(log), Path(output))
    due = time.monotonic()
    while True:
        ended, _, _ = select.select([sys.stdin], [], [], max(0, due - time.monotonic()))
        if ended:
            break
        witness.write()
        witness.look()
        due = max(due + EVERY_S, time.monotonic())
    witness.finish()
    print(json.dumps(asdict(witness.seen)))


if __name__ == "__main__":
    main(*sys.argv[1:])
