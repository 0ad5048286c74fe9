"""See L{tests.campaigns.siege}."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.report import rstTable, save
from benchmarks.report import table as textTable

from . import certificates, contents, controls, floods, frames, handshakes, paths, slow
from .field import Field, Outcome, Row, try_
from .witness import Seen

__all__ = ["ROWS", "asResults", "besiege", "describe", "main", "table"]

ROWS: Sequence[Row] = [
    row
    for module in (
        certificates,
        handshakes,
        frames,
        controls,
        contents,
        floods,
        slow,
        paths,
    )
    for row in module.ROWS
]

# The number of rows tried at once.
ATTACKERS = 6

# The worst acceptable delay of the worker's lines, in seconds.
DELAY_S = 1.0

_HEADS = ("kind", "attack", "expected", "seen")


def besiege(
    directory: Path, rows: Sequence[Row], progress: bool = False
) -> tuple[list[Outcome], Seen, int]:
    """
    Try rows while a worker sends.

    @return: the outcome of each row, in order; of the worker; and the number of lines
        by which the two outputs differ.
    """
    field = Field(directory)
    done: dict[str, Outcome] = {}
    try:
        field.start()
        together = [row for row in rows if not row.alone]
        with ThreadPoolExecutor(ATTACKERS) as pool:
            for future in as_completed(
                [pool.submit(try_, field, row) for row in together]
            ):
                _note(future.result(), done, len(rows), progress)
        for row in rows:
            if row.alone:
                _note(try_(field, row), done, len(rows), progress)
        seen = field.finish()
        field.pair.listener.stop()
        raw, json = map(_lines, (field.pair.logPath, field.pair.jsonPath))
    finally:
        field.stop()
    return [done[row.name] for row in rows], seen, raw - json


def _lines(path: Path) -> int:
    count = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            count += piece.count(b"\n")
    return count


def _note(outcome: Outcome, done: dict[str, Outcome], of: int, progress: bool) -> None:
    done[outcome.row.name] = outcome
    if progress:
        if not outcome.good:
            print(f"\r\x1b[K{outcome.row.name}: {outcome.seen}", file=sys.stderr)
        print(f"\r\x1b[K{len(done)} of {of}", end="", file=sys.stderr, flush=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """Rows as text."""
    return textTable(
        _HEADS,
        [
            (
                o.row.kind,
                o.row.sent,
                o.row.expected,
                (o.row.expected if o.good else o.seen) + o.beside,
            )
            for o in outcomes
        ],
    )


def asResults(outcomes: Sequence[Outcome], words: str) -> dict[str, Any]:
    """The values for a result file."""
    return {
        "rows": [
            {
                "kind": outcome.row.kind,
                "attack": outcome.row.sent,
                "expected": outcome.row.expected,
                "seen": "" if outcome.good else outcome.seen,
                "delays": outcome.beside.removeprefix("; "),
            }
            for outcome in outcomes
        ],
        "verdict": words,
    }


def describe(results: Mapping[str, Any]) -> str:
    """The page's table: in reStructuredText."""
    rows = [
        (
            row["kind"],
            # A backslash and an asterisk mean something there.
            re.sub(r"([\\*])", r"\\\1", row["attack"]),
            f"``{row['expected']}``",
            f"**{row['seen']}**" if row["seen"] else row["delays"] or "as expected",
        )
        for row in results["rows"]
    ]
    heads = ("kind", "attack", "expected", "seen")
    return f"{rstTable(heads, rows)}\n{results['verdict']}.\n"


def verdict(outcomes: Sequence[Outcome], seen: Seen, differ: int) -> tuple[str, bool]:
    """The verdict in words, and whether everything is as promised."""
    good = [outcome for outcome in outcomes if outcome.good]
    words = (
        f"{len(good)} of {len(outcomes)} as expected; the well-behaved worker: {seen.written:,}"
        f" lines written, {seen.delivered:,} delivered, {seen.repeated} repeated,"
        f" {seen.disordered} out of order, {seen.foreign} from others under its name; delay"
        f" {seen.median * 1000:.0f} ms median, {seen.worst * 1000:.0f} ms at worst;"
        f" master.log and master.json differ by {differ} lines"
    )
    return words, (
        len(good) == len(outcomes) and seen.good and seen.worst < DELAY_S and not differ
    )


def main(arguments: Sequence[str]) -> int:
    """Besiege a listener. The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.siege")
    kinds = list(dict.fromkeys(row.kind for row in ROWS))
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--rows", nargs="+", help="only these", default=[])
    parser.add_argument(
        "--memory", action="store_true", help="the listener's memory instead"
    )
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-siege-"))
    if options.memory:
        from . import memory

        results = memory.measure(directory)
        print(memory.describe(results))
        save("siege-memory", vars(options), results)
        shutil.rmtree(directory)
        return 0
    rows = [
        row
        for row in ROWS
        if row.kind in options.kinds and (not options.rows or row.name in options.rows)
    ]
    outcomes, seen, differ = besiege(directory, rows, True)
    print("\r\x1b[K", end="", file=sys.stderr)
    print(table(outcomes))
    words, good = verdict(outcomes, seen, differ)
    print(f"\n{words}")
    if rows == ROWS:
        save("siege", vars(options), asResults(outcomes, words))
    if not good:
        print(f"see {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
