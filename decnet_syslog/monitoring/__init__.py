"""Monitoring, for both ends: events, alarms, metrics, status page."""

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._alarm import EASE_S, EXPIRING_S, LAGGING_S, Alarm
    from ._build import buildFacts
    from ._enrolled import Enrolled, EnrolledList
    from ._exposition import Durations
    from ._factparts import (
        CertificateFacts,
        FoundFacts,
        ProblemFacts,
        WorkerFacts,
        outputFacts,
    )
    from ._facts import ForwarderFacts, ListenerFacts, OutputsFacts
    from ._fleet import Fleet
    from ._forwardermetrics import forwarderMetrics
    from ._history import DAY_S, LATELY_S
    from ._listenermetrics import listenerMetrics
    from ._outputsmetrics import outputsMetrics
    from ._pages import makePages
    from ._problemkinds import PROBLEMS, bySeverity, problemRecord, severityOf
    from ._selection import SORTS, STATE_FILTERS, naturalKey, select
    from ._service import STATUS_PARAMETERS, StatusOptions, WatchService, statusOptions
    from ._shown import day, octets, rate, span, utcText
    from ._workerrecord import newestRecord
    from ._workerstate import Presence, WorkerState

__all__ = [
    "DAY_S",
    "EASE_S",
    "EXPIRING_S",
    "LAGGING_S",
    "LATELY_S",
    "PROBLEMS",
    "SORTS",
    "STATE_FILTERS",
    "STATUS_PARAMETERS",
    "Alarm",
    "CertificateFacts",
    "Durations",
    "Enrolled",
    "EnrolledList",
    "Fleet",
    "ForwarderFacts",
    "FoundFacts",
    "ListenerFacts",
    "OutputsFacts",
    "Presence",
    "ProblemFacts",
    "StatusOptions",
    "WatchService",
    "WorkerFacts",
    "WorkerState",
    "buildFacts",
    "bySeverity",
    "day",
    "forwarderMetrics",
    "listenerMetrics",
    "makePages",
    "naturalKey",
    "newestRecord",
    "octets",
    "outputFacts",
    "outputsMetrics",
    "problemRecord",
    "rate",
    "select",
    "severityOf",
    "span",
    "statusOptions",
    "utcText",
]

if not TYPE_CHECKING:
    # A forwarder must not load what only a master needs.
    __getattr__ = lazily(
        __name__,
        _alarm="Alarm EASE_S EXPIRING_S LAGGING_S",
        _build="buildFacts",
        _enrolled="Enrolled EnrolledList",
        _exposition="Durations",
        _factparts="CertificateFacts FoundFacts ProblemFacts WorkerFacts outputFacts",
        _facts="ForwarderFacts ListenerFacts OutputsFacts",
        _fleet="Fleet",
        _history="DAY_S LATELY_S",
        _workerstate="Presence WorkerState",
        _forwardermetrics="forwarderMetrics",
        _listenermetrics="listenerMetrics",
        _outputsmetrics="outputsMetrics",
        _pages="makePages",
        _problemkinds="PROBLEMS bySeverity problemRecord severityOf",
        _selection="SORTS STATE_FILTERS naturalKey select",
        _service="STATUS_PARAMETERS StatusOptions WatchService statusOptions",
        _shown="day octets rate span utcText",
        _workerrecord="newestRecord",
    )
