"""
A million lines through real twistd processes, compared octet for octet.

    python benchmarks/million.py [--lines N]

Prints the time, the peak memory and the CPU time of both ends, and exits with 1 if
master.log differs from the worker's file or master.json lacks a record of a line.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from decnet_syslog.testing import LocalCluster, Process

LINE = (
    b"<134>1 2026-04-18T00:00:00.%06d+00:00 decky%02d ssh 1234 auth_attempt"
    b' [relay@55555 src_ip="203.0.113.%d" src_port="51234" username="root"'
    b' password="123456"] login attempt failed seq=%012d\n'
)


def write(path: Path, count: int) -> None:
    """Write the worker's log, in which all lines differ."""
    with open(path, "wb") as file:
        for start in range(0, count, 10000):
            numbers = range(start, min(count, start + 10000))
            file.write(
                b"".join([LINE % (n % 10**6, n % 100, n % 256, n) for n in numbers])
            )


def peak(process: Process) -> int:
    """Peak resident memory in KiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def cpu(process: Process) -> float:
    """CPU time in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def records(path: Path, worker: str) -> int:
    """The number of records, which must all be from this worker and in order."""
    count = 0
    with open(path, "rb") as file:
        for line in file:
            record = json.loads(line)
            assert record["source_worker"] == worker, record
            assert record["raw_line"].endswith(f"seq={count:012d}"), record
            count += 1
    return count


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-million-"))
    pair = LocalCluster(directory)
    worker = pair.enroll("decky-01", ["--max-lag-bytes=0"])
    try:
        write(worker.file, arguments.lines)
        size = worker.file.stat().st_size
        print(f"{arguments.lines} lines, {size} octets")
        pair.startListener()
        begun = time.monotonic()
        worker.forwarder.start()

        def arrived(path: Path, octets: int) -> bool:
            return path.exists() and path.stat().st_size >= octets

        pair.wait(lambda: arrived(pair.logPath, size), "master.log is too short", 600)
        raw = time.monotonic() - begun
        last = b"seq=%012d" % (arguments.lines - 1)

        def complete() -> bool:
            with open(pair.jsonPath, "rb") as file:
                file.seek(max(0, os.path.getsize(pair.jsonPath) - 4096))
                return last in file.read() and file.tell() > 0

        pair.wait(complete, "master.json is too short", 600)
        both = time.monotonic() - begun
        for name, process in (
            ("listener", pair.listener),
            ("forwarder", worker.forwarder),
        ):
            print(
                f"{name}: peak {peak(process) / 1024:.0f} MiB, CPU {cpu(process):.1f} s"
            )
        worker.forwarder.stop()
        pair.listener.stop()
        print(f"master.log after {raw:.1f} s, master.json after {both:.1f} s")
        same = filecmp.cmp(worker.file, pair.logPath, shallow=False)
        count = records(pair.jsonPath, "decky-01")
        print(
            f"cmp of worker's file and master.log: {'empty' if same else 'DIFFERENT'}"
        )
        print(f"records in master.json: {count}, source_worker right in each")
        return 0 if same and count == arguments.lines else 1
    finally:
        pair.stop()
        shutil.rmtree(directory)


if __name__ == "__main__":
    raise SystemExit(main())
