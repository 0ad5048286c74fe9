"""
A temporary master and workers as real processes, numbered lines, and a hostile proxy.

The commands C{demo} and C{prove} are built on it, and so are the tests, the campaigns and the
benchmarks. No service imports it.
"""

from ._loadgen import (
    Tally,
    Writer,
    countRecords,
    deliveredNumbers,
    numberOf,
    printTallies,
    progressBar,
)
from ._localcluster import (
    LocalCluster,
    LocalWorker,
    Process,
    countLines,
    freePort,
    newDirectory,
)
from ._trial import Trial

__all__ = [
    "LocalCluster",
    "LocalWorker",
    "Process",
    "Tally",
    "Trial",
    "Writer",
    "countLines",
    "countRecords",
    "deliveredNumbers",
    "freePort",
    "newDirectory",
    "numberOf",
    "printTallies",
    "progressBar",
]
