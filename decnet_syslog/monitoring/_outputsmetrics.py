"""The metrics of the outputs of a shared journal (L{decnet_syslog.monitoring._commonmetrics})."""

from __future__ import annotations

from collections.abc import Iterator

from ._commonmetrics import outputMetrics, programMetrics, single
from ._exposition import Metric
from ._facts import OutputsFacts

__all__ = ["outputsMetrics"]


def outputsMetrics(facts: OutputsFacts) -> Iterator[Metric]:
    """The metrics of the output writer for a journal that several listeners share."""
    prefix = "decnet_outputs"
    yield from programMetrics(prefix, facts)
    yield single(
        "gauge",
        f"{prefix}_writing",
        "1 while this process writes the outputs, 0 while it waits to take over.",
        int(facts["writing"]),
    )
    journal = facts["journal"]
    yield single(
        "gauge",
        f"{prefix}_journal_bytes",
        "Size of the journal's stream, including written messages that are not removed yet.",
        journal["octets"],
    )
    yield single(
        "gauge",
        f"{prefix}_journal_limit_bytes",
        "Listeners accept nothing beyond this size.",
        journal["octets_max"],
    )
    yield single(
        "gauge",
        f"{prefix}_journal_position",
        "Number of the newest message in the journal.",
        journal["position"],
    )
    yield single(
        "gauge",
        f"{prefix}_journal_silence_seconds",
        "Time since the journal last answered.",
        journal["silence"],
    )
    yield from outputMetrics(prefix, facts)
