"""
The building blocks of the pages: badges, links, tables, sections.

They are trees of L{twisted.web.template}, which escapes every text that they contain. Text from
peers goes through L{decnet_syslog.untrusted.escapeUntrusted} first, because some
characters need no escape but should not reach an eye either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from twisted.web.template import Flattenable, Tag, tags

from ..untrusted import escapeUntrusted
from ._events import TEXT_CHARACTERS_MAX
from ._factparts import EventFacts
from ._problemkinds import ERROR, WARNING, severityOf
from ._shown import moment
from ._workerstate import ALARMS

__all__ = [
    "GOOD",
    "LIVE",
    "MARKS",
    "Column",
    "badge",
    "cells",
    "empty",
    "events",
    "facts",
    "headings",
    "link",
    "section",
    "table",
    "toneOf",
    "toned",
]

# Marks the parts that are replaced when the page is fetched again; each has an id.
LIVE: Mapping[bytes | str, Flattenable] = {"data-live": ""}

# A tone is a colour and a mark, so that nothing relies on colour alone.
GOOD, WARN, BAD, QUIET = "good", "warn", "bad", "quiet"
MARKS = {GOOD: "\u25cf", WARN: "\u25c6", BAD: "\u25b2", QUIET: "\u25cb"}
_TONES = {ERROR: BAD, WARNING: WARN}


def toned(tone: str, text: str) -> Tag:
    """A text with its tone's mark and colour."""
    mark = "\u2298" if text == "revoked" else MARKS[tone]
    # A screen reader would read the mark's name.
    return tags.span(
        Tag("span", {"aria-hidden": "true"})(mark), f" {text}", class_=f"badge {tone}"
    )


def toneOf(severity: str) -> str:
    """The tone of a problem's severity."""
    return _TONES[severity]


def badge(kind: str, severity: str | None = None) -> Tag:
    """
    A state or a kind of problem as a word.

    @param severity: if it is a problem; C{None}: the kind's own severity, if any.
    """
    if severity is None and kind in ALARMS:
        severity = severityOf(kind)
    elif kind == "throttled":
        severity = WARNING
    if severity is not None:
        return toned(_TONES[severity], kind)
    return toned(GOOD if kind == "ok" else QUIET, kind)


def link(name: str, up: str) -> Tag:
    """A link to a worker's page."""
    path = quote(name, safe="", errors="replace")
    return tags.a(escapeUntrusted(name, 80, "readable"), href=f"{up}worker/{path}")


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a table.

    @ivar kind: the class of its cells: "n" for numbers, which are aligned at the right.
    """

    title: str
    kind: str = ""


def headings(
    columns: Sequence[Column],
    inner: Sequence[Flattenable] = (),
    sorts: Mapping[int, str] = {},
) -> Tag:
    """
    The head of a table.

    @param inner: what to show in each heading; none: the titles.
    @param sorts: for the column by which the table is sorted, its index: the direction.
    """
    found = []
    for n, (column, text) in enumerate(
        zip(columns, inner or [one.title for one in columns], strict=True)
    ):
        attributes: dict[bytes | str, Flattenable] = {"scope": "col"}
        if column.kind:
            attributes["class"] = column.kind
        if n in sorts:
            attributes["aria-sort"] = sorts[n]
        found.append(Tag("th", attributes)(text))
    return tags.thead(tags.tr(found))


def cells(columns: Sequence[Column], row: Iterable[Flattenable]) -> Tag:
    """
    A row, with a heading as its first cell. In a narrow window each cell shows its column's name.
    """
    found = []
    for n, (column, cell) in enumerate(zip(columns, row, strict=True)):
        attributes: dict[bytes | str, Flattenable] = {"data-label": column.title}
        if column.kind:
            attributes["class"] = column.kind
        if n == 0:
            attributes["scope"] = "row"
        found.append(Tag("td" if n else "th", attributes)(cell))
    return tags.tr(found)


def table(
    name: str,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Flattenable]],
) -> Tag:
    """
    A table.

    @param caption: for screen readers; the page shows the section's heading.
    """
    return tags.table(
        tags.caption(caption, class_="hidden"),
        headings(columns),
        tags.tbody([cells(columns, row) for row in rows]),
        class_=name,
    )


def facts(pairs: Iterable[tuple[str, Flattenable]]) -> Tag:
    """A list of names and values."""
    return tags.dl(
        [tags.div(tags.dt(name), tags.dd(value)) for name, value in pairs],
        class_="facts",
    )


def empty(text: str) -> Tag:
    """A text in place of an empty table."""
    return tags.p(text, class_="empty")


def section(name: str, title: str, *children: Flattenable, hidden: bool = False) -> Tag:
    """
    A part of a page that is updated without a reload.

    @param hidden: whether only screen readers show the title.
    """
    heading = tags.h2(title, class_="hidden") if hidden else tags.h2(title)
    return Tag("section", {"id": name, **LIVE})(heading, *children)


_EVENTS = (
    Column("Time, UTC"),
    Column("Kind"),
    Column("Worker"),
    Column("Event"),
)


def events(found: Iterable[EventFacts], up: str, ofOneWorker: bool = False) -> Tag:
    """
    A table of events, newest first, from the records of C{Event.asRecord}.

    @param ofOneWorker: whether to leave out the column that names the worker.
    """
    left = (0, 1, 3) if ofOneWorker else (0, 1, 2, 3)
    rows = [
        (
            tags.time(moment(event["time"]), datetime=event["time"]),
            tags.span(
                event["kind"] + (" is over" if event["over"] else ""),
                class_="kind over" if event["over"] else "kind",
            ),
            link(event["worker"], up) if event["worker"] else "",
            escapeUntrusted(event["text"], TEXT_CHARACTERS_MAX, "readable"),
        )
        for event in found
    ]
    if not rows:
        return empty("No events since the start.")
    return table(
        "events",
        "Events, newest first",
        [_EVENTS[n] for n in left],
        [[row[n] for n in left] for row in rows],
    )
