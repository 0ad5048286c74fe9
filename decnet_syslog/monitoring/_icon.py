"""The page's icons for a browser's tab: one for each tone of the page's verdict."""

from __future__ import annotations

__all__ = ["ICONS"]

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path fill="{fill}" d="{shape}"/>'
    '<path fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" d="{sign}"/>'
    "</svg>\n"
)

_ALERT = "M8 5v4M8 12v.1"

# By tone: the colour, the shape, and the sign in it. The shapes differ, as do the page's marks.
_PARTS = {
    "good": (
        "#17693a",
        "M8 0a8 8 0 1 0 0 16A8 8 0 1 0 8 0z",
        "M4.5 8.5l2.5 2.5l4.5-5.5",
    ),
    "warn": ("#a86400", "M8 0l8 8l-8 8l-8-8z", _ALERT),
    "bad": ("#b3261e", "M8 0l8 15.5h-16z", _ALERT),
}

ICONS = {
    f"icon-{tone}.svg": _SVG.format(fill=fill, shape=shape, sign=sign).encode("ascii")
    for tone, (fill, shape, sign) in _PARTS.items()
}
