"""
L{decnet_syslog.wire._control}: a parsed line is encoded to a line that parses to the
same value.
"""

from __future__ import annotations

from decnet_syslog.wire import (
    BYE,
    KNOWN,
    NUMBER_MAX,
    OPEN,
    ControlError,
    ControlLine,
    encodeControl,
    parseControl,
)
from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import CONTROL_LINE_OCTETS_MAX, FramingError

from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = CONTROL_LINE_OCTETS_MAX + 16
OPAQUE = False

_ID = b"5" * 32

WORDS = (
    *(b"HELLO ", b"RESUME ", b"KNOWN ", b"LISTED", b"ACK ", b"LIST", b"OPEN ", b"AT "),
    *(b"EMPTY ", b"LAST", b"SKIP ", b"BYE ", b"9223372036854775807", b"0", b" "),
    *(_ID, b"cafe0123", b"%41", b"%0A", b"~", b"/var/log/x", b"lag-cap"),
    *(b"HELLO 2 ", b"MARK ", b"SEEN ", b"HISTORY ", b"kept", b"lost"),
)

SEEDS = (
    b"\0HELLO 1 " + _ID + b" 2048 256",
    b"\0HELLO 2 " + _ID + b" 2048 256 17 " + _ID,
    b"\0MARK 17 " + _ID,
    b"\0SEEN 9223372036854775807 " + _ID,
    b"\0HISTORY kept",
    b"\0RESUME " + _ID + b" 0 85 0 ae473d91",
    b"\0KNOWN " + _ID + b" 0 85 0 ae473d91 /var/log/app.log",
    b"\0LISTED",
    b"\0ACK " + _ID + b" 0 85",
    b"\0OPEN " + _ID + b" 1 9223372036854775807 a%0Ab%7E%41",
    b"\0AT " + _ID + b" 0 85",
    b"\0EMPTY 1024",
    b"\0SKIP 5 lag-cap",
    b"\0BYE order x",
    b"\1\0\xff~\n",
    # The longest valid line.
    b"\0OPEN " + _ID + b" 0 0 " + b"a" * (CONTROL_LINE_OCTETS_MAX - 43),
)


def _made(source: Source) -> ControlLine:
    """A line that we might send, with any name."""
    which = source.below(3)
    number = source.number(8) & NUMBER_MAX
    name = source.rest().decode("utf-8", "surrogateescape") or "-"
    stream = _ID.decode("ascii")
    if which == 0:
        return OPEN(stream, number, number, name[:1024])
    if which == 1:
        return KNOWN(stream, 0, number, number, number % 2**32, name[:1024])
    return BYE("error", name[:1024])


def run(octets: bytes) -> None:
    """A line as octets or as a value."""
    source = Source(octets)
    if source.below(2):
        made = _made(source)
        assert parseControl(encodeControl(made)[:-1]) == made
        return
    line = source.rest().partition(b"\n")[0]
    if not b"A" <= line[:1] <= b"Z":
        return
    try:
        assert FrameDecoder(control=True).decode(line + b"\n", []) == line
    except FramingError:
        assert len(line) >= CONTROL_LINE_OCTETS_MAX
        return
    assert len(line) < CONTROL_LINE_OCTETS_MAX
    try:
        value = parseControl(line)
    except ControlError as error:
        assert len(error.seen) <= 80
        assert str(error).isascii() and str(error).isprintable(), str(error)
        return
    rendered = encodeControl(value)
    assert rendered.endswith(b"\n") and rendered.count(b"\n") == 1
    assert len(rendered) <= CONTROL_LINE_OCTETS_MAX
    assert parseControl(rendered[:-1]) == value
    # Two different lines have the same value only if they spell a name differently.
    assert rendered[:-1] == line or b"%" in line, (line, rendered)
