"""
Gaps: octets of a worker's file that will never come, as the outputs say it.

The mark that a consumer can trust is the member C{gap} of the JSON record: no message of
any worker makes one. The line in the raw log is a convenience; a worker can write one
that looks like it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from .record import Provenance, ours

__all__ = ["Gap", "renderGapMessage", "renderGapRecord"]

# log audit (13), warning (4).
PRI = 108


@dataclass(frozen=True, slots=True)
class Gap:
    """The octets [start, end) of a file, and why they do not come."""

    start: int
    end: int
    reason: str


def _plain(text: str) -> str:
    """Hostile text as printable ASCII."""
    return ascii(text)[1:-1]


def _value(text: str) -> str:
    """Text as a PARAM-VALUE (RFC 5424 section 6.3.3)."""
    return _plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _message(gap: Gap, provenance: Provenance, stream: str, generation: int) -> str:
    log = provenance.log or "-"
    params = {
        "worker": provenance.worker,
        "file": log,
        "stream": stream,
        "generation": str(generation),
        "start": str(gap.start),
        "end": str(gap.end),
        "octets": str(gap.end - gap.start),
        "reason": gap.reason,
    }
    shown = " ".join([f'{name}="{_value(value)}"' for name, value in params.items()])
    return (
        f"<{PRI}>1 {provenance.receivedAt} - decnet-syslog - GAP [gap@55555 {shown}]"
        f" {gap.end - gap.start} octets of {_plain(log)} of {_plain(provenance.worker)}"
        f" were not delivered: {_plain(gap.reason)}"
    )


def renderGapMessage(
    gap: Gap, provenance: Provenance, stream: str, generation: int
) -> bytes:
    """A gap as a line of the raw log."""
    return _message(gap, provenance, stream, generation).encode("ascii") + b"\n"


def renderGapRecord(
    gap: Gap, provenance: Provenance, stream: str, generation: int
) -> bytes:
    """A gap as a line of JSON, with the keys of a record and C{gap}."""
    message = _message(gap, provenance, stream, generation)
    facts = {
        "start": gap.start,
        "end": gap.end,
        "octets": gap.end - gap.start,
        "reason": gap.reason,
        "stream": stream,
        "generation": generation,
    }
    record = {
        "timestamp": provenance.receivedAt[:19].replace("T", " "),
        "decky": provenance.worker,
        "service": "decnet-syslog",
        "event_type": "gap",
        "attacker_ip": "Unknown",
        "fields": {name: str(value) for name, value in facts.items()},
        "msg": message.partition("] ")[2],
        "raw_line": message,
        **ours(provenance, gap.start),
        "gap": facts,
    }
    return json.dumps(record).encode("ascii") + b"\n"
