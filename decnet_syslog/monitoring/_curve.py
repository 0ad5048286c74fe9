"""
Curves of a few numbers, as SVG within a page: a small one for a table, and a chart with axes.

The picture is stretched to its place. Its labels are text beside it, so they keep
their size and their shape in every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import floor, log10

from twisted.web.template import Flattenable, Tag, tags

from ._shown import quantity, rate

__all__ = ["chart", "curve", "niceTop"]

# The height of a picture in its own units; the page stretches the picture.
HEIGHT = 24

# The smallest top of a chart's axis, a second: below it a label would need more digits.
TOP_MIN = 0.1

# Multiples of a power of ten whose half is a short number, too.
_TOPS = (1, 2, 4, 6, 8, 10)


def niceTop(value: float) -> float:
    """The end of an axis on which this is the greatest value: a round number not below it."""
    if value <= TOP_MIN:
        return TOP_MIN
    power = 10.0 ** floor(log10(value))
    for top in _TOPS:
        # The product is rounded, or 0.6000000000000001 would be a label.
        found = round(top * power, 10)
        if value <= found:
            return found
    # The logarithm was rounded down just below a power of ten.
    return round(_TOPS[1] * _TOPS[-1] * power, 10)


def _points(values: Sequence[float], steps: int, top: float) -> str:
    """The coordinates of a line; the newest value is at the right edge."""
    first = steps - len(values)
    return " ".join(
        [
            f"{first + n},{(HEIGHT - 1) * (1 - value / top) + 0.5:.1f}"
            for n, value in enumerate(values)
        ]
    )


def _picture(name: str, steps: int, said: str) -> Tag:
    return Tag(
        "svg",
        {
            "class": name,
            "viewBox": f"0 0 {steps - 1} {HEIGHT}",
            "preserveAspectRatio": "none",
            "role": "img",
            "aria-label": said,
        },
    )


def _line(points: str) -> Tag:
    return Tag(
        "polyline",
        {"class": "line", "points": points, "vector-effect": "non-scaling-stroke"},
    )


def _area(points: str, first: int, steps: int) -> Tag:
    ends = f"{first},{HEIGHT} {points} {steps - 1},{HEIGHT}"
    return Tag("polygon", {"class": "under", "points": ends})


def curve(values: Sequence[float], steps: int, said: str) -> Tag:
    """
    Values over time, the newest at the right edge, the greatest at the top.

    @param steps: the number of values in a full curve; missing old ones leave space at the left.
    @param said: the same in words, for screen readers.
    """
    picture = _picture("curve", steps, said)
    if values:
        top = max(values) or 1.0
        picture(_line(_points(values, steps, top)))
    return picture


def _grid(steps: int, parts: int) -> list[Tag]:
    """Lines at the top and the middle, and between the parts of the time."""
    ends: list[tuple[float, ...]] = [
        (0, y, steps - 1, y) for y in (0.5, HEIGHT / 2, HEIGHT - 0.5)
    ]
    width = (steps - 1) / parts
    ends += [(n * width, 0, n * width, HEIGHT) for n in range(1, parts)]
    return [
        Tag(
            "line",
            {
                "class": "grid",
                **{
                    name: f"{at:g}"
                    for name, at in zip(("x1", "y1", "x2", "y2"), where, strict=True)
                },
                "vector-effect": "non-scaling-stroke",
            },
        )
        for where in ends
    ]


def chart(
    values: Sequence[float],
    steps: int,
    seconds: float,
    parts: int,
    until: datetime,
    title: str,
) -> Tag:
    """
    A chart of lines per second with its axes: the time in UTC, and the rate.

    @param values: the oldest first; each is the mean over C{seconds}.
    @param steps: the number of values in a full chart; missing old ones leave space at the left.
    @param parts: the number of parts into which labels divide the time.
    @param until: when the newest value ended, UTC.
    """
    most = max(values, default=0.0)
    top = niceTop(most)
    now = rate(values[-1]) if values else "0"
    summary = (
        f"{now} now, {rate(most)} at most"
        if values
        else "the first value is not there yet"
    )
    picture = _picture("plot", steps, f"{title}: {summary}")(_grid(steps, parts))
    if values:
        points = _points(values, steps, top)
        picture(_area(points, steps - len(values), steps), _line(points))
    step = timedelta(seconds=steps * seconds / parts)
    times: list[Flattenable] = [
        tags.span((until - step * (parts - n)).strftime("%H:%M"))
        for n in range(parts + 1)
    ]
    levels: list[Flattenable] = [
        tags.span(quantity(int(v)) if v == int(v) else f"{v:g}")
        for v in (top, top / 2, 0.0)
    ]
    # The picture has the same in words.
    return tags.figure(
        tags.figcaption(tags.b(title), tags.span(summary, class_="when")),
        Tag("div", {"class": "levels", "aria-hidden": "true"})(levels),
        picture,
        Tag("div", {"class": "times", "aria-hidden": "true"})(times),
        class_="chart",
    )
