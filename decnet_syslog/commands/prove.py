"""
decnet-syslog prove: faults on a temporary pair of master and workers, and a count.

Each worker writes numbered lines while faults, chosen by a seed, happen to both ends and to the
connection between them. At the end every line must be in the master's files once, in order.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..options import Described
from .numbered import Tally, Writer, delivered, progress, recorded, table
from .pair import LocalCluster, LocalWorker, newDirectory
from .proxy import Proxy

__all__ = ["Options", "run"]

# A forwarder that treats written lines as delivered: an easy mistake when a buffer drains.
CONTROL = """
from decnet_syslog.worker import _protocol as protocol
protocol.kernelUnsent = lambda reactor, transport: 0
from twisted.scripts.twistd import run
run()
"""

# Lines that each worker writes per second.
RATE = 400


def _positive(value: str) -> int:
    if not value.isdigit() or not 0 < int(value) <= 1_000_000:
        raise ValueError(f"{value!r} is not a positive number")
    return int(value)


class Options(Described):
    """Options of prove."""

    synopsis = "[options]"
    longdesc = """\
Run a temporary master and two workers as real processes. While they write numbered lines, kill
(SIGKILL), stop and continue both ends, cut and stall their connections, rotate and truncate the
logs and fill the disk. At the end a table shows the counts; exit status 0 if no line was lost,
repeated or out of order.

Example:
    decnet-syslog prove --kills 100 --seed 1"""

    optParameters = [
        ["kills", "k", 20, "Number of kills", _positive],
        ["seed", "s", 1, "Chooses the faults and their order", int],
        ["directory", "d", None, "Work in this new directory [a temporary one]"],
    ]
    optFlags = [
        ["keep", None, "Keep the directory for inspection"],
        ["quiet", "q", "Show no progress"],
        [
            "control",
            None,
            "Let the forwarders treat written lines as delivered, as forwarders without"
            " acknowledgements do: the count must then find lines lost or repeated",
        ],
    ]


class _Trial:
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


def _table(trial: _Trial, seed: int) -> int:
    """Print the counts. Return the exit status."""
    print(f"\nseed {seed}\n\nfault                    times")
    for name, times in sorted(trial.faults.items()):
        print(f"{name:<24} {times:>5}")
    if not trial.full:
        print("disk filled              not possible here: mounting is not permitted")
    tallies = [
        Tally.of(worker.name, trial.writer.written[worker.name], numbers)
        for worker in trial.workers
        for numbers in [trial.delivered(worker.name)]
    ]
    print()
    bad = table(tallies)
    # Including the line that each worker began with.
    total = sum(trial.writer.written.values()) + len(trial.workers)
    for path in sorted(trial.pair.directory.glob("**/*.json")):
        records = recorded(path)
        bad += abs(records - total)
        print(f"records in {path.name}: {records} of {total}")
    return 1 if bad else 0


def run(options: Options) -> int:
    """Run the trial. The exit status."""
    directory = newDirectory(options["directory"], "prove")
    control = bool(options["control"])
    trial = _Trial(directory, options["seed"], control)
    keep = True
    try:
        trial.perform(
            options["kills"], progress(options["kills"], bool(options["quiet"]))
        )
        status = _table(trial, options["seed"])
        keep = bool(options["keep"]) or (status != 0 and not control)
    finally:
        if keep:
            print(f"\nEverything is in {directory}", file=sys.stderr)
            for small in directory.glob("small/*.json"):
                shutil.copyfile(small, directory / f"kept-{small.name}")
        trial.close()
        if not keep:
            shutil.rmtree(directory)
    if control:
        print(
            "\nThe count finds the lost or repeated lines."
            if status
            else "\nThe control lost and repeated nothing: give more --kills!"
        )
        return 0 if status else 1
    print(
        "\nEvery line once, in order." if status == 0 else "\nThe promise was broken!"
    )
    return status
