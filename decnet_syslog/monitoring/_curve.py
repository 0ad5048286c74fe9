"""A curve of a few numbers, as SVG within a page."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Tag

__all__ = ["curve"]

# The height of the picture in its own units; the page stretches the picture.
HEIGHT = 24


def curve(values: Sequence[float], steps: int, said: str) -> Tag:
    """
    Values over time, the newest at the right edge, the greatest at the top.

    @param steps: the number of values in a full curve; missing old ones leave space at the left.
    @param said: the same in words, for screen readers.
    """
    top = max(values, default=0.0) or 1.0
    first = steps - len(values)
    points = " ".join(
        [
            f"{first + n},{(HEIGHT - 1) * (1 - value / top) + 0.5:.1f}"
            for n, value in enumerate(values)
        ]
    )
    picture = Tag(
        "svg",
        {
            "class": "curve",
            "viewBox": f"0 0 {steps - 1} {HEIGHT}",
            "preserveAspectRatio": "none",
            "role": "img",
            "aria-label": said,
        },
    )(Tag("title")(said))
    if values:
        picture(
            Tag(
                "polygon",
                {
                    "class": "under",
                    "points": f"{first},{HEIGHT} {points} {steps - 1},{HEIGHT}",
                },
            ),
            Tag(
                "polyline",
                {
                    "class": "line",
                    "points": points,
                    "vector-effect": "non-scaling-stroke",
                },
            ),
        )
    return picture
