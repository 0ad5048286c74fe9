"""Render records as one piece of octets."""

from __future__ import annotations

from collections.abc import Sequence

from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.wire._record import renderLines, renderRuns

__all__ = ["renderRecords"]


def renderRecords(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> bytes:
    """
    Render messages with L{renderRuns}, and check that L{renderLines} renders the same
    for messages that are lines.
    """
    made = b"".join(renderRuns(messages, provenance, start))
    if messages and not any(b"\n" in message for message in messages):
        lines = b"".join([message + b"\n" for message in messages])
        again = b"".join(renderLines(lines, provenance, start))
        assert again == made, (again, made)
    return made
