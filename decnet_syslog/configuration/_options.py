"""
The options of a service from five sources: command line, environment, file, DECNET's own
configuration, defaults.

A value of the file becomes words of a command line, before the real words: so the same code
converts and checks it, and an option needs nothing more to be in the file. An option that the
command line or the environment gives is left out of these words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from twisted.python import usage
from twisted.python.reflect import accumulateClassList

from ..boundaries import OptionRow, OptionValue
from ..options import Described
from ._decnet import INI, readSettings
from ._document import readEntries
from ._sections import checkEntries
from ._types import FLAG, LIST, NUMBERS, TEXT, Types, wordsOf

__all__ = ["COMMON_GROUPS", "DIRECTORY", "Configured", "Groups"]

DIRECTORY = "/etc/decnet-syslog"

#: By the name of a section: its title in the help, and the names or the patterns of its options.
Groups = Mapping[str, tuple[str, Sequence[str]]]

COMMON_GROUPS: Groups = {
    "status": ("Status and events", ("status-.*", "on-event", "hide-lines")),
    "limits": ("Limits", ("max-.*", ".*-timeout", "journal-max", "batch-bytes")),
    "advanced": ("Advanced", (".*",)),
}

# Options that a file cannot have.
_NEVER = frozenset({"help", "version", "config"})


class Configured(Described):
    """
    Options that can also come from a configuration file.

    @cvar service: the service's name; its file is C{/etc/decnet-syslog/NAME.toml}.
    @cvar groups: the sections of the file and of the help.
    @cvar common: the options that most people need; the help has them first.
    @cvar environment: the variables that set an option, by the option's name.
    @cvar decnet: the variables of DECNET that give an option as a last resort, by its name.
    @cvar repeated: the attributes with the values of options that can be repeated.
    @cvar alternatives: options that exclude each other. If a source gives one of them, the
        others are not taken from a source of lower precedence.
    @ivar sources: where the options come from that have not their default.
    @ivar file: the path of the configuration file; C{None}: none.
    @ivar words: the command line.
    @ivar decnetTrouble: why DECNET's own configuration could not be read; "": it was, or is not
        needed.
    """

    service: str
    groups: Groups = COMMON_GROUPS
    common: Sequence[str] = ()
    environment: Mapping[str, str] = {}
    decnet: Mapping[str, tuple[str, ...]] = {}
    decnetPath = INI
    repeated: Mapping[str, str] = {}
    alternatives: Sequence[frozenset[str]] = ()
    directory = DIRECTORY

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[str, str] = {}
        self.file: str | None = None
        self.decnetTrouble = ""
        self.words: list[str] = []
        self._rows: list[OptionRow] = []
        accumulateClassList(self._ofService(), "optParameters", self._rows)

    def opt_config(self, path: str) -> None:
        """Configuration file, in TOML; "": none [NAME.toml of the service in /etc/decnet-syslog]"""

    def parseArgs(self, *words: str) -> None:
        """
        Refuse arguments: a service has only options.

        @raise usage.UsageError: there is one.
        """
        if words:
            raise usage.UsageError(
                f"unexpected argument {words[0][:80]!a}: a service has only options,"
                " which begin with --"
            )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse the command line, the environment and the file.

        @raise SystemExit: as of L{Described}.
        """
        # Not None: the words of sys.argv would not get those of the file.
        self.words = [] if options is None else list(options)
        super().parseOptions(self.words)

    def parseWords(self, words: Sequence[str] | None) -> None:
        """Parse, and tell the line in the file if an error comes from there."""
        try:
            super().parseWords(words)
        except usage.UsageError as error:
            raise type(error)(self.located(str(error))) from None

    def located(self, text: str) -> str:
        """
        The text of an error, with file and line before it if it is about an option from the
        file.
        """
        for name in re.findall(r"--([a-z][a-z-]*)", text):
            source = self.sources.get(name, "")
            if self.file is not None and source.startswith(f"{self.file}:"):
                return f"{source}: {text}"
        return text

    @cached_property
    def names(self) -> list[str]:
        """The options that a file can have, in the order of their groups."""
        groups = list(self.groups)
        cls = self._ofService()
        own = self if type(self) is cls else cls()
        every = {word.rstrip("=") for word in own.longOpt} - _NEVER

        def place(name: str) -> tuple[int, int, str]:
            section = self.groupOf(name)
            patterns = self.groups[section][1]
            first = next(n for n, one in enumerate(patterns) if re.fullmatch(one, name))
            return groups.index(section), first, name

        return sorted(every, key=place)

    def groupOf(self, name: str) -> str:
        """The section of an option: the first that names it."""
        return next(
            section
            for section, (_, names) in self.groups.items()
            if any(re.fullmatch(pattern, name) for pattern in names)
        )

    def valueOf(self, name: str) -> OptionValue:
        """The value of an option after L{parseOptions}; a list, if it can be repeated."""
        if name in self.repeated:
            return getattr(self, self.repeated[name])
        return bool(self[name]) if self.typesOf(name) is FLAG else self[name]

    def isGiven(self, name: str) -> bool:
        """Whether a source gives the option."""
        return name in self.sources

    def sourceOf(self, name: str) -> str:
        """Where the value of an option comes from, in words."""
        return self.sources.get(name, "default")

    def lacking(self) -> str:
        """
        What the service needs and this machine does not have, after L{parseOptions}; C{""}:
        nothing. The service reports it when it starts; a doctor, each by itself.
        """
        return ""

    def coerceOf(self, name: str) -> OptionValue:
        """The function that converts the value of an option; C{None}: it is text or a flag."""
        return next((row[4] for row in self._rows if row[0] == name and row[4:]), None)

    def typesOf(self, name: str) -> Types:
        """The TOML types of an option, and their names for people."""
        if f"{name}=" not in self.longOpt:
            return FLAG
        if name not in (row[0] for row in self._rows):
            return LIST
        return NUMBERS.get(self.coerceOf(name), TEXT)

    def _ofService(self) -> type[Configured]:
        """The class of the service: a class below it adds options that are not for the file."""
        return next(cls for cls in type(self).__mro__ if "service" in vars(cls))

    def _before(self, given: Sequence[tuple[str, str]]) -> list[str]:
        for name, _ in given:
            self.sources[name] = "command line"
        if {"help", "version"} & self.sources.keys():
            return []
        for name, variable in self.environment.items():
            if os.environ.get(variable):
                self._take(name, f"environment {variable}")
        files = [path for name, path in given if name == "config"]
        self.file = self._path(files)
        if self.file is None:
            # An empty --config: nothing but the command line and the environment.
            return [] if files else self._fromDecnet()
        entries = checkEntries(self, self.file, readEntries(self.file))
        wins = {name for name in entries if self._take(name)}
        words: list[str] = []
        for name in wins:
            self.sources[name] = f"{self.file}:{entries[name].line}"
        for name, entry in entries.items():
            if name in wins:
                words += wordsOf(name, entry.value)
        return words + self._fromDecnet()

    def _fromDecnet(self) -> list[str]:
        """Options that nothing else gives, from DECNET's own configuration."""
        settings = readSettings(os.environ, self.decnetPath) if self.decnet else None
        if settings is None:
            return []
        self.decnetTrouble = settings.trouble
        words: list[str] = []
        for name, variables in self.decnet.items():
            found = settings.first(variables)
            if found is not None and self._take(name, found[1]):
                listed = found[0].split(",") if name in self.repeated else [found[0]]
                words += wordsOf(name, [one.strip() for one in listed if one.strip()])
        return words

    def _take(self, name: str, source: str | None = None) -> bool:
        """Whether no source of higher precedence has given an option, or an alternative."""
        others = {name}.union(*(one for one in self.alternatives if name in one))
        if others & self.sources.keys():
            return False
        if source is not None:
            self.sources[name] = source
        return True

    def _path(self, given: Sequence[str]) -> str | None:
        if given:
            return given[-1] or None
        path = os.path.join(self.directory, f"{self.service}.toml")
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # Never without the file because it cannot be read.
            raise usage.UsageError(
                f"{path}: {error.strerror}: let this user read it, or say --config="
            ) from None
        return path

    def listOptions(self, width: int | None) -> str:
        """The options in groups, after the ones that most people need."""
        every = self.longOpt
        own = [f"{name}=" if f"{name}=" in every else name for name in self.names]
        common = [word for word in own if word.rstrip("=") in self.common]
        groups: dict[str, list[str]] = {"What most people need": common}
        groups |= {title: [] for title, _ in self.groups.values()}
        for word in own:
            if word in common:
                continue
            groups[self.groups[self.groupOf(word.rstrip("="))][0]].append(word)
        groups["Other options"] = [word for word in every if word not in own]
        texts = []
        try:
            for title, words in groups.items():
                if words:
                    self.longOpt = words
                    listed = super().listOptions(width)
                    texts.append(f"{title}:{listed.removeprefix('Options:')}")
        finally:
            self.longOpt = every
        return "\n".join(texts)
