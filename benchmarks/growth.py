"""
The cost of a line as things grow: its length, the number of lines, of files, of
workers.

    python -m benchmarks.growth [--series length|lines|files|workers|all] [--runs N]
        [--scale F]

Lines/s are over the time from the first octet in the output to the last line: starting
sixteen processes would hide the rest. CPU is the receiver's without its start, and the
senders' with theirs. The cost should be constant over lines and files, and linear in
octets: the last table has a line fitted to the points of the length series.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .delivery import Input, deliver
from .lines import decnetLines, linesOf, write
from .report import figure, runProgram, save, scratch, showPoints, spread, table
from .rsyslog import Rsyslog
from .side import Ours, Side

__all__ = ["describe", "main"]

RUNS = 5

# The number of octets in a run of a series, and the maximum number of lines.
OCTETS = 80_000_000
LINES = 400_000

SERIES: dict[str, Sequence[int]] = {
    "length": (50, 200, 1_000, 4_000, 16_000, 60_000),
    "lines": (100_000, 300_000, 1_000_000, 3_000_000),
    # The number of files that a forwarder can follow.
    "files": (1, 4, 16, 64, 256, 1024),
    "workers": (1, 2, 4, 8, 16),
}


def _inputs(series: str, x: int, directory: Path, scale: float) -> list[Input]:
    """The workers' files at one point of a series."""
    count = max(1, int(LINES * scale))
    one = directory / "decnet.log"
    if series == "length":
        count = max(100, min(count, int(OCTETS * scale) // x))
        write(one, linesOf(x, count))
        return [Input("worker-1", [one], count)]
    if series == "lines":
        count = max(1, int(x * scale))
        write(one, decnetLines(count))
        return [Input("worker-1", [one], count)]
    each = count // x
    files = [directory / f"decnet-{number}.log" for number in range(x)]
    for number, file in enumerate(files):
        write(file, decnetLines(each, number * each))
    if series == "files":
        return [Input("worker-1", files, each * x)]
    return [Input(f"worker-{n}", [file], each) for n, file in enumerate(files, 1)]


def _measure(series: str, x: int, runs: int, scale: float) -> Iterator[dict[str, Any]]:
    """Run both sides at one point, alternately."""
    with scratch("growth") as directory:
        inputs = _inputs(series, x, directory, scale)
        for number in range(runs):
            turns: list[type[Side]] = [Ours, Rsyslog]
            for kind in turns if number % 2 == 0 else turns[::-1]:
                with scratch("growth") as home:
                    done = deliver(kind(home / "side", False), inputs)
                senders = sum(
                    used.cpu_s
                    for name, used in done.usage.items()
                    if name != "receiver"
                )
                yield {
                    "series": series,
                    "x": done.lines if series == "lines" else x,
                    "side": done.side,
                    "lines": done.lines,
                    "octets": done.octets,
                    "lines_per_s": done.lines / max(done.transfer_s, 0.001),
                    "mb_per_s": done.octets / max(done.transfer_s, 0.001) / 1e6,
                    "receiver_us": done.receiver_cpu_s * 1e6 / done.lines,
                    "senders_us": senders * 1e6 / done.lines,
                    "receiver_mib": done.usage["receiver"].peakKiB / 1024,
                }


_COLUMNS = {
    "lines_per_s": ("lines/s", ",.0f"),
    "mb_per_s": ("MB/s", ".1f"),
    "receiver_us": ("receiver CPU µs/line", ".1f"),
    "senders_us": ("senders CPU µs/line", ".1f"),
    "receiver_mib": ("receiver peak MiB", ".0f"),
}


def _of(runs: list[dict[str, Any]], side: str, x: int) -> list[dict[str, Any]]:
    return [run for run in runs if run["side"] == side and run["x"] == x]


def _table(series: str, runs: list[dict[str, Any]]) -> str:
    rows = []
    for x in sorted({run["x"] for run in runs}):
        for side in (Ours.name, Rsyslog.name):
            every = _of(runs, side, x)
            cells = [
                f"{spread([run[key] for run in every]):{form}}"
                for key, (_, form) in _COLUMNS.items()
            ]
            rows.append([f"{x:,}", side, *cells])
    return table([series, "side", *[title for title, _ in _COLUMNS.values()]], rows)


def _linear(runs: list[dict[str, Any]]) -> str:
    """
    The receiver's CPU as a + b * octets.

    Least squares of the relative error, so that a line of 50 octets counts like one of
    60,000.
    """
    found = {}
    for side in (Ours.name, Rsyslog.name):
        of = [run for run in runs if run["side"] == side]
        # y = a + b x, divided by y: 1 = a (1 / y) + b (x / y).
        points = [(1 / y, r["x"] / y) for r in of if (y := max(r["receiver_us"], 0.01))]
        uu = sum(u * u for u, _ in points)
        vv = sum(v * v for _, v in points)
        uv = sum(u * v for u, v in points)
        su, sv = sum(u for u, _ in points), sum(v for _, v in points)
        determinant = uu * vv - uv * uv
        a = (su * vv - sv * uv) / determinant
        b = (sv * uu - su * uv) / determinant
        worst = max(abs(1 - a * u - b * v) for u, v in points)
        found[side] = {"us_a_line": a, "ns_an_octet": b * 1000, "worst": worst}
    return table(
        ["receiver's CPU", "µs a line", "ns an octet", "farthest point"],
        [
            [
                side,
                f"{fit['us_a_line']:.2f}",
                f"{fit['ns_an_octet']:.2f}",
                f"{fit['worst']:.0%}",
            ]
            for side, fit in found.items()
        ],
    )


def describe(results: dict[str, Any]) -> str:
    """The table of a series. A line fitted to the points follows that of the lengths."""
    series, runs = results["series"], results["runs"]
    text = _table(series, runs)
    return text if series != "length" else f"{text}\n\n{_linear(runs)}"


def _plot(runs: list[dict[str, Any]], chosen: Sequence[str]) -> None:
    titles = {
        "length": "octets of a line",
        "lines": "lines in the file",
        "files": "files of one worker",
        "workers": "workers",
    }
    with figure("growth", len(chosen)) as axes:
        for axis, series in zip(axes or [], chosen, strict=bool(axes)):
            of = [run for run in runs if run["series"] == series]
            every = sorted({run["x"] for run in of})
            for number, side in enumerate((Ours.name, Rsyslog.name)):
                for key, style in (("lines_per_s", "o-"), ("receiver_us", "s--")):
                    values = [
                        spread([r[key] for r in _of(of, side, x)]).median for x in every
                    ]
                    if key == "lines_per_s":
                        values = [1e6 / value for value in values]
                    what = "time" if key == "lines_per_s" else "receiver's CPU"
                    axis.plot(
                        every,
                        values,
                        style,
                        color=f"C{number}",
                        label=f"{side}, {what}",
                    )
            axis.set(xscale="log", xlabel=titles[series])
            showPoints(axis, every)
            if series == "length":
                axis.set_yscale("log")
            else:
                axis.set_ylim(0)
        if axes:
            axes[0].set_ylabel("µs a line")
            axes[0].legend(fontsize=8)


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", choices=[*SERIES, "all"], default="all")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="number of lines, as a factor"
    )
    arguments = parser.parse_args()
    chosen = [*SERIES] if arguments.series == "all" else [arguments.series]
    runs: list[dict[str, Any]] = []
    for series in chosen:
        of: list[dict[str, Any]] = []
        for x in SERIES[series]:
            print(f"{series} {x:,}", flush=True)
            of.extend(_measure(series, x, arguments.runs, arguments.scale))
        results = {"series": series, "runs": of}
        print(describe(results))
        save(f"growth-{series}", vars(arguments), results)
        runs += of
    _plot(runs, chosen)
    return 0


if __name__ == "__main__":
    runProgram(main)
