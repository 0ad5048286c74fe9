"""
decnet-syslog prove: faults on a temporary pair of master and workers, and a count.

Each worker writes numbered lines while faults, chosen by a seed, happen to both ends and to the
connection between them. At the end every line must be in the master's files once, in order.
"""

from __future__ import annotations

import shutil
import sys

from ..options import Described
from ..testing import Trial, newDirectory, printTallies, progressBar

__all__ = ["Options", "run"]


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
    ]


def _table(trial: Trial, seed: int) -> int:
    """Print the counts. Return the exit status."""
    print(f"\nseed {seed}\n\nfault                    times")
    for name, times in sorted(trial.faults.items()):
        print(f"{name:<24} {times:>5}")
    if not trial.full:
        print("disk filled              not possible here: mounting is not permitted")
    print()
    bad = printTallies(trial.tallies())
    for name, records in trial.records().items():
        bad += abs(records - trial.written)
        print(f"records in {name}: {records} of {trial.written}")
    return 1 if bad else 0


def run(options: Options) -> int:
    """Run the trial. The exit status."""
    directory = newDirectory(options["directory"], "prove")
    trial = Trial(directory, options["seed"])
    keep = True
    try:
        trial.begin()
        trial.perform(
            options["kills"], progressBar(options["kills"], bool(options["quiet"]))
        )
        trial.finish()
        status = _table(trial, options["seed"])
        keep = bool(options["keep"]) or status != 0
    finally:
        if keep:
            print(f"\nEverything is in {directory}", file=sys.stderr)
            for small in directory.glob("small/*.json"):
                shutil.copyfile(small, directory / f"kept-{small.name}")
        trial.close()
        if not keep:
            shutil.rmtree(directory)
    print(
        "\nEvery line once, in order." if status == 0 else "\nThe promise was broken!"
    )
    return status
