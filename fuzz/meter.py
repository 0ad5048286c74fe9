"""What a run has counted so far: octets that outlive the process that counts."""

from __future__ import annotations

import mmap
import resource
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SLOW_S", "Meter", "TooSlow", "Totals"]

# Nothing here is so large that it may take so long of a processor, in seconds.
SLOW_S = 1.0

# How often the memory is looked at, in executions.
LOOK_EXECUTIONS = 256

_LAYOUT = struct.Struct("=4Q")


class TooSlow(AssertionError):
    """One input took longer than L{SLOW_S}."""


@dataclass(frozen=True)
class Totals:
    """
    What was counted.

    @ivar slowest: seconds of the processor that one execution took.
    @ivar early: octets of memory when a tenth of the executions was done.
    @ivar late: octets of memory at the end.
    """

    executions: int = 0
    slowest: float = 0.0
    early: int = 0
    late: int = 0

    @classmethod
    def of(cls, path: Path) -> Totals:
        """What a process has counted, also one that is gone."""
        if not path.exists():
            return cls()
        executions, slowest, early, late = _LAYOUT.unpack(path.read_bytes())
        return cls(executions, slowest / 1e9, early, late)


class Meter:
    """Counts the executions of a target. In a mapped file: libFuzzer ends the process."""

    def __init__(
        self, path: Path, call: Callable[[bytes], None], executions: int
    ) -> None:
        """
        @param executions: how many there will be.
        """
        path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._call = call
        self._earlyAt = executions // 10
        self._count = self._slowest = self._early = self._late = 0

    def __call__(self, octets: bytes) -> None:
        """
        One execution.

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
    """Octets of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()
