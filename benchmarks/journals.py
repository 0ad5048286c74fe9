"""
The speed of a listener's journal: a file, a cluster of three, and a cluster with
compressed batches.

    python -m benchmarks.journals [--runs N] [--scale F] [--synced]

Needed: nats-server 2.10 or newer, C{pip install '.[nats,test]'}. One journal commits
groups of deposits, one deposit per connection, one group after another, without a
network, workers or outputs; the ratios compare with the file journal in the same run.
C{--synced}: each node syncs every message (C{sync_interval: always}), as the file
journal does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from decnet_syslog.journal import Cursor, Deposit, IJournal, Journal, OpenRequest
from decnet_syslog.wire import Provenance
from tests.natsserver import NatsCluster, openJetStream, waitUntil

from .lines import decnetLines
from .report import runProgram, save, scratch, spread, table

__all__ = ["main"]

RUNS = 5

# Connections, octets of a deposit, groups: chosen so that none takes much longer than a
# second.
SHAPES = ((1, 1_000, 300), (32, 1_000, 60), (1, 64_000, 200), (32, 64_000, 25))

# The size limit of a stream; nothing is removed here.
STREAM_OCTETS_MAX = 1024**3

_FILE = "file"

# Small enough for the servers' default limit.
MESSAGE_OCTETS_MAX = 65536


def _deposits(
    journal: IJournal, connections: int, octets: bytes, groups: int
) -> Iterator[list[Deposit]]:
    """Groups of deposits, with one deposit per connection in each."""
    workers = [f"worker-{number}" for number in range(connections)]
    grants = journal.grants(
        [OpenRequest(name, uuid4().hex, 0, 0, "/a.log") for name in workers]
    )
    start = 0
    for _ in range(groups):
        yield [
            Deposit(
                Provenance(name, "sha-256:00", "192.0.2.1:5", "-", "/a.log", False),
                grant,
                start,
                start + len(octets),
                octets,
            )
            for name, grant in zip(workers, grants, strict=True)
        ]
        start += len(octets)


def _speed(journal: IJournal, shape: tuple[int, int, int], scale: float) -> float:
    """Megabytes per second."""
    connections, size, groups = shape
    lines = b"".join(decnetLines(size // 100))
    octets = lines[: lines.rfind(b"\n", 0, size) + 1]
    groups = max(2, int(groups * scale))
    work = list(_deposits(journal, connections, octets, groups))
    cursors: list[Cursor] = []
    began = time.perf_counter()
    for group in work:
        batches = journal.commit(group, cursors)
        last = batches[-1]
        assert last is not None and None not in batches
        if isinstance(journal, Journal):
            # Another process empties a cluster's stream.
            cursors = [Cursor("raw", last.seq, {})]
    return connections * len(octets) * groups / (time.perf_counter() - began) / 1e6


@contextmanager
def _journals(
    directory: Path, synced: bool
) -> Iterator[dict[str, Callable[[], IJournal]]]:
    """For each kind of journal, a function that opens it."""
    cluster = NatsCluster(directory / "nats")
    for node in cluster.nodes:
        node.storage = "sync_interval: always" if synced else ""
        node.spawn()
    try:
        waitUntil(lambda: all(n.healthy() for n in cluster.nodes), "no cluster")

        def clustered(encoding: str) -> IJournal:
            return openJetStream(
                cluster.journal,
                None,
                3,
                STREAM_OCTETS_MAX,
                MESSAGE_OCTETS_MAX,
                encoding=encoding,
            )

        yield {
            _FILE: lambda: Journal.open(directory / "journal.db"),
            "3 replicas": lambda: clustered("none"),
            "packed": lambda: clustered("zstd"),
        }
    finally:
        for node in cluster.nodes:
            node.kill()


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--synced", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    with (
        scratch("journals") as directory,
        _journals(directory, arguments.synced) as journals,
    ):
        for _ in range(arguments.runs):
            for shape in SHAPES:
                speeds = found.setdefault(f"{shape[0]} x {shape[1]:,}", {})
                for name, opened in journals.items():
                    journal = opened()
                    if name == _FILE:
                        journal.useOutputs(["raw"])
                    speed = _speed(journal, shape, arguments.scale)
                    speeds.setdefault(name, []).append(speed)
                    journal.close()
    rows = []
    results: dict[str, Any] = {}
    for what, speeds in found.items():
        row = [what]
        for name, values in speeds.items():
            ratios = [v / f for v, f in zip(values, speeds[_FILE], strict=True)]
            row += [f"{spread(values):.1f}", f"{spread(ratios):.2f}"]
            results.setdefault(what, {})[name] = {
                "megabytes_per_second": spread(values).asDict(),
                "times_file": spread(ratios).asDict(),
            }
        del row[2]
        rows.append(row)
    heads = [h for name in ("3 replicas", "packed") for h in (f"{name}, MB/s", "times")]
    print(table(["connections x octets", "file, MB/s", *heads], rows))
    save(
        "journals-synced" if arguments.synced else "journals", vars(arguments), results
    )
    return 0


if __name__ == "__main__":
    runProgram(main)
