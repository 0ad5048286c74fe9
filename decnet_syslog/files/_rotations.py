"""
The names that rotation gives to files. Text only: no disk access.

A rotated copy of C{app.log} is named

* C{app.log.1}, C{app.log-20261128}: the name, C{.} or C{-}, digits or a date;
* C{app.1.log}, C{app-20261128.log}: the same in front of the extension (logrotate's
  C{extension}, log4j, logback, lumberjack);
* C{app.log.old};
* C{@4000000065a1b2c3d4e5f607.s} or C{.u} next to a log named C{current} (multilog, svlogd,
  s6-log);

each also with the suffix of a compression program. Any other name belongs to an unrelated file:
C{app.log.1.filtered}, C{app.log.bak}, C{app.log.swp}, logrotate's own C{app.log.tmp} and
C{app.log.1.gz-2026112813.backup}.

A I{date} has several groups of digits. One group is a year, or the first is a date without
separators: C{2026-11-28}, C{20261128-120000}, C{2026-11-28T12-00-00.000}, C{28-11-2026},
C{2026-W48}, C{26-11-28}, C{2026-11-28.1}. An address or a version is not a date (C{10.0.0.1},
C{1.2.3}): C{app-10.0.0.1.log} is the log of another machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

__all__ = [
    "COMPRESSED",
    "Rotation",
    "compressionOf",
    "rotationsOf",
    "stemsOf",
]

# Suffixes of compression programs: the readable formats first, then the others.
COMPRESSED = (
    *(".gz", ".z", ".bz2", ".bz", ".xz", ".zst", ".zstd"),
    *(".Z", ".lzma", ".lz", ".lz4", ".lzo", ".br", ".sz", ".zip", ".7z"),
)

# A date with a time, fractions, a time zone and an index has 9 groups.
GROUPS_MAX = 10

_CUT = re.compile(r"[.-](?=[0-9])")
_GROUP = re.compile(r"([-_.:+, T]|-?W)?([0-9]{1,20})(?![0-9])")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}\Z")
# Separators of a date with two digits each for day, month and year; dots would be a version.
_SHORT = ("--", "__")
_LETTER = re.compile(r"[^0-9.]")

# A TAI64N label has 24 hexadecimal digits; other versions of the tools may write other labels.
_LABEL = re.compile(r"@([^.]+)\.[su]\Z")

# A number with at least this many digits is a date or a time, and rises with it.
_DATE_DIGITS_MIN = 6


@dataclass(frozen=True, slots=True)
class Rotation:
    """
    One way to read a name as that of a rotated copy.

    @ivar base: the name of the log.
    @ivar age: sort key; the oldest copy of a log sorts first. Only a hint.
    """

    base: str
    age: tuple[int, tuple[int, ...]]


def compressionOf(name: str) -> str:
    """The compression suffix that a name ends in, or the empty text."""
    at = name.rfind(".")
    suffix = name[at:] if at > 0 else ""
    return suffix if suffix in COMPRESSED else ""


def stemsOf(name: str) -> Iterator[str]:
    """Every part of a name that ends before an extension."""
    for at in range(1, len(name)):
        if name[at] == "." and _LETTER.search(name, at):
            yield name[:at]


def rotationsOf(
    name: str, bases: Collection[str], stems: Collection[str]
) -> Iterator[Rotation]:
    """
    Read a name as that of a rotated copy, in every possible way.

    The cost is linear in the cuts of the name and does not depend on the number of logs.
    The reading with the longest log name comes first, extensions aside.

    @param bases: names of logs.
    @param stems: the L{stemsOf} every log.
    """
    suffix = compressionOf(name)
    # A log can itself be named "data.Z".
    for text in (name.removesuffix(suffix), name) if suffix else (name,):
        yield from _rotationsOf(text, bases, stems)


def _rotationsOf(
    text: str, bases: Collection[str], stems: Collection[str]
) -> Iterator[Rotation]:
    old = text.removesuffix(".old")
    if old != text and old in bases:
        yield Rotation(old, (0, (-1,)))
    label = _LABEL.match(text)
    if label is not None and "current" in bases:
        yield Rotation("current", (1, tuple(map(ord, label[1]))))
    for cut in reversed([cut.start() for cut in _CUT.finditer(text)]):
        stem = text[:cut]
        whole, partly = stem in bases, stem in stems
        if not cut or not (whole or partly):
            continue
        for end, age in _readings(text, cut + 1):
            if whole and end == len(text):
                yield Rotation(stem, age)
            if partly and text.startswith(".", end):
                base = stem + text[end:]
                # "app.2.1" is not a copy of "app.1": ".1" is not an extension.
                if base in bases and _LETTER.search(text, end):
                    yield Rotation(base, age)


def _readings(text: str, at: int) -> Iterator[tuple[int, tuple[int, tuple[int, ...]]]]:
    """The numbers and dates that begin at an offset: the end and the age of each."""
    groups: list[str] = []
    separators = ""
    while len(groups) < GROUPS_MAX:
        group = _GROUP.match(text, at)
        if group is None or (group[1] is None) != (not groups):
            return
        groups.append(group[2])
        separators += group[1] or ""
        at = group.end()
        age = _age(groups, separators)
        if age is not None:
            yield at, age
            if text.startswith("Z", at):
                yield at + 1, age


def _age(groups: list[str], separators: str) -> tuple[int, tuple[int, ...]] | None:
    """
    The age of a copy, from its number or date; C{None}: the digits are neither.

    @param separators: the text between the groups.
    """
    numbers = tuple(map(int, groups))
    first = groups[0]
    if len(first) >= _DATE_DIGITS_MIN:
        return 1, numbers
    if len(groups) == 1:
        # A year rises with time; an index counts the rotations since the copy was made.
        return (1, numbers) if _YEAR.match(first) else (0, (-numbers[0],))
    if _YEAR.match(first):
        return 1, numbers
    if len(first) > 2:
        return None
    if [len(group) for group in groups[:3]] == [2, 2, 2] and separators[:2] in _SHORT:
        # The year has two digits and may be first or last: the order of copies tells little.
        return (1, numbers) if numbers[1] <= 31 else None
    if _YEAR.match(groups[1]) and numbers[0] <= 53:
        return 1, (numbers[1], numbers[0], *numbers[2:])
    if len(groups) > 2 and _YEAR.match(groups[2]) and len(groups[1]) <= 2:
        day, month, year = numbers[:3]
        if day > 31 or month > 31:
            return None
        # Only a number above 12 shows which of the two is the day; otherwise, the day is first.
        if month > 12:
            day, month = month, day
        return 1, (year, month, day, *numbers[3:])
    return None
