"""
The cost per line of each step alone, without a network: framing, records, the journal.

    python -m benchmarks.micro [--lines N] [--runs N]

For each step the table also has the ratio to a copy of the same octets in pieces of the
same size (C{bytearray} of a C{bytes}: the cost of memcpy), measured in the same run:
the ratios can be compared between machines. The commit is a transaction of the journal
on a real disk with fsync, in batches of 64 KiB as from a busy connection. Framing and
records are measured as they run here, compiled if the module is installed, and in Python.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from decnet_syslog import hotpath
from decnet_syslog.journal import Cursor, Deposit, Journal
from decnet_syslog.sending._encoding import encodeLines
from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import Lines
from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.wire._record import renderLines
from tests.records import record

from .lines import DECNET_OCTETS, decnetLines
from .report import Spread, figure, runProgram, save, scratch, spread, table

__all__ = ["describe", "main"]

LINES = 100_000
RUNS = 7

# The sizes that the forwarder reads, and that TLS passes on.
PIECE_OCTETS = 64 * 1024
RECEIVE_OCTETS = 64 * 1024

_WHO = Provenance(
    "worker-1",
    "sha-256:00",
    "192.0.2.1:50000",
    "2026-04-18T00:00:00.000000Z",
    "/a.log",
    False,
)


def _cut(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


class Steps:
    """
    The steps, applied to the same lines.

    @ivar pieces: whole lines, as a forwarder reads them.
    """

    def __init__(self, lines: int, directory: Path) -> None:
        run = PIECE_OCTETS // DECNET_OCTETS
        self.lines = lines
        self.pieces = [
            b"".join(decnetLines(min(run, lines - at), at))
            for at in range(0, lines, run)
        ]
        self._messages = [piece[:-1].split(b"\n") for piece in self.pieces]
        self._encoded = b"".join([encodeLines(piece) for piece in self.pieces])
        self._receives = _cut(self._encoded, RECEIVE_OCTETS)
        self._directory = directory
        self._journals = 0

    def all(self) -> dict[str, Callable[[], float]]:
        """The steps that can be timed, by name. Each returns seconds."""
        return {
            "copy": lambda: self._each(bytearray),
            "split and join": lambda: self._each(lambda p: b"\n".join(p.split(b"\n"))),
            "encode": lambda: self._each(encodeLines),
            "encode, in Python": lambda: _inPython(lambda: self._each(encodeLines)),
            "decode": lambda: _time(self._decode),
            "decode, in Python": lambda: _inPython(lambda: _time(self._decode)),
            "record": lambda: _time(self._render),
            "record, in Python": lambda: _inPython(lambda: _time(self._render)),
            "record, exact path": lambda: _time(self._renderExactly),
            "commit": self._commit,
        }

    def _each(self, call: Callable[[bytes], object]) -> float:
        """Process every piece, and keep nothing."""

        def callEach() -> None:
            for piece in self.pieces:
                call(piece)

        return _time(callEach)

    def _decode(self) -> None:
        decoder = FrameDecoder(control=True)
        for receive in self._receives:
            frames: list[bytes] = []
            blocks: list[Lines] = []
            decoder.decode(receive, frames, blocks)

    def _render(self) -> None:
        start = 0
        for piece in self.pieces:
            for _ in renderLines(piece, _WHO, start):
                pass
            start += len(piece)

    def _renderExactly(self) -> None:
        for messages in self._messages:
            for message in messages:
                json.dumps(record(message, _WHO, 0))

    def _commit(self) -> float:
        """
        Commit every piece in its own transaction, which also releases the previous one.
        """
        self._journals += 1
        journal = Journal.open(self._directory / f"journal-{self._journals}.db")
        grant = journal.grant("worker-1", "0" * 32, 0, 0, "/a.log")
        deposits = list(self._deposits(grant))
        os.sync()

        def commitAll() -> None:
            cursors: list[Cursor] = []
            for deposit in deposits:
                (batch,) = journal.commit([deposit], cursors)
                assert batch is not None
                cursors = [Cursor("raw", batch.seq, {})]

        seconds = _time(commitAll)
        journal.close()
        return seconds

    def _deposits(self, grant: Any) -> Iterator[Deposit]:
        start = 0
        for piece in self.pieces:
            yield Deposit(_WHO, grant, start, start + len(piece), piece)
            start += len(piece)


def _inPython(measure: Callable[[], float]) -> float:
    """Time a step without the compiled module."""
    with mock.patch.object(hotpath, "compiled", None):
        return measure()


def _time(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _measure(steps: Steps, runs: int) -> dict[str, list[float]]:
    """
    The time of each step in each run, in nanoseconds per line; the steps alternate.
    """
    found: dict[str, list[float]] = {name: [] for name in steps.all()}
    for _ in range(runs):
        for name, call in steps.all().items():
            found[name].append(call() / steps.lines * 1e9)
    return found


def _ratio(found: dict[str, list[float]], name: str) -> Spread:
    pairs = zip(found[name], found["copy"], strict=True)
    return spread([step / copy for step, copy in pairs])


def _plot(names: Sequence[str], found: dict[str, list[float]]) -> None:
    with figure("micro") as axes:
        if axes is not None:
            medians = [spread(found[name]).median for name in names]
            bars = axes[0].barh(range(len(names)), medians, log=True)
            axes[0].bar_label(bars, [f" {median:,.0f}" for median in medians])
            axes[0].set_yticks(range(len(names)), names)
            axes[0].invert_yaxis()
            axes[0].margins(x=0.15)
            axes[0].set(xlabel=f"ns a line of {DECNET_OCTETS} octets")


def describe(results: dict[str, Any]) -> str:
    """The table."""
    return table(
        ["step", "ns a line", "times a copy"],
        [
            [
                name,
                f"{spread(step['ns_per_line']):,.0f}",
                f"{spread(step['times_copy']):.0f}",
            ]
            for name, step in results.items()
        ],
    )


def main() -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    with scratch("micro") as directory:
        found = _measure(Steps(arguments.lines, directory), arguments.runs)
    names = list(found)
    results = {
        name: {
            "ns_per_line": found[name],
            "times_copy": _ratio(found, name).values,
        }
        for name in names
    }
    print(describe(results))
    save("micro", vars(arguments), results)
    _plot(names, found)
    return 0


if __name__ == "__main__":
    runProgram(main)
