"""The page of a worker: its state, its files, its gaps, its last day."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from twisted.web.template import Flattenable, Tag, tags

from ..untrusted import escapeUntrusted
from ._blocks import (
    LIVE,
    Column,
    badge,
    empty,
    events,
    facts,
    section,
    table,
)
from ._charts import charts
from ._events import Event
from ._factparts import WorkerFacts
from ._facts import ListenerFacts
from ._frame import document
from ._history import DAY_S, LATELY_S
from ._problemkinds import THROTTLE_REMEDIES, WARNING, severityOfState
from ._shown import day, excerpt, moment, octets, quantity, rate, span
from ._workerstate import EXCERPT_OCTETS_MAX, WorkerState

__all__ = ["strangerPage", "workerPage"]

# The relative path from this page to the root.
UP = "../"

# Digits shown of a stream's 32 hexdigits: enough to tell one from another.
STREAM_CHARACTERS = 8


_FILES = (
    Column("File"),
    Column("Stream"),
    Column("Delivered", "n"),
    Column("Of", "n"),
    Column("Oldest line", "n"),
    Column("Last received, UTC"),
)

_GAPS = (
    Column("Reported, UTC"),
    Column("File"),
    Column("Octets", "n"),
    Column("From", "n"),
    Column("Reason"),
)


def _how(fact: WorkerFacts) -> Flattenable:
    """The alarms and the facts."""
    alarms = [
        tags.li(
            tags.div(badge(kind, alarm["severity"]), class_="kind"),
            tags.div(
                escapeUntrusted(alarm["text"], 500, "readable"),
                tags.span(f" for {span(alarm['seconds'])}", class_="when"),
                tags.p(tags.b("Remedy: "), f"{alarm['remedy']}.", class_="remedy"),
            ),
        )
        for kind, alarm in fact["alarms"].items()
    ]
    held = fact["throttled"]
    if held is not None:
        remedy = THROTTLE_REMEDIES.get(held["reason"])
        alarms.append(
            tags.li(
                tags.div(badge("throttled", WARNING), class_="kind"),
                tags.div(
                    escapeUntrusted(held["text"], 500, "readable"),
                    tags.p(tags.b("Remedy: "), f"{remedy}.", class_="remedy")
                    if remedy
                    else "",
                ),
            )
        )
    silence = fact["silence"]
    told = fact["behind_octets"] is not None
    addresses = ", ".join(
        [escapeUntrusted(address, 80, "readable") for address in fact["addresses"]]
    )
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
        (
            "Last report",
            "none"
            if fact["report_seconds"] is None
            else f"{span(fact['report_seconds'])} ago",
        ),
        ("Gaps", f"{quantity(fact['gaps'])}, {octets(fact['gap_octets'])}"),
    ]
    return tags.transparent(
        tags.ul(alarms, class_="problems") if alarms else "", facts(pairs)
    )


def _newest(worker: WorkerState, hidden: bool) -> Flattenable:
    who = worker.newestFrom
    if hidden:
        return empty("Lines are hidden by --hide-lines.")
    if who is None:
        return empty("None since the start.")
    return tags.transparent(
        tags.pre(excerpt(worker.newest, EXCERPT_OCTETS_MAX)),
        tags.p(
            f"{moment(who.receivedAt)} UTC, from {escapeUntrusted(who.address, 80, 'readable')}",
            f", file {escapeUntrusted(who.log, 200, 'readable')}" if who.log else "",
            class_="when",
        ),
    )


def _files(fact: WorkerFacts, worker: WorkerState) -> Flattenable:
    """The files that sent, the latest first, and those that are behind without having sent."""
    behind = {(s["stream"], s["generation"]): s for s in fact["streams"]}
    sent = dict(reversed(worker.streams.items()))
    rows = []
    for key in dict.fromkeys([*sent, *behind]):
        stream, state = sent.get(key), behind.get(key)
        have = stream.end if stream is not None else behind[key]["position"]
        # The listener may have received more since the report.
        size = "everything" if state is None else octets(max(have, state["size"]))
        rows.append(
            (
                escapeUntrusted(stream.name, 200, "readable")
                if stream is not None
                else "not sent yet",
                f"{key[0][:STREAM_CHARACTERS]} {key[1]}",
                octets(have),
                size,
                "-" if state is None else span(state["behind_seconds"]),
                "-" if stream is None else moment(stream.at),
            )
        )
    if not rows:
        return empty("No file has sent since the start.")
    return table("files", "Files of this worker", _FILES, rows)


def _gaps(worker: WorkerState) -> Flattenable:
    if not worker.lastGaps:
        return empty("None since the start.")
    return table(
        "gaps",
        "The last gaps, newest first",
        _GAPS,
        [
            (
                moment(gap.at),
                escapeUntrusted(gap.name, 200, "readable"),
                quantity(gap.end - gap.start),
                quantity(gap.start),
                escapeUntrusted(gap.reason, 80, "readable"),
            )
            for gap in reversed(worker.lastGaps)
        ],
    )


def workerPage(
    status: ListenerFacts,
    fact: WorkerFacts,
    worker: WorkerState,
    recent: Iterable[Event],
    hidden: bool,
) -> Tag:
    """
    The page of a worker.

    @param status: the facts, as in C{/status.json}; C{fact} is the part about this worker.
    @param recent: its events, the newest first.
    @param hidden: whether to show no worker's lines.
    """
    name = escapeUntrusted(worker.name, 80, "readable")
    state = fact["state"]
    lately, ofDay = worker.lately.asRecord(LATELY_S), worker.day.asRecord(DAY_S)
    return document(
        f"{name}: {state}",
        status,
        UP,
        tags.p(tags.a("\u2039 All workers", href=UP), class_="crumb"),
        Tag("h1", {"id": "name", **LIVE})(
            name, " ", badge(state, severityOfState(fact))
        ),
        section("how", "State", _how(fact)),
        section("newest", "Newest line", _newest(worker, hidden)),
        section("rates", "Lines a second", charts(lately, ofDay, status["time"])),
        section("files", "Files", _files(fact, worker)),
        section("gaps", "Gaps", _gaps(worker)),
        section(
            "events",
            "Events",
            events([event.asRecord() for event in recent], UP, ofOneWorker=True),
        ),
        record=f"{quote(worker.name, safe='')}/status.json",
    )


def strangerPage(status: ListenerFacts) -> Tag:
    """The page for an unknown worker name."""
    return document(
        "unknown worker",
        status,
        UP,
        tags.h1("Unknown worker"),
        empty("There is no worker with this name."),
        record=f"{UP}status.json",
    )
