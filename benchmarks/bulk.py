"""
Deliver a whole file as fast as possible: ours and rsyslog, in turns.

    python -m benchmarks.bulk [--scenario raw|json|mixed|relp|relp-as-shipped|all]
        [--lines N] [--runs N] [--pure]

raw: raw lines, compared with omfwd and imtcp, which acknowledge nothing. json: raw
lines and records. mixed: the same with lines of many shapes, and which implementation renders
their records. relp: raw lines, compared with omrelp and imrelp over TLS, which
acknowledge, with the best window that we found. relp-as-shipped: with RELP's default
window, and a fiftieth of the lines for the peer, which would otherwise take half an
hour. Ours acknowledges, after fsync, in every scenario. Times are from the start of the
sender's process, and CPU and memory are those of the processes' whole lives: with few
lines, most of our share is starting Python. With C{--pure} ours also runs without its
compiled module, as a third side. Ratios are of lines/s in the same round; the side that
begins changes every round. Each scenario has a result of its own: C{bulk-raw.json} and so on.
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
from .report import Spread, figure, runProgram, save, scratch, sideBySide, spread
from .rsyslog import Relp, RelpAsShipped, Rsyslog
from .side import Ours, Pure, Side

__all__ = ["coreSeconds", "describe", "main", "ratios"]

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


def _run(
    scenario: Scenario, lines: int, runs: int, pure: bool
) -> dict[str, list[Delivery]]:
    """Deliver in turns. Returns the deliveries of each side, in order."""
    sides: list[type[Side]] = [Ours, scenario.peer, *[Pure] * pure]
    done: dict[str, list[Delivery]] = {kind.name: [] for kind in sides}
    with scratch("bulk") as directory:
        logs = {}
        for kind in sides:
            isPeer = kind is scenario.peer
            count = lines // scenario.fraction if isPeer else lines
            logs[kind] = directory / f"{count}.log", count
            if not logs[kind][0].exists():
                write(logs[kind][0], scenario.makeLines(count))
        for number in range(runs):
            first = number % len(sides)
            for kind in sides[first:] + sides[:first]:
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


def _coreSeconds(run: dict[str, Any], *processes: str) -> float:
    """The processor time of some processes of a run for a million lines, in seconds."""
    used = sum([run["processes"][process]["cpu_s"] for process in processes])
    return float(used / run["lines"] * 1e6)


def _peakMiB(run: dict[str, Any], process: str) -> float:
    return float(run["processes"][process]["peakKiB"] / 1024)


# For a million lines, so that sides with fewer lines can be compared.
_MEASURES: dict[str, tuple[Callable[[dict[str, Any]], float], str]] = {
    "elapsed s": (lambda run: run["elapsed_s"], ".2f"),
    "lines/s": (lambda run: run["lines"] / run["elapsed_s"], ",.0f"),
    "core-seconds a million lines": (
        lambda run: _coreSeconds(run, "receiver", "sender"),
        ".2f",
    ),
    "  of these the receiver": (lambda run: _coreSeconds(run, "receiver"), ".2f"),
    "  of these the sender": (lambda run: _coreSeconds(run, "sender"), ".2f"),
    "receiver, peak MiB": (lambda run: _peakMiB(run, "receiver"), ".0f"),
    "sender, peak MiB": (lambda run: _peakMiB(run, "sender"), ".0f"),
}


def ratios(results: dict[str, Any]) -> dict[str, Spread]:
    """For each of our sides, lines/s divided by the peer's of the same round."""
    peer, runs = results["peer"], results["runs"]
    rates = {
        side: [run["lines"] / run["elapsed_s"] for run in every]
        for side, every in runs.items()
    }
    return {
        side: spread([a / b for a, b in zip(rates[side], rates[peer], strict=True)])
        for side in runs
        if side != peer
    }


def coreSeconds(results: dict[str, Any], side: str) -> Spread:
    """The processor time of both ends for a million lines, in seconds."""
    runs = results["runs"][side]
    return spread([_coreSeconds(run, "receiver", "sender") for run in runs])


def describe(results: dict[str, Any]) -> str:
    """The table of a scenario."""
    times = {side: f"{ratio:.2f}" for side, ratio in ratios(results).items()}
    text = sideBySide(
        results["title"],
        results["runs"],
        _MEASURES,
        {f"times {results['peer']}'s lines/s": times},
    )
    return "\n".join([text, *filter(None, [results["implementations"]])])


def _plot(name: str, results: dict[str, Any]) -> None:
    with figure(name) as axes:
        for axis in axes or []:
            for at, every in enumerate(results["runs"].values()):
                rates = spread([r["lines"] / r["elapsed_s"] / 1000 for r in every])
                cpu = spread([_coreSeconds(r, "receiver", "sender") for r in every])
                axis.bar(at, rates.median, 0.6, color=f"C{at}")
                axis.plot([at] * len(every), rates.values, "k.", alpha=0.6)
                axis.annotate(
                    f"{rates.median:,.0f}k/s\n{cpu.median:.1f} µs CPU a line",
                    (at, 0),
                    xytext=(0, 4),
                    textcoords="offset points",
                    ha="center",
                    color="white",
                    fontsize=8,
                )
            axis.set_title(results["title"])
            axis.set_xticks(range(len(results["runs"])), list(results["runs"]))
            axis.set_ylabel("thousand lines/s")


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument(
        "--pure", action="store_true", help="ours without its compiled module, too"
    )
    arguments = parser.parse_args()
    chosen = [*SCENARIOS] if arguments.scenario == "all" else [arguments.scenario]
    for name in chosen:
        scenario, lines = SCENARIOS[name], arguments.lines
        print(f"{scenario.title}, {lines:,} lines, {arguments.runs} rounds")
        done = _run(scenario, lines, arguments.runs, arguments.pure)
        sample = scenario.makeLines(SAMPLE_LINES)
        results = {
            "title": scenario.title,
            "peer": scenario.peer.name,
            "implementations": str(implementations(next(sample)))
            if scenario.json
            else "",
            "runs": {side: [d.asDict() for d in every] for side, every in done.items()},
        }
        print(describe(results))
        save(f"bulk-{name}", vars(arguments), results)
        _plot(f"bulk-{name}", results)
    return 0


if __name__ == "__main__":
    runProgram(main)
