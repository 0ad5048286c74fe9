"""Text for people: quantities, times, and text from peers."""

from __future__ import annotations

import codecs
from datetime import datetime, timezone

from ..untrusted import escapeUntrusted

__all__ = [
    "day",
    "excerpt",
    "moment",
    "octets",
    "quantity",
    "rate",
    "span",
    "utcText",
]

_decoder = codecs.getincrementaldecoder("utf-8")


def utcText(seconds: float) -> str:
    """A time in seconds since the epoch, in RFC 3339 and UTC, as the status has it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def octets(count: float | None) -> str:
    """A number of octets."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def span(seconds: float | None) -> str:
    """A duration."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def quantity(count: int) -> str:
    """A large number with its digits grouped."""
    return f"{count:,}".replace(",", "\u202f")


def rate(aSecond: float) -> str:
    """A number per second."""
    if aSecond >= 100:
        return quantity(round(aSecond))
    if aSecond >= 1:
        return f"{aSecond:.1f}"
    return f"{aSecond:.2f}" if aSecond >= 0.005 else "0"


def day(seconds: float | None) -> str:
    """The day of a moment, UTC."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")


def moment(rfc3339: str) -> str:
    """An RFC 3339 time in UTC, cut to the second."""
    return rfc3339[:19].replace("T", " ")


def excerpt(line: bytes, most: int) -> str:
    """
    The beginning of an untrusted line.

    @param most: octets; a character that is cut there is left out.
    """
    line = line.removesuffix(b"\n")
    decoder = _decoder("backslashreplace")
    text = decoder.decode(line[:most], final=len(line) <= most)
    shown = escapeUntrusted(text, None, "readable")
    return f"{shown}..." if len(line) > most else shown
