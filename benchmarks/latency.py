"""
The delay of a line from its append to the worker's file until it is readable in the
master's record file, at a low and at a high rate; ours and rsyslog alternating.

    python -m benchmarks.latency [--rates N...] [--seconds N] [--runs N]

One loop appends all due lines with one write and polls the output, at most every
millisecond: a measured delay is at most that much too long. The n-th line of the output
is the n-th of the input, which is checked at the end. Each side gets five seconds to
connect, which are not timed.

In the same rounds the disk alone is measured: the due lines overwrite a page of a file,
which is synced, repeatedly. This is the minimum delay for lines that are on disk before
they are visible.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError

from .follow import Follower, percentile
from .lines import decnetLines, last
from .processes import usage
from .report import figure, runProgram, save, scratch, spread, table
from .rsyslog import Rsyslog
from .side import Ours, Side, waitFor

__all__ = ["describe", "main"]

RATES = (100, 50_000)
SECONDS = 10.0
RUNS = 5

# The lines sent first, and the time for them, in seconds: after that both ends are
# connected.
FIRST = 10
CONNECT_S = 5.0

LOOK_S = 0.0005

# The size of the file for measuring the disk: its blocks are allocated in advance.
DISK = "fdatasync alone"
DISK_OCTETS = 16 * 1024 * 1024
PAGE_OCTETS = 4096

# The time for a side that has fallen behind to finish, in seconds.
LATE_S = 60.0


def measure(
    kind: type[Side], directory: Path, rate: int, seconds: float
) -> tuple[dict[str, Any], list[float]]:
    """Run once. Returns the figures, and the delay of each line in seconds."""
    side = kind(directory / "side", True)
    assert side.jsonPath is not None
    log = directory / "decnet.log"
    count = int(rate * seconds)
    lines = b"".join(decnetLines(FIRST + count)).splitlines(keepends=True)
    with open(log, "wb", buffering=0) as file:
        file.write(b"".join(lines[:FIRST]))
        side.addSender("worker-1", [log])
        follower = Follower(side.jsonPath)
        try:
            side.startReceiver()
            side.startSenders()

            def connected() -> bool:
                follower.look()
                return follower.lines == FIRST

            waitFor(connected, "nothing arrives", 30)
            time.sleep(CONNECT_S)
            before = {name: usage(pid) for name, pid in side.pids().items()}
            delays, end = _flow(file.fileno(), lines[FIRST:], follower, rate)
            after = {name: usage(pid) for name, pid in side.pids().items()}
        except UserError as error:
            raise UserError(f"{side.name}: {error}\n{side.said()}") from None
        finally:
            side.stop()
    if last(FIRST + count) not in end:
        raise UserError(f"{side.name}: the last line is not the last record")
    figures = {
        "side": side.name,
        "rate": rate,
        "lines": count,
        **_quantiles(delays),
        "cpu_s": {name: after[name].cpu_s - before[name].cpu_s for name in after},
    }
    return figures, delays


def _flow(
    log: int, lines: list[bytes], follower: Follower, rate: int
) -> tuple[list[float], bytes]:
    """Append due lines and record arrivals. Returns the delays and the last records."""
    begun = time.monotonic()
    written: list[float] = []
    delays: list[float] = []
    end = b""
    deadline = begun + len(lines) / rate + LATE_S
    while len(delays) < len(lines):
        now = time.monotonic()
        due = min(len(lines), int((now - begun) * rate) + 1)
        if due > len(written):
            os.write(log, b"".join(lines[len(written) : due]))
            written.extend([now] * (due - len(written)))
        octets = follower.look()
        if octets:
            now = time.monotonic()
            at = len(delays)
            delays.extend([now - t for t in written[at : follower.lines - FIRST]])
            end = octets[-4096:]
        elif now > deadline:
            raise UserError(f"{len(delays)} of {len(lines)} lines arrived")
        time.sleep(LOOK_S)
    return delays, end


def measureDisk(
    directory: Path, rate: int, seconds: float
) -> tuple[dict[str, Any], list[float]]:
    """Measure the disk alone once, with results as from L{measure}."""
    count = int(rate * seconds)
    delays: list[float] = []
    with open(directory / "pages", "w+b", buffering=0) as file:
        file.write(bytes(DISK_OCTETS))
        os.fsync(file.fileno())
        begun = time.monotonic()
        at = 0
        while len(delays) < count:
            due = min(count, int((time.monotonic() - begun) * rate) + 1)
            if due > len(delays):
                os.pwrite(file.fileno(), bytes(PAGE_OCTETS), at)
                os.fdatasync(file.fileno())
                at = (at + PAGE_OCTETS) % DISK_OCTETS
                now = time.monotonic()
                delays += [now - begun - n / rate for n in range(len(delays), due)]
            time.sleep(LOOK_S)
    figures = {"side": DISK, "rate": rate, "lines": count, **_quantiles(delays)}
    return figures, delays


def _quantiles(delays: list[float]) -> dict[str, float]:
    return {
        "p50_ms": percentile(delays, 0.5) * 1000,
        "p99_ms": percentile(delays, 0.99) * 1000,
        "max_ms": max(delays) * 1000,
    }


_SIDES = (Ours.name, Rsyslog.name, DISK)

_COLUMNS = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "max_ms": "max ms"}


def describe(runs: list[dict[str, Any]]) -> str:
    """The table."""
    rows = []
    for rate in sorted({run["rate"] for run in runs}):
        for name in _SIDES:
            every = [r for r in runs if r["side"] == name and r["rate"] == rate]
            cells = [f"{spread([run[key] for run in every]):.1f}" for key in _COLUMNS]
            rows.append([f"{rate:,}", name, *cells])
    return table(["lines/s", "side", *_COLUMNS.values()], rows)


def _plot(delays: dict[tuple[int, str], list[float]]) -> None:
    rates = sorted({rate for rate, _ in delays})
    with figure("latency", len(rates)) as axes:
        for axis, rate in zip(axes or [], rates, strict=bool(axes)):
            for name in _SIDES:
                every = sorted(delays[rate, name])
                steps = every[:: max(1, len(every) // 2000)] + every[-1:]
                share = [i / (len(steps) - 1) for i in range(len(steps))]
                axis.plot([d * 1000 for d in steps], share, label=name)
            axis.set(
                title=f"{rate:,} lines/s",
                xlabel="append to record, ms",
                ylabel="share of lines",
                xscale="log",
            )
            axis.axhline(0.99, color="0.8", linewidth=0.8)
            axis.legend()


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    delays: dict[tuple[int, str], list[float]] = {}
    for rate in arguments.rates:
        for number in range(arguments.runs):
            turns: list[type[Side] | None] = [Ours, None, Rsyslog]
            for kind in turns if number % 2 == 0 else turns[::-1]:
                name = DISK if kind is None else kind.name
                print(f"{rate:,} lines/s, {name}", flush=True)
                with scratch("latency") as directory:
                    if kind is None:
                        done = measureDisk(directory, rate, arguments.seconds)
                    else:
                        done = measure(kind, directory, rate, arguments.seconds)
                runs.append(done[0])
                delays.setdefault((rate, name), []).extend(done[1])
    print(describe(runs))
    save("latency", vars(arguments), runs)
    _plot(delays)
    return 0


if __name__ == "__main__":
    runProgram(main)
