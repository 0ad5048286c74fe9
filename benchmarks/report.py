"""Result files, tables and plots."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = [
    "Spread",
    "figure",
    "machine",
    "save",
    "scratch",
    "showPoints",
    "spread",
    "table",
]

RESULTS = Path(__file__).parent / "results"


class Spread:
    """A median with the smallest and the largest value."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self.median = statistics.median(values)
        self.least, self.most = min(values), max(values)

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.least:{form}}-{self.most:{form}})"

    def asDict(self) -> dict[str, Any]:
        """The values for a result file."""
        return {
            "median": self.median,
            "min": self.least,
            "max": self.most,
            "values": self.values,
        }


def spread(values: Sequence[float]) -> Spread:
    """The median, the smallest and the largest of some values."""
    return Spread(values)


def _said(*command: str) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (said.stdout.splitlines() or [""])[0]


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def machine() -> dict[str, Any]:
    """The machine and the versions used for a measurement."""
    from OpenSSL import SSL

    return {
        "at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpu": _model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "pyopenssl": version("pyopenssl"),
        "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii"),
        "rsyslog": _said("/usr/sbin/rsyslogd", "-v"),
        "commit": _said(
            "git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"
        ),
    }


def save(name: str, settings: object, results: object) -> Path:
    """Write C{results/name.json}."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"machine": machine(), "settings": settings, "results": results}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"-> {path}")
    return path


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """
    A temporary directory on a real disk (TMPDIR, if set): fsync is part of the
    measurements.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"decnet-syslog-{name}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    every = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    for number, row in enumerate(every):
        print(
            "  ".join(
                cell.ljust(w) for cell, w in zip(row, widths, strict=True)
            ).rstrip()
        )
        if number == 0:
            print("  ".join("-" * width for width in widths))
    sys.stdout.flush()


@contextmanager
def figure(name: str, columns: int = 1) -> Iterator[Any]:
    """
    Draw C{results/name.png}: yields the axes, a list with one for each column.

    Without matplotlib there is no plot, and a message explains how to install it.
    """
    try:
        import matplotlib
    except ImportError:
        print("no plot: pip install '.[benchmark]'")
        yield None
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(
        1, columns, figsize=(5.2 * columns, 3.8), squeeze=False, layout="constrained"
    )
    yield list(axes[0])
    for one in axes[0]:
        one.spines[["top", "right"]].set_visible(False)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.png"
    drawn.savefig(path, dpi=110)
    pyplot.close(drawn)
    print(f"-> {path}")


def showPoints(axis: Any, values: Sequence[float]) -> None:
    """Label only the measured values on a logarithmic x axis."""
    axis.set_xticks(values, [f"{value:,}" for value in values])
    axis.set_xticks([], minor=True)
