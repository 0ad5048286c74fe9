"""
decnet-syslog prove: faults on a temporary pair of master and workers, and a count.

Each worker writes numbered lines while faults, chosen by a seed, happen to both ends and to the
connection between them. At the end every line must be in the master's files once, in order.
"""

from __future__ import annotations

import shutil
import sys

from ..options import Described
from .numbered import Tally, progress, recorded, table
from .pair import newDirectory
from .trial import Trial

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
        [
            "control",
            None,
            "Let the forwarders treat written lines as delivered, as forwarders without"
            " acknowledgements do: the count must then find lines lost or repeated",
        ],
    ]


def _table(trial: Trial, seed: int) -> int:
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
    trial = Trial(directory, options["seed"], control)
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
