"""The parts of the fleet's page that belong to no single worker: problems, journal, outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.web.template import Flattenable, Tag, tags

from ._frame import badge, empty, facts, link, table
from ._known import ALARMS
from ._shown import day, octets, quantity, span, visible

__all__ = ["problems", "works"]

# Problems per page.
PROBLEMS_MAX = 20

# The worst first.
_ORDER = ("full", "blocked", *ALARMS)

# Our own certificates, in words for people.
_OURS = {"ca": "CA", "master": "Master"}


def problems(status: Mapping[str, Any]) -> Flattenable:
    """The worst problems."""
    every = sorted(
        status["problems"], key=lambda problem: _ORDER.index(problem["kind"])
    )
    if not every:
        return empty("None.")
    workers = {w["name"] for w in status["workers"]}
    shown: list[Flattenable] = [
        tags.li(
            badge(problem["kind"]),
            " ",
            link(problem["what"], "")
            if problem["what"] in workers
            else tags.b(visible(problem["what"], 80)),
            f" {visible(problem['text'], 500)}",
            # A problem without a known beginning shows no time.
            tags.span(f" raised {span(problem['seconds'])} ago", class_="when")
            if problem["seconds"]
            else "",
        )
        for problem in every[:PROBLEMS_MAX]
    ]
    if len(every) > PROBLEMS_MAX:
        shown.append(tags.li(f"and {len(every) - PROBLEMS_MAX} more"))
    return tags.ul(shown, class_="problems")


def works(status: Mapping[str, Any]) -> Flattenable:
    """The journal and the outputs."""
    journal = status["journal"]
    position = journal["position"]
    used, most = journal["octets"], journal["octets_max"]
    meter = Tag("meter", {"min": "0", "max": str(most), "high": str(most * 3 // 4)})
    meter(value=str(used))
    meter.attributes["aria-label"] = "journal"
    return tags.transparent(
        facts(
            [
                (
                    "Journal",
                    tags.transparent(
                        f"{octets(used)} of {octets(most)} ",
                        badge("full") if journal["full"] else "",
                        meter,
                    ),
                ),
                ("Waiting for a commit", octets(journal["waiting_octets"])),
                (
                    "Connections",
                    f"{status['connections']}, {status['handshakes']} in handshake",
                ),
                ("Commits", quantity(status["commits"]["count"])),
                *[
                    (
                        f"{_OURS[one['role']]} certificate expires",
                        day(one["expires"]),
                    )
                    for one in status["certificates"]
                    if one["role"] in _OURS
                ],
            ]
        ),
        table(
            "outputs",
            ("Output", "File", "Behind", "State"),
            [
                (
                    output["name"],
                    visible(output["path"], 300),
                    f"{quantity(max(0, position - output['position']))} batches",
                    badge("ok")
                    if output["blocked"] is None
                    else tags.transparent(
                        badge("blocked"), f" {visible(output['blocked'], 300)}"
                    ),
                )
                for output in status["outputs"]
            ],
        ),
    )
