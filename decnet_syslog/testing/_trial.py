"""
A master and two workers, the faults that happen to them, and a count of their lines.

The faults and their order follow from the seed.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ._loadgen import Tally, Writer, countRecords, deliveredNumbers
from ._localcluster import LocalCluster, LocalWorker, Process
from ._proxy import Proxy

__all__ = ["Trial"]

# Lines that each worker writes per second.
RATE = 400

# The time limit for all lines to arrive at the end, in seconds.
SETTLE_S = 120.0


class Trial:
    """
    One run: the pair of services, the faults, the count.

    @ivar faults: the number of faults up to now, by kind.
    @ivar full: whether this user may mount a small disk, which is then filled.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.full = self._mount(directory / "small")
        small = [f"--json-path={directory}/small/full.json"] if self.full else []
        self.pair = LocalCluster(directory, small)
        self.proxy = Proxy(self.pair.host, self.pair.port)
        self.workers = [
            self.pair.enroll(name, [f"--master-port={self.proxy.port}"])
            for name in ("w1", "w2")
        ]
        self.writer = Writer(self.workers, seed, RATE)
        self.rotated = 0

    def _mount(self, small: Path) -> bool:
        """Mount a small disk for one of the outputs, if this user may."""
        small.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(small)],
            capture_output=True,
        )
        return done.returncode == 0

    def faultsByKind(self) -> dict[str, Callable[[], None]]:
        """The possible faults, besides kills."""
        kinds = {
            "forwarder stopped": lambda: self._freeze(
                self.dice.choice(self.workers).forwarder
            ),
            "listener stopped": lambda: self._freeze(self.pair.listener),
            "connections cut, FIN": lambda: self._cut(False),
            "connections cut, RST": lambda: self._cut(True),
            "connections stalled": self._stall,
            "log renamed": lambda: self._rotate(False),
            "log copied, truncated": lambda: self._rotate(True),
            "master.log renamed": self._rotateOutput,
        }
        if self.full:
            kinds["disk filled"] = self._fill
        return kinds

    def _freeze(self, process: Process) -> None:
        process.signal(signal.SIGSTOP)
        time.sleep(self.dice.random() / 2)
        process.signal(signal.SIGCONT)

    def _cut(self, reset: bool) -> None:
        self.proxy.cut(reset)

    def _stall(self) -> None:
        self.proxy.stall(True)
        time.sleep(self.dice.random() / 2)
        self.proxy.stall(False)

    def _rotate(self, truncate: bool) -> None:
        """Rotate a log while no line is written: losses of logrotate itself are not ours."""
        worker = self.dice.choice(self.workers)
        self.rotated += 1
        with self.writer.lock:
            if not worker.file.exists() or not worker.file.stat().st_size:
                return
            for number in range(60, 0, -1):
                old = worker.file.with_name(f"{worker.file.name}.{number}")
                if old.exists():
                    old.rename(
                        worker.file.with_name(f"{worker.file.name}.{number + 1}")
                    )
            first = worker.file.with_name(f"{worker.file.name}.1")
            if truncate:
                shutil.copyfile(worker.file, first)
                with open(worker.file, "r+b") as file:
                    file.truncate(0)
            else:
                worker.file.rename(first)
                worker.file.touch()

    def _rotateOutput(self) -> None:
        self.rotated += 1
        if self.pair.logPath.exists():
            path = self.pair.logPath
            path.rename(path.with_name(f"{path.name}.{self.rotated:06d}"))
            if self.dice.random() < 0.5:
                self.pair.listener.signal(signal.SIGHUP)

    def _fill(self) -> None:
        ballast = self.pair.directory / "small" / "ballast"
        try:
            with open(ballast, "wb") as file:
                while True:
                    file.write(b"x" * 1024 * 1024)
        except OSError:
            pass
        time.sleep(self.dice.random())
        ballast.unlink()

    def kill(self) -> None:
        """Kill one end or both, and start them again after a moment."""
        choice = self.dice.choice(("listener", "forwarder", "both"))
        if choice != "forwarder":
            self.faults["listener killed"] += 1
            self.pair.listener.kill()
        if choice != "listener":
            self.faults["forwarder killed"] += 1
            self.dice.choice(self.workers).forwarder.kill()
        time.sleep(self.dice.random() / 4)
        for process in self.pair.processes:
            process.start()

    def _begun(self, worker: LocalWorker) -> bool:
        path = self.pair.logPath
        return (
            path.exists()
            and f"first line of {worker.name}\n".encode() in path.read_bytes()
        )

    @property
    def kills(self) -> int:
        """Kills so far."""
        return self.faults["listener killed"] + self.faults["forwarder killed"]

    def begin(self) -> None:
        """Start everything, wait for each worker's first line, and begin to write lines."""
        self.pair.startListener()
        for worker in self.workers:
            worker.forwarder.start()
        # A forwarder does not send files that were rotated away before its first look.
        for worker in self.workers:
            worker.append(f"first line of {worker.name}\n".encode())
        self.pair.wait(
            lambda: all(self._begun(worker) for worker in self.workers),
            "the first lines did not arrive",
        )
        self.writer.start()

    def perform(self, kills: int, progress: Callable[[int], None]) -> None:
        """Strike until that many processes were killed."""
        kinds = self.faultsByKind()
        while self.kills < kills:
            time.sleep(self.dice.choice((0.05, 0.3, 0.9, 1.5)))
            name = self.dice.choice(sorted(kinds))
            self.faults[name] += 1
            kinds[name]()
            time.sleep(self.dice.random() / 2)
            self.kill()
            progress(self.kills)

    def finish(self, patience_s: float = SETTLE_S) -> None:
        """Stop writing, wait until all lines have arrived, and stop the processes."""
        self.writer.stop()
        for process in self.pair.processes:
            process.start()
        path = self.pair.jsonPath
        if self.full:
            path = self.pair.directory / "small" / "full.json"

        def arrived() -> bool:
            there = sum(one.delivered for one in self.tallies())
            written = self.written - len(self.workers)
            return there >= written and path.read_bytes().count(b"\n") >= self.written

        deadline = time.monotonic() + patience_s
        while not arrived() and time.monotonic() < deadline:
            time.sleep(0.5)
        # A repeated line would arrive now: let every connection finish.
        for worker in self.workers:
            worker.forwarder.stop()
        self.pair.listener.stop()

    @property
    def written(self) -> int:
        """The number of all lines, including the first one of each worker."""
        return sum(self.writer.written.values()) + len(self.workers)

    def tallies(self) -> list[Tally]:
        """The fate of each worker's numbered lines in the master's raw log."""
        written = self.writer.written
        numbers = deliveredNumbers(self.pair.logPath, [w.name for w in self.workers])
        return [Tally.of(name, written[name], numbers[name]) for name in numbers]

    def records(self) -> dict[str, int]:
        """The number of records in each JSON output, by its file's name."""
        outputs = sorted(self.pair.directory.glob("**/*.json"))
        return {path.name: countRecords(path) for path in outputs}

    def close(self) -> None:
        """Stop everything."""
        if self.writer.is_alive():
            self.writer.stop()
        self.pair.stop()
        self.proxy.close()
        if self.full:
            subprocess.run(
                ["umount", "-l", str(self.pair.directory / "small")], check=False
            )
