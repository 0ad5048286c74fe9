"""Values of options that all commands share: environment, numbers, sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.python.reflect import accumulateClassList

from . import __version__
from .hotpath import description

__all__ = [
    "Described",
    "asSize",
    "count",
    "directory",
    "fromEnvironment",
    "octets",
    "portNumber",
    "seconds",
    "secondsOrNever",
]

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class Described(usage.Options):
    """
    Options whose help begins with their purpose and examples, with line breaks as written: Twisted
    would make one paragraph of these and print it last.
    """

    longdesc: str

    def __init__(self) -> None:
        """Twisted's has no types: no other class has to deal with that."""
        super().__init__()  # type: ignore[no-untyped-call]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse a command line. If the command has no subcommands, arguments and options may come in
        any order.

        @raise SystemExit: the command line of a service is wrong. Twisted would print the whole
            help before the error message.
        """
        try:
            if options is not None and not hasattr(self, "subCommands"):
                options = self._optionsFirst(options)
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            if self.parent is None or isinstance(self.parent, Described):
                raise
            name = self.parent.subCommand
            raise SystemExit(f'{name}: {error}; see "twistd {name} --help"') from None

    def _optionsFirst(self, words: Sequence[str]) -> list[str]:
        """
        The command line with the options first, as Twisted needs it.

        @raise UsageError: there is no such option, or its value is missing.
        """
        names = [name.replace("_", "-") for name in self.longOpt]
        try:
            found, rest = gnu_getopt(list(words), self.shortOpt, names)
        except GetoptError as error:
            raise usage.UsageError(str(error)) from None
        first = []
        for name, value in found:
            takes = f"{name[2:]}=" in names or f"{name[1:]}:" in self.shortOpt
            first += [name, value] if takes else [name]
        return [*first, "--", *rest]

    def getSynopsis(self) -> str:
        """The usage in one line, including the parent commands."""
        if not isinstance(self.parent, Described):
            synopsis: str = super().getSynopsis()
            return synopsis
        words = [getattr(self, "synopsis", "[options]")]
        parent: Any = self.parent
        while isinstance(parent, Described):
            words.insert(0, str(parent.subCommand))
            parent = parent.parent
        return f"Usage: decnet-syslog {' '.join(words)}"

    def getUsage(self, width: int | None = None) -> str:
        """The purpose, examples, and the options."""
        if hasattr(self, "subOptions"):
            usage_: str = self.subOptions.getUsage(width)
            return usage_
        rows: list[Any] = []
        accumulateClassList(type(self), "optParameters", rows)
        sizes = {
            name: asSize(default)
            for name, _, default, _, *coerce in rows
            if coerce == [octets]
        }
        long, defaults = self.longdesc, self.defaults
        self.longdesc, self.defaults = "", {**defaults, **sizes}
        try:
            listed = super().getUsage(width)
        finally:
            self.longdesc, self.defaults = long, defaults
        return f"\n{long}\n\n{listed}"

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"decnet-syslog {__version__}")
        print(f"hot path: {description}")
        raise SystemExit(0)


def portNumber(value: str) -> int:
    """A TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", value) or not int(value) < 65536:
        raise ValueError(f"{value!r} is not a port: a number from 0 to 65535")
    return int(value)


def count(text: str) -> int:
    """
    A number of at least 1.

    @raise ValueError: it is not one; the message says why.
    """
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def octets(value: str) -> int:
    """A number of octets, with k, m or g for powers of 1024."""
    match = re.fullmatch(r"([0-9]{1,15})([kmg]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise ValueError(f"{value!r} is not a size: write 65536, 64k, 128m or 1g")
    return int(match[1]) * _UNITS[match[2]]


def asSize(number: int) -> str:
    """A number of octets in the form that people write."""
    for unit, size in reversed(_UNITS.items()):
        if number and number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def seconds(value: str) -> float:
    """A positive time in seconds."""
    try:
        number = float(value)
    except ValueError:
        number = 0
    if not 0 < number < 1e6:
        raise ValueError(f"{value!r} is not a time in seconds")
    return number


def secondsOrNever(value: str) -> float:
    """A time in seconds, or 0 for never."""
    return 0.0 if value.strip() == "0" else seconds(value)


def directory(value: str) -> Path:
    """A directory; ~ stands for this user's home."""
    return Path(os.path.abspath(os.path.expanduser(value)))


def fromEnvironment(
    options: MutableMapping[str, Any],
    name: str,
    variables: Mapping[str, str],
    convert: Callable[[str], object],
    default: object,
) -> None:
    """
    Set an option that was not given from its environment variable, or to its default.

    @raise UsageError: the variable has no usable value.
    """
    if options[name] is not None:
        return
    value = os.environ.get(variables[name])
    try:
        options[name] = convert(value) if value else default
    except ValueError as error:
        raise usage.UsageError(f"{variables[name]}: {error}") from None
