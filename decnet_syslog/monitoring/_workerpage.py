"""The page of one worker: its state, its files, its gaps, its last day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from twisted.web.template import Flattenable, Tag, tags

from ._curve import curve
from ._events import Event
from ._frame import badge, document, empty, events, facts, section, table
from ._history import DAY_STEPS, LATELY_STEPS, History
from ._known import EXCERPT_OCTETS_MAX, Worker
from ._shown import day, moment, octets, quantity, rate, span, visible, visibleLine

__all__ = ["strangerPage", "workerPage"]

# The relative path from this page to the root.
UP = "../"

# Digits shown of a stream's 32 hexdigits: enough to tell one from another.
STREAM_CHARACTERS = 8


def _how(fact: Mapping[str, Any]) -> Flattenable:
    """The alarms and the facts."""
    alarms = [
        tags.li(
            badge(kind),
            f" {visible(alarm['text'], 500)}",
            tags.span(f" raised {span(alarm['seconds'])} ago", class_="when"),
        )
        for kind, alarm in fact["alarms"].items()
    ]
    silence = fact["silence"]
    told = fact["behind_octets"] is not None
    addresses = ", ".join([visible(address, 80) for address in fact["addresses"]])
    pairs: list[tuple[str, Flattenable]] = [
        (
            "Last received",
            "not since the start" if silence is None else f"{span(silence)} ago",
        ),
        ("Connections", str(fact["connections"])),
        ("From", addresses or "-"),
        ("Expected", "yes" if fact["expected"] else "no"),
        ("Certificate expires", day(fact["expires"])),
        ("Lines since the start", quantity(fact["lines"])),
        ("Octets since the start", octets(fact["octets"])),
        ("Now", f"{rate(fact['lines_per_second'])} lines a second"),
        ("Files", str(fact["files"]) if told else "not reported"),
        ("Behind", octets(fact["behind_octets"]) if told else "not reported"),
        ("Oldest line", span(fact["behind_seconds"]) if told else "not reported"),
        ("Gaps", f"{quantity(fact['gaps'])}, {octets(fact['gap_octets'])}"),
    ]
    return tags.transparent(
        tags.ul(alarms, class_="problems") if alarms else "", facts(pairs)
    )


def _newest(worker: Worker, hidden: bool) -> Flattenable:
    who = worker.newestFrom
    if hidden:
        return empty("Lines are hidden by --hide-lines.")
    if who is None:
        return empty("None since the start.")
    return tags.transparent(
        tags.pre(visibleLine(worker.newest, EXCERPT_OCTETS_MAX)),
        tags.p(
            f"{moment(who.receivedAt)} UTC, from {visible(who.address, 80)}",
            f", file {visible(who.log, 200)}" if who.log else "",
            class_="when",
        ),
    )


def _curve(history: History, steps: int, title: str) -> Tag:
    values = history.values
    most = max(values, default=0.0)
    said = f"{title}: {f'{rate(most)} lines a second at most' if most else 'none'}"
    return tags.figure(curve(values, steps, said), tags.figcaption(said))


def _files(fact: Mapping[str, Any], worker: Worker) -> Flattenable:
    """The files that sent, the latest first, and those that are behind without having sent."""
    behind = {(s["stream"], s["generation"]): s for s in fact["streams"]}
    sent = dict(reversed(worker.streams.items()))
    rows = []
    for key in dict.fromkeys([*sent, *behind]):
        stream, state = sent.get(key), behind.get(key)
        size = "everything" if state is None else octets(state["size"])
        have = stream.end if stream is not None else behind[key]["position"]
        rows.append(
            (
                visible(stream.name, 200) if stream is not None else "not sent yet",
                f"{key[0][:STREAM_CHARACTERS]} {key[1]}",
                octets(have),
                size,
                "-" if state is None else span(state["behind_seconds"]),
                "-" if stream is None else moment(stream.at),
            )
        )
    if not rows:
        return empty("No file has sent since the start.")
    head = ("File", "Stream", "Delivered", "Of", "Oldest line", "Last received, UTC")
    return table("files", head, rows)


def _gaps(worker: Worker) -> Flattenable:
    if not worker.lastGaps:
        return empty("None since the start.")
    return table(
        "gaps",
        ("Reported, UTC", "File", "Octets", "From", "Reason"),
        [
            (
                moment(gap.at),
                visible(gap.name, 200),
                quantity(gap.end - gap.start),
                quantity(gap.start),
                visible(gap.reason, 80),
            )
            for gap in reversed(worker.lastGaps)
        ],
    )


def workerPage(
    status: Mapping[str, Any],
    fact: Mapping[str, Any],
    worker: Worker,
    recent: Iterable[Event],
    hidden: bool,
) -> Tag:
    """
    The page of a worker.

    @param status: the facts, as in C{/status.json}; C{fact} is the part about this worker.
    @param recent: its events, the newest first.
    @param hidden: whether to show no worker's lines.
    """
    name = visible(worker.name, 80)
    return document(
        f"{name}: {fact['state']}",
        status,
        UP,
        Tag("h1", {"id": "name", "data-live": ""})(name, " ", badge(fact["state"])),
        section("how", "State", _how(fact)),
        section("newest", "Newest line", _newest(worker, hidden)),
        section(
            "rates",
            "Lines a second",
            tags.div(
                _curve(worker.lately, LATELY_STEPS, "The last half hour"),
                _curve(worker.day, DAY_STEPS, "The last day"),
                class_="rates",
            ),
        ),
        section("files", "Files", _files(fact, worker)),
        section("gaps", "Gaps", _gaps(worker)),
        section("events", "Events", events([event.asRecord() for event in recent], UP)),
        record=f"{quote(worker.name, safe='')}/status.json",
    )


def strangerPage(status: Mapping[str, Any]) -> Tag:
    """The page for an unknown worker name."""
    return document(
        "unknown worker",
        status,
        UP,
        tags.h1("Unknown worker"),
        empty("There is no worker with this name."),
        record=f"{UP}status.json",
    )
