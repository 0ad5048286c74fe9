"""--log-path and --json-path, and the outputs that they name."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python import usage

from ..options import Described
from .feeds import Output
from .outputprocess import ListenerLock, RemoteOutput
from .outputs import FileOutput
from .rendering import renderRaw

__all__ = ["OUTPUT_EVENTS", "OutputOptions", "makeOutputs"]

_log = Logger()


class OutputOptions(Described):
    """Where the lines go. C{paths}: by kind, once L{checkPaths} was called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths: dict[str, list[str]] = {"log": [], "json": []}

    def opt_log_path(self, path: str) -> None:
        """Raw lines go here; {worker}: a file for each sender; "": off; repeatable [master.log]"""
        self.paths["log"].append(path)

    def opt_json_path(self, path: str) -> None:
        """JSON records go here; {worker}, "" and repeating as for --log-path [master.json]"""
        self.paths["json"].append(path)

    def checkPaths(self) -> None:
        """
        Fill in what was not given.

        @raise usage.UsageError: what was given does not do.
        """
        for kind, paths in self.paths.items():
            given = paths or [f"master.{kind}"]
            self.paths[kind] = [
                os.path.abspath(os.path.expanduser(p)) for p in given if p
            ]
        every = self.paths["log"] + self.paths["json"]
        if len(set(every)) != len(every):
            raise usage.UsageError("two outputs have the same path")
        for path in every:
            name = os.path.basename(path)
            if path.count("{worker}") > 1 or (
                "{worker}" in path and "{worker}" not in name
            ):
                raise usage.UsageError(
                    f"{path}: {{worker}} stands once, in the name of the file"
                )
            if not os.path.isdir(os.path.dirname(path)):
                raise usage.UsageError(
                    f"no directory {os.path.dirname(path)} for the output"
                    f" {os.path.basename(path)}: make it, or choose another path"
                )

    def beside(self, name: str) -> str:
        """The path of a file of ours beside the first output."""
        logs = self.paths["log"]
        return os.path.join(os.path.dirname(logs[0]) if logs else os.getcwd(), name)


# What others do to our outputs, and what became of it. That they are renamed is how they
# are rotated.
OUTPUT_EVENTS = {
    "output-renamed": (
        LogLevel.info,
        "{path} was renamed: going on in a new file",
    ),
    "output-truncated": (
        LogLevel.warn,
        "{path} was truncated, from {expected} octets to {size}: going on at its end; what"
        " nobody has copied is gone",
    ),
    "output-foreign-write": (
        LogLevel.warn,
        "somebody else writes to {path}: it has {size} octets and not {expected}; going on at"
        " its end",
    ),
    "output-mended": (
        LogLevel.warn,
        "{path} had {octets} octets at {offset} that were not on disk when the power failed:"
        " written again",
    ),
    "output-refused": (
        LogLevel.warn,
        "{path} is no file of this output's: a worker's lines go to {instead}",
    ),
}


def _event(name: str, **facts: Any) -> None:
    level, words = OUTPUT_EVENTS[name]
    _log.emit(level, words, name=name, **facts)


def makeOutputs(
    options: OutputOptions, lock: ListenerLock, ours: Collection[str]
) -> list[Output]:
    """
    The outputs that the options name.

    @param lock: held by whoever writes.
    @param ours: paths of our other files: no worker's name makes one of them an output's.
    """
    reserved = [*ours, *options.paths["log"], *options.paths["json"]]
    outputs: list[Output] = [
        FileOutput("raw", path, renderRaw, _event, reserved)
        for path in options.paths["log"]
    ]
    outputs += [
        RemoteOutput("json", path, _event, lock, reserved)
        for path in options.paths["json"]
    ]
    return outputs
