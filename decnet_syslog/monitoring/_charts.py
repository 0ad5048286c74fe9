"""The charts of lines per second: the last half hour, and the last day."""

from __future__ import annotations

from datetime import datetime

from twisted.web.template import Tag, tags

from ._curve import chart
from ._factparts import CurveFacts
from ._history import DAY_STEPS, LATELY_STEPS

__all__ = ["charts"]


def charts(lately: CurveFacts, day: CurveFacts, time: str) -> Tag:
    """
    The last half hour and the last day.

    @param lately: the curve of the last half hour.
    @param day: that of the last day.
    @param time: when the facts were gathered, RFC 3339.
    """
    until = datetime.fromisoformat(time[:19])
    found = [
        chart(record["values"], steps, record["step"], parts, until, title)
        for record, steps, parts, title in (
            (lately, LATELY_STEPS, 3, "Last half hour"),
            (day, DAY_STEPS, 4, "Last day"),
        )
    ]
    return tags.div(found, class_="charts")
