"""The listener's records, one line of JSON each: which are wanted, and how a person reads one."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from ..outputs import oneLine
from ..untrusted import escapeUntrusted
from ..wire import MISMATCH

__all__ = ["Filter", "asText", "message", "printedAs"]


class Filter:
    """
    Selects the lines of the wanted workers.

    @ivar needles: every wanted record contains one of these, as the listener writes it. Others
        may contain it, too: a worker chooses the names of its fields.
    """

    def __init__(self, workers: Iterable[str]) -> None:
        self._workers = frozenset(workers)
        start = b'"source_worker": "'
        self.needles = [
            start + worker.encode("ascii") + b'"' for worker in sorted(self._workers)
        ] or [start]

    def record(self, line: bytes) -> dict[str, object] | None:
        """The record in a line; C{None}: there is none, or it is not wanted."""
        if not any(needle in line for needle in self.needles):
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        worker = record.get("source_worker")
        if not isinstance(worker, str) or (
            self._workers and worker not in self._workers
        ):
            return None
        return record

    def wants(self, line: bytes) -> bool:
        """Whether a line is a wanted record."""
        return self.record(line) is not None


def message(record: Mapping[str, object]) -> bytes:
    """The original octets of a record's line."""
    if "raw_base64" in record:
        return b64decode(cast(str, record["raw_base64"]))
    return str(record.get("raw_line", "")).encode("utf-8", "backslashreplace")


def asText(record: Mapping[str, object]) -> str:
    """
    A record for people: one line, without control characters for the terminal.

    The part before the first ": " is ours, except the HOSTNAME in "(says X)": no text of a worker
    can imitate it.
    """
    # Up to the seconds of 2026-11-23T16:41:04.123456Z; DECNET's own records have only "timestamp".
    moment = str(record.get("received_at", record.get("timestamp", "-")))[:19]
    who = f"{moment} {record['source_worker']}"
    gap = record.get("gap")
    if isinstance(gap, dict):
        if "first" in gap:
            return escapeUntrusted(
                f"{who} GAP: a message of {gap.get('octets')} octets was not accepted:"
                f" {gap.get('reason')}; it begins {gap['first']}",
                None,
                "readable",
            )
        lost = f"octets {gap.get('start')} to {gap.get('end')}"
        log = record.get("source_log") or "a file without a name"
        return escapeUntrusted(
            f"{who} GAP: {lost} of {log} were lost: {gap.get('reason')}",
            None,
            "readable",
        )
    if record.get(MISMATCH):
        # A HOSTNAME has no space, so it cannot contain the first ": ".
        who += f" (says {record.get('decky')})"
    event = record.get("event_type")
    said = "" if event == "unparsed" else f" {record.get('service')} {event}"
    if record.get("attacker_ip") not in (None, "Unknown"):
        said += f" from {record['attacker_ip']}"
    text = str(record.get("msg") or "")
    fields = record.get("fields")
    members = fields.items() if isinstance(fields, dict) else ()
    shown = " ".join([f'{name}="{value}"' for name, value in members])
    return escapeUntrusted(
        " ".join([f"{who}:{said}", *filter(None, (text, shown))]), None, "readable"
    )


def printedAs(
    format: str, terminal: bool, encoding: str
) -> Callable[[bytes, Mapping[str, object]], bytes]:
    """
    The function that turns a line and its record into the octets to print.

    @param format: C{"json"}, C{"raw"}, or C{"text"}.
    @param terminal: whether a person reads the octets: then no control characters are printed.
    """

    def asJSON(line: bytes, record: Mapping[str, object]) -> bytes:
        if line.isascii() and line.decode("ascii").isprintable():
            return line
        # The listener writes lines otherwise; and JSON does not escape DEL.
        return json.dumps(record).encode("ascii").replace(b"\x7f", b"\\u007f")

    def asRaw(line: bytes, record: Mapping[str, object]) -> bytes:
        octets = oneLine(message(record))
        if not terminal:
            return octets
        text = escapeUntrusted(
            octets.decode("utf-8", "backslashreplace"), None, "readable"
        )
        return text.encode(encoding, "backslashreplace")

    def asShown(line: bytes, record: Mapping[str, object]) -> bytes:
        return asText(record).encode(encoding, "backslashreplace")

    return {"json": asJSON, "raw": asRaw, "text": asShown}[format]
