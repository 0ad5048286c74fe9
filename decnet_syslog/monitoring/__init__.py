"""Monitoring, for both ends: events, alarms, metrics, status page."""

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._alarm import EXPIRING_S, LAGGING_S, Alarm
    from ._enrolled import Enrolled, EnrolledList
    from ._exposition import Durations
    from ._fleet import Fleet
    from ._history import DAY_S, LATELY_S
    from ._known import Presence, Worker
    from ._metrics import forwarderMetrics, listenerMetrics, outputsMetrics
    from ._pages import makePages
    from ._problemkinds import PROBLEMS, problemRecord, severityOf
    from ._service import STATUS_PARAMETERS, StatusOptions, WatchService, statusOptions
    from ._shown import octets, span, utcText
    from ._workerrecord import newestRecord

__all__ = [
    "DAY_S",
    "EXPIRING_S",
    "LAGGING_S",
    "LATELY_S",
    "PROBLEMS",
    "STATUS_PARAMETERS",
    "Alarm",
    "Durations",
    "Enrolled",
    "EnrolledList",
    "Fleet",
    "Presence",
    "StatusOptions",
    "WatchService",
    "Worker",
    "forwarderMetrics",
    "listenerMetrics",
    "makePages",
    "newestRecord",
    "octets",
    "outputsMetrics",
    "problemRecord",
    "severityOf",
    "span",
    "statusOptions",
    "utcText",
]

if not TYPE_CHECKING:
    # A forwarder must not load what only a master needs.
    __getattr__ = lazily(
        __name__,
        _alarm="Alarm EXPIRING_S LAGGING_S",
        _enrolled="Enrolled EnrolledList",
        _exposition="Durations",
        _fleet="Fleet",
        _history="DAY_S LATELY_S",
        _known="Presence Worker",
        _metrics="forwarderMetrics listenerMetrics outputsMetrics",
        _pages="makePages",
        _problemkinds="PROBLEMS problemRecord severityOf",
        _service="STATUS_PARAMETERS StatusOptions WatchService statusOptions",
        _shown="octets span utcText",
        _workerrecord="newestRecord",
    )
