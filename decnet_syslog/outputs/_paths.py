"""
The file that an output writes for each worker.

Requirement: no two pairs of output and worker ever share a file, and no such file is one of the
listener's other files. A worker's name becomes a part of a path, and names can be chosen to
collide: with C{--log-path {worker}}, a worker may have the name C{listener.db}, or the name
of another worker's file.

So an output uses a path with a worker's name only if nothing else can claim it. It refuses the
paths of the listener's other files and of rotated copies, a path to which another output has a
better claim, a path with the suffix of refused paths, and a path that is not a regular file.
A refused path becomes C{PATH.refused}; no other path ends like that. If
several outputs could refuse the same path, a checksum of output and worker follows.

Another program can put a directory in the place of a worker's file, and take it away again. So
a worker's lines may go on in another of its paths (L{WorkerPaths.possible}), also after a
restart; L{decnet_syslog.outputs._fileoutput} then skips what an earlier one has.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256

from ..errors import UserError
from ..files import rotationsOf, stemsOf
from ._interfaces import Events
from ._rendering import FORMATS, Format, otherOf

__all__ = ["PLACE", "REFUSED", "OutputPaths", "WorkerPaths", "WrongKind"]


# The placeholder of a worker's name.
PLACE = "{worker}"

# The suffix of refused paths, and the number of refusals that are logged.
REFUSED = ".refused"
REFUSED_MAX = 1024
_REFUSED = re.compile(rf"{re.escape(REFUSED)}(-[0-9a-f]{{16}})?\Z")

# To find the kind of an existing file: read this much of its end, look at this many lines, and
# at this many files of an output with {worker}.
TAIL_OCTETS = 256 * 1024
TAIL_LINES = 20
FILES_MAX = 1000


class WrongKind(UserError):
    """An output would append its lines to a file that ends with lines of another format."""


@dataclass(frozen=True)
class OutputPaths:
    """
    Everything that may claim a path.

    @ivar reserved: the paths of the listener's other files.
    @ivar outputs: kind (the name of its format) and absolute path of each output.
    @ivar force: whether an output may append to a file of another kind.
    """

    reserved: tuple[str, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    force: bool = False

    def of(self, kind: str, path: str, events: Events) -> WorkerPaths:
        """The paths for one output."""
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
    """The paths for one output."""

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
        @param rivals: the paths with C{PLACE} of outputs that take precedence.
        @param isOneOfMany: whether another output has C{PLACE}, too.
        """
        self._kind = kind
        self._path = path
        self._events = events
        self._reserved = reserved
        self._rivals = [rival.split(PLACE) for rival in rivals]
        self._isOneOfMany = isOneOfMany
        self._force = force
        # The names of reserved files, by directory.
        self._fixed: dict[str, set[str]] = {}
        for other in reserved:
            directory, name = os.path.split(other)
            self._fixed.setdefault(directory, set()).add(name)
        self._said: set[str] = set()

    def direct(self, worker: str) -> str:
        """The path with a worker's name in it. A name has no slash, and is not C{..}."""
        return self._path.replace(PLACE, worker)

    def usable(self, worker: str) -> str:
        """The path for a worker's lines."""
        path = self.direct(worker)
        if path == self._path or self._isOurs(path):
            return path
        instead, unique = self._refused(worker)
        if self._isOneOfMany or instead in self._reserved or not _mayBeOutput(instead):
            instead = unique
        if path not in self._said and len(self._said) < REFUSED_MAX:
            self._said.add(path)
            self._events("output-refused", path=path, instead=instead)
        return instead

    def possible(self, worker: str) -> list[str]:
        """All paths that a worker's lines can go to. No other worker's lines go there."""
        path = self.direct(worker)
        if path == self._path:
            return [path]
        return [*([path] if self._isUnclaimed(path) else []), *self._refused(worker)]

    def _refused(self, worker: str) -> tuple[str, str]:
        """The paths instead of a refused one: the usual, and the one that is always unique."""
        instead = self.direct(worker) + REFUSED
        owner = f"{self._kind}:{self._path}:{worker}"
        return instead, instead + "-" + sha256(owner.encode()).hexdigest()[:16]

    def _isOurs(self, path: str) -> bool:
        """Whether nothing else can claim a path, or stands there now."""
        return self._isUnclaimed(path) and _mayBeOutput(path)

    def _isUnclaimed(self, path: str) -> bool:
        """Whether nothing else can ever claim a path."""
        return not (
            _REFUSED.search(path)
            or path in self._reserved
            or any(_claims(rival, path) for rival in self._rivals)
            or self._isRotated(path)
        )

    def _isRotated(self, path: str) -> bool:
        """Whether rotation can give this name to a reserved file."""
        directory, name = os.path.split(path)
        names = self._fixed.get(directory, set())
        stems = {stem for fixed in names for stem in stemsOf(fixed)}
        return any(True for _ in rotationsOf(name, names, stems))

    def check(self, mine: Format, known: Collection[str]) -> None:
        """
        Check that existing files have lines of this output's format.

        @param mine: the format.
        @param known: the files that this output has written.
        @raise WrongKind: a file has others.
        """
        if self._force:
            return
        for path in self._existing():
            if path in known:
                continue
            other = otherOf(mine, _lastLines(path))
            if other is not None:
                # In the order of the options' list, whichever of the two it is.
                pair = [f for f in (*FORMATS.values(), mine) if f in (mine, other)]
                options = " and ".join([f"--{one.option}-path" for one in pair[:2]])
                raise WrongKind(
                    f"{path} ends with {other.words}, and {mine.words} would be appended to it:"
                    f" exchange {options}, or name another file; --force-output appends all the"
                    " same"
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
    """Whether an output with C{PLACE} can have a path, with some worker's name."""
    before, behind = template
    name = path[len(before) : len(path) - len(behind)]
    return (
        path.startswith(before)
        and path.endswith(behind)
        and len(path) > len(before) + len(behind)
        and "/" not in name
    )


def _mayBeOutput(path: str) -> bool:
    """Whether a path has a regular file, or none; or cannot be looked up."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return True


def _lastLines(path: str) -> list[bytes]:
    """The last whole lines of a file, without empty ones."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError:
        # There is none; or the output cannot open it either, and reports that.
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
