"""The charts of lines per second: the last half hour, and the last day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twisted.web.template import Tag, tags

from ._curve import chart
from ._history import DAY_STEPS, LATELY_STEPS

__all__ = ["charts"]


def charts(facts: Mapping[str, Any], time: str) -> Tag:
    """
    The last half hour and the last day.

    @param facts: the curves, as in C{/status.json}.
    @param time: when the facts were gathered, RFC 3339.
    """
    until = datetime.fromisoformat(time[:19])
    found = [
        chart(record["values"], steps, record["step"], parts, until, title)
        for key, steps, parts, title in (
            ("lines_per_second_lately", LATELY_STEPS, 3, "Last half hour"),
            ("lines_per_second_day", DAY_STEPS, 4, "Last day"),
        )
        for record in [facts[key]]
    ]
    return tags.div(found, class_="charts")
