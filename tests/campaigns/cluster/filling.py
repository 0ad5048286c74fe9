"""
Lines per second with 1, 2 or 3 listeners on one journal in NATS, and with one on
SQLite, and each process's share of the CPU time. C{python -m tests.campaigns.cluster.filling}.

The forwarders find complete files, so that no time is spent waiting for a writer: the
time counts from their start until the last line is in the raw log. With C{--trickle}
each worker instead writes single lines for some seconds, which measures the cost of a
line by itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from decnet_syslog.testing import LocalCluster, LocalWorker, Process, Writer

from .fleet import Fleet

__all__ = ["main"]

LINE = (
    "<134>1 2026-04-18T00:00:00.000000Z {worker} ssh - auth [relay@55555 attacker"
    '="203.0.113.7" user="root" number="{number}"] a login was refused, the password was one'
    " of a list\n"
)

PATIENCE_S = 300.0

# Process ids by role, and a function that measures workers, a log, and these processes.
Roles: TypeAlias = Mapping[str, Callable[[], Sequence[int]]]
Run: TypeAlias = Callable[[Sequence[LocalWorker], Path, Roles], None]


def _seconds(pid: int) -> float:
    """The CPU time that a process and its ended children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _measure(
    workers: Sequence[LocalWorker],
    log: Path,
    roles: Roles,
    count: int,
) -> None:
    """Print the cost per line for lines that exist at the start."""
    for worker in workers:
        worker.file.write_text(
            "".join(
                LINE.format(worker=worker.name, number=number)
                for number in range(count)
            )
        )
    before = {role: sum(map(_seconds, pids())) for role, pids in roles.items()}
    began = time.monotonic()
    for worker in workers:
        worker.forwarder.start()
    total = count * len(workers)
    while _lines(log) < total:
        if time.monotonic() - began > PATIENCE_S:
            raise AssertionError(f"{_lines(log)} of {total} lines; {log.parent}")
        time.sleep(0.05)
    took = time.monotonic() - began
    used = {
        role: sum(map(_seconds, pids())) - before[role] for role, pids in roles.items()
    }
    used["forwarders"] = sum(_seconds(worker.forwarder.pid) for worker in workers)
    assert _lines(log) == total, (_lines(log), total)
    spent = "  ".join(f"{role} {seconds:.1f}" for role, seconds in used.items())
    print(f"{total / took:>9,.0f} lines/s  {took:6.1f} s  CPU s: {spent}", flush=True)


def _pid(process: Process) -> Sequence[int]:
    return [process.pid]


def _trickle(
    workers: Sequence[LocalWorker],
    log: Path,
    roles: Roles,
    span: float,
    rate: float,
) -> None:
    """Print the cost per line for lines that arrive one by one."""
    for worker in workers:
        worker.append(b"first\n")
        worker.forwarder.start()
    while _lines(log) < len(workers):
        time.sleep(0.1)
    before = {role: sum(map(_seconds, pids())) for role, pids in roles.items()}
    writer = Writer(workers, 1, rate)
    writer.start()
    time.sleep(span)
    writer.stop()
    total = sum(writer.written.values())
    deadline = time.monotonic() + PATIENCE_S
    while _lines(log) < total + len(workers):
        assert time.monotonic() < deadline, (_lines(log), total)
        time.sleep(0.1)
    spent = "  ".join(
        f"{role} {(sum(map(_seconds, pids())) - before[role]) / total * 1e6:.0f}"
        for role, pids in roles.items()
    )
    print(f"{total / span:>9,.0f} lines/s  CPU us a line: {spent}", flush=True)


def _alone(directory: Path, workers: int, run: Run) -> None:
    """One listener with its own journal."""
    directory.mkdir()
    pair = LocalCluster(directory, ["--json-path="])
    pair.listener.arguments = [
        argument
        for argument in pair.listener.arguments
        if argument != f"--json-path={pair.jsonPath}"
    ]
    try:
        enrolled = [pair.enroll(f"w{n}") for n in range(workers)]
        pair.startListener()
        run(enrolled, pair.logPath, {"listener": lambda: _pid(pair.listener)})
    finally:
        pair.stop()


def _together(directory: Path, listeners: int, workers: int, run: Run) -> None:
    """Listeners behind HAProxy, and NATS."""
    fleet = Fleet(directory, listeners, workers, records=False)
    try:
        fleet.startServers()
        nodes = [node.running for node in fleet.nats.nodes]
        balancer = fleet.balancer.running
        assert balancer is not None
        run(
            fleet.workers,
            fleet.logPath,
            {
                "listeners": lambda: [one.pid for one in fleet.listeners],
                "outputs": lambda: _pid(fleet.outputs),
                "NATS": lambda: [node.pid for node in nodes if node is not None],
                "HAProxy": lambda: [balancer.pid],
            },
        )
    finally:
        fleet.stop()


def main(arguments: Sequence[str]) -> int:
    """Run the measurement. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.cluster.filling")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--lines", type=int, default=50_000, help="of each worker")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--listeners", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--trickle", type=float, default=0.0, metavar="SECONDS")
    # The writer has a hundred ticks per second, so that each line is alone.
    parser.add_argument("--rate", type=float, default=50.0, help="of each worker, then")
    given = parser.parse_args(arguments)

    def measure(workers: Sequence[LocalWorker], log: Path, roles: Roles) -> None:
        if given.trickle:
            _trickle(workers, log, roles, given.trickle, given.rate)
        else:
            _measure(workers, log, roles, given.lines)

    top = Path(tempfile.mkdtemp(prefix="decnet-syslog-filling-"))
    for run in range(given.runs):
        for listeners in given.listeners:
            if not listeners:
                print("SQLite             ", end="", flush=True)
                _alone(top / f"alone{run}", given.workers, measure)
                continue
            print(f"NATS, {listeners} listener(s)", end="", flush=True)
            _together(top / f"{run}-{listeners}", listeners, given.workers, measure)
    shutil.rmtree(top)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
