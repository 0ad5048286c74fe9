"""Render records as one piece of octets."""

from __future__ import annotations

from collections.abc import Sequence

from decnet_syslog.wire.record import Provenance, renderRuns

__all__ = ["renderRecords"]


def renderRecords(
    messages: Sequence[bytes], provenance: Provenance, start: int | None
) -> bytes:
    """L{renderRuns}, joined."""
    return b"".join(renderRuns(messages, provenance, start))
