"""
Tests that the log messages in docs/operations.rst are messages of the product, word for
word.
"""

from __future__ import annotations

import ast
import os
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog

PACKAGE = Path(decnet_syslog.__file__).parent
PAGE = PACKAGE.parent / "docs" / "operations.rst"

# A listed message, then the program that logs it, its level, and the remedy.
_LISTED = re.compile(r"^``(.+)``\n    \*([a-z-]+), ([a-z]+)\.\* (.{10,})", re.MULTILINE)

# A day: every event has its own section.
ACTS = ("Start", "Rotation", "Outage", "Refusal", "Full disk", "Failover")

# The packages whose messages a program does not log.
FOREIGN = {
    "listener": {"worker", "sending", "files", "nats"},
    "forwarder": {"master", "receiving", "journal", "outputs", "nats"},
    "outputs": {"worker", "sending", "files", "master", "receiving"},
}

LEVELS = {"debug", "info", "warn", "error", "critical"}

# A template must have at least this many letters of its own; otherwise it would match
# any text.
LETTERS_MIN = 8

_WORD = re.compile(r"[A-Za-z]{3,}")


@dataclass(frozen=True)
class Template:
    """
    A string of the product, with holes in place of its fields.

    @ivar level: the level that it is logged with; empty if that is decided elsewhere.
    """

    room: str
    level: str
    parts: tuple[str, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        """
        The regular expression for the formatted string, with each field as a group.
        """
        return re.compile("(.+?)".join([re.escape(part) for part in self.parts]))


def _formatted(text: str) -> tuple[str, ...]:
    """The parts of a format string around its fields."""
    parts = [""]
    try:
        for literal, name, _, _ in string.Formatter().parse(text):
            parts[-1] += literal
            if name is not None:
                parts.append("")
    except ValueError:
        return (text,)
    return tuple(parts)


def _interpolated(node: ast.JoinedStr) -> tuple[str, ...]:
    """The parts of an f-string around its fields."""
    parts = [""]
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts[-1] += str(value.value)
        else:
            parts.append("")
    return tuple(parts)


def _levels(tree: ast.AST) -> dict[ast.AST, str]:
    """
    The level of each string that is logged directly, or that is paired with a level.
    """
    found: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in LEVELS and node.args:
                found[node.args[0]] = node.func.attr
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            first, second = node.elts
            if isinstance(first, ast.Attribute) and first.attr in LEVELS:
                found[second] = first.attr
    return found


def _templates(room: str, tree: ast.AST) -> Iterator[Template]:
    levels = _levels(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = _formatted(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = _interpolated(node)
        else:
            continue
        if sum(map(str.isalpha, "".join(parts))) >= LETTERS_MIN:
            yield Template(room, levels.get(node, ""), parts)


@cache
def templates() -> tuple[Template, ...]:
    """Every string of the product that could be a message, or a part of one."""
    return tuple(
        template
        for path in sorted(PACKAGE.rglob("*.py"))
        for template in _templates(
            path.relative_to(PACKAGE).parts[0], ast.parse(path.read_text("utf-8"))
        )
    )


@cache
def pieces() -> tuple[str, ...]:
    """
    Runs of at least two words that the product, Twisted or the system puts into
    messages.
    """
    texts = [part for template in templates() for part in template.parts]
    for number in (2, 5, 13, 28, 98, 111):
        texts += [os.strerror(number), str(OSError(number, os.strerror(number)))]
    texts += [str(kind()) for kind in (error.ConnectionDone, error.ConnectionLost)]
    texts += [str(error.ConnectionRefusedError())]
    found = {text.strip(" .:;,") for text in texts}
    return tuple(sorted((f for f in found if " " in f), key=len, reverse=True))


def isKnown(value: str) -> bool:
    """
    Whether the product, Twisted or the system has written a field's value.

    Names, paths, addresses, numbers, codes with a colon and quotations can be anything.
    One other word may stand between them, such as a unit or a zone.
    """
    for piece in pieces():
        value = value.replace(piece, " ")
    rest = re.sub(r"b?'[^']*'|\S*[/=@0-9]\S*|[a-z-]+:", " ", value)
    return len(_WORD.findall(rest)) < 2


@dataclass(frozen=True)
class Listed:
    """A message of the page."""

    text: str
    program: str
    level: str


def listed() -> list[Listed]:
    """The messages of the page, in order."""
    return [Listed(*found[:3]) for found in _LISTED.findall(PAGE.read_text("utf-8"))]


def fits(message: Listed, template: Template) -> bool:
    """Whether a program can have formatted this text from that template."""
    if template.room in FOREIGN[message.program]:
        return False
    # Faster than the regular expression.
    if not all(part in message.text for part in template.parts):
        return False
    found = template.pattern.fullmatch(message.text)
    if found is None:
        return False
    # A single word is a name: of an end, a worker, a kind.
    return all(isKnown(value) for value in found.groups() if " " in value)


def origins(message: Listed) -> list[Template]:
    """
    The templates that a message at its level can come from; none if the product lacks
    it.
    """
    found = [template for template in templates() if fits(message, template)]
    levels = {template.level for template in found} - {""}
    return found if not levels or message.level in levels else []


class MessageTests(SynchronousTestCase):
    """An operator's day, as shown by the log."""

    def test_everyActHasMessages(self) -> None:
        """Every act has messages, at least thirty in total, each once."""
        text = PAGE.read_text("utf-8")
        start = text.index("\nLog messages of a working day\n")
        part = text[start : text.index("\n\n\n", start + 1)]
        acts = re.split(r"^(.+)\n-+\n", part, flags=re.MULTILINE)
        found = dict(zip(acts[1::2], acts[2::2], strict=True))
        self.assertEqual(set(ACTS) - set(found), set())
        for act, body in found.items():
            self.assertGreater(len(_LISTED.findall(body)), 2, act)
            # No message has a form that the tests below do not recognise.
            terms = re.findall(r"^``", body, re.MULTILINE)
            self.assertEqual(len(terms), len(_LISTED.findall(body)), act)
        texts = [message.text for message in listed()]
        self.assertGreaterEqual(len(texts), 30)
        self.assertEqual(len(texts), len(set(texts)))

    def test_messagesAreLogged(self) -> None:
        """
        The named program logs each message at that level, and each sentence in its
        fields is one that the product, Twisted or the system writes.
        """
        missing = [message for message in listed() if not origins(message)]
        self.assertEqual(
            missing, [], "the product does not log these; correct docs/operations.rst"
        )

    def test_changesAreDetected(self) -> None:
        """
        A message with a changed word, with additional words, or with another level is
        not recognised.
        """
        for message in filter(origins, listed()):
            own = max(origins(message), key=lambda t: len("".join(t.parts)))
            word = max(_WORD.findall(" ".join(own.parts)), key=len)
            changes = [
                (message.text.replace(word, "otherwise", 1), message.level),
                (f"{message.text} although nobody ever wrote this", message.level),
            ]
            if own.level:
                changes.append((message.text, "debug"))
            for text, level in changes:
                changed = Listed(text, message.program, level)
                self.assertEqual(origins(changed), [], changed)
