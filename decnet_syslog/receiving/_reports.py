"""The reports of a peer about itself: which lines it may send, and who hears of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from ..wire import (
    BEAT,
    LAG,
    REPORT,
    STATE,
    TROUBLE,
    ControlLine,
    ForwarderReport,
    ReportGatherer,
    TooMuch,
)
from ._session import Violation

__all__ = ["PeerReports"]


class PeerReports:
    """The reports of one connection."""

    def __init__(
        self,
        worker: str,
        reported: Callable[[str, ForwarderReport], None] | None,
        tellsLag: bool,
        seconds: Callable[[], float],
    ) -> None:
        """
        @param reported: called with worker and report; C{None} if reports were not negotiated.
        @param tellsLag: whether version 2.1 was negotiated, with other lines.
        """
        self._worker = worker
        self._reported = reported
        self._names = LAG | REPORT | TROUBLE if tellsLag else STATE | BEAT | TROUBLE
        self._gatherer = ReportGatherer(seconds)

    def areNegotiated(
        self, line: ControlLine
    ) -> TypeGuard[STATE | TROUBLE | BEAT | LAG | REPORT]:
        """Whether a line belongs to reports, and the peer may send it."""
        return self._reported is not None and isinstance(line, self._names)

    def lineReceived(self, line: STATE | TROUBLE | BEAT | LAG | REPORT) -> None:
        """
        A line of a report that was negotiated.

        @raise Violation: the report has too many lines.
        """
        try:
            report = self._gatherer.lineReceived(line)
        except TooMuch as error:
            raise Violation("limit", str(error)) from None
        if report is not None and self._reported is not None:
            self._reported(self._worker, report)
