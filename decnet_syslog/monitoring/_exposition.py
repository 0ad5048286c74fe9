"""
Metrics in Prometheus' text format: the shapes, and the text.

prometheus_client is an optional extra: only L{Exposition} imports it, when it is made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError, installCommand
from ._factparts import DurationsFacts

if TYPE_CHECKING:
    from prometheus_client import Metric as PrometheusMetric

__all__ = ["Durations", "Exposition", "Metric"]

# Upper bounds in seconds: from a fast disk's fsync to one that hangs.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Durations:
    """
    A histogram of durations.

    @ivar seconds: the sum of all durations.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counts = [0] * (len(BUCKETS_S) + 1)

    def add(self, seconds: float) -> None:
        """Add one duration."""
        self._counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds

    def asRecord(self) -> DurationsFacts:
        """Count, sum, and for each bound the number of durations up to it."""
        total = 0
        buckets = []
        for bound, count in zip(
            [*map(str, BUCKETS_S), "+Inf"], self._counts, strict=True
        ):
            total += count
            buckets.append((bound, total))
        return {"count": total, "seconds": self.seconds, "buckets": buckets}


@dataclass(frozen=True)
class Metric:
    """
    One metric.

    @ivar kind: counter, gauge or histogram.
    @ivar samples: the values of the labels, and the value; for a histogram the record that
        L{Durations.asRecord} returns.
    """

    kind: str
    name: str
    text: str
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], float | DurationsFacts]]


class Exposition:
    """
    Metrics in Prometheus' text format, including those of this process.

    @ivar missing: why there are none, with the remedy: the extra is not installed. C{None}: it is.
    """

    contentType = b"text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, metrics: Callable[[], Iterable[Metric]]) -> None:
        self.missing: str | None = None
        self._metrics = metrics
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError:
            self.missing = (
                "/metrics needs prometheus-client, which is not installed: run"
                f" {installCommand('prometheus-client')} and start the service again"
            )
            return
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def describe(self) -> Iterable[PrometheusMetric]:
        """Nothing in advance: the names are known only when they are collected."""
        return ()

    def collect(self) -> Iterator[PrometheusMetric]:
        """The metrics as objects of prometheus_client."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for metric in self._metrics():
            if metric.kind == "histogram":
                ((_, found),) = metric.samples
                assert not isinstance(found, (int, float))
                yield HistogramMetricFamily(
                    metric.name,
                    metric.text,
                    buckets=found["buckets"],
                    sum_value=found["seconds"],
                )
                continue
            kind: type[CounterMetricFamily | GaugeMetricFamily] = (
                CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            )
            family = kind(metric.name, metric.text, labels=metric.labels)
            for labels, value in metric.samples:
                assert isinstance(value, (int, float))
                family.add_metric(labels, value)
            yield family

    def render(self) -> bytes:
        """
        The metrics as text.

        @raise UserError: the extra is not installed.
        """
        if self.missing is not None:
            raise UserError(self.missing)
        from prometheus_client import generate_latest

        octets: bytes = generate_latest(self._registry)
        return octets
