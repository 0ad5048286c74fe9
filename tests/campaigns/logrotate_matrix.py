"""
Every way to rotate a log (L{tests.rotators}) against a forwarder that runs, is stopped,
or is killed. Counts lines that are lost, repeated, or covered by gap records::

    python -m tests.campaigns.logrotate_matrix                  # every row, for docs/proof.rst
    python -m tests.campaigns.logrotate_matrix --only extension # rows whose title begins so

Both ends are real processes, started by their command lines. Every line has 64 octets,
so the octets of a gap record convert to lines. Every row has six rotations. The
forwarder

* runs all the time; or
* is stopped before the second rotation and started before the last; or
* is killed twice, each time in the middle of a burst of lines, and started after one
  rotation.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import rstTable, save
from decnet_syslog.errors import UserError
from decnet_syslog.testing import LocalCluster, LocalWorker

from ..rotators import KINDS, Kind, Rotator

__all__ = ["STATES", "Outcome", "main", "run"]

STATES = ("running", "stopped", "killed")

ROTATIONS = 6
LINE_OCTETS = 64
CHUNK = 300
LATE = 20
BURST = 1500
BANNER = 80

# Where a rotation deletes files, the forwarder gets this time to notice them before it
# ends, in seconds. It then has every line written before, and never sees later ones.
SEEN_S = 2.0

# The time in which lines must arrive or become a gap record, and the quiet time after the
# last line, in seconds.
PATIENCE_S = 100.0
QUIET_S = 2.0


@dataclass(frozen=True)
class Outcome:
    """
    The outcome of one row, in lines.

    @ivar unseen: written while the forwarder was down, to files deleted before it ran
        again: no program could have read them.
    @ivar lost: neither delivered, nor in a gap record, nor unseen. Negative if gap
        records cover lines that were delivered.
    @ivar failure: the error that ended the row early, or the empty text.
    """

    kind: Kind
    state: str
    written: int
    repeated: int
    gaps: int
    unseen: int
    lost: int
    failure: str = ""

    @property
    def isGood(self) -> bool:
        """
        Whether every line arrived once, or is accounted for where that is required.
        """
        allowed = self.kind.away or not (self.gaps or self.unseen)
        return not self.failure and self.lost == self.repeated == 0 and allowed

    def cell(self) -> str:
        """The cell for the table."""
        if self.failure:
            return "failed"
        text = f"{self.lost:,} / {self.repeated:,} / {self.gaps:,}"
        return f"{text} ({self.unseen:,} unseen)" if self.unseen else text


class Writer:
    """A program that writes numbered lines to a log, and reopens it on demand."""

    def __init__(self, path: Path, banner: bool) -> None:
        self._path = path
        self._banner = banner
        self.lines: list[bytes] = []
        self.reopen()

    def _line(self, text: str) -> bytes:
        line = f"<134>1 2026-04-18T00:00:00Z h app - - - {text}".encode()
        line = line.ljust(LINE_OCTETS - 1, b".") + b"\n"
        assert len(line) == LINE_OCTETS, line
        return line

    def _write(self, lines: Sequence[bytes]) -> None:
        self._file.write(b"".join(lines))
        self.lines += lines

    def write(self, count: int) -> None:
        """Write the next lines."""
        at = len(self.lines)
        self._write([self._line(f"line {n} ") for n in range(at, at + count)])

    def reopen(self) -> None:
        """Open the log; make it if there is none."""
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        if self._banner and not self._path.stat().st_size:
            self._write([self._line("banner ")] * BANNER)

    def close(self) -> None:
        """Close the log."""
        self._file.close()


def _contents(home: Path) -> Iterator[bytes]:
    """The unpacked content of every file of a worker."""
    openers = {".gz": gzip.decompress, ".xz": lzma.decompress, ".bz2": bz2.decompress}
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".zst":
            yield openers.get(path.suffix, bytes)(path.read_bytes())


class Trial:
    """One row while it runs."""

    def __init__(self, directory: Path, kind: Kind, state: str) -> None:
        self.kind, self.state = kind, state
        self.pair = LocalCluster(directory)
        self.home = directory / "logs"
        self.home.mkdir(mode=0o755)
        self.rotator = Rotator(self.home, kind)
        # Later options count.
        options = [f"--log-file={self.rotator.follow}", *self.rotator.options]
        self.worker: LocalWorker = self.pair.enroll("w1", options)
        self.worker.forwarder.arguments = [
            argument
            for argument in self.worker.forwarder.arguments
            if argument != f"--log-file={self.worker.file}"
        ]
        self.writer = Writer(self.rotator.log, kind.banner)
        self.unseen: set[bytes] = set()
        self._endedAt = 0

    def run(self) -> Outcome:
        """Rotate while lines are written, then count."""
        try:
            self._begin()
            for number in range(ROTATIONS):
                self._round(number)
            return self._end()
        finally:
            self.writer.close()
            self.pair.stop()

    def _begin(self) -> None:
        self.pair.startListener()
        self.worker.forwarder.start()
        self.writer.write(CHUNK)
        # The forwarder follows the file once its first line has arrived.
        self.pair.wait(lambda: bool(self._delivered()), "no line arrives")
        if self.kind.away:
            self.pair.listener.stop()

    def _endForwarder(self) -> None:
        if self.kind.away:
            time.sleep(SEEN_S)
        if self.state == "stopped":
            self.worker.forwarder.stop()
        else:
            if not self.kind.away:
                self.writer.write(BURST)
            self.worker.forwarder.kill()
        self._endedAt = len(self.writer.lines)

    def _startForwarder(self) -> None:
        there = {
            line
            for content in _contents(self.home)
            for line in content.splitlines(keepends=True)
        }
        if self.kind.away:
            self.unseen |= set(self.writer.lines[self._endedAt :]) - there
        self.worker.forwarder.start()
        if self.kind.away:
            # A file deleted before the forwarder opened it: no program could have read
            # it.
            self.pair.wait(self._hasOpened, "the forwarder has not opened the log")

    def _hasOpened(self) -> bool:
        """Whether the forwarder has the log and the newest rotated file open."""
        found = set()
        for link in Path(f"/proc/{self.worker.forwarder.pid}/fd").iterdir():
            try:
                found.add(link.readlink())
            except OSError:
                # It was closed in the meantime.
                continue
        log = self.rotator.log
        return {log, log.with_name(f"{log.name}.1")} <= found

    def _round(self, number: int) -> None:
        last = ROTATIONS - 1
        down, up = {
            "running": ((), ()),
            "stopped": ((1,), (last,)),
            "killed": ((1, 3), (2, last)),
        }[self.state]
        if number in down:
            self._endForwarder()
        if number in up:
            self._startForwarder()
        self.writer.write(CHUNK)
        self.rotator.rotate()
        if not self.kind.keeps:
            if self.kind.late:
                self.writer.write(LATE)
            if self.kind.lag and number == 0:
                time.sleep(self.kind.lag)
                self.writer.write(LATE)
            self.writer.close()
            self.writer.reopen()
        self.writer.write(CHUNK)
        time.sleep(max(self.kind.pause, 0.3))

    def _end(self) -> Outcome:
        if self.kind.away:
            self.pair.startListener()
        self.writer.write(CHUNK)
        deadline = time.monotonic() + PATIENCE_S
        outcome = self._count()
        while outcome.lost > 0 and time.monotonic() < deadline:
            time.sleep(0.2)
            outcome = self._count()
        size, since = -1, time.monotonic()
        while time.monotonic() < since + QUIET_S:
            time.sleep(0.2)
            if self.pair.logPath.stat().st_size != size:
                size, since = self.pair.logPath.stat().st_size, time.monotonic()
        self.worker.forwarder.stop()
        self.pair.listener.stop()
        return self._count()

    def _delivered(self) -> list[bytes]:
        path = self.pair.logPath
        if not path.exists():
            return []
        lines = path.read_bytes().splitlines(keepends=True)
        return [line for line in lines if b" decnet-syslog - GAP [" not in line]

    def _gaps(self) -> int:
        """The number of lines in gap records, parts of lines included."""
        path, octets = self.pair.jsonPath, 0
        for line in path.read_bytes().splitlines() if path.exists() else ():
            if b'"gap"' in line:
                octets += json.loads(line)["gap"]["octets"]
        return -(-octets // LINE_OCTETS)

    def _count(self) -> Outcome:
        written, delivered = Counter(self.writer.lines), Counter(self._delivered())
        missing, gaps = written - delivered, self._gaps()
        unseen = sum(count for line, count in missing.items() if line in self.unseen)
        return Outcome(
            self.kind,
            self.state,
            written.total(),
            (delivered - written).total(),
            gaps,
            unseen,
            missing.total() - gaps - unseen,
        )


def run(directory: Path, kind: Kind, state: str) -> Outcome:
    """Run a row in a new directory."""
    directory.mkdir()
    try:
        return Trial(directory, kind, state).run()
    except UserError as error:
        return Outcome(kind, state, 0, 0, 0, 0, 0, str(error))


def table(outcomes: Iterable[Outcome]) -> str:
    """The outcomes, a line for each kind."""
    return _table([(one.kind.title, one.state, one.cell()) for one in outcomes])


def _table(cells: Iterable[tuple[str, str, str]]) -> str:
    found: dict[str, dict[str, str]] = {}
    for title, state, cell in cells:
        found.setdefault(title, {})[state] = cell
    rows = [
        # In reStructuredText a lone asterisk begins emphasis.
        [title.replace("*", r"\*"), *[row.get(state, "") for state in STATES]]
        for title, row in found.items()
    ]
    return rstTable(["rotation", *STATES], rows)


def asResults(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The values for a result file."""
    version = subprocess.run(["logrotate", "--version"], capture_output=True, text=True)
    program = (version.stdout or version.stderr).splitlines()[0]
    written = sum(outcome.written for outcome in outcomes)
    cells = [
        {"title": one.kind.title, "state": one.state, "cell": one.cell()}
        for one in outcomes
    ]
    return {"program": program, "written": written, "cells": cells}


def describe(results: Mapping[str, Any]) -> str:
    """The page's table: in reStructuredText."""
    cells = [(one["title"], one["state"], one["cell"]) for one in results["cells"]]
    return (
        f"{results['written']:,} lines, {results['program']}; lines lost / repeated / in gap"
        f" records:\n\n{_table(cells)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rows. The exit status is 1 if a line was lost or came twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.logrotate_matrix")
    parser.add_argument("--only", default="", help="rows whose title begins so")
    parser.add_argument("--state", choices=STATES, help="forwarder state")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the directory")
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-rotations-"))
    directory.chmod(0o755)
    rows = [
        (directory / f"{number}-{state}", kind, state)
        for number, kind in enumerate(KINDS)
        if kind.title.startswith(options.only)
        for state in STATES
        if options.state in (None, state)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda row: run(*row), rows):
            outcomes.append(outcome)
            name = f"{outcome.kind.title}, {outcome.state}"
            said = f"{name:<45} {outcome.cell()}  {outcome.failure}"
            print(said.rstrip(), file=sys.stderr, flush=True)
    print(table(outcomes))
    print("lines lost / repeated / in gap records")
    if not options.only and options.state is None:
        save("rotations", vars(options), asResults(outcomes))
    if options.keep:
        print(f"see {directory}")
    else:
        shutil.rmtree(directory)
    return 0 if all(outcome.isGood for outcome in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
