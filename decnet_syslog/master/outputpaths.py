"""
Which file an output writes for a worker.

What must be true: no two of (output, worker) ever share a file, and none is another file of
the listener. A worker's name becomes a part of a path, and names may be chosen to collide:
with C{{worker}} for C{--log-path} a worker may be called C{listener.db}, or as another
worker's file.

So a path that a worker's name makes is used only when nothing else can claim it. It is
I{refused} when it is another file of ours or the rotated copy of one, when another output has
a better claim to it, when it ends as the paths of refused ones do, or when something that is
no regular file is there. A refused one writes beside it, to C{PATH.refused}, which no path
that is not refused ends with. Where two could be refused the same path, as with several
outputs, a checksum of output and worker follows. Which path it is depends on nothing that
has happened before: after a restart it is the same.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256

from ..errors import UserError
from ..files import rotationsOf, stemsOf

__all__ = ["PLACE", "REFUSED", "OutputPaths", "WorkerPaths", "WrongKind"]

Events = Callable[..., None]

# What stands for a worker's name.
PLACE = "{worker}"

# What is put behind a path that a worker's name makes and that is taken.
REFUSED = ".refused"
REFUSED_MAX = 1024
_REFUSED = re.compile(rf"{re.escape(REFUSED)}(-[0-9a-f]{{16}})?\Z")

# Of a file that was there before us: what is read to see of which kind it is, the last lines
# that are looked at, and how many files of a {worker} output.
TAIL_OCTETS = 256 * 1024
TAIL_LINES = 20
FILES_MAX = 1000


class WrongKind(UserError):
    """What a file ends with is of another kind than what an output would append."""


@dataclass(frozen=True)
class OutputPaths:
    """
    All that may claim a path.

    @ivar reserved: paths of the listener's other files.
    @ivar outputs: kind and path of each output, absolute.
    @ivar force: whether an output may append to a file of another kind.
    """

    reserved: tuple[str, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    force: bool = False

    def of(self, kind: str, path: str, events: Events) -> WorkerPaths:
        """What one of the outputs needs to know."""
        own = (kind, path)
        templates = [output for output in self.outputs if PLACE in output[1]]
        rivals = [
            other[1]
            for index, other in enumerate(templates)
            if other != own
            and (
                len(other[1]) > len(path)
                or (
                    len(other[1]) == len(path)
                    and own in templates
                    and index < templates.index(own)
                )
            )
        ]
        fixed = [other for _, other in self.outputs if PLACE not in other]
        return WorkerPaths(
            kind,
            path,
            events,
            {*self.reserved, *fixed},
            rivals,
            len(templates) > 1,
            self.force,
        )


class WorkerPaths:
    """The paths of one output."""

    def __init__(
        self,
        kind: str,
        path: str,
        events: Events,
        reserved: Collection[str],
        rivals: Collection[str],
        isOneOfMany: bool,
        force: bool,
    ) -> None:
        """
        @param rivals: paths of other outputs, with C{PLACE}, that come before this one.
        @param isOneOfMany: whether other outputs have C{PLACE}, too.
        """
        self._kind = kind
        self._path = path
        self._events = events
        self._reserved = reserved
        self._rivals = [rival.split(PLACE) for rival in rivals]
        self._isOneOfMany = isOneOfMany
        self._force = force
        # Names of fixed files, by directory, and what comes before their extensions.
        self._fixed: dict[str, set[str]] = {}
        for other in reserved:
            directory, name = os.path.split(other)
            self._fixed.setdefault(directory, set()).add(name)
        self._said: set[str] = set()

    def direct(self, worker: str) -> str:
        """The path that a worker's name makes. A name has no slash, and is not C{..}."""
        return self._path.replace(PLACE, worker)

    def usable(self, worker: str) -> str:
        """The path for a worker's lines."""
        path = self.direct(worker)
        if path == self._path or self._isOurs(path):
            return path
        instead = path + REFUSED
        if self._isOneOfMany or instead in self._reserved or not _mayBeOutput(instead):
            owner = f"{self._kind}:{self._path}:{worker}"
            instead += "-" + sha256(owner.encode()).hexdigest()[:16]
        if path not in self._said and len(self._said) < REFUSED_MAX:
            self._said.add(path)
            self._events("output-refused", path=path, instead=instead)
        return instead

    def _isOurs(self, path: str) -> bool:
        """Whether a path that a name makes may be used as it is."""
        return not (
            _REFUSED.search(path)
            or path in self._reserved
            or any(_claims(rival, path) for rival in self._rivals)
            or self._isRotated(path)
        ) and _mayBeOutput(path)

    def _isRotated(self, path: str) -> bool:
        """Whether rotation would give one of the other files this name."""
        directory, name = os.path.split(path)
        names = self._fixed.get(directory, set())
        stems = {stem for fixed in names for stem in stemsOf(fixed)}
        return any(True for _ in rotationsOf(name, names, stems))

    def check(self, known: Collection[str]) -> None:
        """
        See whether files that are there are of this output's kind.

        @param known: files that this output has written.
        @raise WrongKind: one is not.
        """
        if self._force:
            return
        for path in self._existing():
            if path not in known and _isOtherKind(self._kind, path):
                to, of = ("JSON records", "raw lines")
                if self._kind != "json":
                    to, of = of, to
                raise WrongKind(
                    f"{path} ends with {of}, and {to} would be appended to it: exchange"
                    " --log-path and --json-path, or name another file; --force-output"
                    " appends all the same"
                )

    def _existing(self) -> Iterator[str]:
        if PLACE not in self._path:
            yield self._path
            return
        directory = os.path.dirname(self._path)
        try:
            names = os.listdir(directory)
        except OSError:
            return
        paths = sorted([os.path.join(directory, name) for name in names])
        mine = [p for p in paths if _claims(self._path.split(PLACE), p)]
        yield from [p for p in mine if self._isOurs(p)][:FILES_MAX]


def _claims(template: list[str], path: str) -> bool:
    """Whether an output with C{PLACE} in its path makes a path of some worker's name."""
    before, behind = template
    name = path[len(before) : len(path) - len(behind)]
    return (
        path.startswith(before)
        and path.endswith(behind)
        and len(path) > len(before) + len(behind)
        and "/" not in name
    )


def _mayBeOutput(path: str) -> bool:
    """Whether there is a regular file, or nothing, or nothing can be seen."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return True


def _isOtherKind(kind: str, path: str) -> bool:
    """Whether a file ends with lines of the other kind only."""
    lines = _lastLines(path)
    if not lines:
        return False
    records = [_isRecord(line) for line in lines]
    return not any(records) if kind == "json" else all(records)


def _lastLines(path: str) -> list[bytes]:
    """The last lines of a file that are whole and have something in them."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError:
        # Nothing is there, or it cannot be written either, which is reported then.
        return []
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return []
        at = max(0, status.st_size - TAIL_OCTETS)
        octets = os.pread(descriptor, TAIL_OCTETS, at)
    except OSError:
        return []
    finally:
        os.close(descriptor)
    begin = octets.find(b"\n") + 1 if at else 0
    whole = octets[begin : octets.rfind(b"\n") + 1]
    return [line for line in whole.split(b"\n") if line.strip(b"\0 \t\r")][-TAIL_LINES:]


def _isRecord(line: bytes) -> bool:
    """Whether a line is a record as we write them, or DECNET's own listener."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"source_worker", "raw_line"} <= record.keys()
