"""The metrics of a listener (L{decnet_syslog.monitoring._commonmetrics})."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ._commonmetrics import (
    labelled,
    outputMetrics,
    programMetrics,
    single,
    trustMetrics,
)
from ._exposition import Metric
from ._facts import ListenerFacts

__all__ = ["listenerMetrics"]

# The members of a worker that are numbers.
_Number = Literal[
    "lines",
    "octets",
    "gaps",
    "gap_octets",
    "empty_frames",
    "connections",
    "silence",
    "behind_octets",
    "behind_seconds",
    "report_seconds",
    "expected",
]


def listenerMetrics(facts: ListenerFacts) -> Iterator[Metric]:
    """The metrics of a listener."""
    prefix = "decnet_listener"
    yield from programMetrics(prefix, facts)
    yield from trustMetrics(
        prefix,
        facts,
        "Peers that were refused or disconnected, by reason.",
        facts["events"]["refusals"],
    )
    workers = facts["workers"]

    def each(kind: str, name: str, text: str, key: _Number) -> Metric:
        values = {w["name"]: w[key] for w in workers}
        found = {name: value for name, value in values.items() if value is not None}
        return labelled(kind, f"{prefix}_{name}", text, "worker", found)

    yield each("counter", "lines", "Lines committed.", "lines")
    yield each("counter", "bytes", "Octets of lines committed.", "octets")
    yield each("counter", "gaps", "Octet ranges that will never arrive.", "gaps")
    yield each("counter", "gap_bytes", "Octets that will never arrive.", "gap_octets")
    yield each(
        "counter", "empty_frames", "Frames without octets, skipped.", "empty_frames"
    )
    yield each(
        "gauge", "worker_connections", "Open connections of a worker.", "connections"
    )
    yield each(
        "gauge",
        "worker_silence_seconds",
        "Time since a worker last sent anything; missing: not since the start.",
        "silence",
    )
    yield each(
        "gauge",
        "worker_lag_bytes",
        "Octets of a worker's files that are not committed, by its last report and our commits.",
        "behind_octets",
    )
    yield each(
        "gauge",
        "worker_lag_seconds",
        "Age of a worker's oldest undelivered line, the age of its last report included; 0: none.",
        "behind_seconds",
    )
    yield each(
        "gauge",
        "worker_report_age_seconds",
        "Age of a worker's last report: how old the facts of its lag are.",
        "report_seconds",
    )
    yield Metric(
        "counter",
        f"{prefix}_throttled_seconds",
        "Time for which a worker's connections were not read, by reason.",
        ("worker", "reason"),
        [
            ((w["name"], reason), seconds)
            for w in workers
            for reason, seconds in w["throttled_seconds"].items()
        ],
    )
    yield labelled(
        "gauge",
        f"{prefix}_worker_throttled",
        "1 while the listener holds a worker back, else 0.",
        "worker",
        {w["name"]: int(w["throttled"] is not None) for w in workers},
    )
    yield each(
        "gauge",
        "worker_expected",
        "1 if a worker's absence is a problem, else 0.",
        "expected",
    )
    yield Metric(
        "gauge",
        f"{prefix}_worker_alarm",
        "1 while an alarm of a worker is raised.",
        ("worker", "kind"),
        [((w["name"], kind), 1) for w in workers for kind in w["alarms"]],
    )
    yield labelled(
        "gauge",
        f"{prefix}_workers",
        "Workers by state.",
        "state",
        facts["states"],
    )
    yield single(
        "gauge",
        f"{prefix}_connected_workers",
        "Workers with an open connection.",
        facts["connected_workers"],
    )
    yield single(
        "gauge",
        f"{prefix}_connections",
        "Open connections, authenticated.",
        facts["connections"],
    )
    yield single(
        "gauge",
        f"{prefix}_handshakes",
        "Open connections, not authenticated yet.",
        facts["handshakes"],
    )
    yield Metric(
        "histogram",
        f"{prefix}_commit_duration_seconds",
        "From the beginning of a commit to its return, waits for space included.",
        (),
        [((), facts["commits"])],
    )
    yield single(
        "counter",
        f"{prefix}_acknowledgements",
        "ACK lines sent.",
        facts["acknowledgements"],
    )
    journal = facts["journal"]
    yield single(
        "gauge",
        f"{prefix}_journal_bytes",
        "Disk space of messages that are in the journal and not yet in every output.",
        journal["octets"],
    )
    yield single(
        "gauge",
        f"{prefix}_journal_kept_bytes",
        "Disk space of positions, gaps and names in the journal.",
        journal["kept_octets"],
    )
    yield single(
        "gauge",
        f"{prefix}_journal_limit_bytes",
        "The journal accepts nothing beyond this: --journal-max.",
        journal["octets_max"],
    )
    yield single(
        "gauge",
        f"{prefix}_journal_full",
        "1 while the journal accepts nothing because its disk is full or gone, else 0.",
        int(journal["full"]),
    )
    yield single(
        "gauge",
        f"{prefix}_journal_position",
        "Number of the newest committed batch.",
        journal["position"],
    )
    yield single(
        "gauge",
        f"{prefix}_waiting_bytes",
        "Octets received and not yet committed.",
        journal["waiting_octets"],
    )
    yield from outputMetrics(prefix, facts)
