"""A view of the fleet: what a request selects, and the links to other views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from ..boundaries import Foreign
from ._selection import SORTS, STATE_FILTERS

__all__ = ["SEARCH_CHARACTERS_MAX", "View"]

# A name has at most 64 characters, an address fewer.
SEARCH_CHARACTERS_MAX = 64

# The digits of the greatest page number that is read.
_PAGE_DIGITS_MAX = 5

_LINES = {b"show": True, b"hide": False}


@dataclass(frozen=True, slots=True)
class View:
    """
    The selection of workers to show.

    @ivar search: a part of a name, or the beginning of an address; "": all workers.
    @ivar state: a member of L{STATE_FILTERS}; "": all states.
    @ivar sort: a key of L{SORTS}.
    @ivar reverse: whether the order is reversed.
    @ivar lines: whether to show newest lines; C{None}: if there are few workers.
    @ivar page: the page number, from 1.
    """

    search: str = ""
    state: str = ""
    sort: str = "state"
    reverse: bool = False
    lines: bool | None = None
    page: int = 1

    @classmethod
    def of(cls, arguments: Mapping[bytes, Sequence[bytes]]) -> View:
        """The view that a query asks for; an invalid value counts as missing."""

        def first(name: bytes) -> bytes:
            return (arguments.get(name) or (b"",))[0]

        search = first(b"q").decode("utf-8", "replace").strip()
        state = first(b"state").decode("ascii", "replace")
        order = first(b"sort").decode("ascii", "replace")
        sort = order.removeprefix("-")
        page = first(b"page")
        isNumber = page.isdigit() and len(page) <= _PAGE_DIGITS_MAX
        return cls(
            search[:SEARCH_CHARACTERS_MAX],
            state if state in STATE_FILTERS else "",
            sort if sort in SORTS else "state",
            sort in SORTS and order != sort,
            _LINES.get(first(b"lines")),
            max(1, int(page)) if isNumber else 1,
        )

    def link(self, **changes: Foreign) -> str:
        """
        The address of the same view with changes, relative to the page.

        It begins on the first page, unless a page is given.
        """
        view = replace(self, **{"page": 1, **changes})
        query = urlencode(view.asQuery())
        # Without a query, "?" would keep nothing of the address but its path.
        return f"?{query}" if query else "."

    def asQuery(self) -> dict[str, str]:
        """The values that are not the default, by the names that L{of} reads."""
        lines = "" if self.lines is None else "show" if self.lines else "hide"
        found = {
            "q": self.search,
            "state": self.state,
            "sort": "" if self.order == "state" else self.order,
            "lines": lines,
            "page": "" if self.page == 1 else str(self.page),
        }
        return {name: value for name, value in found.items() if value}

    @property
    def order(self) -> str:
        """The order as in a query: with "-" it is reversed."""
        return f"-{self.sort}" if self.reverse else self.sort
