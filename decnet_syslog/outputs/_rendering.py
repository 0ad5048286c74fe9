"""
Formats: what an output file has for a batch, in pieces. It depends on the batch alone.

To add a format, write its function and a L{Format}, and add it to L{FORMATS}: the options of the
listener and of C{decnet-outputs}, the checks of existing files, the outputs and the doctor take
every format from there.

A piece is written fastest while it is still in the processor's cache.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..journal import Batch
from ..wire import (
    GapRecord,
    Provenance,
    renderGapMessage,
    renderGapRecord,
    renderLines,
    renderRuns,
)

__all__ = [
    "FORMATS",
    "RAW",
    "RECORDS",
    "Format",
    "isRecord",
    "oneLine",
    "otherOf",
    "renderJSON",
    "renderRaw",
]


@dataclass(frozen=True)
class Format:
    """
    A format of output files.

    @ivar name: part of an output's name, which is the key of its cursor: it never changes.
    @ivar option: the option of its paths is C{--OPTION-path}.
    @ivar default: the file that is written if the option is not given; C{None}: no file.
    @ivar words: its lines, in words of error messages.
    @ivar help: of the option.
    @ivar render: a batch as pieces of whole lines.
    @ivar isOwn: whether a line of an existing file can be of this format; C{None}: any line can
        be. It must not fail, whatever the octets are.
    @ivar ownProcess: whether an output renders in a process of its own, because that takes long.
    @ivar lineWork: the work of rendering and writing a line, besides its octets, as a number of
        octets that take as long. It limits how much work of flooding workers waits.
    """

    name: str
    option: str
    default: str | None
    words: str
    help: str
    render: Callable[[Batch], Iterable[bytes]]
    isOwn: Callable[[bytes], bool] | None
    ownProcess: bool
    lineWork: int


def _messages(batch: Batch) -> list[bytes]:
    if batch.lengths is None:
        return batch.octets.removesuffix(b"\n").split(b"\n")
    messages = []
    at = 0
    for length in batch.lengths:
        messages.append(batch.octets[at : at + length])
        at += length
    return messages


def oneLine(message: bytes) -> bytes:
    """
    A message as one line, whatever its octets are.

    In a message with an LF, LFs become #012, as in rsyslog, and each # becomes #043. A message
    without an LF stays unchanged: the raw log then has the octets of the worker's file.
    """
    if b"\n" not in message:
        return message
    return message.replace(b"#", b"#043").replace(b"\n", b"#012")


def _renderGap(
    batch: Batch,
    reason: str,
    render: Callable[[GapRecord, Provenance, str, int], bytes],
) -> tuple[bytes]:
    # The first octets of a message that belongs to no file. The journal may have lost a batch
    # that belongs to none: then there are no octets.
    first = batch.octets if batch.stream is None and batch.octets else None
    gap = GapRecord(batch.start, batch.end, reason, first)
    return (render(gap, batch.provenance, batch.stream or "", batch.generation),)


def renderRaw(batch: Batch) -> Iterable[bytes]:
    """One raw line for each message."""
    if batch.reason is not None:
        return _renderGap(batch, batch.reason, renderGapMessage)
    if batch.lengths is None:
        # The last line of a file has no LF there, here it has.
        octets = batch.octets
        return (octets if octets.endswith(b"\n") else octets + b"\n",)
    return [oneLine(message) + b"\n" for message in _messages(batch)]


def renderJSON(batch: Batch) -> Iterable[bytes]:
    """One record for each message."""
    if batch.reason is not None:
        return _renderGap(batch, batch.reason, renderGapRecord)
    start = None if batch.stream is None else batch.start
    if batch.lengths is None and batch.octets.endswith(b"\n"):
        return renderLines(batch.octets, batch.provenance, start)
    # With an LF inside, or, as the last line of a file, without one at the end.
    return renderRuns(_messages(batch), batch.provenance, start)


def isRecord(line: bytes) -> bool:
    """Whether a line is a record of this listener, or of DECNET's own."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"source_worker", "raw_line"} <= record.keys()


RAW = Format(
    name="raw",
    option="log",
    default="master.log",
    words="raw lines",
    help='Raw lines go here; {worker}: a file for each sender; "": off; repeatable [master.log]',
    render=renderRaw,
    isOwn=None,
    ownProcess=False,
    lineWork=1,
)
RECORDS = Format(
    name="json",
    option="json",
    default="master.json",
    words="JSON records",
    help='JSON records go here; {worker}, "" and repeating as for --log-path [master.json]',
    render=renderJSON,
    isOwn=isRecord,
    ownProcess=True,
    lineWork=512,
)

FORMATS = {format.name: format for format in (RAW, RECORDS)}


def otherOf(format: Format, lines: Sequence[bytes]) -> Format | None:
    """
    The other format that all of some lines have; C{None}: they may be of the given one, or there
    is none.

    A format without C{isOwn} accepts any line. So it is returned only if no other format
    recognises the lines.
    """
    if not lines or (format.isOwn is not None and any(map(format.isOwn, lines))):
        return None
    others = [other for other in FORMATS.values() if other.name != format.name]
    others.sort(key=lambda other: other.isOwn is None)
    for other in others:
        if other.isOwn is None or all(map(other.isOwn, lines)):
            return other
    return None
