"""A curve of a few numbers, as SVG inside a page."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Tag

__all__ = ["curve"]

# Units of the picture; the page stretches it.
HEIGHT = 24


def curve(values: Sequence[float], steps: int, said: str) -> Tag:
    """
    Values over time, the newest at the right edge, the greatest at the top.

    @param steps: how many values there can be; what there is not yet is left free.
    @param said: the same in words.
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
