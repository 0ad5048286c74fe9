"""
The well-behaved worker: writes stamped lines, and checks when they are in master.json.

It runs in its own process, so that an attack on the listener does not delay its clock:

    python -m tests.campaigns.siege.witness LOG JSON

It writes until its standard input ends, then waits for the remaining lines and prints
its observations.
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

# The interval between lines, in seconds.
EVERY_S = 0.01

# The name of the log in the worker's directory.
WAITS = "waits"

# The time limit for the last lines, in seconds.
PATIENCE_S = 60.0


@dataclass
class Seen:
    """
    The fate of the lines.

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
        """Whether every line came once, in order, and under the worker's own name."""
        return self.delivered == self.written and not (
            self.repeated or self.disordered or self.foreign
        )


class Witness:
    """Writes lines and watches the output."""

    def __init__(self, log: Path, output: Path) -> None:
        # One entry per line: the time of writing, and the delay, in seconds.
        self.waits = open(log.with_name(WAITS), "a", buffering=1)  # noqa: SIM115
        self._log = open(log, "ab", buffering=0)  # noqa: SIM115
        self._output = output
        self._at = 0
        self._rest = b""
        self._times: Counter[int] = Counter()
        self._delays: list[float] = []
        self._last = -1
        self.seen = Seen()

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self.waits.close()

    def write(self) -> None:
        """Write a line."""
        line = b"<134>1 2026-04-18T00:00:00Z %s ssh - login - %d %d\n"
        number = self.seen.written
        self._log.write(line % (NAME.encode(), number, time.monotonic_ns()))
        self.seen.written += 1

    def look(self) -> None:
        """Read new records from master.json."""
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
        """Wait for the remaining lines."""
        deadline = time.monotonic() + PATIENCE_S
        while self.seen.delivered < self.seen.written and time.monotonic() < deadline:
            time.sleep(EVERY_S)
            self.look()
        delays = sorted(self._delays) or [float("inf")]
        self.seen.worst, self.seen.median = delays[-1], delays[len(delays) // 2]


def main(log: str, output: str) -> None:
    """Write until standard input ends."""
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
