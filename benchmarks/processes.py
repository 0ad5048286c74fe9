"""Facts about a process from /proc."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Usage", "family", "listens", "residentKiB", "usage"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """
    The resources that a process and its children have used since their start, including
    threads.

    @ivar cpu_s: user and system time.
    @ivar peakKiB: the sum of each process's peak resident memory.
    @ivar writtenOctets: octets of the pages that they made the kernel write to a disk.
    """

    cpu_s: float
    peakKiB: int
    writtenOctets: int

    def asDict(self) -> dict[str, float]:
        """The values for a result file."""
        return asdict(self)


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def family(pid: int) -> list[int]:
    """A process and its children: our listener renders records in a child."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [
        pid,
        *[int(child) for task in children for child in task.read_text().split()],
    ]


def residentKiB(pid: int) -> int:
    """The memory that a process and its children have resident now."""
    return sum([_status(member, "VmRSS") for member in family(pid)])


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _written(pid: int) -> int:
    counts = Path(f"/proc/{pid}/io").read_text()
    return int(counts.split("\nwrite_bytes:")[1].split()[0])


def usage(pid: int) -> Usage:
    """The resources that a running process and its children have used up to now."""
    members = family(pid)
    return Usage(
        sum([_cpu(member) for member in members]),
        sum([_status(member, "VmHWM") for member in members]),
        sum([_written(member) for member in members]),
    )


def listens(host: str, port: int) -> bool:
    """
    Whether a socket listens on this port, according to /proc: no connection is made.
    """
    octets = bytes(map(int, reversed(host.split(".")))).hex().upper()
    return any(
        f" {octets}:{port:04X} 00000000:0000 0A" in line
        for line in Path("/proc/net/tcp").read_text().splitlines()
    )
