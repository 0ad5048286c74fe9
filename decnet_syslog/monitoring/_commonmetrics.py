"""
Metrics: the facts of a status as tables of names and values; those that several programs have.

A metric is a function of the facts (L{decnet_syslog.master._status},
L{decnet_syslog.worker._status}, L{decnet_syslog.nats._status}), computed on request; nothing is
kept here. Labels are names that the authority has signed, our own outputs, and words from fixed
tables: no peer can make one up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ._exposition import Metric
from ._facts import ProgramFacts, TlsFacts, WritingFacts

__all__ = ["labelled", "outputMetrics", "programMetrics", "single", "trustMetrics"]


def single(kind: str, name: str, text: str, value: float) -> Metric:
    return Metric(kind, name, text, (), [((), value)])


def labelled(
    kind: str, name: str, text: str, label: str, values: Mapping[str, float]
) -> Metric:
    return Metric(kind, name, text, (label,), [((k,), v) for k, v in values.items()])


def programMetrics(prefix: str, facts: ProgramFacts) -> Iterator[Metric]:
    """The metrics that every program has."""
    yield single(
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
    yield labelled(
        "counter",
        f"{prefix}_events",
        "Events that an operator needs to know about, by kind.",
        "kind",
        facts["events"]["counts"],
    )


def trustMetrics(
    prefix: str, facts: TlsFacts, text: str, refusals: Mapping[str, int]
) -> Iterator[Metric]:
    """The metrics that both ends of TLS have."""
    yield labelled("counter", f"{prefix}_refusals", text, "reason", refusals)
    yield Metric(
        "gauge",
        f"{prefix}_certificate_expiry_timestamp_seconds",
        "When a certificate expires, in seconds since the epoch.",
        ("role", "name"),
        [((c["role"], c["name"]), c["expires"]) for c in facts["certificates"]],
    )


def outputMetrics(prefix: str, facts: WritingFacts) -> Iterator[Metric]:
    """The metrics of a program that writes output files."""
    outputs = facts["outputs"]
    yield labelled(
        "gauge",
        f"{prefix}_output_position",
        "Number of the newest batch that an output has written.",
        "output",
        {output["name"]: output["position"] for output in outputs},
    )
    yield labelled(
        "gauge",
        f"{prefix}_output_blocked",
        "1 while an output cannot be written, else 0.",
        "output",
        {output["name"]: int(output["blocked"] is not None) for output in outputs},
    )
