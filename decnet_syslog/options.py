"""Values of options that all commands share: environment, numbers, sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import cast

from twisted.python import usage
from twisted.python.reflect import accumulateClassList

from . import __version__
from .boundaries import OptionRow, OptionValue
from .hotpath import description
from .untrusted import escapeUntrusted

__all__ = [
    "Described",
    "MachineError",
    "MissingOption",
    "asSize",
    "checkDatabase",
    "count",
    "directory",
    "fromEnvironment",
    "nearest",
    "octets",
    "seconds",
    "secondsOrNever",
]

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class MissingOption(usage.UsageError):
    """
    An option that the service needs is not given. Apart from that the options are correct, so a
    configuration file may leave it to the command line or the environment.
    """


class MachineError(usage.UsageError):
    """The options are correct, but not on this machine: a directory or a package is missing."""


class _NamedParameter(usage.CoerceParameter):
    """A parameter whose errors name it."""

    def dispatch(self, parameterName: str, value: str) -> None:
        """
        Convert a value, and keep it.

        @raise UsageError: the parameter cannot have this value.
        """
        try:
            self.options.opts[parameterName] = self.coerce(value)
        except ValueError as error:
            raise usage.UsageError(f"--{parameterName}: {error}") from None


def nearest(word: str, names: Iterable[str]) -> str:
    """
    A question for a user who mistyped a name: C{"; do you mean X?"}, or C{""} if no name is
    similar.
    """
    # Imported here, because no service needs it.
    from difflib import get_close_matches

    # No name is longer than 120 characters.
    found = get_close_matches(word[:120].lower().replace("_", "-"), list(names), 1, 0.6)
    return f"; do you mean {found[0]}?" if found else ""


class Described(usage.Options):
    """
    Options whose help begins with their purpose and examples, with line breaks as written: Twisted
    would make one paragraph of these and print it last.
    """

    longdesc: str
    #: The options of the subcommand, once it is parsed.
    subOptions: usage.Options
    #: What a subcommand is called in an error.
    kindOfCommand = "command"

    def __init__(self) -> None:
        """Twisted's has no types: no other class has to deal with that."""
        super().__init__()  # type: ignore[no-untyped-call]
        for name, one in self._dispatch.items():
            if isinstance(one, usage.CoerceParameter):
                self._dispatch[name] = _NamedParameter(self, one.coerce)  # type: ignore[no-untyped-call]

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
            self.parseWords(options)
            names = [name for name, *_ in getattr(self, "subCommands", ())]
            if names and self.parent is not None and self.subCommand is None:
                said = f"{self.kindOfCommand} missing: give {' or '.join(names)}"
                raise usage.UsageError(said)
        except usage.UsageError as error:
            if self.parent is None or isinstance(self.parent, Described):
                raise self._suggested(error) from None
            name = self.parent.subCommand
            raise SystemExit(f'{name}: {error}; see "twistd {name} --help"') from None

    def parseWords(self, words: Sequence[str] | None) -> None:
        """
        Parse a command line whose options come first, in Twisted's way.

        @raise UsageError: it is wrong.
        """
        super().parseOptions(words)  # type: ignore[no-untyped-call]

    def _suggested(self, error: usage.UsageError) -> usage.UsageError:
        """The error; if it is about an unknown command or option, with the nearest one."""
        if option := re.fullmatch(r"option --(\S+) not recognized", str(error)):
            return usage.UsageError(f"{error}{nearest(option[1], self.longOpt)}")
        _, found, word = str(error).partition("Unknown command: ")
        if not found:
            return error
        commands = [name for name, *_ in getattr(self, "subCommands", ())]
        said = escapeUntrusted(word, 80, "readable")
        return usage.UsageError(
            f"there is no {self.kindOfCommand} {said}{nearest(word, commands)}"
        )

    def _optionsFirst(self, words: Sequence[str]) -> list[str]:
        """
        The command line with the options first, as Twisted needs it.

        @raise UsageError: there is no such option, or its value is missing.
        """
        names = [name.replace("_", "-") for name in self.longOpt]
        try:
            found, rest = gnu_getopt(list(words), self.shortOpt, names)
        except GetoptError as error:
            said = str(error)
            if error.opt and said.endswith("not recognized"):
                # Without the dashes: they would make any two short names similar.
                known = [name.rstrip("=") for name in names]
                said += nearest(error.opt, known).replace("mean ", "mean --")
            raise usage.UsageError(said) from None
        long = self.synonyms
        first = self._before(
            [(long.get(word.lstrip("-"), word[2:]), value) for word, value in found]
        )
        for name, value in found:
            takes = f"{name[2:]}=" in names or f"{name[1:]}:" in self.shortOpt
            first += [name, value] if takes else [name]
        return [*first, "--", *rest]

    def _before(self, given: Sequence[tuple[str, str]]) -> list[str]:
        """
        Options to be parsed before those of the command line.

        @param given: the long names and the values of the options on the command line.
        """
        return []

    def getSynopsis(self) -> str:
        """The usage in one line, including the parent commands."""
        if not isinstance(self.parent, Described):
            synopsis: str = super().getSynopsis()
            return synopsis
        words = [getattr(self, "synopsis", "[options]")]
        parent: usage.Options | None = self.parent
        while isinstance(parent, Described):
            words.insert(0, str(parent.subCommand))
            parent = parent.parent
        return f"Usage: decnet-syslog {' '.join(words)}"

    def getUsage(self, width: int | None = None) -> str:
        """The purpose, examples, and the options."""
        if hasattr(self, "subOptions"):
            return str(self.subOptions.getUsage(width))
        rows: list[OptionRow] = []
        accumulateClassList(type(self), "optParameters", rows)
        sizes = {
            str(name): asSize(cast(int, default))
            for name, _, default, _, *coerce in rows
            if coerce == [octets]
        }
        long, defaults = self.longdesc, self.defaults
        self.longdesc, self.defaults = "", {**defaults, **sizes}
        try:
            listed = self.listOptions(width)
        finally:
            self.longdesc, self.defaults = long, defaults
        return f"\n{long}\n\n{listed}"

    def listOptions(self, width: int | None) -> str:
        """The list of options, and of subcommands."""
        return str(super().getUsage(width))

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"decnet-syslog {__version__}")
        print(f"hot path: {description}")
        raise SystemExit(0)


def count(text: str) -> int:
    """
    A number of at least 1.

    @raise ValueError: it is not one; the message says why.
    """
    if not re.fullmatch(r"[0-9]{1,15}", text.strip()) or int(text) < 1:
        raise ValueError(f"{text!r} is not a number of at least 1")
    return int(text)


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
        raise ValueError(
            f"{value[:80]!r} is not a time in seconds: more than 0 and less than 1000000"
        )
    return number


def secondsOrNever(value: str) -> float:
    """A time in seconds, or 0 for never."""
    return 0.0 if re.fullmatch(r"0+(\.0+)?", value.strip()) else seconds(value)


def directory(value: str) -> Path:
    """A directory; ~ stands for this user's home."""
    return Path(os.path.abspath(os.path.expanduser(value)))


def checkDatabase(name: str, path: str) -> None:
    """
    Check that an option names a file in a directory that exists.

    @raise MachineError: it does not.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        raise MachineError(
            f"--{name} {path} is a directory: give the path of a file in it"
        )
    if not os.path.isdir(os.path.dirname(path)):
        raise MachineError(
            f"there is no directory {os.path.dirname(path)} for --{name}: create it"
        )


def fromEnvironment(
    options: MutableMapping[str, OptionValue],
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
