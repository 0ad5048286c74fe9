"""
Repeated lines, and the events that announce them.

The outputs announce two kinds of ranges: octets of a worker's file that came again without a
proof; and lines of some time, if an output's file has octets of a killed process that are not in
the stream.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from decnet_syslog.nats._proving import REPEATED
from decnet_syslog.outputs._options import OUTPUT_EVENTS
from decnet_syslog.testing import numberOf

__all__ = ["Found", "found", "unnamed"]


def _pattern(words: str) -> re.Pattern[str]:
    """Make a regular expression for the texts of a log format."""
    parts = re.split(r"\{(\w+)[^}]*\}", words)
    # A value at the beginning or the end has no spaces.
    values = [
        r"\S+" if not (before and after) else ".*?" for before, after in _around(parts)
    ]
    return re.compile(
        "".join(
            f"(?P<{part}>{values[at // 2]})" if at % 2 else re.escape(part)
            for at, part in enumerate(parts)
        )
    )


def _around(parts: list[str]) -> list[tuple[str, str]]:
    """The fixed texts before and after each value."""
    return [(parts[at - 1], parts[at + 1]) for at in range(1, len(parts), 2)]


_AGAIN = _pattern(REPEATED)
_UNLIKE = _pattern(OUTPUT_EVENTS["output-unlike"][1])
_FOREIGN = _pattern(OUTPUT_EVENTS["output-foreign-write"][1])

# How much earlier than the announced time the first copy of a line may have been received.
EARLIER = timedelta(seconds=60)


class Found(NamedTuple):
    """A numbered line in an output file: its worker, and its offset in the file."""

    worker: str
    number: int
    at: int


def found(path: Path) -> Iterator[tuple[Found, bytes]]:
    """The numbered lines of a file, raw or records, each with the file's line."""
    at = 0
    with open(path, "rb") as lines:
        for line in lines:
            raw = line
            if line.startswith(b"{"):
                raw = json.loads(line)["raw_line"].encode("utf-8", "surrogateescape")
            worker, number = numberOf(raw)
            if worker:
                yield Found(worker, number, at), line
            at += len(line)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def unnamed(log: str, rawPath: Path, jsonPath: Path) -> list[str]:
    """
    Find repeated lines that no event has announced.

    @param log: the log of the outputs.
    @return: a text for each line.
    """
    offsets: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    received: defaultdict[tuple[str, int], set[datetime]] = defaultdict(set)
    for one, line in found(jsonPath):
        record = json.loads(line)
        offsets[one.worker, one.number].add(record["source_offset"])
        received[one.worker, one.number].add(_time(record["received_at"]))
    wrong = []
    for path, kind in ((rawPath, "raw"), (jsonPath, "json")):
        unlike = [
            (int(m["offset"]), _time(m["since"]) - EARLIER, _time(m["until"]))
            for m in _UNLIKE.finditer(log)
            if m["copy"] == str(path)
        ]
        # The same for batches that were received after the start of the output.
        foreign = [
            (int(m["expected"]), int(m["size"]))
            for m in _FOREIGN.finditer(log)
            if m["path"] == str(path)
        ]
        again = [
            (m["worker"], int(m["start"]), int(m["end"]))
            for m in _AGAIN.finditer(log)
            if m["output"].startswith(f"{kind}:")
        ]
        times: Counter[tuple[str, int]] = Counter()
        named: Counter[tuple[str, int]] = Counter()
        last: dict[tuple[str, int], int] = {}
        for one, _ in found(path):
            key = one.worker, one.number
            times[key] += 1
            last[key] = one.at
            named[key] += any(start <= one.at < end for start, end in foreign)
        for key, count in times.items():
            if count > 1:
                named[key] += sum(
                    worker == key[0] and any(s <= at < e for at in offsets[key])
                    for worker, s, e in again
                )
                named[key] += sum(
                    last[key] >= offset and any(s <= at <= u for at in received[key])
                    for offset, s, u in unlike
                )
                if count - 1 > named[key]:
                    wrong.append(
                        f"{path.name}: line {key[1]} of {key[0]}, {count} times"
                    )
    return wrong
