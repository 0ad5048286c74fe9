"""
One timed delivery: from the start of the senders to the last line in the output.

The outputs are compared with the inputs, because an incomplete delivery measures
nothing.
"""

from __future__ import annotations

import filecmp
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decnet_syslog.errors import UserError

from .lines import last
from .processes import Usage, usage
from .side import Ours, Side, waitFor

__all__ = ["Delivery", "Input", "deliver"]

# The time limit for a delivery, in seconds.
DELIVERY_S = 900.0

# The time after the last line for which background work counts as well (syncs, cursors,
# positions), in seconds.
SETTLE_S = 1.0


@dataclass(frozen=True)
class Input:
    """
    A worker's files.

    @ivar lines: the number of lines in all files.
    """

    name: str
    files: Sequence[Path]
    lines: int


@dataclass(frozen=True)
class Delivery:
    """
    The measurements of a delivery.

    @ivar elapsed_s: from the start of the senders' processes to the last line.
    @ivar transfer_s: from the first octet in the output to the last line.
    @ivar identical: whether the raw output equals the input octet for octet; for
        several files, whether it has the same lines.
    @ivar usage: of the processes, from their own start to a second after the last line.
    @ivar receiver_cpu_s: of the receiver, without its start.
    """

    side: str
    lines: int
    octets: int
    elapsed_s: float
    transfer_s: float
    identical: bool
    usage: dict[str, Usage]
    receiver_cpu_s: float

    @property
    def linesPerSecond(self) -> float:
        """Lines per second over the whole time."""
        return self.lines / self.elapsed_s

    def asDict(self) -> dict[str, object]:
        """The values for a result file."""
        return {
            "side": self.side,
            "lines": self.lines,
            "octets": self.octets,
            "elapsed_s": round(self.elapsed_s, 3),
            "transfer_s": round(self.transfer_s, 3),
            "lines_per_s": round(self.linesPerSecond),
            "identical": self.identical,
            "receiver_cpu_s": round(self.receiver_cpu_s, 3),
            "processes": {name: used.asDict() for name, used in self.usage.items()},
        }


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _countLines(path: Path) -> int:
    count = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            count += piece.count(b"\n")
    return count


def _endsWith(path: Path, last: bytes) -> bool:
    """Whether a file has the complete last line."""
    size = _size(path)
    if size == 0:
        return False
    with open(path, "rb") as file:
        file.seek(max(0, size - 4096))
        end = file.read()
    return last in end and end.endswith(b"\n")


def deliver(side: Side, inputs: Sequence[Input]) -> Delivery:
    """
    Start everything, wait for the last line, compare, stop.

    @raise UserError: something was not delivered.
    """
    lines = sum(one.lines for one in inputs)
    octets = sum(_size(file) for one in inputs for file in one.files)
    for one in inputs:
        side.addSender(one.name, one.files)
    # Writes left over from earlier runs must not count.
    os.sync()
    try:
        side.startReceiver()
        # The receiver is idle until the senders start; wait until it is.
        time.sleep(0.5)
        before = usage(side.pids()["receiver"])
        begun = time.monotonic()
        side.startSenders()
        waitFor(
            lambda: _size(side.rawPath) > 0, f"{side.name}: nothing arrives", 60, 0.002
        )
        first = time.monotonic()
        _awaitAll(side, octets, lines)
        ended = time.monotonic()
        time.sleep(SETTLE_S)
        used = {name: usage(pid) for name, pid in side.pids().items()}
    except UserError as error:
        raise UserError(f"{error}\n{side.said()}") from None
    finally:
        side.stop()
    identical = _compare(side, inputs, lines)
    return Delivery(
        side.name,
        lines,
        octets,
        ended - begun,
        ended - first,
        identical,
        used,
        used["receiver"].cpu_s - before.cpu_s,
    )


def _awaitAll(side: Side, octets: int, lines: int) -> None:
    def shortage() -> str:
        return f"{side.name}: {_size(side.rawPath)} of {octets} octets arrived"

    try:
        waitFor(lambda: _size(side.rawPath) >= octets, "", DELIVERY_S)
    except UserError:
        raise UserError(shortage()) from None
    if side.jsonPath is not None:
        path = side.jsonPath
        waitFor(
            lambda: _endsWith(path, last(lines)),
            f"{side.name}: not every record arrived",
            DELIVERY_S,
        )


def _sorted(files: Sequence[Path]) -> list[bytes]:
    return sorted(
        [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
    )


def _compare(side: Side, inputs: Sequence[Input], lines: int) -> bool:
    """
    Compare the output with the input.

    @raise UserError: lines are missing or additional, or our raw output differs from
        the input.
    """
    for path in filter(None, [side.rawPath, side.jsonPath]):
        count = _countLines(path)
        if count != lines:
            raise UserError(f"{side.name}: {path.name} has {count} lines, not {lines}")
    files = [file for one in inputs for file in one.files]
    if len(files) == 1:
        identical = filecmp.cmp(files[0], side.rawPath, shallow=False)
    else:
        identical = _sorted(files) == _sorted([side.rawPath])
    if isinstance(side, Ours) and not identical:
        raise UserError("master.log differs from the workers' files")
    return identical
