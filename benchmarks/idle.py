"""
Measure a forwarder that follows 1,000 of the 10,000 files of a directory: its CPU time
while no line is written, and the time for a burst of 3,000 rotated files::

    python -m benchmarks.idle
    python -m benchmarks.idle --files 2000 --followed 200

A third of the other files are rotated copies of the followed ones, half of them
compressed; the rest are unrelated. In a burst every log is rotated three times within
moments, with a new line each time,

* while the forwarder runs: the time counts from the last rotation;
* while the forwarder is stopped: the time counts from its start.

A burst is complete when master.log has every line. Percentages are the forwarder's
share of one core.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decnet_syslog.testing import LocalCluster, LocalWorker

from .processes import usage
from .report import runProgram, save, scratch, table

__all__ = ["Result", "describe", "measure"]

# The goals.
IDLE_PERCENT_MAX = 5.0
BURST_S_MAX = 10.0

ROTATIONS = 3

# Give up on a step after this time, in seconds.
PATIENCE_S = 300.0

# The time over which idle CPU is measured, and the pause before it, in seconds.
IDLE_S = 20.0
SETTLE_S = 5.0


@dataclass(frozen=True)
class Result:
    """
    The figures: CPU in percent of a core, times in seconds.

    @ivar start_s: time from the first start until all followed files are delivered.
    @ivar idle: CPU while no line is written.
    @ivar burst_s: time from the last rotation until all lines are delivered.
    @ivar burst_cpu_s: the forwarder's CPU time in that time.
    @ivar after: CPU after the burst.
    @ivar missed_s: time from a start after such a burst until all lines are delivered.
    @ivar missedAfter: CPU after that.
    @ivar lost: lines that never arrived; C{repeated}: lines that arrived again.
    """

    start_s: float
    idle: float
    burst_s: float
    burst_cpu_s: float
    after: float
    missed_s: float
    missedAfter: float
    lost: int
    repeated: int

    @property
    def holds(self) -> bool:
        """Whether the goals are reached."""
        idle = max(self.idle, self.after, self.missedAfter)
        burst = max(self.burst_s, self.missed_s)
        return (
            not (self.lost or self.repeated)
            and idle < IDLE_PERCENT_MAX
            and burst <= BURST_S_MAX
        )


class _Logs:
    """The directory: logs with numbered lines, which are rotated by name."""

    def __init__(self, home: Path, files: int, followed: int) -> None:
        self.home = home
        self.lines: list[bytes] = []
        home.mkdir()
        self.logs = [home / f"live-{number:04d}.log" for number in range(followed)]
        rotated = (files - followed) // 3
        for number in range(rotated):
            log = self.logs[number % followed]
            path = log.with_name(f"{log.name}.{40 + number // followed}")
            old = b"<134>1 - h app - - - old %d\n" % number
            if number % 2:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(old))
            else:
                path.write_bytes(old)
            self.lines.append(old)
        for number in range(files - followed - rotated):
            (home / f"foreign-{number:05d}.txt").write_bytes(b"not a log\n")
        for log in self.logs:
            self.append(log)

    def append(self, log: Path) -> None:
        """Write a line."""
        line = b"<134>1 - h app - - - line %d\n" % len(self.lines)
        with open(log, "ab", buffering=0) as file:
            file.write(line)
        self.lines.append(line)

    def rotate(self) -> None:
        """Rotate every log; each new one has a line."""
        for log in self.logs:
            for number in range(2 * ROTATIONS, 0, -1):
                path = log.with_name(f"{log.name}.{number}")
                if path.exists():
                    path.rename(log.with_name(f"{log.name}.{number + 1}"))
            log.rename(log.with_name(f"{log.name}.1"))
            self.append(log)


class _Run:
    """A master and a worker with such a directory."""

    def __init__(
        self, directory: Path, files: int, followed: int, idleS: float
    ) -> None:
        self.pair = LocalCluster(directory)
        self.logs = _Logs(directory / "logs", files, followed)
        self.idleS = idleS
        self.worker: LocalWorker = self.pair.enroll(
            "w1", [f"--log-file={self.logs.home}/live-*.log"]
        )
        forwarder = self.worker.forwarder
        own = f"--log-file={self.worker.file}"
        forwarder.arguments = [a for a in forwarder.arguments if a != own]

    @property
    def arrived(self) -> Counter[bytes]:
        """The lines in master.log."""
        path = self.pair.logPath
        octets = path.read_bytes() if path.exists() else b""
        return Counter(octets.splitlines(keepends=True))

    def wait(self, lines: Sequence[bytes]) -> float:
        """Wait for a number of lines. Returns the time it took, in seconds."""
        since = time.monotonic()
        left = set(lines)
        while left and time.monotonic() < since + PATIENCE_S:
            time.sleep(0.1)
            left -= self.arrived.keys()
        return time.monotonic() - since

    def cpu(self, seconds: float) -> float:
        """The forwarder's share of a core over some seconds, in percent."""
        before = usage(self.worker.forwarder.pid).cpu_s
        time.sleep(seconds)
        return (usage(self.worker.forwarder.pid).cpu_s - before) / seconds * 100

    def measure(self) -> Result:
        """Take every measurement, one after another."""
        forwarder = self.worker.forwarder
        self.pair.startListener()
        forwarder.start()
        start = self.wait(self.logs.lines[-len(self.logs.logs) :])
        time.sleep(SETTLE_S)
        idle = self.cpu(self.idleS)
        at, before = len(self.logs.lines), usage(forwarder.pid).cpu_s
        for _ in range(ROTATIONS):
            self.logs.rotate()
        burst = self.wait(self.logs.lines[at:])
        burstCPU = usage(forwarder.pid).cpu_s - before
        time.sleep(SETTLE_S)
        after = self.cpu(self.idleS)
        forwarder.stop()
        at = len(self.logs.lines)
        for _ in range(ROTATIONS):
            self.logs.rotate()
        forwarder.start()
        missed = self.wait(self.logs.lines[at:])
        time.sleep(SETTLE_S)
        missedAfter = self.cpu(self.idleS)
        forwarder.stop()
        self.pair.listener.stop()
        came = self.arrived
        expected = Counter(self.logs.lines)
        old = {line for line in self.logs.lines if b" old " in line}
        # The forwarder need not deliver files rotated before its first start.
        lost = sum(n for line, n in (expected - came).items() if line not in old)
        return Result(
            *(start, idle, burst, burstCPU, after, missed, missedAfter, lost),
            (came - expected).total(),
        )


def measure(files: int, followed: int, idleS: float = IDLE_S) -> Result:
    """Measure in a temporary directory."""
    with scratch("idle") as directory:
        run = _Run(directory, files, followed, idleS)
        try:
            return run.measure()
        finally:
            run.pair.stop()


def describe(results: dict[str, Any]) -> str:
    """The table, with the goals."""
    burst = ROTATIONS * results["followed"]
    percent, seconds = f"{IDLE_PERCENT_MAX:.0f}", f"{BURST_S_MAX:.0f}"
    return table(
        (
            f"{results['files']:,} files, {results['followed']:,} followed",
            "",
            "at most",
        ),
        (
            ("idle, % of a core", f"{results['idle']:.1f}", percent),
            (f"{burst:,} rotated, s", f"{results['burst_s']:.1f}", seconds),
            ("its CPU time, s", f"{results['burst_cpu_s']:.1f}", ""),
            ("idle after it, %", f"{results['after']:.1f}", percent),
            (
                f"{burst:,} rotated while stopped, s",
                f"{results['missed_s']:.1f}",
                seconds,
            ),
            ("idle after it, %", f"{results['missedAfter']:.1f}", percent),
            ("first start, s", f"{results['start_s']:.1f}", ""),
            ("lines lost", str(results["lost"]), "0"),
            ("lines repeated", str(results["repeated"]), "0"),
        ),
    )


def main() -> int:
    """Measure, print, save. The exit status is 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--followed", type=int, default=1_000)
    parser.add_argument("--idle", type=float, default=IDLE_S, help="seconds")
    options = parser.parse_args()
    result = measure(options.files, options.followed, options.idle)
    results = {
        "files": options.files,
        "followed": options.followed,
        **asdict(result),
    }
    print(describe(results))
    save("idle", vars(options), results)
    return 0 if result.holds else 1


if __name__ == "__main__":
    runProgram(main)
