"""
Selecting workers: which ones to show, and in which order.

The page and C{decnet-syslog status} share these rules. A search compares names and addresses; the
state is a filter of its own, so a worker called "tokyo" is not found as "ok".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ._factparts import WorkerFacts
from ._problemkinds import STATES

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

__all__ = [
    "PROBLEM",
    "SORTS",
    "STATE_FILTERS",
    "Sort",
    "counted",
    "naturalKey",
    "select",
]

# The filter for workers with any alarm.
PROBLEM = "problem"

# What a filter can ask for.
STATE_FILTERS = (PROBLEM, *STATES)

# As many as workers are watched.
NAMES_KEPT = 10_000

_RANK = {state: rank for rank, state in enumerate(STATES)}

_DIGITS = re.compile(r"([0-9]+)")


class Sort(NamedTuple):
    """
    One order of workers.

    @ivar key: a worker's value; C{None}: unknown, which comes last in both directions.
    @ivar descending: whether the greatest value comes first, unless reversed.
    @ivar title: the order in words.
    """

    key: Callable[[WorkerFacts], SupportsRichComparison | None]
    descending: bool
    title: str


# The same names are sorted for each page.
@lru_cache(maxsize=NAMES_KEPT)
def naturalKey(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts decky-9 before decky-10."""
    return tuple(
        (part.isdecimal(), int(part), "") if n % 2 else (False, 0, part)
        for n, part in enumerate(_DIGITS.split(name.lower()))
    )


def _address(worker: WorkerFacts) -> tuple[int, int] | None:
    """The first address as a number, so that 9.0.0.1 comes before 10.0.0.1."""
    for address in worker["addresses"]:
        host = address.rpartition(":")[0].strip("[]").partition("%")[0]
        try:
            found = ipaddress.ip_address(host)
        except ValueError:
            continue
        return found.version, int(found)
    return None


SORTS: Mapping[str, Sort] = {
    # A listener of another version may have a state that is not in the table.
    "state": Sort(lambda w: _RANK.get(w["state"], -1), False, "worst state first"),
    "name": Sort(lambda w: naturalKey(w["name"]), False, "by name"),
    "lag": Sort(lambda w: w["behind_seconds"], True, "greatest lag first"),
    "undelivered": Sort(
        lambda w: w["behind_octets"], True, "most undelivered octets first"
    ),
    "rate": Sort(lambda w: w["lines_per_second"], True, "most lines a second first"),
    "lines": Sort(lambda w: w["lines"], True, "most lines first"),
    "heard": Sort(lambda w: w["silence"], True, "longest silence first"),
    "address": Sort(_address, False, "by address"),
    "expires": Sort(lambda w: w["expires"], False, "first certificate to expire first"),
    "gaps": Sort(
        lambda w: (w["gaps"], w["gap_octets"]) if w["gaps"] else (0, 0),
        True,
        "most gaps first",
    ),
}


def _matches(worker: WorkerFacts, words: str) -> bool:
    """Whether a part of the name, or the beginning of an address, is this text."""
    return words in worker["name"].lower() or any(
        address.lower().lstrip("[").startswith(words) for address in worker["addresses"]
    )


def select(
    workers: Iterable[WorkerFacts],
    search: str = "",
    states: Collection[str] = (),
    sort: str = "state",
    reverse: bool = False,
) -> list[WorkerFacts]:
    """
    The selected workers, sorted; workers with equal values are sorted by name.

    @param workers: the facts about each, as in C{/status.json}.
    @param search: a part of a name, or the beginning of an address; "": all.
    @param states: members of L{STATE_FILTERS}; empty: all.
    @param sort: a key of L{SORTS}.
    """
    words = search.lower().strip().lstrip("[")
    found = [
        w
        for w in workers
        if (not words or _matches(w, words))
        and (not states or w["state"] in states or (PROBLEM in states and w["alarms"]))
    ]
    found.sort(key=lambda w: naturalKey(w["name"]))
    order = SORTS[sort]
    if sort == "name":
        return found[::-1] if reverse else found
    keys = [(order.key(w), w) for w in found]
    known = [(key, w) for key, w in keys if key is not None]
    # Sorting in reverse keeps the order of equal values, so names still ascend.
    known.sort(key=lambda pair: pair[0], reverse=order.descending != reverse)
    return [w for _, w in known] + [w for key, w in keys if key is None]


def counted(workers: Iterable[WorkerFacts]) -> dict[str, int]:
    """The number of workers in each state, and of those with a problem."""
    counts = dict.fromkeys(STATE_FILTERS, 0)
    for worker in workers:
        state = worker["state"]
        counts[state] = counts.get(state, 0) + 1
        counts[PROBLEM] += bool(worker["alarms"])
    return counts
