"""
One run of decnet-syslog prove: a pair of master and workers, the faults that happen to it, a count.

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

from .numbered import Writer, delivered
from .pair import LocalCluster, LocalWorker
from .proxy import Proxy

__all__ = ["CONTROL", "Trial"]

# A forwarder that treats written lines as delivered: an easy mistake when a buffer drains.
CONTROL = """
from decnet_syslog.worker import _protocol as protocol
protocol.kernelUnsent = lambda reactor, transport: 0
from twisted.scripts.twistd import run
run()
"""

# Lines that each worker writes per second.
RATE = 400


class Trial:
    """One run: the pair of services, the faults, the count."""

    def __init__(self, directory: Path, seed: int, control: bool = False) -> None:
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
        self.control = control
        if control:
            for worker in self.workers:
                worker.forwarder.arguments = [
                    *worker.forwarder.arguments,
                    "--delivery=plain",
                ]
                worker.forwarder.code = CONTROL
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

    def _freeze(self, process: object) -> None:
        process.signal(signal.SIGSTOP)  # type: ignore[attr-defined]
        time.sleep(self.dice.random() / 2)
        process.signal(signal.SIGCONT)  # type: ignore[attr-defined]

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

    def perform(self, kills: int, progress: Callable[[int], None]) -> None:
        """Run the whole trial."""
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
        kinds = self.faultsByKind()
        while self.kills < kills:
            time.sleep(self.dice.choice((0.05, 0.3, 0.9, 1.5)))
            name = self.dice.choice(sorted(kinds))
            self.faults[name] += 1
            kinds[name]()
            time.sleep(self.dice.random() / 2)
            self.kill()
            progress(self.kills)
        self.writer.stop()
        for process in self.pair.processes:
            process.start()
        self._settle()

    def delivered(self, worker: str) -> list[int]:
        """The numbers of a worker's lines in the master's raw log, in its order."""
        return delivered(self.pair.logPath, [worker])[worker]

    def _settle(self) -> None:
        """Wait until all lines have arrived, and a little longer for repeated ones."""
        total = sum(self.writer.written.values())
        records = total + len(self.workers)
        path = self.pair.directory / "master.json"
        if self.full:
            path = self.pair.directory / "small" / "full.json"

        def arrived() -> bool:
            there = sum(len(self.delivered(worker.name)) for worker in self.workers)
            return there >= total and path.read_bytes().count(b"\n") >= records

        deadline = time.monotonic() + (20 if self.control else 120)
        while not arrived() and time.monotonic() < deadline:
            time.sleep(0.5)
        for worker in self.workers:
            worker.forwarder.stop()
        self.pair.listener.stop()

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
