"""
Repeated lines, and the events that announce them.

The outputs announce two kinds of ranges: octets of a worker's file that came again without a proof,
and octets of an output's file that were written before a C{kill -9} and are not in the stream now.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from decnet_syslog.commands.numbered import numberOf
from decnet_syslog.nats.proving import REPEATED
from decnet_syslog.outputs.options import OUTPUT_EVENTS

__all__ = ["Found", "found", "unnamed"]


def _pattern(words: str) -> re.Pattern[str]:
    """Make a regular expression for the texts of a log format."""
    parts = re.split(r"\{(\w+)[^}]*\}", words)
    return re.compile(
        "".join(
            f"(?P<{part}>.*?)" if at % 2 else re.escape(part)
            for at, part in enumerate(parts)
        )
    )


_AGAIN = _pattern(REPEATED)
_FOREIGN = _pattern(OUTPUT_EVENTS["output-foreign-write"][1])


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


def unnamed(log: str, rawPath: Path, jsonPath: Path) -> list[str]:
    """
    Find repeated lines that no event has announced.

    @param log: the log of the outputs.
    @return: a text for each line.
    """
    offsets: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for one, record in found(jsonPath):
        offsets[one.worker, one.number].add(json.loads(record)["source_offset"])
    wrong = []
    for path, kind in ((rawPath, "raw"), (jsonPath, "json")):
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
        for one, _ in found(path):
            key = one.worker, one.number
            times[key] += 1
            named[key] += any(start <= one.at < end for start, end in foreign)
        for key, count in times.items():
            if count > 1:
                named[key] += sum(
                    worker == key[0] and any(s <= at < e for at in offsets[key])
                    for worker, s, e in again
                )
                if count - 1 > named[key]:
                    wrong.append(
                        f"{path.name}: line {key[1]} of {key[0]}, {count} times"
                    )
    return wrong
