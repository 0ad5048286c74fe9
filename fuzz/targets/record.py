"""
L{decnet_syslog.wire._record}: one line of JSON for each message, whatever its octets.

The fast path and the exact one must agree, and the octets must be recoverable from
C{raw_line} or C{raw_base64}.
"""

from __future__ import annotations

import json
from base64 import b64decode

from decnet_syslog.wire import _commonrecord as room
from decnet_syslog.wire._provenance import Provenance
from tests.records import record, renderRecords

from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 4096
OPAQUE = False

# Separates two messages; a message may contain any other octet, including LF.
_BETWEEN = b"\x1e"

_HEAD = b"<134>1 2026-04-18T00:00:00.123456+00:00 decky04 ssh 1234 auth [relay@55555"

WORDS = (
    *(_HEAD, b' src_ip="203.0.113.7:5"', b' user="root"', b'"] ', b'"]', b"] ", b'="'),
    *(b' ip="Unknown"', b' remote_port="7"', b"\\]", b'\\"', b"\xff", b"\xc3\xa9"),
    *(_BETWEEN, b"Unknown", b"-02-29", b"0000-", b".1Z", b"+24:00", b" - ", b"CMD "),
    *(b"\xe2\x80\xa8", b"\n", b"\x7f", b"\xed\xa0\x80", b"from 192.0.2.1", b"][b c="),
)

SEEDS = (
    b"\0\0" + _HEAD + b' src_ip="1.2.3.4:5" remote_port="7"] x',
    b"\0\0" + _HEAD.replace(b"04-18", b"02-29") + b' ip="1"] x',
    b"\0\0" + _HEAD + b' src_ip="203.0.113.7:51234" user="root"] login failed',
    b"\1\7" + _HEAD + b' a="" ip="" b="]"]\x1e' + _HEAD + b' ip="1"] said "a" "b"',
    b"\2\xff<134>1 2024-02-29T00:00:00Z d s - e - from 1.2.3.4\x1e\xff\x1e\n\x1e",
    b"\3\xfe<14>1 - - - - - - 2026-04-18T00:00:00Z d s - e "
    b'[relay@55555 src="[::1]:80"] x\x1e' + _HEAD + b' remote_addr="::1"] x',
)

_LOGS = (None, "/var/log/a", "\udcff\n\u2028", 'a"b\\')


def _checkOne(message: bytes, line: bytes) -> None:
    """Check that a line of JSON has its message unchanged."""
    assert line.isascii() and line.decode("ascii").isprintable(), line
    members = json.loads(line)
    assert isinstance(members["fields"], dict)
    # Every JSON parser must accept it: no half of a surrogate pair.
    assert json.dumps(members, ensure_ascii=False).encode("utf-8")
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        assert b64decode(members["raw_base64"], validate=True) == message
    else:
        assert members["raw_line"] == text
        assert "raw_base64" not in members
    assert "gap" not in members


def run(octets: bytes) -> None:
    """A file, an offset or none, and messages."""
    source = Source(octets)
    who = Provenance(
        "w1", "f", "a", "2026-04-18T01:02:03.000004Z", source.choose(_LOGS), False
    )
    place = source.octet()
    start = None if place == 0xFF else place
    messages = source.rest().split(_BETWEEN)
    made = renderRecords(messages, who, start)
    assert made.endswith(b"\n")
    lines = made[:-1].split(b"\n")
    assert len(lines) == len(messages)
    at = start
    for message, line in zip(messages, lines, strict=True):
        _checkOne(message, line)
        exact = json.dumps(record(message, who, at)).encode("ascii")
        assert line == exact, (line, exact)
        if at is not None:
            at += len(message) + 1
    # Among other messages, plain ones are recognised by another path.
    assert renderRecords([*messages, b"\xff"], who, start).startswith(made)
    assert len(room._shapes) <= room.KNOWN_MAX and len(room._seconds) <= room.KNOWN_MAX
