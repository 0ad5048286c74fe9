"""The upper part of the fleet's page: the numbers to know first, and the problems."""

from __future__ import annotations

from twisted.web.template import Flattenable, Tag, tags

from ..untrusted import escapeUntrusted
from ._blocks import badge, empty, link, toneOf
from ._factparts import ProblemFacts
from ._facts import ListenerFacts
from ._problemkinds import ERROR, WARNING, bySeverity, severityOf
from ._selection import PROBLEM, STATE_FILTERS, naturalKey
from ._shown import day, octets, quantity, rate, span
from ._view import View

__all__ = ["overview", "problems"]

# Problems of one kind shown on the page; a link shows the workers of the others.
ONE_KIND_MAX = 3

# The problems that colour each number.
_WORKERS = ("silent", "stuck", "diverged", "gap")
_LAG = ("lagging",)
_JOURNAL = ("full", "filling")

# Our own certificates, in words for people.
_OURS = {"ca": "CA", "master": "Master"}


def problems(status: ListenerFacts) -> Flattenable:
    """The problems by kind, the worst first, each kind with its remedy."""
    if not status["problems"]:
        return empty("None.")
    workers = {w["name"] for w in status["workers"]}
    groups: dict[tuple[str, str, str], list[ProblemFacts]] = {}
    for one in bySeverity(status["problems"]):
        key = one["severity"], one["kind"], one["remedy"]
        groups.setdefault(key, []).append(one)
    return tags.ul(
        [
            _group(severity, kind, remedy, found, workers)
            for (severity, kind, remedy), found in groups.items()
        ],
        class_="problems",
    )


def _group(
    severity: str,
    kind: str,
    remedy: str,
    found: list[ProblemFacts],
    workers: set[str],
) -> Tag:
    """The problems of a kind, the oldest first."""
    found.sort(key=lambda one: (-one["seconds"], naturalKey(one["what"])))
    items: list[Flattenable] = [
        tags.li(
            link(one["what"], "")
            if one["what"] in workers
            else tags.b(escapeUntrusted(one["what"], 80, "readable")),
            f" {escapeUntrusted(one['text'], 500, 'readable')}",
            # A problem without a known beginning shows no time.
            tags.span(f" for {span(one['seconds'])}", class_="when")
            if one["seconds"]
            else "",
        )
        for one in found[:ONE_KIND_MAX]
    ]
    if len(found) > ONE_KIND_MAX:
        more = f"and {quantity(len(found) - ONE_KIND_MAX)} more"
        # A worker whose state is a worse problem is not in the list of this state.
        state = kind if kind in STATE_FILTERS else PROBLEM
        items.append(tags.li(tags.a(more, href=f"{View(state=state).link()}#workers")))
    return tags.li(
        tags.div(
            badge(kind, severity),
            tags.span(quantity(len(found)), class_="when") if len(found) > 1 else "",
            class_="kind",
        ),
        tags.div(
            tags.ul(items), tags.p(tags.b("Remedy: "), f"{remedy}.", class_="remedy")
        ),
    )


def _toneOf(status: ListenerFacts, *kinds: str) -> str:
    """The class for a number: the tone of the worst of these problems, if there is any."""
    found = {one["severity"] for one in status["problems"] if one["kind"] in kinds}
    if not found:
        return "plain"
    return toneOf(ERROR if ERROR in found else WARNING)


def _tile(tone: str, name: str, value: Flattenable, *more: Flattenable) -> Tag:
    """One number with its name, and lines that explain it."""
    return tags.div(
        tags.dt(name),
        tags.dd(value, class_="value"),
        [tags.dd(line, class_="when") for line in more if line],
        class_=tone,
    )


def _workers(status: ListenerFacts) -> Tag:
    connected, every = status["connected_workers"], len(status["workers"])
    wrong = sum(bool(w["alarms"]) for w in status["workers"])
    return _tile(
        _toneOf(status, *_WORKERS),
        "Workers connected",
        tags.transparent(quantity(connected), tags.small(f" of {quantity(every)}")),
        tags.a(
            f"{quantity(wrong)} with a problem",
            href=f"{View(state=PROBLEM).link()}#workers",
        )
        if wrong
        else "",
        f"{quantity(status['connections'])} connections,"
        f" {quantity(status['handshakes'])} opening",
    )


def _lag(status: ListenerFacts) -> Tag:
    """The sum of what the workers have not delivered, and the one that is furthest behind."""
    workers = status["workers"]
    told = [w for w in workers if w["behind_octets"] is not None]
    behind = [w for w in told if w["behind_octets"]]
    held = sum(w["throttled"] is not None for w in workers)
    tone = _toneOf(status, *_LAG)
    if held and tone == "plain":
        tone = toneOf(WARNING)
    lines: list[Flattenable] = []
    if behind:
        oldest = max(behind, key=lambda w: w["behind_seconds"] or 0.0)
        age = f"oldest line {span(oldest['behind_seconds'])}, "
        lines.append(tags.transparent(age, link(oldest["name"], "")))
        lines.append(f"{quantity(len(behind))} worker{'s'[: len(behind) > 1]} behind")
    else:
        lines.append("no worker is behind" if told else "no worker has reported")
    if held:
        where = f"{View(state='throttled').link()}#workers"
        lines.append(tags.a(f"{quantity(held)} throttled", href=where))
    total = octets(sum(w["behind_octets"] or 0 for w in behind)) if told else "-"
    return _tile(tone, "Undelivered", total, *lines)


def _journal(status: ListenerFacts) -> Tag:
    journal = status["journal"]
    used, most = journal["octets"], journal["octets_max"]
    kinds = {one["kind"] for one in status["problems"] if one["what"] == "journal"}
    meter = Tag("meter", {"min": "0", "max": str(most), "high": str(most * 3 // 4)})
    meter(value=str(used))
    meter.attributes["aria-label"] = "Share of the journal's limit in use"
    return _tile(
        _toneOf(status, *_JOURNAL),
        "Journal",
        tags.transparent(
            tags.span(octets(used)),
            tags.small(f" of {octets(most)} "),
            [badge(kind, severityOf(kind)) for kind in _JOURNAL if kind in kinds],
        ),
        meter,
        f"{octets(journal['waiting_octets'])} waiting for a commit",
        f"{quantity(status['commits']['count'])} commits",
    )


def _outputs(status: ListenerFacts) -> Tag:
    position = status["journal"]["position"]
    lines = []
    for output in status["outputs"]:
        behind = max(0, position - output["position"])
        lines.append(
            tags.li(
                tags.b(output["name"]),
                " ",
                badge("ok")
                if output["blocked"] is None
                else badge("blocked", severityOf("blocked")),
                f" {quantity(behind)} batches behind" if behind else " up to date",
                tags.span(
                    escapeUntrusted(output["path"], 300, "readable"), class_="when"
                ),
                class_="output",
            )
        )
    return tags.div(
        tags.dt("Outputs"),
        tags.dd(tags.ul(lines) if lines else "none", class_="outputs"),
        class_=f"wide {_toneOf(status, 'blocked')}",
    )


def _certificates(status: ListenerFacts) -> Tag:
    """When the next certificate expires, and the listener's own."""
    first = min(status["certificates"], key=lambda one: float(one["expires"]))
    who = (
        link(first["name"], "")
        if first["role"] == "worker"
        else _OURS.get(first["role"], first["role"])
    )
    return _tile(
        _toneOf(status, "expiring"),
        "Next certificate expires",
        day(first["expires"]),
        who,
        *[
            f"{_OURS[one['role']]} {day(one['expires'])}"
            for one in status["certificates"]
            if one["role"] in _OURS and one is not first
        ],
    )


def overview(status: ListenerFacts) -> Tag:
    """The numbers to know first: workers, lines, lag, journal, outputs, certificates."""
    total = sum([w["lines_per_second"] for w in status["workers"]])
    return tags.dl(
        _workers(status),
        _tile(
            "plain",
            "Lines a second",
            rate(total),
            f"{quantity(status['lines'])} since the start",
        ),
        _lag(status),
        _journal(status),
        _certificates(status),
        _outputs(status),
        class_="tiles",
    )
