"""The page of the fleet: all workers, problems, outputs, journal, events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from twisted.web.template import Flattenable, Tag, tags

from ._curve import curve
from ._frame import badge, cells, document, empty, events, link, section
from ._history import LATELY_STEPS
from ._known import ALARMS, EXCERPT_OCTETS_MAX, Worker
from ._overview import problems, works
from ._shown import day, moment, octets, quantity, rate, span, visible, visibleLine

__all__ = ["SEARCH_CHARACTERS_MAX", "View", "fleetPage"]

# Workers per page. The page is made in the reactor's thread, which also has to receive lines.
ROWS_MAX = 50

# Events per page.
EVENTS_MAX = 30

# A name has at most 64 characters, a state fewer.
SEARCH_CHARACTERS_MAX = 64

_HEAD = (
    "Worker",
    "State",
    "Last received",
    "Behind",
    "Lines a second",
    "From",
    "Certificate expires",
    "Gaps",
)

# The order of states: the worst first, revoked workers last.
_ORDER = (*ALARMS, "absent", "gone", "ok", "revoked")

WorkerNamed = Callable[[str], Worker | None]


@dataclass(frozen=True)
class View:
    """
    The selection of workers to show.

    @ivar search: a part of a name or address, or a whole state; "": all workers.
    @ivar page: the page number, from 1, with L{ROWS_MAX} workers each.
    """

    search: str = ""
    page: int = 1


def _chosen(
    workers: Iterable[Mapping[str, Any]], search: str
) -> list[Mapping[str, Any]]:
    """The selected workers, the worst first."""
    words = search.lower()
    found = [
        w
        for w in workers
        if words in w["name"].lower()
        or words == w["state"]
        or any(words in address for address in w["addresses"])
    ]
    return sorted(found, key=lambda w: (_ORDER.index(w["state"]), w["name"]))


def _newest(worker: Worker | None, hidden: bool) -> Flattenable:
    if worker is None or worker.newestFrom is None or hidden:
        return tags.span("\u2013", class_="when")
    who = worker.newestFrom
    line = visibleLine(worker.newest, EXCERPT_OCTETS_MAX)
    return tags.transparent(
        tags.span(moment(who.receivedAt)[11:], class_="when"), " ", tags.code(line)
    )


def _rate(fact: Mapping[str, Any], worker: Worker | None) -> Flattenable:
    now = rate(fact["lines_per_second"])
    if worker is None:
        return now
    values = worker.lately.values
    said = f"{now} lines a second now, {rate(max(values, default=0.0))} at most in half an hour"
    return tags.transparent(
        curve(values, LATELY_STEPS, said), tags.span(now, class_="number")
    )


def _behind(fact: Mapping[str, Any]) -> str:
    if fact["behind_octets"] is None:
        return "-"
    if not fact["behind_octets"]:
        return "0"
    return f"{octets(fact['behind_octets'])}, {span(fact['behind_seconds'])}"


def _row(fact: Mapping[str, Any], worker: Worker | None, hidden: bool) -> Tag:
    """A worker: a row of numbers, and a row with its newest line."""
    addresses = fact["addresses"]
    first = addresses[0] if addresses else "-"
    more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
    row: Sequence[Flattenable] = (
        link(fact["name"], ""),
        badge(fact["state"]),
        span(fact["silence"]),
        _behind(fact),
        _rate(fact, worker),
        visible(first, 80) + more,
        tags.span(day(fact["expires"]), class_="day"),
        quantity(fact["gaps"]),
    )
    return tags.tbody(
        cells(_HEAD, row),
        tags.tr(
            Tag("td", {"colspan": str(len(_HEAD)), "data-label": "Newest line"})(
                _newest(worker, hidden)
            ),
            class_="newest",
        ),
    )


def _pages(view: View, last: int) -> Flattenable:
    def to(page: int, text: str) -> Flattenable:
        if not 1 <= page <= last:
            return ""
        query = urlencode({"q": view.search, "page": page})
        return tags.a(text, href=f"?{query}")

    if last == 1:
        return ""
    return tags.p(
        to(view.page - 1, "\u2190 previous"),
        f" page {view.page} of {last} ",
        to(view.page + 1, "next \u2192"),
        class_="pages",
    )


def _workers(
    status: Mapping[str, Any], worker: WorkerNamed, view: View, hidden: bool
) -> Flattenable:
    found = _chosen(status["workers"], view.search)
    last = max(1, -(-len(found) // ROWS_MAX))
    view = replace(view, page=min(view.page, last))
    first = (view.page - 1) * ROWS_MAX
    rows = [
        _row(fact, worker(fact["name"]), hidden)
        for fact in found[first : first + ROWS_MAX]
    ]
    if not rows:
        return empty(
            "No matching workers."
            if view.search
            else "No workers yet. Run decnet-syslog enroll to make a worker's certificates."
        )
    return tags.transparent(
        tags.table(
            tags.thead(tags.tr([tags.th(title, scope="col") for title in _HEAD])),
            *rows,
            class_="workers",
        ),
        _pages(view, last),
    )


def _search(view: View) -> Tag:
    """The search form. It is not replaced on refresh, because somebody may be typing in it."""
    return tags.form(
        tags.label(
            "Search ",
            tags.input(
                type="search",
                name="q",
                value=visible(view.search, SEARCH_CHARACTERS_MAX),
                maxlength=str(SEARCH_CHARACTERS_MAX),
                placeholder="name, state or address",
            ),
        ),
        tags.button("Show", type="submit"),
        action=".",
        method="get",
        role="search",
    )


def _states(status: Mapping[str, Any]) -> Tag:
    states = status["states"]
    chips: list[Flattenable] = [
        tags.a(badge(state), f" {states[state]}", href="?" + urlencode({"q": state}))
        for state in _ORDER
        if states.get(state)
    ]
    every = tags.a(f"all {len(status['workers'])}", href=".")
    return tags.p(every, *chips, class_="states")


def fleetPage(
    status: Mapping[str, Any], worker: WorkerNamed, view: View, hidden: bool
) -> Tag:
    """
    The page of the fleet.

    @param status: the facts, as in C{/status.json}.
    @param worker: returns further knowledge of a worker.
    @param hidden: whether to show no worker's lines.
    """
    connected = status["connected_workers"]
    total = sum([w["lines_per_second"] for w in status["workers"]])
    return document(
        "decnet-listener",
        status,
        "",
        section("problems", "Problems", problems(status)),
        tags.div(tags.h2("Workers"), _search(view), class_="head"),
        section(
            "workers",
            f"{connected} connected, {rate(total)} lines a second",
            _states(status) if status["workers"] else "",
            _workers(status, worker, view, hidden),
        ),
        section("works", "Journal and outputs", works(status)),
        section(
            "events",
            "Events",
            events(status["events"]["recent"][:EVENTS_MAX], ""),
        ),
    )
