"""The cost of each item at the listener, and the load of fleets, from the committed results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import fanin, octets
from .report import Spread, rstTable, spread
from .side import Ours

__all__ = ["describeCosts", "describeLoads"]

Results = Mapping[str, Mapping[str, Any]]

NONE = "not measured"

# Fleets: workers, and the lines per second of each.
FLEETS = ((500, 1.0), (2_000, 1.0), (5_000, 0.5), (10_000, 0.1), (10_000, 1.0))

# A BEAT every ten seconds costs a line.
BEATS_PER_S = 0.1

# The memory of a listener without connections, in MiB.
LISTENER_MIB = 52


def _fanins(results: Results) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """For each measured number of connections, the runs of ours."""
    for count in fanin.CONNECTIONS:
        if (result := results.get(f"fanin-{count}")) is not None:
            yield count, fanin.ofSide(result["results"]["runs"], Ours.name)


def _byConnections(results: Results, key: str, form: str, unit: str) -> str:
    cells = [
        f"{spread([run[key] for run in runs]).median:{form}} ({count:,})"
        for count, runs in _fanins(results)
    ]
    return f"{', '.join(cells)} {unit}" if cells else NONE


def _bulk(
    results: Results, name: str, take: Callable[[dict[str, Any]], float]
) -> Spread | None:
    """A figure of each run of ours in a result of C{benchmarks.bulk}."""
    if name not in results:
        return None
    return spread([take(run) for run in results[name]["results"]["runs"][Ours.name]])


def _receiverUs(run: dict[str, Any]) -> float:
    return float(run["receiver_cpu_s"] / run["lines"] * 1e6)


def _senderUs(run: dict[str, Any]) -> float:
    return float(run["processes"]["sender"]["cpu_s"] / run["lines"] * 1e6)


def _senderMiB(run: dict[str, Any]) -> float:
    return float(run["processes"]["sender"]["peakKiB"] / 1024)


def _written(results: Results, scenario: str) -> str:
    found = results.get("octets", {}).get("results", {})
    if scenario not in found:
        return NONE
    return f"{octets.written(found, scenario).median:.1f} octets for each received"


def describeCosts(results: Results) -> str:
    """A table of reStructuredText."""
    raw = _bulk(results, "bulk-raw", _receiverUs)
    both = _bulk(results, "bulk-json", _receiverUs)
    sender = _bulk(results, "bulk-raw", _senderUs)
    memory = _bulk(results, "bulk-raw", _senderMiB)
    rows = [
        ("an open connection", _byConnections(results, "connection_kib", ".0f", "KiB")),
        (
            "a new connection",
            _byConnections(results, "connect_cpu_ms", ".1f", "ms of CPU"),
        ),
        (
            "a line from a worker that sends one now and then",
            _byConnections(results, "line_cpu_us", ".0f", "µs of CPU"),
        ),
        (
            "a line of a full file, raw",
            NONE if raw is None else f"{raw.median:.1f} µs of CPU",
        ),
        (
            "its record in JSON",
            NONE
            if raw is None or both is None
            else f"{both.median - raw.median:.1f} µs of CPU, in a separate process",
        ),
        ("disk, written, raw lines", _written(results, "raw")),
        ("disk, written, raw lines and records", _written(results, "json")),
        (
            "a forwarder, for each line",
            NONE if sender is None else f"{sender.median:.1f} µs of CPU",
        ),
        (
            "a forwarder, memory",
            NONE if memory is None else f"{memory.median:.0f} MiB",
        ),
    ]
    return rstTable(("item", "cost"), rows)


def describeLoads(results: Results) -> str:
    """A table of reStructuredText: computed for each fleet of L{FLEETS}."""
    rows = [_load(results, workers, rate) for workers, rate in FLEETS]
    heads = ("workers", "lines/s of each", "processor", "memory", "all connect again")
    return rstTable(heads, rows)


def _load(results: Results, workers: int, rate: float) -> tuple[str, ...]:
    found = list(_fanins(results))
    head = f"{workers:,}", f"{rate:.1f}"
    if not found:
        return *head, NONE, NONE, NONE
    # The next larger number that was measured, or else the largest.
    larger = [runs for count, runs in found if count >= workers]
    runs = larger[0] if larger else found[-1][1]

    def median(key: str) -> float:
        return spread([run[key] for run in runs]).median

    load = workers * (rate + BEATS_PER_S) * median("line_cpu_us") / 1e6
    memory = LISTENER_MIB + workers * median("connection_kib") / 1024
    again = workers * median("connect_cpu_ms") / 1000
    return (
        *head,
        f"{load:.0%}",
        f"{memory:.0f} MiB",
        f"{again:.1f} s of CPU",
    )
