"""
The whole fleet reconnects at once: with all workers connected, the listener is stopped
and started again; measures the time until every worker has had a line acknowledged.

    python -m benchmarks.storm [--connections N] [--down S] [--runs N] [--kill]

The connections are those of L{benchmarks.fleetdriver}: they use the forwarder's own
factory with its backoff, in one process that shares the machine's cores with the
listener. While the listener is down (C{--down} seconds), every worker tries again after
longer and longer delays. The fleet's own CPU is printed: five thousand handshakes cost
the connecting side as much as the listener. A real fleet has its own cores; here it
takes one of the listener's two.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect_right
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError

from .fleet import Fleet, allowDescriptors
from .processes import usage
from .report import PLOTTED, figure, runProgram, save, scratch, spread, table
from .side import Ours

__all__ = ["describe", "main"]

CONNECTIONS = 5_000
DOWN_S = 10.0
RUNS = 5

# The time limit for all workers to be back, in seconds.
BACK_S = 300.0
CONNECT_S = 0.03
CONNECT_LEAST_S = 60.0


def measure(
    directory: Path, connections: int, down_s: float, kill: bool
) -> dict[str, Any]:
    """Run once."""
    side = Ours(directory / "side", False)
    fleet = Fleet(
        directory, side.host, side.port, side.authority, acked=True, count=connections
    )
    try:
        side.startReceiver()
        fleet.start()
        fleet.expect("connected", CONNECT_LEAST_S + CONNECT_S * connections)
        time.sleep(1)
        before = usage(fleet.pid)
        stopped = time.monotonic()
        if kill:
            side.killReceiver()
        else:
            side.stopReceiver()
        ended = time.monotonic()
        time.sleep(max(0.0, stopped + down_s - ended))
        side.startReceiver()
        listening = time.monotonic()
        back = fleet.expect("connected", BACK_S)
        used, fleetUsed = usage(side.pids()["receiver"]), usage(fleet.pid)
        fleet.tell("report")
        report = fleet.expect("reported", 60)
    except UserError as error:
        raise UserError(f"{error}\n{side.said()}") from None
    finally:
        fleet.stop()
        side.stop()
    attempts = [at - listening for at in report["attempts"] if at > stopped]
    ready = [at - listening for at in report["ready"] if at > stopped]
    return {
        "connections": connections,
        "stop_s": ended - stopped,
        "down_s": listening - stopped,
        "back_s": back["at"] - listening,
        "half_back_s": sorted(ready)[connections // 2],
        "attempts_after": len([at for at in attempts if at >= 0]),
        "attempts_most_per_s": max(_perSecond(attempts).values()),
        "byes": back["byes"],
        "listener_cpu_s": used.cpu_s,
        "fleet_cpu_s": fleetUsed.cpu_s - before.cpu_s,
        "listener_peak_mib": used.peakKiB / 1024,
        PLOTTED: {
            "attempts": [round(at, 3) for at in sorted(attempts)],
            "ready": [round(at, 3) for at in sorted(ready)],
        },
    }


def _perSecond(times: list[float]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for at in times:
        counts[int(at // 1)] = counts.get(int(at // 1), 0) + 1
    return counts


def _plot(run: dict[str, Any]) -> None:
    attempts, ready = run[PLOTTED]["attempts"], run[PLOTTED]["ready"]
    with figure("storm", 2) as axes:
        if axes is None:
            return
        edges = [
            at / 4 for at in range(int(4 * attempts[0]) - 1, int(4 * ready[-1]) + 3)
        ]
        axes[0].hist(attempts, edges, label="connections begun")
        axes[0].hist(ready, edges, label="sending again", alpha=0.7)
        axes[0].set(title="in a quarter of a second", ylabel="workers")
        counts = [bisect_right(ready, edge) for edge in edges]
        axes[1].plot(edges, counts, "C1")
        axes[1].set(title="sending again, of all", ylim=0)
        for axis in axes:
            axis.axvline(0, color="0.7", linewidth=0.8)
            axis.set_xlabel("s after the listener listens again")
        axes[0].legend(loc="upper center")


_COLUMNS = {
    "down_s": ("listener down s", ".1f"),
    "half_back_s": ("half back s", ".1f"),
    "back_s": ("all back s", ".1f"),
    "attempts_after": ("attempts after", ".0f"),
    "attempts_most_per_s": ("most in a second", ".0f"),
    "listener_cpu_s": ("listener CPU s", ".1f"),
    "fleet_cpu_s": ("fleet CPU s", ".1f"),
    "listener_peak_mib": ("peak MiB", ".0f"),
}


def describe(runs: list[dict[str, Any]]) -> str:
    """The table."""
    cells = [
        f"{spread([run[key] for run in runs]):{form}}"
        for key, (_, form) in _COLUMNS.items()
    ]
    text = table([title for title, _ in _COLUMNS.values()], [cells])
    return f"{text}\nBYE heard: {runs[-1]['byes']}"


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--down", type=float, default=DOWN_S)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--kill", action="store_true", help="kill -9, not SIGTERM")
    arguments = parser.parse_args()
    allowDescriptors()
    runs = []
    for _ in range(arguments.runs):
        with scratch("storm") as directory:
            run = measure(
                directory, arguments.connections, arguments.down, arguments.kill
            )
        print(
            f"all {run['connections']:,} back after {run['back_s']:.1f} s", flush=True
        )
        runs.append(run)
    print(describe(runs))
    save("storm", vars(arguments), runs)
    _plot(runs[-1])
    return 0


if __name__ == "__main__":
    runProgram(main)
