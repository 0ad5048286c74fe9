"""
Many workers that each send few lines: the receiver's CPU per line, its memory per
connection, and the delay of the slowest worker, for ours and rsyslog's imtcp
alternately.

    python -m benchmarks.fanin [--connections N...] [--runs N] [--lines-per-s N] [--seconds N]

The same driver (L{benchmarks.fleetdriver}) opens the connections to both. To ours it
speaks the delivery extension, so that every line is committed with fsync and
acknowledged; to rsyslog plain RFC 5425 with octet counting. All connections share 16
certificates, with one stream each. Outputs are raw lines. A delay is measured from the
moment a line is made until it is found in the output, which is polled every 5 ms. Each
number of connections has a result of its own: C{fanin-500.json} and so on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError

from .fleet import Fleet, allowDescriptors
from .follow import Follower, percentile
from .processes import residentKiB, usage
from .report import Spread, figure, runProgram, save, scratch, sideBySide, spread
from .rsyslog import Rsyslog
from .side import Ours, Side

__all__ = ["describe", "main", "ofSide", "ratio"]

CONNECTIONS = (500, 2_000, 10_000)

LINES_PER_S = 5_000.0
SECONDS = 8.0
RUNS = 5

# The time for an idle receiver to come to rest, in seconds.
REST_S = 2.0

# The time limit for connecting: an average per connection, and a minimum in total, in
# seconds.
CONNECT_S = 0.03
CONNECT_LEAST_S = 60.0


def measure(
    kind: type[Side],
    directory: Path,
    connections: int,
    lines_per_s: float,
    seconds: float,
) -> dict[str, Any]:
    """Run once."""
    side = kind(directory / "side", False)
    fleet = Fleet(
        directory,
        side.host,
        side.port,
        side.authority,
        acked=isinstance(side, Ours),
        count=connections,
    )
    try:
        side.startReceiver()
        receiver = side.pids()["receiver"]
        time.sleep(REST_S)
        before, memory = usage(receiver), residentKiB(receiver)
        begun = time.monotonic()
        fleet.start()
        fleet.expect("connected", CONNECT_LEAST_S + CONNECT_S * connections)
        connected_s = time.monotonic() - begun
        time.sleep(REST_S)
        held, heldMemory = usage(receiver), residentKiB(receiver)
        follower = Follower(side.rawPath)
        fleetBefore = usage(fleet.pid)
        sent = _trickle(fleet, follower, connections, lines_per_s, seconds)
        time.sleep(REST_S)
        after, fleetAfter = usage(receiver), usage(fleet.pid)
    except UserError as error:
        raise UserError(f"{side.name}: {error}\n{side.said()}") from None
    finally:
        fleet.stop()
        side.stop()
    delays = [delay for every in follower.delays.values() for delay in every]
    return {
        "side": side.name,
        "connections": connections,
        "lines": sent,
        "connected_s": connected_s,
        "connect_cpu_ms": (held.cpu_s - before.cpu_s) * 1000 / connections,
        "line_cpu_us": (after.cpu_s - held.cpu_s) * 1e6 / sent,
        "all_cpu_us": (after.cpu_s - before.cpu_s) * 1e6 / sent,
        "fleet_line_cpu_us": (fleetAfter.cpu_s - fleetBefore.cpu_s) * 1e6 / sent,
        "connection_kib": (heldMemory - memory) / connections,
        "peak_mib": after.peakKiB / 1024,
        "delay_p50_ms": percentile(delays, 0.5) * 1000,
        "delay_p99_ms": percentile(delays, 0.99) * 1000,
        "delay_max_ms": max(delays) * 1000,
        "slowest_worker_ms": max(
            percentile(every, 0.5) for every in follower.delays.values()
        )
        * 1000,
    }


def _trickle(
    fleet: Fleet,
    follower: Follower,
    connections: int,
    lines_per_s: float,
    seconds: float,
) -> int:
    """Have the lines sent, and follow them. Returns their number."""
    # Each connection sent a first line when it opened. Those are not timed.
    follower.look()
    fleet.tell("trickle", lines_per_s=lines_per_s, seconds=seconds, seed=connections)
    deadline = time.monotonic() + 10 * seconds + 60
    sent: int | None = None
    while sent is None or follower.lines < connections + sent:
        if time.monotonic() > deadline:
            raise UserError(f"{follower.lines - connections} of {sent} lines arrived")
        follower.lookAtStamps()
        event = fleet.heard(0.005)
        if event is not None and event["event"] == "sent":
            if event["missed"]:
                raise UserError(f"{event['missed']} lines found no connection")
            sent = int(event["lines"])
    return sent


def _take(key: str) -> Callable[[dict[str, Any]], float]:
    return lambda run: float(run[key])


_MEASURES = {
    "CPU µs a line": (_take("line_cpu_us"), ".0f"),
    "  with connecting": (_take("all_cpu_us"), ".0f"),
    "CPU ms a connection": (_take("connect_cpu_ms"), ".2f"),
    "KiB a connection": (_take("connection_kib"), ".0f"),
    "delay, median, ms": (_take("delay_p50_ms"), ".0f"),
    "delay, 99 of 100, ms": (_take("delay_p99_ms"), ".0f"),
    "delay, longest, ms": (_take("delay_max_ms"), ".0f"),
    "slowest worker's median, ms": (_take("slowest_worker_ms"), ".0f"),
}


def ofSide(runs: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The runs of a side."""
    return [run for run in runs if run["side"] == name]


def ratio(runs: list[dict[str, Any]]) -> Spread | None:
    """
    Our CPU time for a line divided by rsyslog's of the same round; C{None} if a run failed.
    """
    key = "line_cpu_us"
    ours, peers = ofSide(runs, Ours.name), ofSide(runs, Rsyslog.name)
    if len(ours) != len(peers):
        return None
    return spread([a[key] / b[key] for a, b in zip(ours, peers, strict=True)])


def describe(results: dict[str, Any]) -> str:
    """The table for one number of connections."""
    runs = results["runs"]
    found = ratio(runs)
    text = sideBySide(
        f"{results['connections']:,} connections",
        {name: ofSide(runs, name) for name in (Ours.name, Rsyslog.name)},
        _MEASURES,
        {} if found is None else {"times rsyslog's CPU": {Ours.name: f"{found:.2f}"}},
    )
    return "\n".join([text, *results["failures"]])


def _plot(name: str, runs: list[dict[str, Any]]) -> None:
    wanted = {
        "line_cpu_us": "receiver's CPU, µs a line",
        "connection_kib": "receiver's memory, KiB a connection",
        "delay_max_ms": "the most that a line waited, ms",
    }
    with figure(name, len(wanted)) as axes:
        for axis, (key, title) in zip(axes or [], wanted.items(), strict=bool(axes)):
            for at, side in enumerate((Ours.name, Rsyslog.name)):
                values = [run[key] for run in ofSide(runs, side)]
                axis.bar(at, spread(values).median, 0.6)
                axis.plot([at] * len(values), values, "k.", alpha=0.6)
            axis.set_xticks((0, 1), (Ours.name, Rsyslog.name))
            axis.set(title=title)


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--lines-per-s", type=float, default=LINES_PER_S)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    most = allowDescriptors()
    failed = 0
    for connections in arguments.connections:
        if connections + 100 > most:
            raise UserError(
                f"{most} open files are allowed: ulimit -Hn {connections + 100}"
            )
        results = _runs(connections, arguments)
        failed += len(results["failures"])
        name = f"fanin-{connections}"
        if all(ofSide(results["runs"], side) for side in (Ours.name, Rsyslog.name)):
            print(describe(results))
            save(name, vars(arguments), results)
            _plot(name, results["runs"])
    return 1 if failed else 0


def _runs(connections: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every run with one number of connections."""
    runs: list[dict[str, Any]] = []
    failures: list[str] = []
    for number in range(arguments.runs):
        turns: list[type[Side]] = [Ours, Rsyslog]
        for kind in turns if number % 2 == 0 else turns[::-1]:
            print(f"{connections:,} connections, {kind.name}", flush=True)
            with scratch("fanin") as directory:
                try:
                    runs.append(
                        measure(
                            kind,
                            directory,
                            connections,
                            arguments.lines_per_s,
                            arguments.seconds,
                        )
                    )
                except UserError as error:
                    print(error)
                    failures.append(str(error).splitlines()[0])
    return {"connections": connections, "runs": runs, "failures": failures}


if __name__ == "__main__":
    runProgram(main)
