"""
Result files, tables and plots.

A benchmark or a campaign measures into values of JSON, describes them in a text (a function
C{describe} of the results, which prints the same table for the terminal and for the
documentation), and saves them with the machine and its own command line. C{python -m
benchmarks.docs} takes results into the documentation.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from decnet_syslog.errors import UserError

__all__ = [
    "RESULTS",
    "Spread",
    "figure",
    "machine",
    "rstTable",
    "runProgram",
    "save",
    "saveLines",
    "scratch",
    "showPoints",
    "sideBySide",
    "spread",
    "table",
]

RESULTS = Path(__file__).parent / "results"

# The member of a result with the data of its plots: the documentation does not keep it.
PLOTTED = "plot"

# The load of the machine when the measurement began: it is over when it is saved.
_LOAD_AT_START = os.getloadavg()[0]


class Spread:
    """A median with the smallest and the largest value."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self.median = statistics.median(values)
        self.least, self.most = min(values), max(values)

    def __format__(self, form: str) -> str:
        if len(self.values) == 1:
            return f"{self.median:{form}}"
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

    from decnet_syslog.hotpath import description

    return {
        "at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpu": _model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": round(_LOAD_AT_START, 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "hotpath": description,
        "twisted": version("twisted"),
        "pyopenssl": version("pyopenssl"),
        "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii").split()[1],
        "sqlite": sqlite3.sqlite_version,
        "rsyslog": " ".join(_said("/usr/sbin/rsyslogd", "-v").split()[1:2]),
        "commit": _said(
            "git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"
        ),
    }


def _command() -> str:
    """The command line of this program, as a user types it."""
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    name = sys.argv[0]
    if specification is not None:
        name = "-m " + specification.name.removesuffix(".__main__")
    return shlex.join(["python", *name.split(), *sys.argv[1:]])


def save(name: str, settings: object, results: object) -> Path:
    """
    Write C{results/name.json}.

    @param results: values of JSON. Members called L{PLOTTED}, at any depth, are only for plots.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "command": _command(),
        "machine": machine(),
        "settings": settings,
        "results": results,
    }
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")
    print(f"-> {path}; into the documentation: python -m benchmarks.docs {name}")
    return path


def runProgram(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark, and exit with its status. An error of the user's is one line."""
    try:
        raise SystemExit(main())
    except UserError as error:
        raise SystemExit(str(error)) from None


def saveLines(name: str, settings: object, lines: Sequence[str]) -> None:
    """Print and save a result that consists of lines of text."""
    print("\n".join(lines), flush=True)
    save(name, settings, list(lines))


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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text, without a line feed at its end."""
    every = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    every.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([cell.ljust(w) for cell, w in zip(row, widths, strict=True)]).rstrip()
        for row in every
    )


def rstTable(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A simple table of reStructuredText, with a line feed at its end."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join([c.ljust(w) for c, w in zip(row, widths, strict=True)]).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])


def sideBySide(
    title: str,
    runs: Mapping[str, Sequence[Any]],
    measures: Mapping[str, tuple[Callable[[Any], float], str]],
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """
    A table with a column for each side and a row for each measure.

    @param runs: the runs of each side.
    @param measures: for each measure, the function that takes it from a run, and its format.
    @param more: further rows: for each its cells, by side.
    """
    rows = [
        [
            name,
            *[
                f"{spread([take(run) for run in every]):{form}}"
                for every in runs.values()
            ],
        ]
        for name, (take, form) in measures.items()
    ]
    for name, cells in (more or {}).items():
        rows.append([name, *[cells.get(side, "") for side in runs]])
    return table([title, *runs], rows)


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
