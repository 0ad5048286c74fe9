"""A peer's words in our own log: never as they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog
from decnet_syslog.trust.contexts import ForwarderContext
from decnet_syslog.wire.control import AT, BYE, LAST, OPEN, SKIP, encodeControl

from .certificates import certificate, worker
from .doubles import STREAM
from .test_contexts import TLSTestCase, carrying

PACKAGE = Path(decnet_syslog.__file__).parent

# What they can be called: file names and texts are what somebody else chose.
THEIRS = {"name", "path", "text", "said", "hostname", "facts"}

EVIL = "a\x1b[2J\x07\r\n\x9b2J\u202e\x00b"


def logCalls() -> Iterator[tuple[str, str]]:
    """Where something is logged, and by what format."""
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
    """Every format of our log."""

    def test_quoted(self) -> None:
        """Names and texts of others are shown as repr has them."""
        checked = 0
        for where, text in logCalls():
            if text == "{name}: {facts}":
                # A name of ours, and a dictionary, which is shown as repr has it.
                continue
            for _, field, _, conversion in Formatter().parse(text):
                checked += field is not None
                if field in THEIRS:
                    self.assertEqual(conversion, "r", f"{where}: {text}")
        self.assertGreater(checked, 40)


class ListenerTests(TLSTestCase):
    """Everything that a listener says of a peer with evil words."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        super().setUp()

    def hear(self, event: Any) -> None:
        super().hear(event)
        self.lines.append(formatEvent(event))

    def say(self, octets: bytes, extension: bool = True) -> None:
        """A connection that says this."""
        client = self.connect(
            ForwarderContext(worker("w1"), "decnet-master", extension), b""
        )
        transport: Any = client.transport
        transport.write(octets)
        for _ in range(4):
            self.pump.flush()

    def test_everything(self) -> None:
        """Printable, one line, and not long."""
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
