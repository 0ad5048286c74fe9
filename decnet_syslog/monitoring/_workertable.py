"""The table of workers on the fleet's page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.web.template import Flattenable, Tag, tags

from ..untrusted import escapeUntrusted
from ._blocks import Column, badge, cells, empty, headings, link
from ._controls import Chosen, density, filters, pages
from ._curve import curve
from ._factparts import WorkerFacts
from ._history import LATELY_STEPS
from ._problemkinds import severityOfState
from ._selection import SORTS
from ._shown import day, excerpt, moment, octets, quantity, rate, span
from ._view import View
from ._workerstate import EXCERPT_OCTETS_MAX, WorkerState

__all__ = ["ROOMY_MAX", "WorkerNamed", "workers"]

# If there are more workers, each takes one line: its newest line is not shown unless asked for.
ROOMY_MAX = 20

WorkerNamed = Callable[[str], WorkerState | None]

# The columns, with the order that a click on each selects. A narrow window leaves out those of
# the classes "less" and then "least".
_COLUMNS: Sequence[tuple[Column, str]] = (
    (Column("Worker"), "name"),
    (Column("State"), "state"),
    (Column("Lag", "n"), "lag"),
    (Column("Undelivered", "n less"), "undelivered"),
    (Column("Lines/s", "n"), "rate"),
    (Column("Half an hour", "less"), ""),
    (Column("Heard", "n less"), "heard"),
    (Column("Address", "least"), "address"),
    (Column("Cert. expires", "least"), "expires"),
    (Column("Gaps", "n less"), "gaps"),
)

_HEAD = [column for column, _ in _COLUMNS]


def _isDescending(view: View) -> bool:
    return SORTS[view.sort].descending != view.reverse


def _heading(column: Column, sort: str, view: View) -> Flattenable:
    """A heading that sorts; another click reverses the order."""
    if not sort:
        return column.title
    isCurrent = view.sort == sort
    mark = ""
    if isCurrent:
        mark = "\u25bc" if _isDescending(view) else "\u25b2"
    return Tag(
        "a",
        {
            "href": view.link(sort=sort, reverse=isCurrent and not view.reverse),
            "id": f"sort-{sort}",
        },
    )(column.title, Tag("span", {"class": "mark", "aria-hidden": "true"})(mark))


def _head(view: View) -> Tag:
    direction = "descending" if _isDescending(view) else "ascending"
    return headings(
        _HEAD,
        [_heading(column, sort, view) for column, sort in _COLUMNS],
        {n: direction for n, (_, sort) in enumerate(_COLUMNS) if sort == view.sort},
    )


def _newest(worker: WorkerState | None, hidden: bool) -> Flattenable:
    if worker is None or worker.newestFrom is None or hidden:
        return tags.span("\u2013", class_="when")
    who = worker.newestFrom
    line = excerpt(worker.newest, EXCERPT_OCTETS_MAX)
    return tags.transparent(
        tags.span(moment(who.receivedAt)[11:], class_="when"), " ", tags.code(line)
    )


def _curve(fact: WorkerFacts, worker: WorkerState | None) -> Flattenable:
    if worker is None:
        return ""
    values = worker.lately.values
    said = f"{rate(max(values, default=0.0))} lines a second at most in half an hour"
    return curve(values, LATELY_STEPS, said)


def _number(text: str, value: float | None) -> Flattenable:
    """A number; zeros and unknown values are faint, so that the others stand out."""
    if value:
        return text
    return tags.span("-" if value is None else "0", class_="zero")


def _row(fact: WorkerFacts, worker: WorkerState | None) -> Tag:
    addresses = fact["addresses"]
    first = addresses[0] if addresses else "-"
    more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
    behind = fact["behind_octets"]
    return cells(
        _HEAD,
        (
            link(fact["name"], ""),
            badge(fact["state"], severityOfState(fact)),
            _number(span(fact["behind_seconds"]), behind),
            _number(octets(behind), behind),
            _number(rate(fact["lines_per_second"]), fact["lines_per_second"]),
            _curve(fact, worker),
            span(fact["silence"]),
            escapeUntrusted(first, 80, "readable") + more,
            day(fact["expires"]),
            _number(quantity(fact["gaps"]), fact["gaps"]),
        ),
    )


def _rows(
    chosen: Chosen, worker: WorkerNamed, roomy: bool, hidden: bool
) -> Iterable[Tag]:
    """A line for each worker, and if there is room, one with its newest line."""
    for fact in chosen.rows:
        known = worker(fact["name"])
        row = _row(fact, known)
        if not roomy:
            yield row
            continue
        newest = Tag("td", {"colspan": str(len(_HEAD)), "data-label": "Newest line"})
        yield tags.tbody(row, tags.tr(newest(_newest(known, hidden)), class_="newest"))


def workers(chosen: Chosen, worker: WorkerNamed, hidden: bool) -> Flattenable:
    """
    The list of workers.

    @param worker: returns further knowledge of a worker.
    @param hidden: whether to show no worker's lines.
    """
    if not chosen.every:
        return empty(
            "No workers yet. Run decnet-syslog enroll to make a worker's certificates."
        )
    view = chosen.view
    roomy = chosen.found <= ROOMY_MAX if view.lines is None else view.lines
    rows = list(_rows(chosen, worker, roomy, hidden))
    caption = tags.caption(f"Workers: {chosen.summary}", class_="hidden")
    return tags.transparent(
        filters(chosen),
        tags.div(
            tags.p(chosen.summary, class_="when"),
            density(chosen, roomy) if rows else "",
            pages(chosen, "top"),
            class_="bar",
        ),
        tags.div(
            tags.table(
                caption,
                _head(view),
                *(rows if roomy else [tags.tbody(rows)]),
                class_="workers roomy" if roomy else "workers dense",
            )
            if rows
            else empty("No worker matches. Shorten the search, or select All."),
            class_="scroll",
        ),
        tags.div(pages(chosen, "bottom"), class_="bar"),
    )
