"""The page of the fleet: numbers, problems, charts, all workers, events."""

from __future__ import annotations

from twisted.web.template import Tag, tags

from ._blocks import events, section
from ._charts import charts
from ._controls import choose, search
from ._facts import ListenerFacts
from ._frame import document
from ._overview import overview, problems
from ._view import View
from ._workertable import WorkerNamed, workers

__all__ = ["fleetPage"]

# Events per page.
EVENTS_MAX = 30


def fleetPage(
    status: ListenerFacts, worker: WorkerNamed, view: View, hidden: bool
) -> Tag:
    """
    The page of the fleet.

    @param status: the facts, as in C{/status.json}.
    @param worker: returns further knowledge of a worker.
    @param hidden: whether to show no worker's lines.
    """
    chosen = choose(status, view)
    return document(
        None,
        status,
        "",
        section("overview", "Overview", overview(status), hidden=True),
        section("problems", "Problems", problems(status)),
        section(
            "rates",
            "Lines a second, all workers",
            charts(
                status["lines_per_second_lately"],
                status["lines_per_second_day"],
                status["time"],
            ),
        ),
        tags.div(tags.h2("Workers"), search(chosen), class_="head"),
        # The script changes only its text, so a screen reader says what a search has found.
        Tag("p", {"id": "found", "class": "hidden", "role": "status"})(chosen.summary),
        section(
            "workers", "List of workers", workers(chosen, worker, hidden), hidden=True
        ),
        section(
            "events", "Events", events(status["events"]["recent"][:EVENTS_MAX], "")
        ),
        jumps={
            "problems": "Problems",
            "rates": "Charts",
            "workers": "Workers",
            "events": "Events",
        },
    )
