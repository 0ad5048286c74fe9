"""
The limits of the machine itself, and how close a delivery comes to them, alternating.

    python -m benchmarks.physical [--lines N] [--runs N]

openssl: the file's octets through C{openssl s_client} and C{openssl s_server}, mutual
TLS, written to a file: without frames, lines, or a way to resume. copy: C{cp} of the
file and a sync of the copy. sync: the file's octets in pieces of 64 KiB with an
fdatasync after each, like a journal without other work. page: an fdatasync after 4 KiB,
the minimum for a commit. ours: decnet-forwarder to decnet-listener, raw lines.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError
from decnet_syslog.trust import Authority

from .delivery import Input, deliver
from .lines import decnetLines, write
from .processes import listens
from .report import runProgram, save, scratch, spread, table
from .side import Ours, waitFor

__all__ = ["describe", "main"]

LINES = 1_000_000
RUNS = 5

PIECE = 64 * 1024
PAGE = 4096

# The number of single pages that are synced in a run.
PAGES = 500

# The time limit for a peer, in seconds.
PATIENCE_S = 120.0


def _ours(directory: Path, log: Path, lines: int) -> float:
    side = Ours(directory / "side", False)
    return deliver(side, [Input("worker-1", [log], lines)]).elapsed_s


def _openssl(directory: Path, log: Path) -> float:
    """Seconds from the start of the client to the last octet in the file."""
    program = shutil.which("openssl")
    if program is None:
        raise UserError("openssl is not installed: apt-get install openssl")
    authority = Authority.create(directory / "ca")
    master, worker = authority.masterIdentity(), directory / "worker-1"
    authority.enroll("worker-1", worker)
    out = directory / "out"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(out, "wb") as output, open(log, "rb") as source:
        server = subprocess.Popen(
            [
                *(program, "s_server", "-quiet", "-naccept", "1", "-Verify", "1"),
                *("-accept", f"127.0.0.1:{port}", "-CAfile", str(master / "ca.crt")),
                *("-cert", str(master / "worker.crt")),
                *("-key", str(master / "worker.key")),
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        try:
            waitFor(lambda: listens("127.0.0.1", port), "s_server", PATIENCE_S)
            begun = time.monotonic()
            # -quiet: an input line that begins with a letter is not a command.
            client = subprocess.Popen(
                [
                    *(program, "s_client", "-quiet"),
                    *("-connect", f"127.0.0.1:{port}"),
                    *("-CAfile", str(worker / "ca.crt")),
                    *("-cert", str(worker / "worker.crt")),
                    *("-key", str(worker / "worker.key")),
                ],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wanted = log.stat().st_size
                waitFor(
                    lambda: out.stat().st_size >= wanted, "s_server", PATIENCE_S, 0.002
                )
                return time.monotonic() - begun
            finally:
                client.kill()
                client.wait()
        finally:
            server.kill()
            server.wait()


def _copy(directory: Path, log: Path) -> float:
    begun = time.monotonic()
    subprocess.run(["cp", log, directory / "copy"], check=True)
    with open(directory / "copy", "rb") as copied:
        os.fsync(copied.fileno())
    return time.monotonic() - begun


def _sync(directory: Path, piece: int, octets: int) -> float:
    descriptor = os.open(directory / "synced", os.O_WRONLY | os.O_CREAT)
    data = b"x" * piece
    try:
        begun = time.monotonic()
        for _ in range(0, octets, piece):
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        return time.monotonic() - begun
    finally:
        os.close(descriptor)


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {}
    with scratch("physical") as directory:
        log = directory / "log"
        octets = write(log, decnetLines(arguments.lines))
        ways: dict[str, Callable[[Path], float]] = {
            "openssl": lambda where: _openssl(where, log),
            "copy": lambda where: _copy(where, log),
            "sync": lambda where: _sync(where, PIECE, octets),
            "page": lambda where: _sync(where, PAGE, PAGE * PAGES) / PAGES,
            "ours": lambda where: _ours(where, log, arguments.lines),
        }
        for number in range(arguments.runs):
            turns = list(ways) if number % 2 == 0 else list(ways)[::-1]
            for name in turns:
                os.sync()
                with scratch(name) as where:
                    times.setdefault(name, []).append(ways[name](where))
                print(f"  {name:8} {times[name][-1]:9.4f} s", flush=True)
    results = {"octets": octets, "lines": arguments.lines, "elapsed_s": times}
    print(describe(results))
    save("physical", vars(arguments), results)
    return 0


def describe(results: dict[str, Any]) -> str:
    """The table."""
    times, octets, lines = results["elapsed_s"], results["octets"], results["lines"]
    rows: list[list[Any]] = []
    for name in ("openssl", "copy", "sync", "ours"):
        ratios = [
            mine / other for mine, other in zip(times["ours"], times[name], strict=True)
        ]
        rows.append(
            [
                name,
                f"{spread(times[name]):.2f}",
                f"{lines / spread(times[name]).median:,.0f}",
                f"{octets / 2**20 / spread(times[name]).median:,.0f}",
                f"{spread(ratios):.1f}",
            ]
        )
    text = table(
        ["", "elapsed s", "lines/s", "MiB/s", "time of ours by this one"], rows
    )
    page = spread([seconds * 1000 for seconds in times["page"]])
    return f"{text}\na page and an fdatasync: {page:.2f} ms"


if __name__ == "__main__":
    runProgram(main)
