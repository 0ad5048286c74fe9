"""Tests for a peer's text in our logs: it is never logged unescaped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog
from decnet_syslog.trust._contexts import ForwarderContext
from decnet_syslog.wire import AT, BYE, LAST, OPEN, SKIP, encodeControl

from .certificates import certificate, worker
from .doubles import STREAM
from .trust.test_contexts import TLSTestCase, carrying

PACKAGE = Path(decnet_syslog.__file__).parent

# Names of log fields whose text comes from elsewhere.
THEIRS = {"name", "path", "text", "said", "hostname", "facts"}

EVIL = "a\x1b[2J\x07\r\n\x9b2J\u202e\x00b"


def logCalls() -> Iterator[tuple[str, str]]:
    """Every log call's place and format."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name | ast.Attribute)
                and "_log" in ast.dump(node.func.value)
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield f"{path.name}:{node.lineno}", str(node.args[0].value)


class FormatTests(SynchronousTestCase):
    """Every format in our logs."""

    def test_foreignTextIsQuoted(self) -> None:
        """Names and texts from others are logged as their repr."""
        checked = 0
        for where, text in logCalls():
            if text == "{name}: {facts}":
                # Our own name, and a dictionary, which is formatted as its repr.
                continue
            for _, field, _, conversion in Formatter().parse(text):
                checked += field is not None
                if field in THEIRS:
                    self.assertEqual(conversion, "r", f"{where}: {text}")
        self.assertGreater(checked, 40)


class ListenerTests(TLSTestCase):
    """Everything that a listener logs about a peer with hostile text."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        super().setUp()

    def hear(self, event: Any) -> None:
        super().hear(event)
        self.lines.append(formatEvent(event))

    def say(self, octets: bytes, extension: bool = True) -> None:
        """Open a connection that sends this."""
        client = self.connect(
            ForwarderContext(worker("w1"), "decnet-master", extension), b""
        )
        transport: Any = client.transport
        transport.write(octets)
        for _ in range(4):
            self.pump.flush()

    def test_logIsHarmless(self) -> None:
        """Every log message is printable, on one line, and short."""
        evil = EVIL.encode()
        opened = encodeControl(OPEN(STREAM, 0, 0, EVIL)) + encodeControl(
            AT(STREAM, 0, 0)
        )
        for octets in (
            encodeControl(BYE("error", EVIL)),
            encodeControl(OPEN(STREAM, 0, 0, EVIL)) + encodeControl(AT(STREAM, 0, 7)),
            opened + encodeControl(SKIP(3, "x")) + encodeControl(AT(STREAM, 0, 9)),
            opened + encodeControl(LAST()) + b"4 a\n\x1bb",
            b"OPEN " + evil.replace(b"\n", b"") + b"\n",
            b"OPEN x 0 0 %1B%1B\n",
            b"\x1b[2J\n",
            b"Z" + evil.replace(b"\n", b"") + b"\n",
            b"9\x1b[2J",
        ):
            self.say(octets)
            self.say(octets, False)
        self.connect(carrying(certificate([EVIL])))
        self.connect(carrying(certificate([EVIL], ca="other")))
        self.assertGreater(len(self.lines), 30)
        shown = [*self.lines, *map(str, self.refusals)]
        self.assertIn("\\x1b", "".join(shown))
        for line in shown:
            self.assertTrue(line.isprintable(), ascii(line))
            self.assertLess(len(line), 1000)
