"""The part of a status that C{decnet-syslog status} shows: filters and orders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.python import usage

from ..boundaries import Facts, JSONObject
from ..monitoring import SORTS, STATE_FILTERS, naturalKey, select
from ..options import nearest

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

__all__ = ["FILE_SORTS", "Selection", "checkSort", "checkStates"]

# The orders of a forwarder's files; the greatest lag and size come first.
FILE_SORTS: Mapping[str, Callable[[Facts], SupportsRichComparison]] = {
    "lag": lambda file: -file["behind_seconds"],
    "undelivered": lambda file: file["position"] - file["size"],
    "size": lambda file: -file["size"],
    "name": lambda file: naturalKey(file["name"]),
}


def checkStates(text: str) -> list[str]:
    """
    States with commas between them.

    @raise usage.UsageError: one of them does not exist.
    """
    states = [state.strip() for state in text.split(",")]
    for state in states:
        if state not in STATE_FILTERS:
            raise usage.UsageError(
                f"--state: there is no state {state!r}{nearest(state, STATE_FILTERS)}"
                f" (one of {', '.join(STATE_FILTERS)})"
            )
    return states


def checkSort(text: str) -> str:
    """
    An order of workers or files.

    @raise ValueError: there is no such order.
    """
    names = dict.fromkeys((*SORTS, *FILE_SORTS))
    if text not in names:
        raise ValueError(
            f"there is no order {text!r}{nearest(text, names)} (one of {', '.join(names)})"
        )
    return text


@dataclass(frozen=True)
class Selection:
    """
    What to show of a status.

    @ivar states: the states of the workers; empty: all.
    @ivar match: a part of a name, or the beginning of an address; "": all.
    @ivar sort: the order; C{None}: a listener's workers by state, a forwarder's files by lag.
    @ivar most: the number of workers or files; C{None}: all.
    """

    states: Sequence[str] = ()
    match: str = ""
    sort: str | None = None
    reverse: bool = False
    most: int | None = None

    def of(self, facts: Facts) -> JSONObject:
        """
        The status with only the selected workers or files, in order. Everything else is
        unchanged: numbers and problems are those of all.

        @raise usage.UsageError: this service has nothing to select in this way.
        """
        role = facts["role"]
        if role == "listener":
            sort = self._known(SORTS, "state", "workers")
            found = select(
                facts["workers"], self.match, self.states, sort, self.reverse
            )
            return {**facts, "workers": found[: self.most]}
        if self.states:
            raise usage.UsageError(
                f"--state: the status of decnet-{role} has no workers; ask a listener"
            )
        if role == "forwarder":
            sort = self._known(FILE_SORTS, "lag", "files")
            words = self.match.lower()
            files = [f for f in facts["files"] if words in f["name"].lower()]
            files.sort(key=lambda file: naturalKey(file["name"]))
            files.sort(key=FILE_SORTS[sort])
            if self.reverse:
                files.reverse()
            return {**facts, "files": files[: self.most]}
        return dict(facts)

    def _known(self, sorts: Collection[str], usual: str, things: str) -> str:
        if self.sort is None:
            return usual
        if self.sort not in sorts:
            raise usage.UsageError(
                f"--sort: {things} cannot be sorted by {self.sort} (one of {', '.join(sorts)})"
            )
        return self.sort
