"""
The frame that all pages share: head, first line, last line.

Pages are trees of L{twisted.web.template}, which escapes every text that they contain. No page
is ever made from strings of HTML.

A page contains no script and no style: both are separate files of ours, and the policy that
L{decnet_syslog.monitoring._site} sends makes a browser accept no others.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.template import Flattenable, Tag, tags

from ..untrusted import escapeUntrusted
from ._blocks import GOOD, LIVE, MARKS, toned, toneOf
from ._facts import ListenerFacts
from ._problemkinds import ERROR, WARNING
from ._shown import moment, span

__all__ = ["document"]

# Without JavaScript, the page reloads at this interval, in seconds.
AGAIN_S = 10

# A host name has at most 64 characters on Linux.
HOST_CHARACTERS_MAX = 64


def _counts(status: ListenerFacts) -> list[tuple[str, str]]:
    """The numbers of problems and warnings, each with its tone; if none, that all is well."""
    found = []
    for severity, word in ((ERROR, "problem"), (WARNING, "warning")):
        count = sum(one["severity"] == severity for one in status["problems"])
        if count:
            found.append((toneOf(severity), f"{count} {word}{'s'[: count > 1]}"))
    return found or [(GOOD, "all is well")]


def _verdict(status: ListenerFacts, up: str) -> Tag:
    return Tag("p", {"id": "verdict", **LIVE})(
        [
            tags.a(toned(tone, text), " ", href=f"{up}#problems")
            for tone, text in _counts(status)
        ]
    )


def _head(title: str, status: ListenerFacts, up: str) -> Tag:
    counts = _counts(status)
    tone = counts[0][0]
    marks = "".join(
        MARKS[tone] + (text.split()[0] if tone != GOOD else "") for tone, text in counts
    )
    return tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.title(f"{marks} {title}, up {span(status['uptime'])}"),
        Tag(
            "link",
            {
                "rel": "icon",
                "type": "image/svg+xml",
                "href": f"{up}icon-{tone}.svg",
            },
        ),
        tags.link(rel="stylesheet", href=f"{up}page.css"),
        tags.script(src=f"{up}page.js"),
        tags.noscript(Tag("meta", {"http-equiv": "refresh", "content": str(AGAIN_S)})),
    )


def document(
    title: str | None,
    status: ListenerFacts,
    up: str,
    *children: Flattenable,
    record: str = "status.json",
    jumps: Mapping[str, str] = {},
) -> Tag:
    """
    A page.

    @param title: its subject, which then has a heading of its own; C{None}: the listener.
    @param status: the facts, as in C{/status.json}.
    @param record: the address of the same facts as JSON.
    @param jumps: the ids and titles of the parts to which a narrow window has links.
    @param up: the relative path to the root: all links are relative, so that a proxy can serve
        the pages below a path of its own.
    """
    host = escapeUntrusted(status["host"], HOST_CHARACTERS_MAX, "readable")
    home = tags.a(host, href=up or ".", class_="home")
    about = Tag("p", {"id": "about", **LIVE})(
        tags.span("decnet-listener"),
        tags.span(f"up {span(status['uptime'])}"),
        tags.span(
            "as of ",
            tags.time(f"{moment(status['time'])} UTC", datetime=status["time"]),
        ),
    )
    return tags.html(
        _head(
            f"{host}: decnet-listener" if title is None else f"{title} on {host}",
            status,
            up,
        ),
        tags.body(
            tags.a("Skip to the content", href="#main", class_="skip"),
            tags.header(
                tags.h1(home) if title is None else tags.p(home, class_="host"),
                about,
                _verdict(status, up),
                Tag("nav", {"aria-label": "On this page", "class": "jump"})(
                    [tags.a(text, href=f"#{name}") for name, text in jumps.items()]
                )
                if jumps
                else "",
                # Hidden until the script, which it needs, shows it.
                Tag("button", {"id": "theme", "type": "button", "hidden": ""})("Dark"),
            ),
            Tag("p", {"id": "stale", "role": "alert", "hidden": ""}),
            Tag("main", {"id": "main"})(*children),
            tags.footer(
                f"decnet-syslog {status['version']}, since {moment(status['started'])} UTC",
                tags.a("status.json", href=record),
                tags.a("metrics", href=f"{up}metrics"),
            ),
        ),
        lang="en",
    )
