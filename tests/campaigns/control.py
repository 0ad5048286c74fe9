"""
The control of C{decnet-syslog prove}: its count must find lines that were lost or repeated.

The forwarders treat written lines as delivered, as forwarders without acknowledgements do. The same
faults happen to them, and the exit status is 0 if each count finds errors:

    python -m tests.campaigns.control 20 1 2 3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import saveLines
from decnet_syslog.testing import Trial

from .prove import ERRORS, perform, rows

__all__ = ["MISTAKE", "forgetful", "main"]

# A forwarder that treats written lines as delivered: an easy mistake when a buffer drains.
MISTAKE = """
from decnet_syslog.worker import _protocol as protocol
protocol.kernelUnsent = lambda reactor, transport: 0
"""

# The time limit for lines to arrive at the end, in seconds. Lost ones never do.
SETTLE_S = 20.0


def forgetful(directory: Path, seed: int) -> Trial:
    """A trial whose forwarders make the mistake."""
    trial = Trial(directory, seed)
    for worker in trial.workers:
        forwarder = worker.forwarder
        forwarder.arguments = [*forwarder.arguments, "--delivery=plain"]
        forwarder.code = MISTAKE + forwarder.code
    return trial


def main(arguments: Sequence[str]) -> int:
    """Run the control. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.control",
        description="Run the faults of decnet-syslog prove on forwarders that treat written lines"
        " as delivered. The exit status is 0 if each count finds lost or repeated lines.",
    )
    parser.add_argument("kills", nargs="?", type=int, default=20, help="default: 20")
    parser.add_argument(
        "seeds", nargs="*", type=int, default=[1], help="one run each; default: 1"
    )
    chosen = parser.parse_args(arguments)
    trials = {
        seed: perform(forgetful, chosen.kills, seed, keeps=False, patience_s=SETTLE_S)
        for seed in chosen.seeds
    }
    saveLines("control", vars(chosen), rows(trials))
    found = [any(one[name] for name in ERRORS) for one in trials.values()]
    if not all(found):
        print("nothing was lost or repeated: kill more")
    return int(not all(found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
