"""
A TOML document as a list of entries with their lines.

Python's parser does not tell the line of a key. It first accepts the whole document; then the
document is cut into its statements (a header, or a key and its value), and the parser reads each
of them alone.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twisted.python import usage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
from ..boundaries import OptionValue
from ..untrusted import escapeUntrusted

__all__ = ["CONFIGURATION_OCTETS_MAX", "Entry", "readEntries"]

# All options, each with a paragraph of comments and a hundred values, are a tenth of this.
CONFIGURATION_OCTETS_MAX = 1024 * 1024

# Strings first, because they may contain the other characters. The document is valid, so every
# string ends.
_TOKEN = re.compile(
    r'"""(?:\\[\s\S]|"(?!"")|[^"\\])*"""(?:"{0,2})'
    r"|'''[\s\S]*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[{]|[\]}]|\n|[^\"'#\[\]{}\n]+"
)

_WHERE = re.compile(r" ?\(at line ([0-9]+), column [0-9]+\)\Z")

# What the parser says of a key or a section that is there already.
_TWICE = ("Cannot overwrite a value", "Cannot declare ")

_AT_END = " (at end of document)"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A key and its value; the value of a section is a dictionary.

    @ivar path: the names of the sections that contain the key, and the key.
    @ivar line: its line, counted from 1.
    """

    path: tuple[str, ...]
    value: OptionValue
    line: int


def readEntries(path: str) -> list[Entry]:
    """
    Read a file.

    @raise usage.UsageError: it cannot be read, or is not TOML. One line names file and line.
    """
    text = _text(path)
    try:
        tomllib.loads(text)
    except ValueError as error:
        # Not only TOMLDecodeError: int() refuses a number of more than 4,300 digits.
        said = " ".join(str(error).split())
        where = _WHERE.search(said)
        line = f":{where[1]}" if where else ""
        if said.endswith(_AT_END):
            said = said.removesuffix(_AT_END)
            line = f":{text.rstrip().count(chr(10)) + 1}"
        if said.startswith(_TWICE) and line:
            name = text.split("\n")[int(line[1:]) - 1].partition("=")[0].strip()
            name = escapeUntrusted(name, 80, "readable")
            raise usage.UsageError(
                f"{path}{line}: {name} is given twice: delete one of them"
            ) from None
        raise usage.UsageError(
            f"{path}{line}: not TOML: {_WHERE.sub('', said)}; write NAME = VALUE, and text"
            ' in quotes ("...")'
        ) from None
    except RecursionError:
        raise usage.UsageError(
            f"{path}: not TOML for options: the brackets are nested too deeply"
        ) from None
    return list(_entries(text))


def _text(path: str) -> str:
    try:
        # Not blocking: a pipe without a writer would stop the start of the service for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise usage.UsageError(
                    f"{path}: not a regular file: give the path of a file in TOML"
                )
            octets = file.read(CONFIGURATION_OCTETS_MAX + 1)
    except IsADirectoryError:
        raise usage.UsageError(
            f"{path}: is a directory: give the path of a file in TOML"
        ) from None
    except OSError as error:
        raise usage.UsageError(
            f"{path}: {error.strerror}: correct that, or give another file by --config"
        ) from None
    except ValueError:
        raise usage.UsageError(f"--config: {path!r} is not a path") from None
    if mode & stat.S_IWOTH:
        # --on-event in it is a command that the service runs.
        raise usage.UsageError(
            f"{path}: every user of this machine can change this file: chmod o-w {path}"
        )
    if len(octets) > CONFIGURATION_OCTETS_MAX:
        raise usage.UsageError(
            f"{path}: longer than {CONFIGURATION_OCTETS_MAX} octets: give a file of options"
        )
    try:
        # Some editors write a byte order mark.
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise usage.UsageError(
            f"{path}:{line}: not UTF-8: save the file in that encoding"
        ) from None


def _entries(text: str) -> Iterator[Entry]:
    section: tuple[str, ...] = ()
    for line, statement in _statements(text):
        found = tomllib.loads(statement)
        if statement.startswith("["):
            section = ()
            inside: OptionValue = found
            while isinstance(inside, dict) and inside:
                ((name, inside),) = inside.items()
                section = (*section, name)
            yield Entry(section, inside, line)
        else:
            yield from _flat(section, found, line)


def _flat(
    section: tuple[str, ...], table: Mapping[str, object], line: int
) -> Iterator[Entry]:
    """Dotted keys and inline tables are sections, too."""
    for name, value in table.items():
        yield Entry((*section, name), value, line)
        if isinstance(value, dict):
            yield from _flat((*section, name), value, line)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    line, start, depth, words = 1, 1, 0, ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n" and depth == 0:
            if words.strip():
                yield start, words.strip()
            words = ""
        elif token.startswith("#"):
            # A comment in an array; the statement stays the same without it.
            pass
        else:
            if not words.strip():
                words, start = "", line
            words += token
            depth += (token in ("[", "{")) - (token in ("]", "}"))
        line += token.count("\n")
    if words.strip():
        yield start, words.strip()
