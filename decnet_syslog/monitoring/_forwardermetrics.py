"""The metrics of a forwarder (L{decnet_syslog.monitoring._commonmetrics})."""

from __future__ import annotations

from collections.abc import Iterator

from ._commonmetrics import labelled, programMetrics, single, trustMetrics
from ._exposition import Metric
from ._facts import ForwarderFacts

__all__ = ["forwarderMetrics"]


def forwarderMetrics(facts: ForwarderFacts) -> Iterator[Metric]:
    """The metrics of a forwarder."""
    prefix = "decnet_forwarder"
    yield from programMetrics(prefix, facts)
    yield from trustMetrics(
        prefix,
        facts,
        "Connections on which the master refused our certificate or we refused its, by reason.",
        facts["master"]["refusals"],
    )
    yield single(
        "gauge",
        f"{prefix}_connected",
        "1 while a master accepts this forwarder, else 0.",
        int(facts["master"]["connected"]),
    )
    yield single(
        "gauge", f"{prefix}_files", "Number of followed files.", facts["followed"]
    )
    yield single(
        "gauge",
        f"{prefix}_stuck_files",
        "Number of files with a problem.",
        len(facts["troubles"]),
    )
    yield single(
        "gauge",
        f"{prefix}_lag_bytes",
        "Octets of all files that are not acknowledged.",
        facts["behind_octets"],
    )
    yield single(
        "gauge",
        f"{prefix}_lag_seconds",
        "Age of the oldest undelivered line; 0: none.",
        facts["behind_seconds"],
    )
    yield labelled(
        "counter",
        f"{prefix}_throttled_seconds",
        "Time for which the master held this worker back, by reason.",
        "reason",
        facts["throttled_seconds"],
    )
    yield single(
        "gauge",
        f"{prefix}_throttled",
        "1 while the master holds this worker back, else 0.",
        int(facts["throttled"] is not None),
    )
    yield single(
        "gauge",
        f"{prefix}_in_flight_bytes",
        "Octets sent and not acknowledged.",
        facts["in_flight_octets"],
    )
    yield single(
        "counter",
        f"{prefix}_acknowledgements",
        "Acknowledgements received.",
        facts["acknowledgements"],
    )
    yield single(
        "counter", f"{prefix}_bytes", "Octets of files acknowledged.", facts["octets"]
    )
    yield labelled(
        "counter",
        f"{prefix}_gaps",
        "Octet ranges reported as gaps, by reason.",
        "reason",
        facts["gaps"],
    )
    yield labelled(
        "counter",
        f"{prefix}_gap_bytes",
        "Octets reported as gaps, by reason.",
        "reason",
        facts["gap_octets"],
    )
    yield labelled(
        "counter",
        f"{prefix}_reconnects",
        "Attempts and connections that ended, by reason.",
        "reason",
        facts["master"]["ends"],
    )
