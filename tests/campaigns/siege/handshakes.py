"""Input that is not a handshake, or one that the listener must refuse."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from .certificates import FRAME
from .field import REFUSED, Attack, Row
from .peer import OPEN, PATIENCE_S, context

__all__ = ["ROWS"]

# The beginning of a ClientHello: handshake, TLS 1.0, 512 octets; client_hello, 508; 1.2.
_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(32)

# The listener's limit for a handshake is 15 seconds.
_HANDSHAKE_S = 20.0


def _raw(octets: bytes, seconds: float = PATIENCE_S) -> Callable[[Attack], str]:
    """Send octets without TLS."""

    def attack(attack: Attack) -> str:
        peer = attack.tcp()
        peer.send(octets)
        return peer.fate(seconds)

    return attack


def _dropped(reset: bool) -> Callable[[Attack], str]:
    def attack(attack: Attack) -> str:
        peer = attack.tcp()
        peer.send(_HELLO)
        attack.until(lambda: False, 0.1)
        if reset:
            peer.reset()
        else:
            peer.finish()
        return "left"

    return attack


def _drip(attack: Attack) -> str:
    """Send a ClientHello, one octet a second."""
    peer = attack.tcp()
    for octet in _HELLO:
        peer.send(bytes([octet]))
        try:
            if not peer.receive(1.0):
                break
        except TimeoutError:
            continue
    return peer.fate()


def _only(
    versions: tuple[int, int] | None, ciphers: bytes | None = None
) -> Callable[[Attack], str]:
    """A client that supports only these versions and ciphers."""

    def attack(attack: Attack) -> str:
        peer = attack.tls(with_=context(attack.own, versions, ciphers))
        peer.send(FRAME)
        fate = peer.fate(1.0)
        peer.finish()
        return fate

    return attack


def _renegotiated(attack: Attack) -> str:
    two = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
    peer = attack.tls(with_=context(attack.own, two))
    peer.send(FRAME)
    attack.until(lambda: attack.isThere(FRAME[3:]))
    if not peer.tls.renegotiate():
        return "not asked"
    try:
        peer.handshake(5.0)
    except (SSL.Error, ConnectionError):
        return "not renegotiated"
    return "renegotiated"


def _speaking(*protocols: bytes) -> Callable[[Attack], str]:
    def attack(attack: Attack) -> str:
        peer = attack.tls(protocols=protocols)
        peer.send(FRAME)
        fate = peer.fate(0.5)
        return f"{fate}, {'acknowledged' if peer.acked else 'plain'}"

    return attack


_1_0 = (SSL.TLS1_VERSION, SSL.TLS1_VERSION)
_1_1 = (SSL.TLS1_1_VERSION, SSL.TLS1_1_VERSION)
_1_2 = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
_1_3 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)

_GARBAGE = random.Random(5).randbytes(4096)


def _row(
    name: str,
    sent: str,
    attack: Callable[[Attack], str],
    wire: str = REFUSED,
    says: str = "no handshake",
    stored: tuple[bytes, ...] = (),
) -> Row:
    return Row("handshake", name, sent, attack, wire, says, stored)


_KEPT = (FRAME[3:],)

ROWS: Sequence[Row] = [
    _row("hand-plain", "syslog without TLS", _raw(FRAME)),
    _row("hand-http", "an HTTP request", _raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
    _row("hand-garbage", "4096 random octets", _raw(_GARBAGE)),
    _row(
        "hand-ssl2",
        "an SSLv2 hello",
        _raw(bytes.fromhex("802e0100020015000000100700c0")),
    ),
    _row(
        "hand-huge",
        "a record of 65,535 octets",
        _raw(b"\x16\x03\x01\xff\xff" + bytes(65535)),
    ),
    _row(
        "hand-alerts",
        "10,000 warnings instead of a hello",
        _raw(b"\x15\x03\x01\x00\x02\x01\x5a" * 10_000),
    ),
    _row("hand-early", "data before a hello", _raw(b"\x17\x03\x03\x00\x05hello")),
    _row(
        "hand-silent", "nothing", _raw(b"", _HANDSHAKE_S), says="no handshake in 15 s"
    ),
    _row(
        "hand-half",
        "half a hello, then nothing",
        _raw(_HELLO, _HANDSHAKE_S),
        says="no handshake in 15 s",
    ),
    _row(
        "hand-drip", "a hello, one octet a second", _drip, says="no handshake in 15 s"
    ),
    _row("hand-fin", "half a hello, then FIN", _dropped(False), "left", ""),
    _row("hand-rst", "half a hello, then RST", _dropped(True), "left", ""),
    _row("hand-1.0", "TLS 1.0 only", _only(_1_0, b"ALL:@SECLEVEL=0")),
    _row("hand-1.1", "TLS 1.1 only", _only(_1_1, b"ALL:@SECLEVEL=0")),
    _row(
        "hand-cbc",
        "TLS 1.2 with AES-CBC only",
        _only(_1_2, b"ECDHE-ECDSA-AES128-SHA256:AES128-SHA"),
    ),
    _row(
        "hand-rsa", "TLS 1.2 without forward secrecy", _only(_1_2, b"AES256-GCM-SHA384")
    ),
    _row(
        "hand-anonymous",
        "TLS 1.2 anonymous",
        _only(_1_2, b"ADH-AES256-GCM-SHA384:AECDH-AES256-SHA:@SECLEVEL=0"),
    ),
    _row(
        "hand-null",
        "TLS 1.2 without encryption",
        _only(_1_2, b"ECDHE-ECDSA-NULL-SHA:NULL-SHA256:@SECLEVEL=0"),
    ),
    _row("hand-1.2", "TLS 1.2 with ECDHE and AES-GCM", _only(_1_2), OPEN, "", _KEPT),
    _row("hand-1.3", "TLS 1.3", _only(_1_3), OPEN, "", _KEPT),
    _row("hand-again", "renegotiation", _renegotiated, "not renegotiated", "", _KEPT),
    _row(
        "hand-alpn",
        "ALPN h2 and http/1.1",
        _speaking(b"h2", b"http/1.1"),
        f"{OPEN}, plain",
        "",
        _KEPT,
    ),
    _row(
        "hand-alpn-odd",
        "ALPN of 255 odd octets, twice",
        _speaking(b"\xff" * 255, b"\0" * 255),
        f"{OPEN}, plain",
        "",
        _KEPT,
    ),
]
