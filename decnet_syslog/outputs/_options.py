"""The options of the outputs' paths, one for each format, and the outputs that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from functools import partial

from twisted.logger import Logger, LogLevel
from twisted.python import usage

from ..boundaries import OptionValue
from ..configuration import COMMON_GROUPS, Configured
from ..options import MachineError, nearest
from ._fileoutput import FileOutput
from ._interfaces import IOutput
from ._paths import PLACE, OutputPaths
from ._process import ListenerLock, RemoteOutput
from ._rendering import FORMATS, RAW, Format

__all__ = ["OUTPUT_EVENTS", "OUTPUT_FLAGS", "OutputOptions", "makeOutputs"]

OUTPUT_FLAGS = [
    [
        "force-output",
        None,
        "Append to an output file also when it ends with lines of the other kind",
    ],
]

# Linux has 255. A worker's name has 64 at most, and a path that is refused gets 25 more.
NAME_OCTETS_MAX = 160

_log = Logger()


class OutputOptions(Configured):
    """
    The outputs' paths.

    @ivar paths: the paths of each format in L{FORMATS}, by its C{option}; absolute after
        L{checkPaths}.
    """

    groups = {
        "outputs": ("Where to write", ("force-output",)),
        "journal": ("Journal", ("journal", "journal-.*", "state")),
        **COMMON_GROUPS,
    }

    def __init__(self) -> None:
        super().__init__()
        self.paths: dict[str, list[str]] = {}
        self._defaults: dict[str, list[str]] = {}
        for format in FORMATS.values():
            self.paths[format.option] = []
            default = format.default
            self._defaults[format.option] = [] if default is None else [default]
            self._addOption(f"{format.option}-path", format)
        title, names = self.groups["outputs"]
        options = [f"{kind}-path" for kind in self.paths]
        self.groups = {**self.groups, "outputs": (title, (*options, *names))}
        self.repeated = {**self.repeated, **dict.fromkeys(options, "paths")}

    def _addOption(self, name: str, format: Format) -> None:
        """Add an option: Twisted finds only those that the class has."""
        self.longOpt.append(f"{name}=")
        self.docs[name] = format.help
        self.synonyms[name] = name
        self._dispatch[name] = partial(self._addPath, format.option)

    def _addPath(self, kind: str, name: str, path: str) -> None:
        self.paths[kind].append(path)

    def valueOf(self, name: str) -> OptionValue:
        """As of L{Configured}; the paths of an output: C{""} if it has none."""
        paths = self.paths.get(name.removesuffix("-path"))
        return super().valueOf(name) if paths is None else paths or [""]

    def pathOptions(self, conjunction: str) -> str:
        """The options of the paths, in words of an error message."""
        *most, last = [f"--{kind}-path" for kind in self.paths]
        return f"{', '.join(most)} {conjunction} {last}" if most else last

    @property
    def allPaths(self) -> list[str]:
        """The paths of all outputs, in the order of the formats."""
        return [path for paths in self.paths.values() for path in paths]

    def checkPaths(self) -> None:
        """
        Fill in the defaults.

        @raise usage.UsageError: the given paths cannot be used.
        """
        for kind, paths in self.paths.items():
            given = paths or self._defaults[kind]
            self.paths[kind] = [
                os.path.abspath(os.path.expanduser(p)) for p in given if p
            ]
        every = [(kind, path) for kind, paths in self.paths.items() for path in paths]
        seen: set[str] = set()
        for kind, path in every:
            if path in seen:
                raise usage.UsageError(
                    f"two outputs have the same path: --{kind}-path {path}"
                )
            seen.add(path)
        for kind, path in every:
            wrong = _wrongPath(path)
            if wrong:
                raise usage.UsageError(f"--{kind}-path {path}: {wrong}")
        for kind, path in every:
            if os.path.isdir(path):
                raise MachineError(
                    f"--{kind}-path {path} is a directory: give the path of a file in it"
                )

    def beside(self, name: str) -> str:
        """The path of one of our files in the directory of the first output."""
        logs = self.paths.get(RAW.option)
        return os.path.join(os.path.dirname(logs[0]) if logs else os.getcwd(), name)


def _wrongPath(path: str) -> str | None:
    """The reason why a path cannot be an output's; C{None}: it can."""
    directory, name = os.path.split(path)
    placed = re.search(r"\{[^{}]*\}|[{}]", path.replace(PLACE, ""))
    if placed:
        return (
            f"only {PLACE} may be in braces; it stands for the sender's name"
            f"{nearest(placed[0], [PLACE])}"
        )
    if path.count(PLACE) > 1 or PLACE in directory:
        return f"{PLACE} may occur once, in the name of the file"
    if len(os.fsencode(name)) > NAME_OCTETS_MAX:
        return (
            f"the name of the file is too long; at most {NAME_OCTETS_MAX} octets are"
            " allowed"
        )
    return None


# Changes of our outputs by other programs, and how the output goes on. Renaming is usual: it
# is how files are rotated.
OUTPUT_EVENTS = {
    "output-renamed": (
        LogLevel.info,
        "{path} was renamed or deleted: going on in a new file",
    ),
    "output-followed": (
        LogLevel.info,
        "{path} was rotated to {copy} while the listener was down: the lines in that file are"
        " not written again",
    ),
    "output-lost": (
        LogLevel.warn,
        "{path} was moved away while the listener was down, and cannot be found: it may hold"
        " lines received from {since} to {until}, which are written again; rotate an output"
        " in its own directory, or to a directory below",
    ),
    "output-unlike": (
        LogLevel.warn,
        "{copy} has octets from {offset} on that this listener would not write: another program"
        " wrote them, or an earlier version of the listener; in that case {path} gets lines"
        " again that were received from {since} to {until}",
    ),
    "output-unreadable": (
        LogLevel.warn,
        "{copy} may be a copy of {path}, but cannot be read: {why}",
    ),
    "output-older": (
        LogLevel.info,
        "{path} is older than this journal: workers may send lines again that are in its"
        " first {octets} octets, received until {until}",
    ),
    "output-rewritten": (
        LogLevel.warn,
        "{path} was deleted while lines were written to it, and no copy can be found: its"
        " last {octets} octets, from {offset} on, are written again to the new file, because"
        " a copy may lack them",
    ),
    "output-hole": (
        LogLevel.warn,
        "{path} was not among the outputs for a time: it lacks lines received from {since} to"
        " {until} ({batches} batches); the other outputs have them",
    ),
    "output-truncated": (
        LogLevel.warn,
        "{path} was truncated, from {expected} octets to {size}: going on at its end; lines"
        " are gone unless they were copied before",
    ),
    "output-foreign-write": (
        LogLevel.warn,
        "another program writes to {path}: it has {size} octets instead of {expected}; going"
        " on at its end",
    ),
    "output-mended": (
        LogLevel.warn,
        "{path} lacked {octets} octets at {offset} that were not on disk when the power"
        " failed: written again",
    ),
    "output-refused": (
        LogLevel.warn,
        "{path} cannot be a worker's file: its lines go to {instead}",
    ),
}


def _event(name: str, **facts: object) -> None:
    level, words = OUTPUT_EVENTS[name]
    _log.emit(level, words, name=name, **facts)


def makeOutputs(
    options: OutputOptions, lock: ListenerLock, ours: Collection[str]
) -> list[IOutput]:
    """
    Make the outputs that the options name.

    @param lock: the lock that writing processes hold.
    @param ours: paths of the listener's other files, which no output may use.
    """
    every = [
        (format, path)
        for format in FORMATS.values()
        for path in options.paths[format.option]
    ]
    paths = OutputPaths(
        tuple(ours),
        tuple([(format.name, path) for format, path in every]),
        bool(options["force-output"]),
    )
    return [
        RemoteOutput(format, path, _event, lock, paths)
        if format.ownProcess
        else FileOutput(format, path, _event, paths)
        for format, path in every
    ]
