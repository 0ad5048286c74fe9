"""
Deliver a whole file as fast as possible: ours and rsyslog, alternating.

    python -m benchmarks.bulk [--scenario raw|json|mixed|relp|relp-as-shipped|all]
        [--lines N] [--runs N]

raw: raw lines, compared with omfwd and imtcp, which acknowledge nothing. json: raw
lines and records. mixed: the same with lines of many shapes, and which implementation renders
their records. relp: raw lines, compared with omrelp and imrelp over TLS, which
acknowledge, with the best window that we found. relp-as-shipped: with RELP's default
window, and a fiftieth of the lines for the peer, which would otherwise take half an
hour. Ours acknowledges, after fsync, in every scenario. Times are from the start of the
sender's process, and CPU and memory are those of the processes' whole lives: with few
lines, most of our share is starting Python. Ratios are of lines/s between two
consecutive runs; the order of the two changes every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .delivery import Delivery, Input, deliver
from .lines import decnetLines, write
from .mixedlines import implementations, mixedLines
from .report import Spread, figure, save, scratch, spread, table
from .rsyslog import Relp, RelpAsShipped, Rsyslog
from .side import Ours, Side

__all__ = ["main"]

LINES = 1_000_000

RUNS = 5

# Rendered to see which implementations are used.
SAMPLE_LINES = 10_000


@dataclass(frozen=True)
class Scenario:
    """
    The peer that ours is compared with, and the task.

    @ivar fraction: the part of the lines that the peer gets.
    @ivar makeLines: makes a number of lines, in blocks.
    """

    title: str
    peer: type[Side]
    json: bool
    fraction: int = 1
    makeLines: Callable[[int], Iterator[bytes]] = decnetLines


SCENARIOS = {
    "raw": Scenario("raw lines", Rsyslog, False),
    "json": Scenario("raw lines and JSON", Rsyslog, True),
    "mixed": Scenario(
        "raw lines and JSON, mixed lines", Rsyslog, True, makeLines=mixedLines
    ),
    "relp": Scenario("acknowledged, against RELP", Relp, False),
    "relp-as-shipped": Scenario(
        "acknowledged, against RELP as shipped", RelpAsShipped, False, 50
    ),
}


def _run(scenario: Scenario, lines: int, runs: int) -> dict[str, list[Delivery]]:
    """Deliver alternately. Returns the deliveries of each side, in order."""
    done: dict[str, list[Delivery]] = {Ours.name: [], scenario.peer.name: []}
    with scratch("bulk") as directory:
        logs = {}
        for kind, count in ((Ours, lines), (scenario.peer, lines // scenario.fraction)):
            logs[kind] = directory / f"{kind.name}.log", count
            write(logs[kind][0], scenario.makeLines(count))
        for number in range(runs):
            turns: list[type[Side]] = [Ours, scenario.peer]
            for kind in turns if number % 2 == 0 else turns[::-1]:
                done[kind.name].append(_deliver(kind, scenario, *logs[kind]))
    return done


def _deliver(kind: type[Side], scenario: Scenario, log: Path, lines: int) -> Delivery:
    with scratch(kind.name) as directory:
        side = kind(directory / "side", scenario.json)
        delivery = deliver(side, [Input("worker-1", [log], lines)])
    print(
        f"  {kind.name:14} {delivery.elapsed_s:6.2f} s"
        f" {delivery.linesPerSecond:9,.0f} lines/s",
        flush=True,
    )
    return delivery


def _ratios(done: dict[str, list[Delivery]]) -> Spread:
    ours, peers = done.values()
    pairs = zip(ours, peers, strict=True)
    return spread([one.linesPerSecond / other.linesPerSecond for one, other in pairs])


def _show(done: dict[str, list[Delivery]]) -> None:
    rows = []
    for name, deliveries in done.items():
        for process in ("receiver", "sender"):
            used = [delivery.usage[process] for delivery in deliveries]
            rows.append(
                [
                    name if process == "receiver" else "",
                    f"{spread([d.elapsed_s for d in deliveries]):.2f}",
                    f"{spread([d.linesPerSecond for d in deliveries]):,.0f}",
                    process,
                    f"{spread([u.cpu_s for u in used]):.2f}",
                    f"{spread([u.peakKiB / 1024 for u in used]):.0f}",
                ]
            )
            if process == "sender":
                rows[-1][1:3] = ["", ""]
    table(["side", "elapsed s", "lines/s", "process", "CPU s", "peak MiB"], rows)
    print(
        f"ours is {_ratios(done):.2f} times as fast: median (least-most) of the pairs"
    )


def _results(done: dict[str, list[Delivery]]) -> dict[str, Any]:
    return {
        "ratio": _ratios(done).asDict(),
        "runs": {name: [d.asDict() for d in every] for name, every in done.items()},
    }


def _plot(title: str, results: dict[str, dict[str, list[Delivery]]]) -> None:
    with figure(title, len(results)) as axes:
        for axis, (name, done) in zip(axes or [], results.items(), strict=bool(axes)):
            for at, deliveries in enumerate(done.values()):
                rates = spread([d.linesPerSecond / 1000 for d in deliveries])
                axis.bar(at, rates.median, 0.6, color=f"C{at}")
                axis.plot([at] * len(deliveries), rates.values, "k.", alpha=0.6)
                cpu = spread(
                    [sum(u.cpu_s for u in d.usage.values()) for d in deliveries]
                )
                per = cpu.median / deliveries[0].lines * 1e6
                axis.annotate(
                    f"{rates.median:,.0f}k/s\n{per:.1f} µs CPU a line",
                    (at, 0),
                    xytext=(0, 4),
                    textcoords="offset points",
                    ha="center",
                    color="white",
                    fontsize=8,
                )
                axis.set_title(f"{SCENARIOS[name].title}: {_ratios(done):.1f} times")
                axis.set_xticks(range(at + 1), list(done)[: at + 1])
            axis.set_ylabel("thousand lines/s")


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    chosen = [*SCENARIOS] if arguments.scenario == "all" else [arguments.scenario]
    results = {}
    for name in chosen:
        lines = arguments.lines
        print(
            f"{SCENARIOS[name].title}, {lines:,} lines, {arguments.runs} pairs of runs"
        )
        if SCENARIOS[name].json:
            print(implementations(next(SCENARIOS[name].makeLines(SAMPLE_LINES))))
        results[name] = _run(SCENARIOS[name], lines, arguments.runs)
        _show(results[name])
        print()
    name = "bulk" if arguments.scenario == "all" else f"bulk-{arguments.scenario}"
    save(name, vars(arguments), {n: _results(done) for n, done in results.items()})
    _plot(name, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
