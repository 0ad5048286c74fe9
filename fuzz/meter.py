"""The counts of a run, which outlive the counting process."""

from __future__ import annotations

import mmap
import resource
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SLOW_S", "Meter", "TooSlow", "Totals"]

# No input here is large enough to take longer, in seconds of processor time.
SLOW_S = 1.0

# The number of executions between two measurements of the memory.
LOOK_EXECUTIONS = 256

_LAYOUT = struct.Struct("=4Q")


class TooSlow(AssertionError):
    """One input took longer than L{SLOW_S}."""


@dataclass(frozen=True)
class Totals:
    """
    The counts.

    @ivar slowest: the longest execution, in seconds of processor time.
    @ivar early: the memory used after a tenth of the executions, in octets.
    @ivar late: the memory used at the end, in octets.
    """

    executions: int = 0
    slowest: float = 0.0
    early: int = 0
    late: int = 0

    @classmethod
    def of(cls, path: Path) -> Totals:
        """The counts of a process, which may have ended."""
        if not path.exists():
            return cls()
        executions, slowest, early, late = _LAYOUT.unpack(path.read_bytes())
        return cls(executions, slowest / 1e9, early, late)


class Meter:
    """
    Counts the executions of a target, in a mapped file because libFuzzer ends the
    process.
    """

    def __init__(
        self, path: Path, call: Callable[[bytes], None], executions: int
    ) -> None:
        """@param executions: the planned number of executions."""
        path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._call = call
        self._earlyAt = executions // 10
        self._count = self._slowest = self._early = self._late = 0

    def __call__(self, octets: bytes) -> None:
        """
        Run one execution.

        @raise TooSlow: it took too long.
        """
        self._count += 1
        if self._count % LOOK_EXECUTIONS == 0:
            self._late = _resident()
            if self._count >= self._earlyAt and not self._early:
                self._early = self._late
        before = time.process_time_ns()
        try:
            self._call(octets)
        finally:
            took = time.process_time_ns() - before
            self._slowest = max(self._slowest, took)
            _LAYOUT.pack_into(
                self._file, 0, self._count, self._slowest, self._early, self._late
            )
        if took > SLOW_S * 1e9:
            raise TooSlow(f"{took / 1e9:.1f} s for {len(octets)} octets")


def _resident() -> int:
    """The memory that this process uses, in octets."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()
