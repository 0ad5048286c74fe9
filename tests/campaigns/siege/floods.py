"""
Too much of everything: each flood alone, for some seconds, while a well-behaved worker
sends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from OpenSSL import SSL

from benchmarks.processes import residentKiB
from decnet_syslog.trust._alpn import DELIVERY_PROTOCOL

from .controls import greeted, opened
from .field import ANY, Attack, Row
from .peer import OPEN, Peer, TLSPeer, context

__all__ = ["ROWS"]

# How long a flood lasts, in seconds.
FLOOD_S = 4.0

# Connections that a flood of connections has at least, on however slow a machine.
ROUNDS_MIN = 12

# The limit for additional memory during a flood, in KiB.
MEMORY_KIB_MAX = 100 * 1024

# The size limit for all files of the journal: 128 MiB, plus 1.25 times the counted
# octets.
FILES_OCTETS_MAX = (128 + 10) * 1024 * 1024

_M = b"<134>1 - d s - e - x"


def _flood(octets: bytes, acked: bool = False) -> Callable[[Attack], str]:
    """Send the same octets repeatedly, as fast as the listener accepts them."""

    def attack(attack: Attack) -> str:
        peer = opened(attack) if acked else attack.tls()
        deadline = time.monotonic() + FLOOD_S
        sent = 0
        while time.monotonic() < deadline:
            try:
                peer.send(octets, 0.1)
                sent += 1
            except TimeoutError:
                # A part was sent: the rest would have to follow.
                break
        fate = peer.fate(0.2)
        peer.reset()
        assert sent
        return fate

    return attack


def _strangers(attack: Attack) -> str:
    """More connections without a handshake than an address is allowed."""
    peers: list[Peer] = []
    for _ in range(1200):
        with suppress(ConnectionError):
            peers.append(attack.tcp())
    refused = attack.until(
        lambda: bool(attack.field.said("handshakes from its address"))
    )
    for peer in peers:
        peer.reset()
    return "the rest refused" if refused else "all held"


def _connections(attack: Attack) -> str:
    """Forty connections under one name."""
    peers = [attack.tls() for _ in range(40)]
    for number, peer in enumerate(peers):
        with suppress(SSL.Error, ConnectionError):
            peer.send(b"%d %s" % (len(_M), _M) if number >= 24 else b"")
    fates = [
        peer.fate(0.05 if number >= 24 else 10.0) for number, peer in enumerate(peers)
    ]
    for peer in peers:
        peer.socket.close()
    return f"{fates.count(OPEN)} of 40 open"


def _reconnects(attack: Attack) -> str:
    """Handshakes with a valid certificate, one after another."""
    made = context(attack.own)
    deadline = time.monotonic() + FLOOD_S
    count = 0
    while time.monotonic() < deadline or count < ROUNDS_MIN:
        TLSPeer(attack.field.target, attack.source, made).socket.close()
        count += 1
    return "served"


def _greetings(attack: Attack) -> str:
    """OPEN and LIST, then disconnect, repeatedly."""
    deadline = time.monotonic() + FLOOD_S
    number = 0
    while time.monotonic() < deadline:
        peer = greeted(attack)
        peer.send(
            b"LIST\n"
            + b"".join(b"OPEN %032x 0 0 x\n" % (number + n) for n in range(200))
        )
        number += 200
        peer.reset()
    return "served"


_LONG = b"%F0%9F%98%80" * 1000


def _opens(peer: TLSPeer, count: int, name: Callable[[int], bytes]) -> None:
    """Open a number of streams, each with a name."""
    for at in range(0, count, 50):
        peer.send(
            b"".join(
                b"OPEN %s 0 0 %s\n" % (os.urandom(16).hex().encode(), name(n))
                for n in range(at, at + 50)
            )
        )
    for _ in range(count):
        peer.line(b"RESUME")


def _lists(attack: Attack) -> str:
    """
    LIST for very many streams on connection after connection, without reading the
    answers.
    """
    for _ in range(5):
        peer = greeted(attack)
        _opens(peer, 200, lambda n: _LONG)
        peer.finish()
    held: list[TLSPeer] = []
    deadline = time.monotonic() + FLOOD_S
    before = residentKiB(attack.field.pair.listener.pid)
    most = count = 0
    while time.monotonic() < deadline or count < ROUNDS_MIN:
        held.append(attack.tls(protocols=(DELIVERY_PROTOCOL,)))
        held[-1].send(b"LIST\n")
        count += 1
        if len(held) > 100:
            held.pop(0).reset()
        most = max(most, residentKiB(attack.field.pair.listener.pid) - before)
    for peer in held:
        peer.reset()
    if most > MEMORY_KIB_MAX:
        return f"{most} KiB more memory"
    return "served"


def _names(attack: Attack) -> str:
    """
    A stream, a name of 4,000 octets and a line, repeatedly: how large the journal
    becomes.
    """
    deadline = time.monotonic() + FLOOD_S
    number = 0
    while time.monotonic() < deadline:
        peer = greeted(attack)
        lines = b""
        for _ in range(100):
            number += 1
            stream = os.urandom(16).hex().encode()
            peer.send(b"OPEN %s 0 0 %09d%s\n" % (stream, number, b"n" * 4000))
            lines += b"AT %s 0 0\n%d %s" % (stream, len(_M), _M)
        for _ in range(100):
            peer.line(b"RESUME")
        peer.send(lines)
        peer.line(b"ACK")
        peer.finish()
    octets = sum(
        path.stat().st_size
        for path in attack.field.directory.glob("listener.db*")
        if path.is_file()
    )
    # Few octets are counted: all batches are delivered, and the octets kept for a
    # worker are bounded.
    if octets > FILES_OCTETS_MAX:
        return f"{octets >> 20} MiB of files for {number} names"
    return "served, the files are small"


def _decnet(octets: bytes) -> Callable[[Attack], str]:
    """A plain peer that repeatedly sends a run of octets to skip, and a line."""

    def attack(attack: Attack) -> str:
        peer = attack.tls()
        deadline = time.monotonic() + FLOOD_S
        while time.monotonic() < deadline:
            peer.send(octets + b"%d %s" % (len(_M), _M))
        peer.finish()
        return "served"

    return attack


def _deaf(attack: Attack) -> str:
    """Send lines endlessly without reading any answer."""
    peer = opened(attack)
    deadline = time.monotonic() + FLOOD_S
    position = len(_M) + 1
    line = b"0123456789abcdef" * 2
    while time.monotonic() < deadline:
        many = b""
        for _ in range(200):
            many += b"AT %s 0 %d\n%d %s" % (line, position, len(_M), _M)
            position += len(_M) + 1
        try:
            peer.send(many, 0.2)
        except TimeoutError:
            break
    peer.reset()
    return "served"


def _row(
    name: str,
    sent: str,
    attack: Callable[[Attack], str],
    wire: str = OPEN,
    says: str = "",
    counted: int = ANY,
) -> Row:
    return Row("flood", name, sent, attack, wire, says, (), counted, True)


_KIB = b"1000 " + b"<134>1 - d s - e - ".ljust(1000, b"x")

ROWS: Sequence[Row] = [
    _row(
        "flood-frames", "frames of 1,000 octets, as fast as possible", _flood(_KIB * 60)
    ),
    _row(
        "flood-octets",
        "frames of one octet, as fast as possible",
        _flood(b"1 x" * 5000),
    ),
    _row(
        "flood-skips",
        "gaps of one octet, with alternating reasons",
        _flood(b"SKIP 1 a\nSKIP 1 b\n" * 500, True),
    ),
    _row(
        "flood-empty",
        "1,024 empty lines for 11 octets, again and again",
        _flood(b"EMPTY 1024\n" * 100, True),
    ),
    _row(
        "flood-largest",
        "frames of 1 MiB, as fast as possible",
        _flood(b"1048576 " + b"<13>1 - ".ljust(1048576, b"x")),
    ),
    _row("flood-deaf", "lines, without reading the answers", _deaf, "served"),
    _row(
        "flood-strangers",
        "1,200 connections without a handshake",
        _strangers,
        "the rest refused",
        "",
        0,
    ),
    _row(
        "flood-names",
        "40 connections of one name",
        _connections,
        "16 of 40 open",
        "limit",
        ANY,
    ),
    _row(
        "flood-reconnects",
        "handshakes of one name, one after the other",
        _reconnects,
        "served",
        "",
        0,
    ),
    _row(
        "flood-lists",
        "LIST of 1,000 streams with long names, on each connection, without reading",
        _lists,
        "served",
        "",
        0,
    ),
    _row(
        "flood-long-names",
        "a stream, a name of 4,000 octets, a line, again and again",
        _names,
        "served, the files are small",
    ),
    _row(
        "flood-zero",
        "MSG-LEN 0 a thousand times, then a line, again and again",
        _decnet(b"0 " * 1000),
        "served",
        "empty frames",
    ),
    _row(
        "flood-over",
        "a frame of 2 MiB, then a line, again and again",
        _decnet(b"2097152 " + bytes(2 << 20)),
        "served",
        "over the limit",
    ),
    _row(
        "flood-greetings",
        "OPEN of 200 streams and LIST, again and again",
        _greetings,
        "served",
        "",
        0,
    ),
]
