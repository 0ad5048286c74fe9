"""See L{tests.campaigns.siege}."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import certificates, contents, controls, floods, frames, handshakes, paths, slow
from .field import Field, Outcome, Row, try_
from .witness import Seen

__all__ = ["ROWS", "besiege", "main", "table"]

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


def table(outcomes: Sequence[Outcome], rst: bool = False) -> str:
    """Rows as text, or as a list-table of reStructuredText."""
    cells = [
        (
            o.row.kind,
            o.row.sent,
            o.row.expected,
            (o.row.expected if o.good else o.seen) + o.beside,
        )
        for o in outcomes
    ]
    if rst:
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for number, row in enumerate([_HEADS, *cells]):
            quoted = [
                cell
                if number == 0
                else f"``{cell}``"
                if i > 1
                else cell.replace("\\", "\\\\")
                for i, cell in enumerate(row)
            ]
            lines += [
                f"   {'* -' if i == 0 else '  -'} {cell}"
                for i, cell in enumerate(quoted)
            ]
        return "\n".join(lines)
    widths = [max(len(row[i]) for row in [_HEADS, *cells]) for i in range(3)]
    return "\n".join(
        "  ".join(
            [*[c.ljust(w) for c, w in zip(row, widths, strict=False)], row[3]]
        ).rstrip()
        for row in [_HEADS, *cells]
    )


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
    parser.add_argument("--rst", action="store_true", help="the table for the docs")
    parser.add_argument(
        "--memory", action="store_true", help="the listener's memory instead"
    )
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-siege-"))
    if options.memory:
        from .memory import measure

        print(measure(directory))
        shutil.rmtree(directory)
        return 0
    rows = [
        row
        for row in ROWS
        if row.kind in options.kinds and (not options.rows or row.name in options.rows)
    ]
    outcomes, seen, differ = besiege(directory, rows, True)
    print("\r\x1b[K", end="", file=sys.stderr)
    print(table(outcomes, options.rst))
    words, good = verdict(outcomes, seen, differ)
    print(f"\n{words}")
    if not good:
        print(f"see {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
