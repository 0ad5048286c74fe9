"""
The faults of C{decnet-syslog prove}, with several seeds, one after the other or at once.

    python -m tests.campaigns.prove 500 1 2 3 --at-once 3
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.report import saveLines, table
from decnet_syslog.testing import Trial, progressBar

__all__ = ["ERRORS", "main", "perform", "rows"]

WRITTEN = "lines written"

# The counts that must be zero.
ERRORS = ("lost", "repeated", "out of order", "records missing or surplus")


def perform(
    make: Callable[[Path, int], Trial],
    kills: int,
    seed: int,
    keeps: bool = True,
    **patience: float,
) -> dict[str, int]:
    """
    Run one trial in a new directory.

    @param make: creates the trial in a directory, from the seed.
    @param keeps: whether the directory stays if a line was lost or repeated.
    @param patience: C{patience_s} of L{Trial.finish}.
    @return: the number of each kind of fault, of lines, and of L{ERRORS}.
    """
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-prove-"))
    trial = make(directory, seed)
    try:
        trial.begin()
        trial.perform(kills, progressBar(kills, False))
        trial.finish(**patience)
        tallies = trial.tallies()
        surplus = [abs(there - trial.written) for there in trial.records().values()]
        errors = (
            sum(one.lost for one in tallies),
            sum(one.repeated for one in tallies),
            sum(one.disorder for one in tallies),
            sum(surplus),
        )
        found = dict(sorted(trial.faults.items()))
        found[WRITTEN] = sum(one.written for one in tallies)
        found |= dict(zip(ERRORS, errors, strict=True))
        if keeps and any(errors):
            # They are on a disk that is unmounted now.
            for small in directory.glob("small/*.json"):
                shutil.copyfile(small, directory / f"kept-{small.name}")
    finally:
        trial.close()
    if keeps and any(errors):
        print(f"seed {seed}: {found}; see {directory}", flush=True)
    else:
        shutil.rmtree(directory)
    return found


def rows(trials: Mapping[int, Mapping[str, int]]) -> list[str]:
    """A table with a column for each seed, as lines."""
    last = (WRITTEN, *ERRORS)
    # A fault may be missing in a short trial.
    faults = {name for found in trials.values() for name in found} - set(last)
    counts = [
        [name, *[f"{found.get(name, 0):,}" for found in trials.values()]]
        for name in [*sorted(faults), *last]
    ]
    return table(["seed", *map(str, trials)], counts).splitlines()


def main(arguments: Sequence[str]) -> int:
    """Run the trials. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.prove",
        description="Run the faults of decnet-syslog prove with each seed. The exit status is 0"
        " if no line was lost, repeated or out of order.",
    )
    parser.add_argument("kills", nargs="?", type=int, default=500, help="default: 500")
    parser.add_argument(
        "seeds", nargs="*", type=int, default=[1], help="one run each; default: 1"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=1,
        help="how many seeds at the same time; default: 1",
    )
    chosen = parser.parse_args(arguments)
    with ProcessPoolExecutor(chosen.at_once) as pool:
        found = pool.map(partial(perform, Trial, chosen.kills), chosen.seeds)
        trials = dict(zip(chosen.seeds, found, strict=True))
    saveLines("prove", vars(chosen), rows(trials))
    return int(any(found[name] for found in trials.values() for name in ERRORS))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
