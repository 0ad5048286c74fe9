"""Control lines from a worker that knows the protocol and violates it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

from decnet_syslog.trust._alpn import DELIVERY_PROTOCOL

from .field import Attack, Row
from .peer import CLOSED, OPEN, TLSPeer

__all__ = ["ROWS", "opened"]

_S = b"0123456789abcdef0123456789abcdef"
_T = b"f" * 32
_M = b"<134>1 - d s - e - x"
_F = b"%d %s" % (len(_M), _M)


def greeted(attack: Attack) -> TLSPeer:
    """A connection that has received HELLO."""
    peer = attack.tls(protocols=(DELIVERY_PROTOCOL,))
    peer.line(b"HELLO")
    return peer


def opened(attack: Attack, stream: bytes = _S) -> TLSPeer:
    """A connection with an open stream and one line: position 21."""
    peer = greeted(attack)
    peer.send(b"OPEN %s 0 0 x\n" % stream)
    peer.line(b"RESUME")
    peer.send(b"AT %s 0 0\n%s" % (stream, _F))
    return peer


def _first(octets: bytes) -> Callable[[Attack], str]:
    """Octets that come first on the connection."""

    def attack(attack: Attack) -> str:
        peer = greeted(attack)
        peer.send(octets)
        return peer.fate()

    return attack


def _then(octets: bytes, seconds: float = 25.0) -> Callable[[Attack], str]:
    """Octets that follow a valid line in the same stream."""

    def attack(attack: Attack) -> str:
        peer = opened(attack)
        peer.send(octets)
        return peer.fate(seconds)

    return attack


def _streams(attack: Attack) -> str:
    peer = greeted(attack)
    peer.send(b"".join(b"OPEN %032x 0 0 x\n" % n for n in range(2049)))
    return peer.fate()


def _ofGood(attack: Attack) -> str:
    """Open the stream of the well-behaved worker."""
    # Its forwarder holds a lock on it.
    copies = attack.field.directory / attack.name
    copies.mkdir()
    for path in attack.field.good.bundle.glob("forwarder.db*"):
        shutil.copy(path, copies)
    with closing(sqlite3.connect(copies / "forwarder.db")) as opened_:
        (stream,) = opened_.execute("SELECT there FROM position").fetchone()
    peer = opened(attack, str(stream).encode())
    fate = peer.fate(1.0)
    superseded = attack.field.said("closing good ")
    return f"{fate}, {'good was closed' if superseded else 'good undisturbed'}"


def _superseded(attack: Attack) -> str:
    """Two connections open one stream: the newer gets it, the older is notified."""
    older = opened(attack)
    older.line(b"ACK")
    newer = greeted(attack)
    newer.send(b"OPEN %s 0 0 x\n" % _S)
    resume = newer.line(b"RESUME")
    assert resume.split()[3] == b"%d" % (len(_M) + 1), resume
    older.send(_F * 50)
    fate = older.fate()
    newer.send(b"AT %s 0 %d\n" % (_S, len(_M) + 1) + _F)
    newer.line(b"ACK")
    return fate


def _row(
    name: str,
    sent: str,
    attack: Callable[[Attack], str],
    says: str,
    lines: int = 0,
    wire: str = CLOSED,
) -> Row:
    return Row("control line", name, sent, attack, wire, says, (_M,) * lines)


_AT = b"AT %s 0 %%d\n" % _S

ROWS: Sequence[Row] = [
    _row(
        "ctl-unknown",
        "an unknown verb",
        _first(b"FROB 1\n"),
        "an unknown control line",
    ),
    _row("ctl-lower", "a verb in lower case", _first(b"list\n"), "framing"),
    _row("ctl-words", "one field too many", _first(b"LIST x\n"), "takes 0 fields"),
    _row("ctl-cr", "CR before the LF", _first(b"LIST\r\n"), "an unknown control line"),
    _row(
        "ctl-nul", "NUL in a name", _first(b"OPEN %s 0 0 a\0b\n" % _S), "malformed name"
    ),
    _row(
        "ctl-escape",
        "escapes in a name",
        _first(b"OPEN %s 0 0 \x1b[2J\n" % _S),
        "malformed name",
    ),
    _row(
        "ctl-endless",
        "a line without an end",
        _first(b"OPEN " + b"x" * 100_000),
        "framing",
    ),
    _row(
        "ctl-stream",
        "a stream id that is a path",
        _first(b"OPEN ../../../../../../../etc/passwdxx 0 0 x\n"),
        "malformed stream",
    ),
    _row(
        "ctl-name",
        "a name of 5,000 octets",
        _first(b"OPEN %s 0 0 %s\n" % (_S, b"n" * 5000)),
        "limit",
    ),
    _row(
        "ctl-start",
        "a start of 2^64",
        _first(b"OPEN %s 0 18446744073709551616 x\n" % _S),
        "malformed number",
    ),
    _row(
        "ctl-minus",
        "a start of -1",
        _first(b"OPEN %s 0 -1 x\n" % _S),
        "malformed number",
    ),
    _row("ctl-frame", "a frame before AT", _first(_F), "order"),
    _row("ctl-at", "AT without OPEN", _first(_AT % 0), "order"),
    _row("ctl-twice", "OPEN twice", _then(b"OPEN %s 0 0 x\n" % _S), "order", 1),
    _row("ctl-streams", "2049 streams", _streams, "limit"),
    _row("ctl-ahead", "AT ahead of the position", _then(_AT % 1000), "position", 1),
    _row(
        "ctl-behind",
        "AT behind the position: the line again",
        _then(_AT % 0 + _F),
        "position",
        1,
    ),
    _row("ctl-skip-zero", "SKIP 0", _then(b"SKIP 0 x\n"), "order", 1),
    _row("ctl-skip-minus", "SKIP -21", _then(b"SKIP -21 x\n"), "malformed number", 1),
    _row(
        "ctl-skip-far",
        "SKIP beyond 2^63",
        _then(b"SKIP 9223372036854775807 x\n"),
        "position",
        1,
    ),
    _row(
        "ctl-empty", "a million lines by EMPTY", _then(b"EMPTY 1000000\n"), "order", 1
    ),
    _row("ctl-last", "LAST twice", _then(b"LAST\nLAST\n"), "order", 1),
    _row("ctl-list", "LIST twice", _then(b"LIST\nLIST\n"), "limit", 1),
    _row(
        "ctl-hello",
        "HELLO, as a master would send it",
        _first(b"HELLO 1 %s 2048 256\n" % _S),
        "order",
    ),
    _row(
        "ctl-resume",
        "RESUME, as a master would send it",
        _first(b"RESUME %s 0 0 0 00000000\n" % _S),
        "order",
    ),
    _row("ctl-ack", "ACK of its own lines", _then(b"ACK %s 0 21\n" % _S), "order", 1),
    _row("ctl-bye", "a line after BYE", _first(b"BYE shutdown x\nLIST\n"), "order"),
    _row("ctl-lf", "a frame with an LF inside", _then(b"3 a\nb"), "line-feed", 1),
    _row("ctl-frame-broken", "MSG-LEN 0 between frames", _then(b"0 "), "framing", 1),
    _row(
        "ctl-good",
        "the stream of the well-behaved worker",
        _ofGood,
        "",
        1,
        f"{OPEN}, good undisturbed",
    ),
    _row("ctl-superseded", "one stream, two connections", _superseded, "superseded", 2),
]
