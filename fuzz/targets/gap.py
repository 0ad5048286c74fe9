"""
L{decnet_syslog.wire._gap}: whatever a worker's file is called, a gap is one line with
the right values.
"""

from __future__ import annotations

import json

from decnet_syslog.wire import GapRecord, Provenance, renderGapMessage, renderGapRecord
from tests.rfc5424 import parseMessage

from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 1024
OPAQUE = False

WORDS = (
    *(b"\n", b'"', b"]", b"\\", b'"]', b"\xff", b"\xe2\x80\xa8", b"\xf0\x9f\x92\xa9"),
    *(b"\\u", b"\\\\", b"lag-cap", b"/var/log/x", b"\x00", b"\x7f", b"\xc2\x85"),
)

SEEDS = (
    b"\x02w1\x0a/var/log/x\x07lag-cap\x00\x00\x00\x00\x00\x00\x00\x05\x01" + b"a" * 32,
    b"\x00\x06\xff\n\"]\\x\x03a\nb\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff",
)  # fmt: skip


def run(octets: bytes) -> None:
    """A worker, a file, a reason, a position, a stream."""
    source = Source(octets)
    worker, log, reason = source.text(), source.text(), source.text()
    start, generation = source.number(8), source.octet()
    stream = source.rest().decode("utf-8", "surrogateescape")
    received = "2026-04-18T01:02:03.000004Z"
    who = Provenance(worker, "f", "a", received, log if generation % 2 else None, False)
    gap = GapRecord(start, start + 1 + generation, reason)
    line = renderGapMessage(gap, who, stream, generation)
    assert line.endswith(b"\n")
    message = parseMessage(line[:-1])
    assert line[:-1].decode("ascii").isprintable(), line
    (element,) = message.structuredData
    said = {
        name: value.encode("ascii").decode("unicode_escape")
        for name, value in element.params
    }
    assert element.id == "gap@55555" and message.hostname is None
    assert (said["worker"], said["stream"], said["reason"]) == (worker, stream, reason)
    assert said.get("file") == who.log
    assert (said["start"], said["end"]) == (str(gap.start), str(gap.end))
    members = renderGapRecord(gap, who, stream, generation)
    assert members.endswith(b"\n") and members[:-1].decode("ascii").isprintable()
    record = json.loads(members)
    assert json.dumps(record, ensure_ascii=False).encode("utf-8")
    assert record["gap"]["octets"] == gap.end - gap.start
    assert record["raw_line"].encode("ascii") == line[:-1]
