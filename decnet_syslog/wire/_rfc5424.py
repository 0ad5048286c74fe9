"""The parts of RFC 5424 that records need: dates, and the escapes of parameter values."""

from __future__ import annotations

__all__ = ["FULL_DATE", "unescape"]

# full-date of RFC 3339, with the days of each month; callers check the 29th of February.
FULL_DATE = (
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))"
)


def unescape(value: str) -> str:
    """A PARAM-VALUE without its escapes; a backslash before another character stays."""
    if "\\" not in value:
        return value
    return "\\".join(
        [part.replace('\\"', '"').replace("\\]", "]") for part in value.split("\\\\")]
    )
