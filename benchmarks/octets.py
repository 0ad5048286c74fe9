"""
Octets that the master writes to its disk for each octet that it receives.

    python -m benchmarks.octets [--lines N] [--runs N] [--scenario raw|json]

Counted in two ways: by the kernel for the listener's processes (C{write_bytes} of
C{/proc/PID/io}: pages that became dirty), and at the disk (C{/sys/block}: sectors
written, by every program and by the file system for itself, from before the delivery
until everything is on disk). raw: one output, so one octet is the output itself and the
rest is the journal. json: raw lines and records; the records are several times as long
as their lines, so the table also shows what the outputs have.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .delivery import Input, deliver
from .lines import decnetLines, write
from .report import Spread, runProgram, save, scratch, spread, table
from .side import Ours

__all__ = ["describe", "main", "written"]

LINES = 1_000_000

RUNS = 3

SCENARIOS = ("raw", "json")

SECTOR_OCTETS = 512

# The column of /sys/block/*/stat with the number of sectors written.
WRITTEN_COLUMN = 6


@dataclass(frozen=True)
class Written:
    """
    Octets of one delivery.

    @ivar received: in the worker's file.
    @ivar outputs: in the output files.
    @ivar processes: written by the listener's processes.
    @ivar disk: written to the disk by all programs; C{None} if it cannot be told.
    """

    received: int
    outputs: int
    processes: int
    disk: int | None


def _sectors(path: Path) -> int | None:
    """Sectors written to the disk of a path since the machine's start, if it has one."""
    device = os.stat(path).st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    try:
        return int(stat.read_text().split()[WRITTEN_COLUMN])
    except OSError:
        return None


def _deliver(log: Path, lines: int, json: bool) -> Written:
    with scratch("octets") as directory:
        os.sync()
        before = _sectors(directory)
        side = Ours(directory / "side", json)
        delivery = deliver(side, [Input("worker-1", [log], lines)])
        os.sync()
        after = _sectors(directory)
        paths = filter(None, [side.rawPath, side.jsonPath])
        return Written(
            delivery.octets,
            sum([path.stat().st_size for path in paths]),
            delivery.usage["receiver"].writtenOctets,
            None
            if before is None or after is None
            else (after - before) * SECTOR_OCTETS,
        )


def written(results: dict[str, Any], name: str) -> Spread:
    """Octets that the listener's processes wrote for each octet received."""
    return spread([run["processes"] / run["received"] for run in results[name]])


def describe(results: dict[str, Any]) -> str:
    """The table."""
    rows = []
    for name, every in results.items():
        disk = [w["disk"] / w["received"] for w in every if w["disk"] is not None]
        journal = [(w["processes"] - w["outputs"]) / w["received"] for w in every]
        rows.append(
            [
                name,
                f"{every[0]['received'] / 1e6:,.0f}",
                f"{every[0]['outputs'] / every[0]['received']:.2f}",
                f"{spread(journal):.2f}",
                f"{written(results, name):.2f}",
                f"{spread(disk):.2f}" if disk else "-",
            ]
        )
    head = ["octets for each received", "MB", "outputs", "journal", "written", "disk"]
    return table(head, rows)


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    chosen = [arguments.scenario] if arguments.scenario else list(SCENARIOS)
    results: dict[str, list[dict[str, int | None]]] = {}
    with scratch("lines") as directory:
        log = directory / "log"
        write(log, decnetLines(arguments.lines))
        for name in chosen:
            for _ in range(arguments.runs):
                done = _deliver(log, arguments.lines, name == "json")
                results.setdefault(name, []).append(asdict(done))
    print(describe(results))
    save("octets", vars(arguments), results)
    return 0


if __name__ == "__main__":
    runProgram(main)
