"""
Metrics: the facts of a status as Prometheus takes them.

A metric is a function of the facts (L{decnet_syslog.master.status},
L{decnet_syslog.worker.status}), made when somebody asks; nothing is kept here. Labels are
names that the authority has signed, our own outputs, and words of tables: no peer makes
one up.

prometheus_client is an extra. It is imported by L{Exposition} only, and not before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError

__all__ = [
    "Durations",
    "Exposition",
    "Metric",
    "forwarderMetrics",
    "listenerMetrics",
]

# Upper bounds in seconds: from a fast disk's fsync to one that hangs.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

EXTRA = "pip install 'decnet-syslog[status]'"


class Durations:
    """
    A histogram of durations.

    @ivar seconds: the sum of them.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counts = [0] * (len(BUCKETS_S) + 1)

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds

    def asRecord(self) -> dict[str, Any]:
        """Count, sum, and how many took at most so long."""
        total = 0
        buckets = []
        for bound, count in zip(
            [*map(str, BUCKETS_S), "+Inf"], self._counts, strict=True
        ):
            total += count
            buckets.append([bound, total])
        return {"count": total, "seconds": self.seconds, "buckets": buckets}


@dataclass(frozen=True)
class Metric:
    """
    One metric.

    @ivar kind: counter, gauge or histogram.
    @ivar samples: the labels' values, and the value; for a histogram what
        L{Durations.asRecord} gives.
    """

    kind: str
    name: str
    text: str
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], Any]]


def _one(kind: str, name: str, text: str, value: Any) -> Metric:
    return Metric(kind, name, text, (), [((), value)])


def _by(
    kind: str, name: str, text: str, label: str, values: Mapping[str, Any]
) -> Metric:
    return Metric(kind, name, text, (label,), [((k,), v) for k, v in values.items()])


def _common(prefix: str, facts: Mapping[str, Any]) -> Iterator[Metric]:
    """What both ends have."""
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
    yield _by(
        "counter",
        f"{prefix}_refusals",
        "Peers that were not let in or sent away, by reason.",
        "reason",
        facts["events"]["refusals"],
    )
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
    workers = facts["workers"]

    def each(kind: str, name: str, text: str, key: str) -> Metric:
        found = {w["name"]: w[key] for w in workers if w[key] is not None}
        return _by(kind, f"{prefix}_{name}", text, "worker", found)

    yield each("counter", "lines", "Lines committed.", "lines")
    yield each("counter", "bytes", "Octets of lines committed.", "octets")
    yield each("counter", "gaps", "Octet ranges that will never come.", "gaps")
    yield each("counter", "gap_bytes", "Octets that will never come.", "gap_octets")
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
        "What is in the journal and not in every output, rows counted.",
        journal["octets"],
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
        "1 while the journal's disk has no space, else 0.",
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


def forwarderMetrics(facts: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of a forwarder."""
    prefix = "decnet_forwarder"
    yield from _common(prefix, facts)
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


class Exposition:
    """
    Metrics in Prometheus' text format, and this process's own.
    """

    contentType = b"text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, metrics: Callable[[], Iterable[Metric]]) -> None:
        """
        @raise UserError: the extra is not installed.
        """
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError:
            raise UserError(f"--status-port needs prometheus-client: {EXTRA}") from None
        self._metrics = metrics
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def describe(self) -> Iterable[Any]:
        """Nothing beforehand: names are known when they are collected."""
        return ()

    def collect(self) -> Iterator[Any]:
        """The metrics as prometheus_client has them."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for metric in self._metrics():
            if metric.kind == "histogram":
                ((_, found),) = metric.samples
                yield HistogramMetricFamily(
                    metric.name,
                    metric.text,
                    buckets=[tuple(bucket) for bucket in found["buckets"]],
                    sum_value=found["seconds"],
                )
                continue
            kind: Any = (
                CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            )
            family = kind(metric.name, metric.text, labels=metric.labels)
            for labels, value in metric.samples:
                family.add_metric(labels, value)
            yield family

    def render(self) -> bytes:
        """The text."""
        from prometheus_client import generate_latest

        octets: bytes = generate_latest(self._registry)
        return octets
