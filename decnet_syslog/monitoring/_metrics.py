"""
Metrics: the facts of a status as tables of names and values.

A metric is a function of the facts (L{decnet_syslog.master._status},
L{decnet_syslog.worker._status}, L{decnet_syslog.nats._status}), computed on request; nothing is
kept here. Labels are names that the authority has signed, our own outputs, and words from fixed
tables: no peer can make one up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._exposition import Metric

__all__ = ["forwarderMetrics", "listenerMetrics", "outputsMetrics"]


def _one(kind: str, name: str, text: str, value: Any) -> Metric:
    return Metric(kind, name, text, (), [((), value)])


def _by(
    kind: str, name: str, text: str, label: str, values: Mapping[str, Any]
) -> Metric:
    return Metric(kind, name, text, (label,), [((k,), v) for k, v in values.items()])


def _common(prefix: str, facts: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics that every program has."""
    yield _one(
        "gauge", f"{prefix}_ok", "1 if there is no problem, else 0.", int(facts["ok"])
    )
    build = facts["build"]
    yield Metric(
        "gauge",
        "decnet_build_info",
        "Always 1; the labels say what runs.",
        ("program", *build),
        [((facts["role"], *build.values()), 1)],
    )
    yield _by(
        "counter",
        f"{prefix}_events",
        "Events that an operator must know, by kind.",
        "kind",
        facts["events"]["counts"],
    )


def _trust(
    prefix: str, facts: Mapping[str, Any], text: str, refusals: Mapping[str, int]
) -> Iterator[Metric]:
    """The metrics that both ends of TLS have."""
    yield _by("counter", f"{prefix}_refusals", text, "reason", refusals)
    yield Metric(
        "gauge",
        f"{prefix}_certificate_expiry_timestamp_seconds",
        "When a certificate expires, in seconds since the epoch.",
        ("role", "name"),
        [((c["role"], c["name"]), c["expires"]) for c in facts["certificates"]],
    )


def listenerMetrics(facts: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of a listener."""
    prefix = "decnet_listener"
    yield from _common(prefix, facts)
    yield from _trust(
        prefix,
        facts,
        "Peers that were refused or disconnected, by reason.",
        facts["events"]["refusals"],
    )
    workers = facts["workers"]

    def each(kind: str, name: str, text: str, key: str) -> Metric:
        found = {w["name"]: w[key] for w in workers if w[key] is not None}
        return _by(kind, f"{prefix}_{name}", text, "worker", found)

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
    yield _by(
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
    yield _by(
        "gauge",
        f"{prefix}_workers",
        "Workers by state.",
        "state",
        facts["states"],
    )
    yield _one(
        "gauge",
        f"{prefix}_connected_workers",
        "Workers with an open connection.",
        facts["connected_workers"],
    )
    yield _one(
        "gauge",
        f"{prefix}_connections",
        "Open connections, authenticated.",
        facts["connections"],
    )
    yield _one(
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
    yield _one(
        "counter",
        f"{prefix}_acknowledgements",
        "ACK lines sent.",
        facts["acknowledgements"],
    )
    journal = facts["journal"]
    yield _one(
        "gauge",
        f"{prefix}_journal_bytes",
        "Disk space of messages that are in the journal and not yet in every output.",
        journal["octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_kept_bytes",
        "Disk space of positions, gaps and names in the journal.",
        journal["kept_octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_limit_bytes",
        "The journal accepts nothing beyond this: --journal-max.",
        journal["octets_max"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_full",
        "1 while the journal accepts nothing because its disk is full or gone, else 0.",
        int(journal["full"]),
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_position",
        "Number of the newest committed batch.",
        journal["position"],
    )
    yield _one(
        "gauge",
        f"{prefix}_waiting_bytes",
        "Octets received and not yet committed.",
        journal["waiting_octets"],
    )
    yield from _outputs(prefix, facts)


def _outputs(prefix: str, facts: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of a program that writes output files."""
    outputs = facts["outputs"]
    yield _by(
        "gauge",
        f"{prefix}_output_position",
        "Number of the newest batch that an output has written.",
        "output",
        {output["name"]: output["position"] for output in outputs},
    )
    yield _by(
        "gauge",
        f"{prefix}_output_blocked",
        "1 while an output cannot be written, else 0.",
        "output",
        {output["name"]: int(output["blocked"] is not None) for output in outputs},
    )


def outputsMetrics(facts: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of the output writer for a journal that several listeners share."""
    prefix = "decnet_outputs"
    yield from _common(prefix, facts)
    yield _one(
        "gauge",
        f"{prefix}_writing",
        "1 while this process writes the outputs, 0 while it waits to take over.",
        int(facts["writing"]),
    )
    journal = facts["journal"]
    yield _one(
        "gauge",
        f"{prefix}_journal_bytes",
        "Size of the journal's stream, including written messages that are not removed yet.",
        journal["octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_limit_bytes",
        "Listeners accept nothing beyond this size.",
        journal["octets_max"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_position",
        "Number of the newest message in the journal.",
        journal["position"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_silence_seconds",
        "Time since the journal last answered.",
        journal["silence"],
    )
    yield from _outputs(prefix, facts)


def forwarderMetrics(facts: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of a forwarder."""
    prefix = "decnet_forwarder"
    yield from _common(prefix, facts)
    yield from _trust(
        prefix,
        facts,
        "Connections on which the master refused our certificate or we refused its, by reason.",
        facts["master"]["refusals"],
    )
    yield _one(
        "gauge",
        f"{prefix}_connected",
        "1 while a master accepts this forwarder, else 0.",
        int(facts["master"]["connected"]),
    )
    yield _one(
        "gauge", f"{prefix}_files", "Number of followed files.", facts["followed"]
    )
    yield _one(
        "gauge",
        f"{prefix}_stuck_files",
        "Number of files with a problem.",
        len(facts["troubles"]),
    )
    yield _one(
        "gauge",
        f"{prefix}_lag_bytes",
        "Octets of all files that are not acknowledged.",
        facts["behind_octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_lag_seconds",
        "Age of the oldest undelivered line; 0: none.",
        facts["behind_seconds"],
    )
    yield _by(
        "counter",
        f"{prefix}_throttled_seconds",
        "Time for which the master held this worker back, by reason.",
        "reason",
        facts["throttled_seconds"],
    )
    yield _one(
        "gauge",
        f"{prefix}_throttled",
        "1 while the master holds this worker back, else 0.",
        int(facts["throttled"] is not None),
    )
    yield _one(
        "gauge",
        f"{prefix}_in_flight_bytes",
        "Octets sent and not acknowledged.",
        facts["in_flight_octets"],
    )
    yield _one(
        "counter",
        f"{prefix}_acknowledgements",
        "Acknowledgements received.",
        facts["acknowledgements"],
    )
    yield _one(
        "counter", f"{prefix}_bytes", "Octets of files acknowledged.", facts["octets"]
    )
    yield _by(
        "counter",
        f"{prefix}_gaps",
        "Octet ranges reported as gaps, by reason.",
        "reason",
        facts["gaps"],
    )
    yield _by(
        "counter",
        f"{prefix}_gap_bytes",
        "Octets reported as gaps, by reason.",
        "reason",
        facts["gap_octets"],
    )
    yield _by(
        "counter",
        f"{prefix}_reconnects",
        "Attempts and connections that ended, by reason.",
        "reason",
        facts["master"]["ends"],
    )
