"""What /proc knows of a process."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Usage", "listens", "residentKiB", "usage"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """
    What a process has used since it was started, all its threads together.

    @ivar cpu_s: user and system time.
    @ivar peakKiB: the most memory it had resident.
    """

    cpu_s: float
    peakKiB: int

    def asDict(self) -> dict[str, float]:
        """For a result file."""
        return asdict(self)


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def residentKiB(pid: int) -> int:
    """The memory that a process has resident now."""
    return _status(pid, "VmRSS")


def usage(pid: int) -> Usage:
    """What a running process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, _status(pid, "VmHWM"))


def listens(host: str, port: int) -> bool:
    """Whether somebody listens there. Looked up, not connected to."""
    octets = bytes(map(int, reversed(host.split(".")))).hex().upper()
    return any(
        f" {octets}:{port:04X} 00000000:0000 0A" in line
        for line in Path("/proc/net/tcp").read_text().splitlines()
    )
