"""
A long absence: a file of gigabytes is shipped from its beginning; measures the memory
of both ends.

    python -m benchmarks.backlog [--gigabytes N] [--json] [--runs N]

Needs twice the file's size on the disk (TMPDIR), and five times with C{--json};
everything is removed at the end. Memory is the resident set of a process, sampled five
times a second: its own memory and the parts of shared libraries that it uses, without
the page cache.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError

from .delivery import Input, deliver
from .lines import DECNET_OCTETS, decnetLines, write
from .processes import residentKiB
from .report import (
    PLOTTED,
    Spread,
    figure,
    runProgram,
    save,
    scratch,
    sideBySide,
    spread,
)
from .rsyslog import Rsyslog
from .side import Ours, Side

__all__ = ["describe", "main", "ofSide", "ratio"]

GIGABYTES = 4.0

# Memory hardly varies, so one run is enough. Use --runs for more.
RUNS = 1

SAMPLE_S = 0.2

# The limits for our receiver and our sender.
BOUNDS_MIB = (128, 64)


class _Sampler:
    """Samples the memory of a side's processes in another thread."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[tuple[float, dict[str, float]]] = []

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._over.wait(SAMPLE_S):
            try:
                now = {
                    name: residentKiB(pid) / 1024
                    for name, pid in self._side.pids().items()
                }
            except (AssertionError, OSError, IndexError):
                # Not started yet, or already ended.
                continue
            if len(now) > 1:
                self.samples.append((time.monotonic() - begun, now))

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._over.set()
        self._thread.join()


def _measure(kind: type[Side], log: Path, lines: int, json: bool) -> dict[str, Any]:
    with scratch("backlog") as directory:
        side = kind(directory / "side", json)
        sampler = _Sampler(side)
        sampler.start()
        try:
            done = deliver(side, [Input("worker-1", [log], lines)])
        finally:
            sampler.stop()
    return {
        **done.asDict(),
        "mb_per_s": done.octets / done.elapsed_s / 1e6,
        "receiver_mib": done.usage["receiver"].peakKiB / 1024,
        "sender_mib": done.usage["sender"].peakKiB / 1024,
        PLOTTED: [
            [round(at, 2), round(now["receiver"], 1), round(now["sender"], 1)]
            for at, now in sampler.samples
        ],
    }


def _plot(runs: list[dict[str, Any]]) -> None:
    with figure("backlog", 2) as axes:
        for number, axis in enumerate(axes or []):
            for name in (Ours.name, Rsyslog.name):
                run = [run for run in runs if run["side"] == name][-1]
                times = [sample[0] for sample in run[PLOTTED]]
                axis.plot(times, [s[1 + number] for s in run[PLOTTED]], label=name)
            bound = BOUNDS_MIB[number]
            axis.axhline(bound, color="0.6", linestyle=":", label="the bound of ours")
            most = max(
                run["receiver_mib" if number == 0 else "sender_mib"] for run in runs
            )
            axis.set(title=("receiver", "sender")[number], xlabel="s")
            axis.set_ylim(0, max(bound, most) * 1.1)
            axis.set_ylabel("resident MiB")
            axis.legend()


_MEASURES: dict[str, tuple[Callable[[dict[str, Any]], float], str]] = {
    "elapsed s": (lambda run: run["elapsed_s"], ".0f"),
    "MB/s": (lambda run: run["mb_per_s"], ".0f"),
    "core-seconds a million lines": (
        lambda run: (
            sum(used["cpu_s"] for used in run["processes"].values())
            / run["lines"]
            * 1e6
        ),
        ".2f",
    ),
    "receiver, peak MiB": (lambda run: run["receiver_mib"], ".0f"),
    "sender, peak MiB": (lambda run: run["sender_mib"], ".0f"),
}


def ofSide(runs: list[dict[str, Any]], side: str) -> list[dict[str, Any]]:
    """The runs of a side."""
    return [run for run in runs if run["side"] == side]


def ratio(runs: list[dict[str, Any]]) -> Spread:
    """Our speed divided by rsyslog's of the same round."""
    pairs = zip(ofSide(runs, Ours.name), ofSide(runs, Rsyslog.name), strict=True)
    return spread([ours["mb_per_s"] / theirs["mb_per_s"] for ours, theirs in pairs])


def describe(runs: list[dict[str, Any]]) -> str:
    """The table."""
    return sideBySide(
        f"{runs[0]['octets'] / 1e9:.1f} GB",
        {name: ofSide(runs, name) for name in (Ours.name, Rsyslog.name)},
        _MEASURES,
        {"times rsyslog's speed": {Ours.name: f"{ratio(runs):.2f}"}},
    )


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true", help="write records as well")
    arguments = parser.parse_args()
    lines = int(arguments.gigabytes * 1e9) // DECNET_OCTETS
    runs: list[dict[str, Any]] = []
    with scratch("backlog") as directory:
        wanted = arguments.gigabytes * 1e9 * (6 if arguments.json else 2.5)
        if shutil.disk_usage(directory).free < wanted:
            raise UserError(
                f"{directory}: {wanted / 1e9:.0f} GB are needed: set TMPDIR"
            )
        log = directory / "decnet.log"
        write(log, decnetLines(lines))
        for number in range(arguments.runs):
            turns: list[type[Side]] = [Ours, Rsyslog]
            for kind in turns if number % 2 == 0 else turns[::-1]:
                print(f"{lines:,} lines, {kind.name}", flush=True)
                runs.append(_measure(kind, log, lines, arguments.json))
    print(describe(runs))
    save("backlog-json" if arguments.json else "backlog", vars(arguments), runs)
    _plot(runs)
    return 0


if __name__ == "__main__":
    runProgram(main)
