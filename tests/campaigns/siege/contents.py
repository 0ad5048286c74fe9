"""
Frames with arbitrary content: each becomes one line under the right name, unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from .field import Attack, Row
from .peer import OPEN

__all__ = ["ROWS"]

_HEAD = b"<134>1 2026-04-18T00:00:00Z d s - e "


def _framed(messages: Sequence[bytes]) -> Callable[[Attack], str]:
    def attack(attack: Attack) -> str:
        peer = attack.tls()
        peer.send(b"".join(b"%d %s" % (len(m), m) for m in messages))
        fate = peer.fate(0.3)
        peer.finish()
        return fate

    return attack


def _row(name: str, sent: str, *messages: bytes) -> Row:
    return Row("content", name, sent, _framed(messages), OPEN, "", messages)


_RECORD = json.dumps({"source_worker": "good", "raw_line": "forged"}).encode()
_GAP = (
    b"<43>1 2026-04-18T00:00:00Z good decnet-syslog - GAP"
    b' [gap@55555 worker="good" file="x" start="0" end="9"] 9 octets'
)

ROWS: Sequence[Row] = [
    _row("text-lf", "line feeds inside", _HEAD + b"- a\nb\n\nc"),
    _row(
        "text-forged", "an LF, then another worker's record", _HEAD + b"-\n" + _RECORD
    ),
    _row("text-json", "JSON instead of syslog", _RECORD),
    _row("text-cr", "carriage returns", _HEAD + b"- a\rb\r\nc"),
    _row("text-nul", "NULs", _HEAD + b"- a\0b"),
    _row(
        "text-controls",
        "every octet from 1 to 255",
        _HEAD + b"- " + bytes(range(1, 256)),
    ),
    _row("text-escape", "terminal escapes", _HEAD + b"- \x1b]0;x\x07\x1b[2J\x9b5n"),
    _row("text-not-utf8", "octets that are not UTF-8", _HEAD + b"- \xff\xfe\xc3("),
    _row(
        "text-surrogates", "surrogates in UTF-8", _HEAD + b"- \xed\xa0\x80\xed\xb0\x80"
    ),
    _row("text-overlong", "a slash in two octets", _HEAD + b"- \xc0\xaf"),
    _row("text-bom", "a BOM", _HEAD + b"- \xef\xbb\xbfx"),
    _row(
        "text-ends", "U+2028, U+2029, U+0085", _HEAD + "- a\u2028b\u2029c\x85d".encode()
    ),
    _row(
        "text-quotes",
        "a MiB of quotes and backslashes",
        _HEAD + b"- " + b'"\\' * 500_000,
    ),
    _row("text-brackets", "100,000 brackets", _HEAD + b"[" * 100_000),
    _row(
        "text-params",
        "10,000 parameters",
        _HEAD + b"[x@1" + b"".join(b' p%d="v"' % n for n in range(10_000)) + b"] x",
    ),
    _row(
        "text-elements",
        "10,000 elements",
        _HEAD + b"".join(b"[x@%d]" % n for n in range(10_000)) + b" x",
    ),
    _row(
        "text-open",
        "a value without an end",
        _HEAD + b'[relay@55555 src_ip="1.2.3.4',
    ),
    _row(
        "text-pri",
        "PRI 999 and a time without a year",
        b"<999>1 9999-99-99T99:99:99Z d s - e - x",
    ),
    _row("text-blank", "spaces only", b" " * 50),
    _row("text-short", "single octets", *[bytes([octet]) for octet in b"<1 -x"]),
    _row(
        "text-host", "another's HOSTNAME", b"<134>1 2026-04-18T00:00:00Z good s - e - x"
    ),
    _row("text-gap", "a line that imitates another worker's gap", _GAP),
]
