"""
Where the listener and the forwarder spend their processor time, by C{perf record}.

    python -m benchmarks.profile [--scenario raw|json] [--lines N] [--pure]

The kernel samples every process of the machine while one file is delivered, and the samples of the
two ends count: of the listener with the child that renders records from the start of the
forwarder, and of the forwarder from its own start. The first table groups them by the shared
object that ran, the second has the functions with most samples. It needs root, or
C{kernel.perf_event_paranoid} at -1.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError

from .delivery import Input, deliver
from .lines import decnetLines, write
from .processes import family
from .report import runProgram, save, scratch, table
from .side import Ours, Pure

__all__ = ["describe", "main", "partOf"]

LINES = 2_000_000

# Samples a second of each processor: not in step with timers of a round number.
FREQUENCY = 997

SCENARIOS = ("raw", "json")

ENDS = ("listener", "forwarder")

# The functions that the second table shows of each end.
FUNCTIONS = 5

# What the shared objects do for us: the first expression that matches the object's path.
PARTS: Mapping[str, str] = {
    "the compiled module": r"_hotpath",
    "the kernel": r"^\[(?!vdso)",
    "CRC-32": r"libz\.|/zlib",
    "SQLite": r"sqlite",
    # cryptography's wheel contains OpenSSL.
    "OpenSSL": r"_rust\.|libssl|libcrypto",
    "the Python interpreter": r"python|\.cpython-|/lib-dynload/",
    "libc, mostly copies": r"/libc[.-]|/ld-linux|libpthread|libm\.|\[vdso\]",
}

OTHER = "others"

# A sample of perf script: the process, the address, the function and where it is.
_SAMPLE = re.compile(r"\s*(\d+)\s+[0-9a-f]+\s+(.+?)(?:\+0x[0-9a-f]+)?\s+\((.+)\)$")


def partOf(path: str) -> str:
    """The part that a shared object belongs to."""
    for part, expression in PARTS.items():
        if re.search(expression, path):
            return part
    return OTHER


def _perf() -> str:
    program = shutil.which("perf")
    if program is None:
        raise UserError("perf is not installed: apt-get install linux-perf")
    return program


@contextmanager
def _recorded(path: Path) -> Iterator[None]:
    """
    Record every process, with an event that virtual machines have, too.

    @raise UserError: the kernel does not allow it.
    """
    arguments = ["record", "-q", "-a", "-e", "cpu-clock", "-F", str(FREQUENCY)]
    process = subprocess.Popen(
        [_perf(), *arguments, "-o", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            raise UserError(
                f"perf cannot record: {process.communicate()[1].strip()}; run as root, or"
                " set kernel.perf_event_paranoid to -1"
            )
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate()


def _samples(path: Path) -> Iterator[tuple[int, str, str]]:
    """The process, the function and the shared object of each sample."""
    command = [_perf(), "script", "-i", str(path), "-F", "pid,ip,sym,dso"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = _SAMPLE.match(line.rstrip())
            if found is not None:
                yield int(found[1]), found[2], found[3]


class _Watched(Ours):
    """
    Ours; notes its processes before it ends them.

    @ivar ends: the end that each process belongs to.
    """

    def __init__(self, directory: Path, json: bool, kind: type[Ours]) -> None:
        self.environment = kind.environment
        self.ends: dict[int, str] = {}
        super().__init__(directory, json)

    def stop(self) -> None:
        """Note the processes, then end them."""
        names = dict(zip(("receiver", "sender"), ENDS, strict=True))
        for name, pid in self.pids().items():
            self.ends |= dict.fromkeys(family(pid), names[name])
        super().stop()


def measure(log: Path, lines: int, json: bool, kind: type[Ours]) -> dict[str, Any]:
    """Deliver once. Returns the samples of each end by part and by function."""
    parts: dict[str, Counter[str]] = {}
    functions: dict[str, Counter[tuple[str, str]]] = {}
    with scratch("profile") as directory:
        side = _Watched(directory / "side", json, kind)
        with _recorded(directory / "perf.data"):
            deliver(side, [Input("worker-1", [log], lines)])
        for pid, function, path in _samples(directory / "perf.data"):
            if end := side.ends.get(pid):
                part = partOf(path)
                parts.setdefault(end, Counter())[part] += 1
                functions.setdefault(end, Counter())[function, part] += 1
    for end in ENDS:
        if end not in parts:
            raise UserError(f"perf has no samples of the {end}: deliver more --lines")
    return {
        end: {
            "samples": parts[end].total(),
            "parts": dict(parts[end]),
            "functions": [
                [function, part, count]
                for (function, part), count in functions[end].most_common(FUNCTIONS)
            ],
        }
        for end in ENDS
    }


def describe(results: dict[str, Any]) -> str:
    """A table of the parts, and for each end one of the functions."""
    columns = {
        f"{end}, {scenario}": found
        for scenario, ends in results["scenarios"].items()
        for end, found in ends.items()
    }
    rows = []
    for part in [*PARTS, OTHER]:
        shares = [
            one["parts"].get(part, 0) / one["samples"] for one in columns.values()
        ]
        if any(shares):
            rows.append([part, *[f"{share:.1%}" for share in shares]])
    rows.sort(key=lambda row: -float(row[1].rstrip("%")))
    rows.append(["samples", *[f"{one['samples']:,}" for one in columns.values()]])
    texts = [table(["part", *columns], rows)]
    for name, found in columns.items():
        functions = [
            [function, part, f"{count / found['samples']:.1%}"]
            for function, part, count in found["functions"]
        ]
        texts.append(table([name, "part", "share"], functions))
    return "\n\n".join(texts)


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument(
        "--pure", action="store_true", help="ours without its compiled module"
    )
    arguments = parser.parse_args()
    _perf()
    chosen = [arguments.scenario] if arguments.scenario else list(SCENARIOS)
    with scratch("profile") as directory:
        log = directory / "log"
        write(log, decnetLines(arguments.lines))
        scenarios = {
            name: measure(
                log, arguments.lines, name == "json", Pure if arguments.pure else Ours
            )
            for name in chosen
        }
    results = {"lines": arguments.lines, "scenarios": scenarios}
    print(describe(results))
    save("profile-pure" if arguments.pure else "profile", vars(arguments), results)
    return 0


if __name__ == "__main__":
    runProgram(main)
