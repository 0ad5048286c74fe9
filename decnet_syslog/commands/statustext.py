"""The status of a service as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ..boundaries import Facts, Foreign
from ..monitoring import (
    STATE_FILTERS,
    ForwarderFacts,
    ListenerFacts,
    OutputsFacts,
    bySeverity,
    day,
    octets,
    rate,
    span,
)
from ..untrusted import escapeUntrusted

__all__ = ["ROLES", "statusText"]


def _cell(value: object) -> str:
    """A value for a terminal: without control characters."""
    text = str(value)
    return escapeUntrusted(text, None, "readable")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """
    Lines of a table.

    @param head: the titles; numbers are in columns whose title ends with a space.
    """
    lines = [list(head), *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(line[n].strip()) for line in lines) for n in range(len(head))]
    for line in lines:
        cells = [
            cell.strip().rjust(width) if title.endswith(" ") else cell.ljust(width)
            for title, cell, width in zip(head, line, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _listener(facts: ListenerFacts, every: ListenerFacts) -> Iterator[str]:
    """
    A listener.

    @param facts: what to show; C{every}: the status before the selection.
    """
    journal = facts["journal"]
    workers = every["workers"]
    behind = sum(w["behind_octets"] or 0 for w in workers)
    lines = sum(w["lines_per_second"] for w in workers)
    yield (
        f"{facts['connected_workers']} of {_count(len(workers), 'worker')} connected,"
        f" {_count(facts['connections'], 'connection')}; {rate(lines)} lines a second;"
        f" {octets(behind)} undelivered; journal: {octets(journal['octets'])} of"
        f" {octets(journal['octets_max'])}"
    )
    states = [
        f"{state} {facts['states'][state]}"
        for state in STATE_FILTERS
        if facts["states"].get(state)
    ]
    if len(states) > 1:
        yield f"states: {', '.join(states)}"
    yield ""
    yield from _behind(facts)
    yield ""
    shown = facts["workers"]
    if len(shown) != len(workers):
        yield f"{len(shown)} of {_count(len(workers), 'worker')}:"
    if shown:
        yield from _table(
            (
                *("worker", "state", "lag ", "undelivered ", "lines/s ", "heard "),
                *("lines ", "gaps ", "expires", "from"),
            ),
            [
                (
                    w["name"],
                    w["state"],
                    span(w["behind_seconds"]),
                    octets(w["behind_octets"]),
                    rate(w["lines_per_second"]),
                    span(w["silence"]),
                    w["lines"],
                    w["gaps"],
                    day(w["expires"]),
                    " ".join(w["addresses"]),
                )
                for w in shown
            ],
        )


def _behind(facts: ListenerFacts | OutputsFacts) -> Iterator[str]:
    """The outputs, and how far behind each is."""
    position = facts["journal"]["position"]
    return _table(
        ("output", "behind", "state"),
        [
            (
                output["name"],
                f"{max(0, position - output['position'])} batches",
                "ok" if output["blocked"] is None else output["blocked"],
            )
            for output in facts["outputs"]
        ],
    )


def _forwarder(facts: ForwarderFacts, every: ForwarderFacts) -> Iterator[str]:
    master = facts["master"]
    state = "connected" if master["connected"] else "not connected"
    yield (
        f"master {_cell(master['host'])}:{master['port']} {state};"
        f" {octets(facts['behind_octets'])} behind, the oldest line"
        f" {span(facts['behind_seconds'])} old"
    )
    # A forwarder of an older version does not know.
    throttled = facts.get("throttled")
    if throttled:
        yield f"throttled by the master: {_cell(throttled['text'])}"
    yield ""
    files = facts["files"]
    if len(files) != len(every["files"]):
        yield f"{len(files)} of {_count(len(every['files']), 'file')}:"
    yield from _table(
        ("file", "size ", "delivered ", "lag "),
        [
            (
                file["name"],
                octets(file["size"]),
                octets(file["position"]),
                span(file["behind_seconds"]),
            )
            for file in files
        ],
    )


def _outputs(facts: OutputsFacts, every: OutputsFacts) -> Iterator[str]:
    journal = facts["journal"]
    yield (
        "writing"
        if facts["writing"]
        else f"waiting: the outputs are written by {_cell(facts['holder']) or 'no process'}"
    )
    yield (
        f"journal: {octets(journal['octets'])} of {octets(journal['octets_max'])},"
        f" answered {span(journal['silence'])} ago"
    )
    if facts["outputs"]:
        yield ""
        yield from _behind(facts)


_Show: TypeAlias = Callable[[Foreign, Foreign], Iterator[str]]
_SHOW: Mapping[str, _Show] = {
    "listener": _listener,
    "forwarder": _forwarder,
    "outputs": _outputs,
}

# The services that have a status.
ROLES = tuple(_SHOW)


def _problems(facts: Facts) -> Iterator[str]:
    """Each problem, and after those with the same remedy the remedy."""
    # A service of an older version knows no severity, and only a listener gives remedies.
    found = facts["problems"]
    if all("severity" in one for one in found):
        found = bySeverity(found)
    for n, one in enumerate(found):
        what = f"{one['what']}: " if one["what"] else ""
        yield _cell(f"{one['kind']}: {what}{one['text']}")
        remedy = one.get("remedy")
        isLast = n + 1 == len(found) or found[n + 1].get("remedy") != remedy
        if remedy and isLast:
            yield _cell(f"  remedy: {remedy}")


def statusText(facts: Facts, every: Facts) -> Iterator[str]:
    """
    The lines of a status for people.

    @param facts: what to show.
    @param every: the status before the selection of workers or files.
    """
    # A service of an older version has less to tell.
    host = f" on {_cell(facts['host'])}" if "host" in facts else ""
    up = f", up {span(facts['uptime'])}" if "uptime" in facts else ""
    way = f", hot path {_cell(facts['hot_path'])}" if "hot_path" in facts else ""
    yield (
        f"decnet-{facts['role']} {_cell(facts['version'])}{host}{up}{way},"
        f" since {_cell(facts['started'])}"
    )
    yield from _SHOW[facts["role"]](facts, every)
    yield ""
    if facts["ok"]:
        yield "all is well"
    yield from _problems(facts)
