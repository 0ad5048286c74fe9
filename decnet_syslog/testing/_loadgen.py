"""Numbered lines: written by workers, found again in a master's files, and counted."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ._localcluster import LocalWorker

__all__ = [
    "Tally",
    "Writer",
    "countRecords",
    "deliveredNumbers",
    "numberOf",
    "printTallies",
    "progressBar",
]

# The interval at which lines are written, in seconds.
TICK_S = 0.01

_MARK = b' prove - line [relay@55555 seq="'


class Writer(threading.Thread):
    """
    Writes numbered lines to every worker's log.

    @ivar written: the number of lines, by the worker's name.
    @ivar lock: held while lines are written: take it to rotate a log.
    """

    def __init__(self, workers: Sequence[LocalWorker], seed: int, rate: float) -> None:
        """
        @param rate: lines a second for each worker, on average.
        """
        super().__init__(daemon=True)
        self.workers = workers
        self.written: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._rate = rate
        self._dice = random.Random(seed)
        self._over = threading.Event()

    def run(self) -> None:
        """Write until told to stop."""
        while not self._over.wait(TICK_S):
            with self.lock:
                for worker in self.workers:
                    self._write(worker)

    def _write(self, worker: LocalWorker) -> None:
        lines = []
        # A tick's share: at random from none to double; a fractional part adds a line sometimes.
        wanted = 2 * self._rate * TICK_S
        count = self._dice.randint(0, int(wanted))
        count += self._dice.random() < (wanted - int(wanted)) / 2
        for _ in range(count):
            number = self.written[worker.name]
            self.written[worker.name] += 1
            padding = "x" * self._dice.choice((0, 5, 50, 500))
            lines.append(
                f"<134>1 2026-04-18T00:00:00Z {worker.name}{_MARK.decode()}{number}"
                f'" at="{time.time():.6f}"] {padding}\n'
            )
        octets = "".join(lines).encode("ascii")
        # A line may be written in two pieces.
        half = self._dice.randint(0, len(octets)) if octets else 0
        worker.append(octets[:half])
        worker.append(octets[half:])

    def stop(self) -> None:
        """Stop writing."""
        self._over.set()
        self.join()


def numberOf(line: bytes) -> tuple[str, int]:
    """The worker and the number of a line; an empty name if it is not numbered."""
    head, _, rest = line.partition(_MARK)
    number, isWhole, _ = rest.partition(b'"')
    if not isWhole:
        # It may also be a line that was cut by a kill.
        return "", 0
    return head.rpartition(b" ")[2].decode("ascii", "replace"), int(number)


def deliveredNumbers(path: Path, workers: Iterable[str]) -> dict[str, list[int]]:
    """
    The numbers of the workers' lines in a raw log, in the order of the log.

    @param path: the log; files with C{.} and a suffix after its name are read before it.
    """
    numbers: dict[str, list[int]] = {worker: [] for worker in workers}
    for file in [*sorted(path.parent.glob(f"{path.name}.*")), path]:
        if not file.exists():
            continue
        with open(file, "rb") as lines:
            for line in lines:
                worker, number = numberOf(line)
                own = numbers.get(worker)
                if own is not None:
                    own.append(number)
    return numbers


def countRecords(path: Path) -> int:
    """The number of records in a JSON output; each must be readable."""
    count = 0
    with open(path, "rb") as lines:
        for line in lines:
            json.loads(line)
            count += 1
    return count


@dataclass(frozen=True)
class Tally:
    """The fate of one worker's lines."""

    worker: str
    written: int
    delivered: int
    lost: int
    repeated: int
    disorder: int

    @classmethod
    def of(cls, worker: str, written: int, numbers: Sequence[int]) -> Tally:
        """
        Count the lines.

        @param numbers: the numbers of the arrived lines, in their order.
        """
        different = len(set(numbers))
        return cls(
            worker,
            written,
            len(numbers),
            written - different,
            len(numbers) - different,
            sum(b < a for a, b in pairwise(numbers)),
        )


def printTallies(tallies: Sequence[Tally]) -> int:
    """Print the counts. Return the number of errors."""
    print("worker   written  delivered  lost  repeated  out of order")
    for one in tallies:
        print(
            f"{one.worker:<7} {one.written:>8} {one.delivered:>10} {one.lost:>5}"
            f" {one.repeated:>9} {one.disorder:>13}"
        )
    return sum(one.lost + one.repeated + one.disorder for one in tallies)


def progressBar(kills: int, quiet: bool) -> Callable[[int], None]:
    """Make a function that shows a bar for the number of kills done."""
    begun = time.monotonic()

    def show(done: int) -> None:
        if quiet:
            return
        width = 40 * min(done, kills) // kills
        bar = "#" * width + "." * (40 - width)
        end = "\r" if sys.stderr.isatty() and done < kills else "\n"
        if end == "\r" or done >= kills or done % 25 < 2:
            print(
                f"[{bar}] {done}/{kills} kills, {time.monotonic() - begun:.0f} s",
                end=end,
                file=sys.stderr,
                flush=True,
            )

    return show
