"""The goals for speed, and what the committed results reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import backlog, bulk, fanin, octets
from .idle import BURST_S_MAX
from .report import Spread, rstTable, spread
from .side import Ours

__all__ = ["GOALS", "Goal", "describe"]


@dataclass(frozen=True)
class Goal:
    """
    A bound for one figure of a result.

    @ivar result: the name of the result.
    @ivar take: the figure, from the result.
    @ivar form: its format.
    @ivar least: the smallest acceptable figure; C{most}: the largest one.
    """

    title: str
    result: str
    take: Callable[[Any], Spread | None]
    form: str
    least: float | None = None
    most: float | None = None

    def row(self, results: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """The title, the bound, the measured figure, and the verdict."""
        bound = (
            f"at least {self.least:,}"
            if self.most is None
            else f"at most {self.most:,}"
        )
        result = results.get(self.result)
        found = None if result is None else self.take(result["results"])
        if found is None:
            return [self.title, bound, "not measured", ""]
        median = found.median
        isReached = (self.least is None or median >= self.least) and (
            self.most is None or median <= self.most
        )
        return [
            self.title,
            bound,
            f"{found:{self.form}}",
            "yes" if isReached else "**no**",
        ]


def _bulkRatio(results: Any) -> Spread:
    return bulk.ratios(results)[Ours.name]


def _bulkCPU(results: Any) -> Spread:
    return bulk.coreSeconds(results, Ours.name)


def _ofOurs(key: str) -> Callable[[Any], Spread]:
    """A figure of our runs in a result with C{runs}."""
    return lambda results: spread(
        [run[key] for run in fanin.ofSide(results["runs"], Ours.name)]
    )


def _ofBacklog(key: str) -> Callable[[Any], Spread]:
    return lambda runs: spread([run[key] for run in backlog.ofSide(runs, Ours.name)])


def _written(scenario: str) -> Callable[[Any], Spread | None]:
    return lambda results: (
        octets.written(results, scenario) if scenario in results else None
    )


def _slowRate(runs: Any) -> Spread:
    """The delay of 99 of 100 lines at the lowest rate."""
    ours = fanin.ofSide(runs, Ours.name)
    lowest = min(run["rate"] for run in ours)
    return spread([run["p99_ms"] for run in ours if run["rate"] == lowest])


GOALS = (
    Goal(
        "raw lines, times rsyslog's lines/s", "bulk-raw", _bulkRatio, ".2f", least=2.0
    ),
    Goal(
        "lines and records, times rsyslog's lines/s",
        "bulk-json",
        _bulkRatio,
        ".2f",
        least=1.8,
    ),
    Goal("4 GB, times rsyslog's speed", "backlog", backlog.ratio, ".2f", least=2.0),
    Goal(
        "times RELP's with its best window", "bulk-relp", _bulkRatio, ".1f", least=9.0
    ),
    Goal(
        "core-seconds a million raw lines, both ends",
        "bulk-raw",
        _bulkCPU,
        ".2f",
        most=3.4,
    ),
    Goal(
        "core-seconds a million lines and records, both ends",
        "bulk-json",
        _bulkCPU,
        ".2f",
        most=4.8,
    ),
    Goal(
        "octets written for one received, raw",
        "octets",
        _written("raw"),
        ".2f",
        most=2.1,
    ),
    Goal(
        "octets written for one received, with records",
        "octets",
        _written("json"),
        ".2f",
        most=6.0,
    ),
    Goal(
        "500 connections: CPU a line, times rsyslog's",
        "fanin-500",
        lambda results: fanin.ratio(results["runs"]),
        ".2f",
        most=1.6,
    ),
    Goal(
        "500 connections: median delay, ms",
        "fanin-500",
        _ofOurs("delay_p50_ms"),
        ".0f",
        most=15,
    ),
    Goal(
        "10,000 connections: KiB each",
        "fanin-10000",
        _ofOurs("connection_kib"),
        ".0f",
        most=64,
    ),
    Goal(
        "5,000 workers back after a restart, s",
        "storm",
        lambda runs: spread([run["back_s"] for run in runs]),
        ".1f",
        most=30,
    ),
    Goal(
        "99 of 100 lines at 100 lines/s, delay in ms",
        "latency",
        _slowRate,
        ".0f",
        most=50,
    ),
    Goal(
        "listener at 4 GB, peak MiB",
        "backlog",
        _ofBacklog("receiver_mib"),
        ".0f",
        most=backlog.BOUNDS_MIB[0],
    ),
    Goal(
        "forwarder at 4 GB, peak MiB",
        "backlog",
        _ofBacklog("sender_mib"),
        ".0f",
        most=backlog.BOUNDS_MIB[1],
    ),
    Goal(
        "burst of 3,000 rotated files, s",
        "idle",
        lambda results: spread([results["burst_s"]]),
        ".1f",
        most=BURST_S_MAX,
    ),
)


def describe(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of reStructuredText."""
    head = ["goal", "bound", "median (least-most)", "reached"]
    rows = [goal.row(results) for goal in GOALS]
    return rstTable(head, rows)
