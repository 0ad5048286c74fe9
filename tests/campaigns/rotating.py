"""
The real logrotate copies and truncates a log under load, once a second.

The forwarder is killed before some rotations and started again some rotations later.
Lines in the log and its copies at the end must have arrived once. Lines that logrotate
itself loses, written between its copy and its truncation, are counted by whether they
arrived:

    python -m tests.campaigns.rotating 180 1 2 3
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, fields
from pathlib import Path

from benchmarks.report import saveLines, table
from decnet_syslog.testing import LocalCluster, LocalWorker

from ..peers import requirePeer

__all__ = ["Outcome", "missingFrom", "rotateUnderLoad"]

LINE = b"<134>1 2026-04-18T00:00:00Z d s - e - line %d"
LINES_AT_ONCE = 20
WRITE_EVERY_S = 0.002


@dataclass
class Outcome:
    """
    The lines, counted.

    @ivar kept: lines in the log and its copies.
    @ivar missing: kept lines that were not delivered; C{examples} has some.
    @ivar lost: lines lost by logrotate: in no file, and not delivered before.
    """

    rotations: int
    stopped: int
    written: int
    kept: int
    delivered: int
    missing: int
    repeated: int
    lost: int
    gaps: int
    examples: list[bytes] = field(default_factory=list)


class Writer(threading.Thread):
    """Writes numbered lines until stopped."""

    def __init__(self, worker: LocalWorker) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._over = threading.Event()
        self.number = 0

    def run(self) -> None:
        """Write lines."""
        while not self._over.wait(WRITE_EVERY_S):
            here = range(self.number, self.number + LINES_AT_ONCE)
            self._worker.append(b"".join([LINE % n + b"\n" for n in here]))
            self.number += LINES_AT_ONCE

    def stop(self) -> None:
        """Stop writing."""
        self._over.set()
        self.join()


COPYTRUNCATE = ("copytruncate", "compress", "delaycompress")


def rotateUnderLoad(
    pair: LocalCluster,
    rotations: int,
    interval: float,
    dice: random.Random,
    settings: Sequence[str] = COPYTRUNCATE,
) -> Outcome:
    """
    Write, rotate, kill and start the forwarder; then wait for the last line.

    @param interval: seconds between rotations.
    @param settings: lines of logrotate's configuration.
    """
    program = requirePeer("logrotate")
    worker = pair.enroll("w1")
    pair.startListener()
    worker.forwarder.start()
    configuration = pair.directory / "logrotate.conf"
    options = "\n ".join([f"rotate {rotations}", *settings])
    configuration.write_text(f'"{worker.file}" {{\n {options}\n}}\n')
    configuration.chmod(0o644)
    command = [program, "-f", "-s", str(pair.directory / "state"), str(configuration)]
    # A file rotated before the forwarder first sees it is not followed.
    worker.append(b"the beginning\n")
    pair.wait(lambda: arrived(pair, b"the beginning\n"), "the first line is missing")
    writer = Writer(worker)
    writer.start()
    stopped = 0
    try:
        for _ in range(rotations):
            if worker.forwarder.alive:
                if dice.random() < 0.2:
                    worker.forwarder.kill()
            elif dice.random() < 0.5:
                worker.forwarder.start()
            stopped += not worker.forwarder.alive
            threading.Event().wait(interval)
            done = subprocess.run(command, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, ""), done
    finally:
        writer.stop()
    worker.forwarder.start()
    worker.append(b"the end\n")
    pair.wait(lambda: arrived(pair, b"the end\n"), "the last line is missing", 120)
    worker.forwarder.stop()
    pair.listener.stop()
    return outcome(pair, worker, writer.number, rotations, stopped)


def arrived(pair: LocalCluster, line: bytes) -> bool:
    """Whether a line is in master.log."""
    return pair.logPath.exists() and line in pair.logPath.read_bytes()[-4096:]


def outcome(
    pair: LocalCluster, worker: LocalWorker, number: int, rotations: int, stopped: int
) -> Outcome:
    """Count the lines."""
    contents = [
        subprocess.run(["gzip", "-dcf", path], capture_output=True, check=True).stdout
        for path in worker.file.parent.glob(worker.file.name + "*")
    ]
    lines = pair.logPath.read_bytes().splitlines()
    there = Counter([line for line in lines if b" GAP [" not in line])
    inFiles = {line for content in contents for line in content.splitlines()}
    missing = missingFrom(contents, there.keys())
    written = {LINE % n for n in range(number)}
    return Outcome(
        rotations,
        stopped,
        number,
        len(inFiles),
        len(there),
        len(missing),
        sum([count - 1 for count in there.values()]),
        sum([line not in there and line not in inFiles for line in written]),
        len(lines) - sum(there.values()),
        missing[:5],
    )


def missingFrom(contents: list[bytes], there: Set[bytes]) -> list[bytes]:
    """
    The lines of these files that did not arrive.

    If a write spans two pages, a concurrent reader can see half, so logrotate's copy
    may end within a line that was complete in the log before its truncation. Either
    form of that line counts as arrived.
    """
    missing = []
    for content in contents:
        *whole, last = content.split(b"\n")
        missing += [line for line in whole if line not in there]
        if last and last not in there:
            number = whole[-1].rpartition(b" ")[2] if whole else b""
            torn = LINE % (int(number) + 1 if number.isdigit() else 0)
            if not (torn.startswith(last) and torn in there):
                missing.append(last)
    return missing


def main(arguments: Sequence[str]) -> int:
    """Rotate for some time. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.rotating",
        description="Run logrotate with copytruncate once a second, and kill the forwarder before"
        " some rotations. The exit status is 0 if every line arrived once.",
    )
    parser.add_argument(
        "rotations", nargs="?", type=int, default=180, help="default: 180"
    )
    parser.add_argument(
        "seeds", nargs="*", type=int, default=[1], help="one run each; default: 1"
    )
    chosen = parser.parse_args(arguments)
    results: dict[str, Outcome] = {}
    for seed in chosen.seeds:
        directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-rotating-"))
        pair = LocalCluster(directory)
        try:
            result = rotateUnderLoad(pair, chosen.rotations, 1.0, random.Random(seed))
        finally:
            pair.stop()
        results[f"seed {seed}"] = result
        print(f"seed {seed}: {result}", flush=True)
        if result.missing or result.repeated:
            print(f"see {directory}")
            return 1
        shutil.rmtree(directory)
    names = [one.name for one in fields(Outcome) if one.name != "examples"]
    rows = [[n, *[f"{getattr(r, n):,}" for r in results.values()]] for n in names]
    saveLines("rotating", vars(chosen), table(["lines", *results], rows).splitlines())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
