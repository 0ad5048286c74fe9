"""
Run targets, each in its own process, and print the counts.

    python -m fuzz [--executions N] [--jobs N] [--directory DIR] [target...]

The corpus stays in DIR, and the next run continues with it. An input that crashed a
target is in DIR/TARGET/crash-*; the target's process ends with the first crash. To run
such an input again::

    python -m fuzz --again DIR/TARGET/crash-... TARGET
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import saveLines, table

from .meter import Totals
from .targets import NAMES, load

__all__ = ["main"]

EXECUTIONS = 100_000

HERE = Path(__file__).parent.parent
KEPT = HERE / "tests" / "corpus"

_HEADS = (
    "target",
    "executions",
    "new corpus",
    "crashes",
    "slowest, s",
    "growth, MiB",
)


@dataclass(frozen=True)
class Result:
    """The result of a target."""

    name: str
    totals: Totals
    fresh: int
    crashes: tuple[Path, ...]
    complete: bool

    def row(self) -> list[str]:
        """The row of the table."""
        totals = self.totals
        growth = (totals.late - totals.early) / 2**20 if totals.early else 0.0
        return [
            self.name if self.complete else f"{self.name} (stopped)",
            f"{totals.executions:,}",
            str(self.fresh),
            str(len(self.crashes)),
            f"{totals.slowest:.3f}",
            f"{growth:.1f}",
        ]


def _corpus(directory: Path) -> set[Path]:
    return set((directory / "corpus").glob("*"))


def _crashes(directory: Path) -> set[Path]:
    kinds = ("crash-*", "timeout-*", "oom-*")
    return {path for kind in kinds for path in directory.glob(kind)}


def execute(name: str, executions: int, directory: Path) -> Result:
    """Run one target; its output is in its log."""
    directory.mkdir(parents=True, exist_ok=True)
    before, crashed = _corpus(directory), _crashes(directory)
    (directory / "meter").unlink(missing_ok=True)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with (
        tempfile.TemporaryDirectory(dir=memory, prefix="fuzz-") as scratch,
        (directory / "log").open("wb") as log,
    ):
        status = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz.execute", name, str(executions)),
                *(str(directory), str(KEPT / name)),
            ],
            cwd=HERE,
            env={**os.environ, "TMPDIR": scratch},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    found = tuple(sorted(_crashes(directory) - crashed))
    totals = Totals.of(directory / "meter")
    fresh = len(_corpus(directory) - before)
    return Result(name, totals, fresh, found, status == 0)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--directory", type=Path, default=HERE / ".fuzz")
    parser.add_argument("--again", type=Path, metavar="FILE")
    parser.add_argument("targets", nargs="*", metavar="target", choices=[*NAMES, []])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the requested targets. The exit status is 1 if there was a crash."""
    options = _parse(arguments)
    names = options.targets or NAMES
    if options.again is not None:
        for name in names:
            load(name).run(options.again.read_bytes())
        return 0
    directory = options.directory.absolute()
    results: list[Result] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(
            lambda name: execute(name, options.executions, directory / name), names
        ):
            print(*result.row(), sep="  ", flush=True)
            results.append(result)
    saveLines(
        "fuzz",
        vars(options),
        table(_HEADS, [result.row() for result in results]).splitlines(),
    )
    for result in results:
        for crash in result.crashes:
            print(
                f"{result.name}: {crash}; {directory / result.name / 'log'} has the reason"
            )
    good = all(result.complete and not result.crashes for result in results)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
