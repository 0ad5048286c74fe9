"""
The listener's behaviour when the disk under the journal or an output fails, or somebody
moves the files.

Real processes, a forwarder that ships numbered lines all the time, and one fault in
each run:

    python -m tests.campaigns.diskmatrix            every run; saves the result for docs/proof.rst
    python -m tests.campaigns.diskmatrix raw ENOSPC only these

I{running}: the fault comes and goes while the listener runs. I{killed}, I{stopped}: the
listener is killed or stopped during the fault and restarted before the fault ends;
files are moved while it is down. At the end every line must be in a file once; a line
in a file that was moved away or deleted counts as present.

A full disk is a small tmpfs (as root; otherwise the error is injected); other errors
are injected by C{strace} into the calls that reach the file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import rstTable, save
from decnet_syslog.errors import UserError
from decnet_syslog.testing import LocalCluster

__all__ = ["FAULTS", "SUBJECTS", "WHENS", "Cell", "Result", "run"]

SUBJECTS = ("journal", "raw", "JSON", "both")

FAULTS = (
    "ENOSPC",
    "EDQUOT",
    "EROFS",
    "EIO on write",
    "EIO on sync",
    "directory gone",
    "file in its place",
    "renamed",
    "moved to another disk",
    "compressed",
    "removed",
)

WHENS = ("running", "killed", "stopped")

# Faults that move files, and leave the disk intact.
MOVES = FAULTS[7:]

# The number of lines per second, and how long a fault lasts, in seconds.
RATE = 200
FAULT_S = 1.6

# The time limit for all lines to arrive once the fault is over, in seconds.
PATIENCE_S = 60.0

_LINE = re.compile(rb"- e - line (\d+)\n")


@dataclass(frozen=True)
class Cell:
    """
    One run: the affected disk, the fault, and what the listener does during the fault.
    """

    subject: str
    fault: str
    when: str

    def __str__(self) -> str:
        return f"{self.subject}, {self.fault}, {self.when}"


@dataclass
class Result:
    """
    The result of a run.

    @ivar lost: lines that are in no file.
    @ivar repeated: lines that are in the files more than once.
    @ivar reported: whether the listener's log warned that lines may be repeated.
    @ivar status: the exit status if the listener ended by itself; C{None} if it did
        not.
    @ivar words: the log message about the fault.
    """

    lost: int
    repeated: int
    reported: bool
    status: int | None
    words: str

    @property
    def holds(self) -> bool:
        """Whether no line is missing, and any repetition was reported."""
        return not self.lost and (not self.repeated or self.reported)

    def __str__(self) -> str:
        repeats = (
            f"{self.repeated}*" if self.repeated and self.reported else self.repeated
        )
        what = "runs" if self.status is None else f"ends, {self.status}"
        return f"{self.lost}, {repeats}; {what}"


class Writer(threading.Thread):
    """Appends numbered lines to a worker's log until it is stopped."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.count = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Append some lines at intervals."""
        while not self._over.wait(0.05):
            some = range(self.count, self.count + RATE // 20)
            lines = [
                b"<134>1 2026-04-18T00:00:00Z d s - e - line %d\n" % n for n in some
            ]
            with open(self.path, "ab") as file:
                file.write(b"".join(lines))
            self.count = some.stop

    def stop(self) -> None:
        """Stop appending."""
        self._over.set()
        self.join()


@dataclass
class Place:
    """The file affected by a fault."""

    kind: str
    path: Path
    isSmall: bool = False
    taken: bytes = b""
    moves: int = 0
    filler: Path | None = None

    @property
    def directory(self) -> Path:
        """The file's directory."""
        return self.path.parent


@dataclass
class Run:
    """A listener, a forwarder, and one fault."""

    cell: Cell
    directory: Path
    mounts: list[Path] = field(default_factory=list)
    tracers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        cell, directory = self.cell, self.directory
        self.elsewhere = self._otherDisk()
        self.places = [
            Place("journal", directory / "journal" / "listener.db"),
            Place("raw", directory / "raw" / "master.log"),
            Place("JSON", directory / "json" / "master.json"),
        ]
        for place in self.places:
            place.directory.mkdir()
        wanted = ("raw", "JSON") if cell.subject == "both" else (cell.subject,)
        self.subjects = [place for place in self.places if place.kind in wanted]
        if cell.fault == "ENOSPC":
            for place in self.subjects:
                size = "24m" if place.kind == "journal" else "4m"
                place.isSmall = self._mount(place.directory, size)
        journal, raw, records = [place.path for place in self.places]
        self.pair = LocalCluster(directory)
        self.pair.listener.arguments = [
            "decnet-listener",
            f"--host={self.pair.host}",
            f"--port={self.pair.port}",
            f"--ca-dir={self.pair.caDirectory}",
            f"--journal={journal}",
            f"--log-path={raw}",
            f"--json-path={records}",
        ]
        self.worker = self.pair.enroll("w1", ["--poll-interval=0.1"])
        self.writer = Writer(self.worker.file)

    def _mount(self, path: Path, size: str) -> bool:
        if os.geteuid():
            return False
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)],
            check=True,
        )
        self.mounts.append(path)
        return True

    def _otherDisk(self) -> Path:
        """A directory on another file system, if there is one."""
        path = self.directory / "elsewhere" / "disk"
        path.mkdir(parents=True)
        self._mount(path, "64m")
        return path

    # What happens

    def begin(self) -> None:
        """Begin the fault."""
        fault = self.cell.fault
        for place in self.subjects:
            if fault == "ENOSPC" and place.isSmall:
                self._fill(place)
            elif fault in ("directory gone", "file in its place"):
                place.moves += 1
                self._vacate(place)
            elif fault in MOVES:
                self._move(place)
        self.trace()

    def trace(self) -> None:
        """Inject errors into the running processes, if the fault is of that kind."""
        fault = self.cell.fault
        writes = "write,pwrite64,pwritev,fallocate"
        calls, error = {
            "ENOSPC": (writes, "ENOSPC"),
            "EDQUOT": (writes, "EDQUOT"),
            "EROFS": (f"{writes},openat,ftruncate", "EROFS"),
            "EIO on write": (writes, "EIO"),
            "EIO on sync": ("fdatasync,fsync", "EIO"),
        }.get(fault, ("", ""))
        if not calls or any(place.isSmall for place in self.subjects):
            return
        for place in self.subjects:
            process = self._processOf(place)
            if process is None:
                continue
            ends = ("", "-wal") if place.kind == "journal" else ("",)
            paths = [arg for end in ends for arg in ("-P", f"{place.path}{end}")]
            self.tracers.append(
                subprocess.Popen(
                    [
                        *("strace", "-f", "-qq", "-o", "/dev/null", "-p", str(process)),
                        *(*paths, "-e", f"trace={calls}"),
                        *("-e", f"inject={calls}:error={error}"),
                    ],
                    stderr=subprocess.DEVNULL,
                )
            )

    def _processOf(self, place: Place) -> int | None:
        """The process that writes a file."""
        if not self.pair.listener.alive:
            return None
        listener = self.pair.listener.pid
        if place.kind != "JSON":
            return listener
        children = Path(f"/proc/{listener}/task/{listener}/children")
        found = (
            [int(pid) for pid in children.read_text().split()]
            if children.exists()
            else []
        )
        return found[0] if found else None

    def _fill(self, place: Place) -> None:
        """Fill the disk almost completely."""
        place.filler = place.directory / "filler"
        left = 0 if place.kind == "journal" else 3_000
        status = os.statvfs(place.directory)
        octets = status.f_bavail * status.f_frsize - left
        with open(place.filler, "wb") as file:
            for _ in range(max(0, octets) // 4096):
                file.write(bytes(4096))

    def _vacate(self, place: Place) -> None:
        """Rename the directory, and put a file in its place for some faults."""
        place.directory.rename(self._gone(place))
        if self.cell.fault == "file in its place":
            place.directory.write_bytes(b"")

    def _gone(self, place: Place) -> Path:
        return self.directory / f"{place.directory.name}.gone"

    def _files(self, place: Place) -> list[Path]:
        """The file, and SQLite's other files for the same database."""
        if place.kind != "journal":
            return [place.path] if place.path.exists() else []
        return sorted(
            path
            for path in place.directory.iterdir()
            if not path.name.endswith(".lock")
        )

    def _move(self, place: Place) -> None:
        fault = self.cell.fault
        for path in self._files(place):
            if fault == "renamed":
                path.rename(path.with_name(f"{path.name}.1"))
            elif fault == "moved to another disk":
                # As mv does: make a copy, then delete the file.
                shutil.move(path, self.elsewhere / path.name)
            elif fault == "compressed":
                subprocess.run(["gzip", "-f", str(path)], check=False)
            elif fault == "removed":
                place.taken += path.read_bytes()
                path.unlink()

    def end(self) -> None:
        """End the fault."""
        self.untrace()
        for place in self.subjects:
            if place.filler is not None:
                place.filler.unlink()
                place.filler = None
            if self.cell.fault == "file in its place":
                place.directory.unlink()
            if self.cell.fault in ("directory gone", "file in its place"):
                if place.kind == "journal":
                    # A journal is not recreated: its directory returns.
                    self._gone(place).rename(place.directory)
                else:
                    place.directory.mkdir()

    def untrace(self) -> None:
        """Stop injecting errors."""
        for tracer in self.tracers:
            tracer.terminate()
            tracer.wait()
        self.tracers.clear()

    # A run

    def result(self) -> Result:
        """Perform the run."""
        listener, cell = self.pair.listener, self.cell
        try:
            self.pair.startListener()
            self.worker.forwarder.start()
            self.writer.start()
            self.pair.wait(lambda: self._arrived() >= 60, f"{cell}: nothing arrives")
            # Some of the lines are counted by the cursor, and some are not.
            time.sleep(0.8)
            log = len(listener.output())
            status = None
            if cell.when == "running":
                self.begin()
                status = self._last(FAULT_S)
            else:
                status = self._down()
            self.end()
            if not listener.alive:
                # As an operator or systemd would.
                listener.start()
            time.sleep(0.3)
            if (
                cell.subject == "journal"
                and cell.fault in MOVES
                and cell.when == "running"
            ):
                # The listener has kept writing to its open file; a restart must not
                # lose those lines.
                listener.stop()
                listener.start()
            self.writer.stop()
            self._settle()
            self.worker.forwarder.stop()
            listener.stop()
            return self._count(status, listener.output()[log:])
        finally:
            self.untrace()
            self.writer.stop()
            self.pair.stop()
            for path in self.mounts:
                subprocess.run(["umount", "-l", str(path)], check=False)

    def _down(self) -> int | None:
        """
        Kill or stop the listener during the fault, and restart it before the fault
        ends.
        """
        listener = self.pair.listener
        end = listener.kill if self.cell.when == "killed" else listener.stop
        if self.cell.fault in MOVES:
            end()
            self.begin()
            status = None
        else:
            self.begin()
            status = self._last(FAULT_S / 2)
            if status is None:
                end()
            self.untrace()
        try:
            self.pair.startListener()
        except UserError:
            # It has exited. The status is below.
            pass
        if self.cell.fault not in MOVES:
            self.trace()
        again = self._last(FAULT_S)
        return status if again is None else again

    def _last(self, seconds: float) -> int | None:
        """
        Let the fault last for some time. Returns the exit status if the listener ended.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.pair.listener.alive:
                assert self.pair.listener.running is not None
                return self.pair.listener.running.returncode
            time.sleep(0.05)
        return None

    def _settle(self) -> None:
        """Wait until everything has arrived."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if all(len(self._numbers(p)) >= self.writer.count for p in self.places[1:]):
                return
            if not self.pair.listener.alive:
                self.pair.listener.start()
            time.sleep(0.1)

    def _arrived(self) -> int:
        return min(len(self._numbers(place)) for place in self.places[1:])

    def _numbers(self, place: Place) -> Counter[int]:
        """How often each line is in the files of an output, wherever these are now."""
        lines = [*_split(place.taken)]
        for path in sorted(self.directory.rglob(f"{place.path.name}*")):
            if path.is_file():
                lines += _split(_unpacked(path))
        if place.kind == "JSON":
            lines = [json.loads(line)["raw_line"].encode() + b"\n" for line in lines]
        found = [_LINE.search(line) for line in lines]
        return Counter(int(match[1]) for match in found if match is not None)

    def _count(self, status: int | None, said: str) -> Result:
        lost = repeated = 0
        for place in self.places[1:]:
            numbers = self._numbers(place)
            lost += len(set(range(self.writer.count)) - set(numbers))
            repeated += numbers.total() - len(numbers)
        reported = "are written again" in said or "send lines again" in said
        return Result(lost, repeated, reported, status, _words(said, self.directory))


def _split(octets: bytes) -> Iterator[bytes]:
    """The complete lines."""
    yield from octets[: octets.rfind(b"\n") + 1].splitlines(True)


def _unpacked(path: Path) -> bytes:
    return (
        gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
    )


def _words(said: str, directory: Path) -> str:
    """The first unusual message of a log."""
    for line in said.splitlines():
        found = re.search(r"#(?:warn|error|critical)\] (.*)", line)
        found = found or re.search(r"\] (.* is older than this journal.*)", line)
        found = found or re.match(r"(decnet-listener: .*)", line)
        if found is None or "silent" in found[1] or "#warn] refused" in line:
            continue
        words = re.sub(
            rf"{re.escape(str(directory))}/\S*?(?=[:,; ]|\Z)", "PATH", found[1]
        )
        words = re.sub(r"(raw|json):PATH", r"\1:PATH", words)
        words = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", words)
        return re.sub(r"\b\d{2,}\b", "N", words).split("; its lines")[0].strip()
    return ""


def run(cell: Cell) -> Result:
    """
    Perform one run of the matrix, in a new directory.

    @raise AssertionError: the run failed before its end.
    """
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-disk-"))
    try:
        result = Run(cell, directory).result()
    except BaseException:
        print(f"{cell}: see {directory}", flush=True)
        raise
    if result.holds:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"{cell}: see {directory}", flush=True)
    return result


def cells(
    subjects: Sequence[str] = SUBJECTS,
    faults: Sequence[str] = FAULTS,
    whens: Sequence[str] = WHENS,
) -> list[Cell]:
    """Every combination."""
    return [Cell(s, f, w) for f in faults for s in subjects for w in whens]


def describe(results: Sequence[Mapping[str, Any]]) -> str:
    """The page's tables: in reStructuredText."""
    return render({Cell(**one["cell"]): Result(**one["result"]) for one in results})


def render(results: Mapping[Cell, Result]) -> str:
    """The tables for the documentation."""
    rows = [
        [f"{fault}; {when}", *[str(results[Cell(s, fault, when)]) for s in SUBJECTS]]
        for fault in FAULTS
        for when in WHENS
    ]
    text = rstTable(["fault; the listener", *SUBJECTS], rows)
    text += "\nThe first message about the fault in the listener's log:\n\n"
    for fault in FAULTS:
        text += f"{fault}\n"
        for subject in ("journal", "raw"):
            said = {when: results[Cell(subject, fault, when)].words for when in WHENS}
            for words in dict.fromkeys(said.values()):
                whens = ", ".join(when for when in WHENS if said[when] == words)
                text += f"    - {subject}, {whens}: "
                text += f"``{words}``\n" if words else "nothing above *info*\n"
        text += "\n"
    lost = sum(result.lost for result in results.values())
    silent = sum(r.repeated for r in results.values() if not r.reported)
    return (
        f"{text}{len(results)} runs: {lost} lost, {silent} repeated without a report;"
        " ``*``: repeated, and reported.\n"
    )


def main(arguments: list[str]) -> int:
    """Perform the named runs, or every run. Returns the exit status."""
    known = {name: kind for kind in (SUBJECTS, FAULTS, WHENS) for name in kind}
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.diskmatrix",
        description="Run a listener while a disk fails or files are moved. Without names every run"
        " is performed, and the result is saved for docs/proof.rst. The exit status is 0 if"
        " no line was lost or repeated without a report.",
    )
    parser.add_argument(
        "name",
        nargs="*",
        help=f"only these runs: {', '.join(known)}",
    )
    arguments = parser.parse_args(arguments).name
    for name in arguments:
        if name not in known:
            parser.error(f"{name!r} is none of {', '.join(known)}")
    wanted = cells(
        *[
            [a for a in arguments if known[a] is kind] or kind
            for kind in (SUBJECTS, FAULTS, WHENS)
        ]
    )
    results: dict[Cell, Result] = {}
    # The runs mostly wait, so more than one per core is useful.
    with ThreadPoolExecutor(int(os.environ.get("RUNS_AT_ONCE", "3"))) as pool:
        for cell, result in zip(wanted, pool.map(_tried, wanted), strict=True):
            results[cell] = result
            print(f"{cell}: {result}  {result.words}", flush=True)
    bad = [cell for cell, result in results.items() if not result.holds]
    if not arguments:
        found = [
            {"cell": asdict(cell), "result": asdict(result)}
            for cell, result in results.items()
        ]
        save("diskmatrix", {}, found)
    for cell in bad:
        print(f"FAILS: {cell}: {results[cell]}")
    return bool(bad)


def _tried(cell: Cell) -> Result:
    try:
        return run(cell)
    except Exception as error:
        return Result(1, 0, False, None, f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
