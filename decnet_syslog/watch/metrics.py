"""
Metrics: the facts of a status as tables of names and values.

A metric is a function of the facts (L{decnet_syslog.master.status},
L{decnet_syslog.worker.status}, L{decnet_syslog.nats.status}), made when somebody asks;
nothing is kept here. Labels are names that the authority has signed, our own outputs, and
words of tables: no peer makes one up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .exposition import Metric

__all__ = ["forwarderMetrics", "listenerMetrics", "outputsMetrics"]


def _one(kind: str, name: str, text: str, value: Any) -> Metric:
    return Metric(kind, name, text, (), [((), value)])


def _by(
    kind: str, name: str, text: str, label: str, values: Mapping[str, Any]
) -> Metric:
    return Metric(kind, name, text, (label,), [((k,), v) for k, v in values.items()])


def _common(prefix: str, facts: Mapping[str, Any]) -> Iterator[Metric]:
    """What all have."""
    yield _one(
        "gauge", f"{prefix}_ok", "1 if there is no problem, else 0.", int(facts["ok"])
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
    """What both ends of TLS have."""
    yield _by("counter", f"{prefix}_refusals", text, "reason", refusals)
    yield Metric(
        "gauge",
        f"{prefix}_certificate_expiry_timestamp_seconds",
        "When a certificate ends, in seconds since the epoch.",
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
        "Peers that were not let in or sent away, by reason.",
        facts["events"]["refusals"],
    )
    workers = facts["workers"]

    def each(kind: str, name: str, text: str, key: str) -> Metric:
        found = {w["name"]: w[key] for w in workers if w[key] is not None}
        return _by(kind, f"{prefix}_{name}", text, "worker", found)

    yield each("counter", "lines", "Lines committed.", "lines")
    yield each("counter", "bytes", "Octets of lines committed.", "octets")
    yield each("counter", "gaps", "Octet ranges that will never come.", "gaps")
    yield each("counter", "gap_bytes", "Octets that will never come.", "gap_octets")
    yield each(
        "counter", "empty_frames", "Frames without octets, skipped.", "empty_frames"
    )
    yield each(
        "gauge", "worker_connections", "Open connections of a worker.", "connections"
    )
    yield each(
        "gauge",
        "worker_silence_seconds",
        "Since a worker was last heard; missing: never since the start.",
        "silence",
    )
    yield each(
        "gauge",
        "worker_lag_bytes",
        "Octets of a worker's files that are not acknowledged, as it says.",
        "behind_octets",
    )
    yield each(
        "gauge",
        "worker_lag_seconds",
        "Age of a worker's oldest undelivered line, as it says; 0: none.",
        "behind_seconds",
    )
    yield each(
        "gauge",
        "worker_expected",
        "1 if a worker is missed when it is not there, else 0.",
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
        "What is in the journal and not in every output, as it takes room on the disk.",
        journal["octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_kept_bytes",
        "Positions, gaps and names in the journal, on the same disk.",
        journal["kept_octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_limit_bytes",
        "Beyond this nothing is accepted: --journal-max.",
        journal["octets_max"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_full",
        "1 while the journal takes nothing, as its disk is full or it is away, else 0.",
        int(journal["full"]),
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_position",
        "Number of the newest batch that is committed.",
        journal["position"],
    )
    yield _one(
        "gauge",
        f"{prefix}_waiting_bytes",
        "Received and not committed yet.",
        journal["waiting_octets"],
    )
    yield from _outputs(prefix, facts)


def _outputs(prefix: str, facts: Mapping[str, Any]) -> Iterator[Metric]:
    """Of whoever writes files."""
    outputs = facts["outputs"]
    yield _by(
        "gauge",
        f"{prefix}_output_position",
        "Number of the newest batch that an output has.",
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
    """The metrics of the outputs of a journal that listeners share."""
    prefix = "decnet_outputs"
    yield from _common(prefix, facts)
    yield _one(
        "gauge",
        f"{prefix}_writing",
        "1 if the outputs are ours, 0 while we wait to take over.",
        int(facts["writing"]),
    )
    journal = facts["journal"]
    yield _one(
        "gauge",
        f"{prefix}_journal_bytes",
        "What the journal's stream takes, written ones until they are removed included.",
        journal["octets"],
    )
    yield _one(
        "gauge",
        f"{prefix}_journal_limit_bytes",
        "Beyond this listeners accept nothing.",
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
        "Since the journal last answered.",
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
        "Connections on which the master refused our certificate, or we its, by reason.",
        facts["master"]["refusals"],
    )
    yield _one(
        "gauge",
        f"{prefix}_connected",
        "1 while the master has taken us, else 0.",
        int(facts["master"]["connected"]),
    )
    yield _one(
        "gauge", f"{prefix}_files", "Files that are followed.", facts["followed"]
    )
    yield _one(
        "gauge",
        f"{prefix}_stuck_files",
        "Files that are in trouble.",
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
    yield _one(
        "gauge",
        f"{prefix}_in_flight_bytes",
        "Octets sent and not acknowledged.",
        facts["in_flight_octets"],
    )
    yield _one(
        "counter",
        f"{prefix}_acknowledgements",
        "Acknowledgements heard.",
        facts["acknowledgements"],
    )
    yield _one(
        "counter", f"{prefix}_bytes", "Octets of files acknowledged.", facts["octets"]
    )
    yield _by(
        "counter",
        f"{prefix}_gaps",
        "Octet ranges told as gaps, by reason.",
        "reason",
        facts["gaps"],
    )
    yield _by(
        "counter",
        f"{prefix}_gap_bytes",
        "Octets told as gaps, by reason.",
        "reason",
        facts["gap_octets"],
    )
    yield _by(
        "counter",
        f"{prefix}_reconnects",
        "Attempts and connections that have ended, by reason.",
        "reason",
        facts["master"]["ends"],
    )
