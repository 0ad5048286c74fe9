"""
The parts that all pages share: head, first line, last line, and the building blocks between.

Pages are trees of L{twisted.web.template}, which escapes every text that they contain. No page
is ever made from strings of HTML. Text from peers goes through L{visible
<decnet_syslog.monitoring._shown.visible>}
first, because some characters need no escape but should not reach an eye either.

A page contains no script and no style: both are separate files of ours, and the policy that
L{decnet_syslog.monitoring._site} sends makes a browser accept no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from twisted.web.template import Flattenable, Tag, tags

from ._shown import moment, visible

__all__ = [
    "LIVE",
    "badge",
    "cells",
    "document",
    "empty",
    "events",
    "facts",
    "link",
    "section",
    "table",
]

# Without JavaScript, the page reloads at this interval, in seconds.
AGAIN_S = 10

# Maximum length of an event's text, in characters.
TEXT_CHARACTERS_MAX = 500

# Marks the parts that are replaced when the page is fetched again; each has an id.
LIVE: Mapping[bytes | str, Flattenable] = {"data-live": ""}

_MARKS = {"ok": "\u25cf", "revoked": "\u2298", "gone": "\u25cb", "absent": "\u25cb"}

# States that need no attention.
_QUIET = ("revoked", "gone", "absent")


def badge(state: str) -> Tag:
    """A state as a word with a mark, so that it does not rely on colour."""
    kind = "good" if state == "ok" else "quiet" if state in _QUIET else "bad"
    return tags.span(
        f"{_MARKS.get(state, chr(0x25B2))} {state}", class_=f"badge {kind}"
    )


def link(name: str, up: str) -> Tag:
    """A link to a worker's page."""
    path = quote(name, safe="", errors="replace")
    return tags.a(visible(name, 80), href=f"{up}worker/{path}")


def cells(head: Sequence[str], row: Iterable[Flattenable]) -> Tag:
    """A row; in a narrow window each cell shows its column's name."""
    return tags.tr(
        [
            Tag("td", {"data-label": title})(cell)
            for title, cell in zip(head, row, strict=True)
        ]
    )


def table(name: str, head: Sequence[str], rows: Iterable[Sequence[Flattenable]]) -> Tag:
    """A table."""
    return tags.table(
        tags.thead(tags.tr([tags.th(title, scope="col") for title in head])),
        tags.tbody([cells(head, row) for row in rows]),
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


def section(name: str, title: str, *children: Flattenable) -> Tag:
    """A part of a page that is updated without a reload."""
    return Tag("section", {"id": name, **LIVE})(tags.h2(title), *children)


def events(found: Iterable[Mapping[str, Any]], up: str) -> Tag:
    """A table of events, newest first, from the records of C{Event.asRecord}."""
    rows = [
        (
            tags.time(moment(event["time"]), datetime=event["time"]),
            tags.span(
                event["kind"] + (" is over" if event["over"] else ""),
                class_="kind over" if event["over"] else "kind",
            ),
            link(event["worker"], up) if event["worker"] else "",
            visible(event["text"], TEXT_CHARACTERS_MAX),
        )
        for event in found
    ]
    if not rows:
        return empty("None.")
    return table("events", ("Time, UTC", "Kind", "Worker", "What"), rows)


def _verdict(status: Mapping[str, Any], up: str) -> Tag:
    count = len(status["problems"])
    words = "all is well" if not count else f"{count} problem{'s' if count > 1 else ''}"
    return Tag("p", {"id": "verdict", **LIVE})(
        tags.a(
            f"{_MARKS['ok'] if not count else chr(0x25B2)} {words}",
            href=f"{up}#problems",
            class_="badge good" if not count else "badge bad",
        ),
        tags.span(
            f"{moment(status['time'])} UTC",
            class_="when",
        ),
    )


def document(
    title: str,
    status: Mapping[str, Any],
    up: str,
    *children: Flattenable,
    record: str = "status.json",
) -> Tag:
    """
    A page.

    @param status: the facts, as in C{/status.json}.
    @param record: the address of the same facts as JSON.
    @param up: the relative path to the root: all links are relative, so that a proxy can serve
        the pages below a path of its own.
    """
    count = len(status["problems"])
    mark = "\u25cf" if not count else f"\u25b2{count}"
    return tags.html(
        tags.head(
            tags.meta(charset="utf-8"),
            tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
            tags.title(f"{mark} {title}"),
            tags.link(rel="stylesheet", href=f"{up}page.css"),
            tags.script(src=f"{up}page.js"),
            tags.noscript(
                Tag("meta", {"http-equiv": "refresh", "content": str(AGAIN_S)})
            ),
        ),
        tags.body(
            tags.header(
                tags.a("decnet-listener", href=up or ".", class_="home"),
                _verdict(status, up),
                # Hidden until the script, which it needs, shows it.
                Tag("button", {"id": "theme", "type": "button", "hidden": ""})("Dark"),
            ),
            Tag("p", {"id": "stale", "role": "alert", "hidden": ""}),
            Tag("main")(*children),
            tags.footer(
                f"decnet-syslog {status['version']} \u00b7 ",
                tags.a("status.json", href=record),
                " \u00b7 ",
                tags.a("metrics", href=f"{up}metrics"),
            ),
        ),
        lang="en",
    )
