"""
Gap records: the form in which outputs report octets of a worker's file that will never arrive.

A consumer can trust the member C{gap} of the JSON record: no message of a worker makes one. The
line in the raw log is a convenience; a worker can write a line that looks like it.

The file's name, the reason and the first octets of a message come from the worker. In the line they
are printable ASCII, and the rest appears as Python escapes: so they cannot end a line, a value or
an element.

A peer without positions has no file. When one of its messages was too long, the gap record begins
at 0, ends at the message's length, and contains its first octets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..untrusted import escapeUntrusted
from ._provenance import Provenance, provenanceFields, replaceSurrogates, wholeSeconds

__all__ = ["GapRecord", "renderGapMessage", "renderGapRecord"]

# log audit (13), warning (4).
PRI = 108

SERVICE = "decnet-syslog"


@dataclass(frozen=True, slots=True)
class GapRecord:
    """
    The octets [start, end) of a file, and why they will not arrive.

    @ivar first: the first octets of an over-long message that belongs to no file.
    """

    start: int
    end: int
    reason: str
    first: bytes | None = None


def _plain(text: str) -> str:
    """Untrusted text, which is bounded already, as printable ASCII."""
    return escapeUntrusted(text, None, "ascii")


def _value(text: str) -> str:
    """Text as a PARAM-VALUE (RFC 5424 section 6.3.3)."""
    return _plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _first(octets: bytes) -> str:
    """Octets as printable ASCII, with Python escapes for the rest."""
    return _plain(octets.decode("latin-1"))


def _text(gap: GapRecord, provenance: Provenance) -> str:
    """The gap as a sentence."""
    if gap.first is not None:
        return (
            f"a message of {gap.end - gap.start} octets of {_plain(provenance.worker)}"
            f" was not taken: {_plain(gap.reason)}"
        )
    log = "a file without a name" if provenance.log is None else _plain(provenance.log)
    return (
        f"{gap.end - gap.start} octets of {log} of {_plain(provenance.worker)}"
        f" were not delivered: {_plain(gap.reason)}"
    )


def _message(
    gap: GapRecord, provenance: Provenance, stream: str, generation: int
) -> str:
    """The gap as a message. HOSTNAME is NILVALUE: the master's name is unknown here."""
    params = {
        "worker": provenance.worker,
        **({} if provenance.log is None else {"file": provenance.log}),
        "stream": stream,
        "generation": str(generation),
        "start": str(gap.start),
        "end": str(gap.end),
        "octets": str(gap.end - gap.start),
        "reason": gap.reason,
        **({} if gap.first is None else {"first": gap.first.decode("latin-1")}),
    }
    element = " ".join([f'{name}="{_value(value)}"' for name, value in params.items()])
    return (
        f"<{PRI}>1 {provenance.receivedAt} - {SERVICE} - GAP"
        f" [gap@55555 {element}] {_text(gap, provenance)}"
    )


def renderGapMessage(
    gap: GapRecord, provenance: Provenance, stream: str, generation: int
) -> bytes:
    """The gap as a line of the raw log: a message (RFC 5424), and LF."""
    return _message(gap, provenance, stream, generation).encode("ascii") + b"\n"


def renderGapRecord(
    gap: GapRecord, provenance: Provenance, stream: str, generation: int
) -> bytes:
    """The gap as a line of JSON, with the keys of a record and C{gap}."""
    facts: dict[str, object] = {
        "start": gap.start,
        "end": gap.end,
        "octets": gap.end - gap.start,
        "reason": replaceSurrogates(gap.reason),
        "stream": replaceSurrogates(stream),
        "generation": generation,
        **({} if gap.first is None else {"first": _first(gap.first)}),
    }
    record = {
        "timestamp": wholeSeconds(provenance.receivedAt),
        "decky": replaceSurrogates(provenance.worker),
        "service": SERVICE,
        "event_type": "gap",
        "attacker_ip": "Unknown",
        "fields": {name: str(value) for name, value in facts.items()},
        "msg": _text(gap, provenance),
        "raw_line": _message(gap, provenance, stream, generation),
        **provenanceFields(
            provenance, gap.start if gap.first is None and stream else None
        ),
        "gap": facts,
    }
    return json.dumps(record).encode("ascii") + b"\n"
