"""
The controls of the list of workers: search, filters, links to other pages.

Each is a form or a link, so they work without JavaScript. The script only spares loading the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from twisted.web.template import Flattenable, Tag, tags

from ..untrusted import escapeUntrusted
from ._blocks import badge
from ._factparts import WorkerFacts
from ._facts import ListenerFacts
from ._selection import PROBLEM, SORTS, STATE_FILTERS, counted, select
from ._shown import quantity
from ._view import SEARCH_CHARACTERS_MAX, View

__all__ = ["ROWS_MAX", "Chosen", "choose", "density", "filters", "pages", "search"]

# Workers per page. The page is made in the reactor's thread, which also has to receive lines.
ROWS_MAX = 50


@dataclass(frozen=True)
class Chosen:
    """
    The workers that a view shows.

    @ivar view: with a page that exists.
    @ivar rows: the workers on this page.
    @ivar first: the number of the first one on this page, from 1.
    @ivar found: the number of selected workers; C{every}: of all workers.
    @ivar last: the number of the last page.
    @ivar counts: the number of workers by filter.
    """

    view: View
    rows: Sequence[WorkerFacts]
    first: int
    found: int
    every: int
    last: int
    counts: Mapping[str, int]

    @property
    def summary(self) -> str:
        """What the page shows, in words."""
        if not self.found:
            return f"None of {quantity(self.every)} workers matches."
        some = "All" if self.found == self.every else f"{quantity(self.found)} of"
        which = f"{some} {quantity(self.every)} worker{'s'[: self.every > 1]}"
        order = SORTS[self.view.sort].title
        return f"{which}, {order}{', reversed' if self.view.reverse else ''}"


def choose(status: ListenerFacts, view: View) -> Chosen:
    """Select the workers for a view."""
    every = status["workers"]
    found = select(
        every,
        view.search,
        [view.state] if view.state else (),
        view.sort,
        view.reverse,
    )
    last = max(1, -(-len(found) // ROWS_MAX))
    view = replace(view, page=min(view.page, last))
    first = (view.page - 1) * ROWS_MAX
    return Chosen(
        view,
        found[first : first + ROWS_MAX],
        first + 1,
        len(found),
        len(every),
        last,
        counted(every),
    )


def _orders(view: View) -> list[Tag]:
    """The orders to choose from; a reversed one only if it is chosen."""
    orders = {name: sort.title for name, sort in SORTS.items()}
    if view.reverse:
        orders[view.order] = f"{orders[view.sort]}, reversed"
    options = {name: tags.option(title, value=name) for name, title in orders.items()}
    options[view.order].attributes["selected"] = ""
    return list(options.values())


def search(chosen: Chosen) -> Tag:
    """
    The search form. It is not replaced on refresh, because an operator may be typing in it.

    It keeps the filter and the order: in a narrow window there are no headings to click.
    """
    view = chosen.view
    kept = {
        name: value
        for name, value in view.asQuery().items()
        if name not in ("q", "sort", "page")
    }
    return tags.form(
        tags.label(
            tags.span("Search "),
            tags.input(
                type="search",
                name="q",
                id="search",
                value=escapeUntrusted(view.search, SEARCH_CHARACTERS_MAX, "readable"),
                maxlength=str(SEARCH_CHARACTERS_MAX),
                placeholder="name or address",
                autocomplete="off",
                spellcheck="false",
            ),
        ),
        tags.label(
            tags.span("Sort "),
            tags.select(_orders(view), name="sort"),
        ),
        [
            tags.input(type="hidden", name=name, value=value)
            for name, value in kept.items()
        ],
        tags.button("Show", type="submit"),
        id="find",
        action=".",
        method="get",
        role="search",
    )


def filters(chosen: Chosen) -> Tag:
    """Links that show the workers in one state."""
    view = chosen.view
    shown: list[Flattenable] = []
    for state in ("", *STATE_FILTERS):
        count = chosen.counts[state] if state else chosen.every
        if not count and state not in ("", view.state):
            continue
        name: Flattenable = badge(state)
        if not state or state == PROBLEM:
            name = "All" if not state else "With a problem"
        one = tags.a(href=view.link(state=state))
        if state == view.state:
            one.attributes["aria-current"] = "true"
        shown.append(one(name, tags.span(quantity(count), class_="count")))
    return Tag("nav", {"aria-label": "Filter by state", "class": "filters"})(shown)


def density(chosen: Chosen, roomy: bool) -> Tag:
    """The link that shows or hides the newest lines."""
    text = "Hide newest lines" if roomy else "Show newest lines"
    view = chosen.view
    return tags.a(text, href=view.link(lines=not roomy, page=view.page), id="density")


def pages(chosen: Chosen, where: str) -> Flattenable:
    """Links to the other pages, above and below the table."""
    if chosen.last == 1:
        return ""
    view = chosen.view

    def to(page: int, text: str, name: str) -> Flattenable:
        if page == view.page or not 1 <= page <= chosen.last:
            return Tag("span", {"aria-hidden": "true"})(text)
        return Tag(
            "a",
            {
                "href": view.link(page=page),
                "id": f"{where}-{name}",
                "aria-label": f"{name.capitalize()} page",
            },
        )(text)

    until = chosen.first + len(chosen.rows) - 1
    return Tag("nav", {"aria-label": f"Pages, {where}", "class": "pages"})(
        to(1, "\u00ab", "first"),
        to(view.page - 1, "\u2039 Previous", "previous"),
        tags.span(
            f"{quantity(chosen.first)}\u2013{quantity(until)} of {quantity(chosen.found)}",
            class_="count",
        ),
        to(view.page + 1, "Next \u203a", "next"),
        to(chosen.last, "\u00bb", "last"),
    )
