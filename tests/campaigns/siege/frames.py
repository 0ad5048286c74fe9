"""Input that is not a frame, or breaks off within one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .certificates import FRAME
from .field import Attack, Row
from .peer import CLOSED, OPEN

__all__ = ["ROWS"]

_GOOD = FRAME[3:]


def _bad(octets: bytes) -> Callable[[Attack], str]:
    """A valid frame, then other octets in the same write."""

    def attack(attack: Attack) -> str:
        peer = attack.tls()
        peer.send(FRAME + octets)
        return peer.fate()

    return attack


def _left(octets: bytes, reset: bool) -> Callable[[Attack], str]:
    """A valid frame, which arrives; then a partial frame, and the end."""

    def attack(attack: Attack) -> str:
        peer = attack.tls()
        peer.send(FRAME)
        attack.until(lambda: attack.isThere(_GOOD))
        peer.send(octets)
        if reset:
            peer.reset()
        else:
            peer.finish()
        return "left"

    return attack


def _sent(*writes: bytes) -> Callable[[Attack], str]:
    """Valid frames, split into these writes."""

    def attack(attack: Attack) -> str:
        peer = attack.tls()
        for octets in writes:
            peer.send(octets)
        fate = peer.fate(0.5)
        peer.finish()
        return fate

    return attack


def _row(name: str, sent: str, octets: bytes, says: str, *more: bytes) -> Row:
    stored = (_GOOD, *more)
    return Row("frame", name, sent, _bad(octets), CLOSED, says, stored)


def _skipped(
    name: str, sent: str, octets: bytes, says: str, gaps: int = 0, ends: bool = True
) -> Row:
    """Octets between valid frames; a skipped frame gets a gap record."""
    behind = FRAME if ends else b""
    attack = _sent(FRAME + octets + behind)
    return Row("frame", name, sent, attack, OPEN, says, (), 1 + ends + gaps)


_MIB = 1024 * 1024
_LARGEST = b"<134>1 2026-04-18T00:00:00Z d s - e - ".ljust(_MIB, b"x")
_MANY = [b"<13>1 - d s - e - %d" % n for n in range(3000)]

ROWS: Sequence[Row] = [
    _skipped(
        "frame-zero",
        "MSG-LEN 0, as DECNET's forwarder sends it",
        b"0 ",
        "skipped 1 empty frames",
    ),
    _skipped("frame-zeros", "MSG-LEN 0, 20,000 times", b"0 " * 20_000, "empty frames"),
    _skipped(
        "frame-over",
        "one octet over the limit",
        b"%d %s" % (_MIB + 1, _LARGEST + b"x"),
        "over the limit",
        1,
    ),
    _skipped(
        "frame-far-over",
        "16 MiB, frames inside",
        b"%d %s" % (16 * _MIB, b"8 <13>1 - ".ljust(16) * _MIB),
        "over the limit",
        1,
    ),
    _skipped(
        "frame-2-31",
        "MSG-LEN 2^31, without an end",
        b"2147483648 " + b"x" * 4096,
        "over the limit",
        1,
        False,
    ),
    _row("frame-leading-zero", "MSG-LEN 05", b"05 hello", "framing"),
    _row("frame-minus", "MSG-LEN -5", b"-5 hello", "framing"),
    _row("frame-plus", "MSG-LEN +5", b"+5 hello", "framing"),
    _row("frame-underscore", "MSG-LEN 1_0", b"1_0 0123456789", "framing"),
    _row("frame-hex", "MSG-LEN 0x5", b"0x5 hello", "framing"),
    _row("frame-arabic", "MSG-LEN in Arabic digits", "٥ hello".encode(), "framing"),
    _row("frame-blank", "MSG-LEN after a space", b" 5 hello", "framing"),
    _row("frame-tab", "a TAB instead of the SP", b"5\thello", "framing"),
    _row("frame-no-space", "no SP", b"5hello", "framing"),
    _row("frame-leading-zeros", "MSG-LEN 00", b"00 ", "framing"),
    _row("frame-digits", "MSG-LEN of 40 digits", b"9" * 40 + b" x", "over the limit"),
    _row(
        "frame-lf",
        "a line without MSG-LEN",
        b"<134>1 - d s - e - x\n",
        "frames by line feed",
    ),
    _row(
        "frame-lf-behind",
        "an LF after the frame",
        b"\n5 hello",
        "a line feed between frames",
    ),
    _row("frame-nul", "NULs", bytes(100), "NUL between frames"),
    _row("frame-http", "HTTP", b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP"),
    _row("frame-control", "a control line to plain syslog", b"LIST\n", "framing"),
    _row("frame-short", "MSG-LEN one too small", b"4 hello5 hello", "framing", b"hell"),
    _row(
        "frame-long", "MSG-LEN one too large", b"6 hello5 hello", "framing", b"hello5"
    ),
    Row(
        "frame",
        "frame-half-fin",
        "half a frame, then FIN",
        _left(FRAME[:20], False),
        "left",
        "unfinished frame",
        (_GOOD,),
    ),
    Row(
        "frame",
        "frame-half-rst",
        "half a frame, then RST",
        _left(FRAME[:20], True),
        "left",
        "unfinished frame",
        (_GOOD,),
    ),
    Row(
        "frame",
        "frame-octets",
        "valid, one octet a write",
        _sent(*[bytes([o]) for o in FRAME]),
        OPEN,
        "",
        (_GOOD,),
    ),
    Row(
        "frame",
        "frame-many",
        "valid, 3,000 in one write",
        _sent(b"".join(b"%d %s" % (len(m), m) for m in _MANY)),
        OPEN,
        "",
        tuple(_MANY),
    ),
    Row(
        "frame",
        "frame-largest",
        "valid, 1 MiB",
        _sent(b"%d %s" % (_MIB, _LARGEST)),
        OPEN,
        "",
        (_LARGEST,),
    ),
]
