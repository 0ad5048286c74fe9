"""
Rotated copies of a log, recognized by name and directory.

A name is only a hint: it selects the files to examine, and their order. The octets of a file
decide which content it holds.

* The places are the directory of the log and, if the log is a symbolic link, the directory of
  every link on the way and of the file at its end: Kubernetes has
  C{/var/log/containers/x.log -> /var/log/pods/.../0.log} and rotates the latter. Every name on
  the way counts in every one of these directories.
* The user adds places and names with C{--rotated}: C{/var/log/old/} (with the slash, or an
  existing directory) adds a place for the usual names, C{/var/log/old/app_*} adds these names.
  Without a leading slash, the place is relative to the directory of each log, as with
  logrotate's C{olddir}.
* A followed log is never a rotated copy, whatever its name; neither is the target of a followed
  link.

Directories are canonical, that is, without symbolic links, so that each is read only once.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from ._rotations import rotationsOf, stemsOf

__all__ = ["RotatedIndex", "RotatedNames", "canonicalPath", "linksOf"]

# Maximum number of symbolic links to follow in a row: the kernel's own limit.
LINKS_MAX = 40

# The target of a link that is one of a series: kubelet writes the log of a container's Nth restart
# to N.log, and moves the link. The earlier files are older logs of the same container.
_NUMBERED = re.compile(r"([0-9]{1,9})\.log\Z")

# Maximum number of files before the target that are recognized.
PREDECESSORS_MAX = 16

# Maximum number of directories that one --rotated pattern expands to.
PATTERN_DIRECTORIES_MAX = 1024


def canonicalPath(path: str, known: dict[str, str] | None = None) -> str:
    """
    A path whose directory has no symbolic links; its last component may be one.

    @param known: canonical directories that were looked up before; new ones are added.
    """
    directory, name = os.path.split(path)
    if known is None:
        known = {}
    if directory not in known:
        known[directory] = os.path.realpath(directory or ".")
    return os.path.join(known[directory], name)


def linksOf(path: str, known: dict[str, str] | None = None) -> list[str]:
    """
    A path, and the paths that it leads to while they are symbolic links, canonical.

    @param known: as for L{canonicalPath}.
    """
    found = [canonicalPath(path, known)]
    while len(found) <= LINKS_MAX:
        try:
            target = os.readlink(found[-1])
        except OSError:
            # Not a link, or gone meanwhile.
            break
        beside = os.path.join(os.path.dirname(found[-1]), target)
        following = canonicalPath(beside, known)
        if following in found:
            break
        found.append(following)
    return found


@dataclass(slots=True)
class _Place:
    """
    The rotated names to recognize in a directory.

    @ivar logs: names of logs whose usual rotated names count here, and the paths they stand for.
    @ivar stems: the parts of these names before an extension.
    @ivar whole: names that are themselves those of older logs, and the paths they stand for.
    @ivar patterns: the name patterns of C{--rotated}, and the paths they apply to.
    """

    logs: dict[str, dict[str, None]] = field(default_factory=dict)
    stems: set[str] = field(default_factory=set)
    whole: dict[str, dict[str, None]] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], dict[str, None]]] = field(
        default_factory=list
    )

    def add(self, name: str, path: str) -> None:
        """Recognize the rotated copies of a path by one of its names."""
        if name not in self.logs:
            self.logs[name] = {}
            self.stems.update(stemsOf(name))
        self.logs[name][path] = None

    def addWhole(self, name: str, path: str) -> None:
        """Recognize an older log of a path by its name, and its rotated copies."""
        self.add(name, path)
        self.whole.setdefault(name, {})[path] = None

    def usual(self, name: str) -> dict[str, None]:
        """The paths for which a name is a usual rotated name."""
        found: dict[str, None] = dict(self.whole.get(name, {}))
        for rotation in rotationsOf(name, self.logs, self.stems):
            found.update(self.logs[rotation.base])
        return found


class RotatedIndex:
    """
    Maps a file name to the followed logs that the file may be a rotated copy of.

    The cost of a lookup grows with the number of cuts in the name, not with the number of
    logs. Links and directories are resolved once: build a new index after a link changes.

    @ivar chains: for each log, its path and the paths that its symbolic links lead to.
    """

    def __init__(
        self,
        paths: Iterable[str],
        patterns: Sequence[str] = (),
        former: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """
        @param paths: the logs that are followed, as configured or matched.
        @param patterns: the values of C{--rotated}.
        @param former: for each log, where its symbolic links led before: rotated copies may
            still have those names.
        """
        self.chains: dict[str, list[str]] = {}
        self._places: defaultdict[str, _Place] = defaultdict(_Place)
        self._live: set[str] = set()
        # All logs by name: a file that a pattern matches goes to the log that its name fits.
        self._byName = _Place()
        homes: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        known: dict[str, str] = {}
        for path in dict.fromkeys(paths):
            chain = self.chains[path] = linksOf(path, known)
            self._live.update(chain)
            for target in chain[1:]:
                for older in _predecessors(target):
                    name = os.path.basename(older)
                    self._places[os.path.dirname(older)].addWhole(name, path)
                    self._byName.add(name, path)
            chain = [*chain, *former.get(path, ())]
            names = list(dict.fromkeys(map(os.path.basename, chain)))
            for name in names:
                self._byName.add(name, path)
            for place in dict.fromkeys(map(os.path.dirname, chain)):
                for name in names:
                    self._places[place].add(name, path)
                for pattern in patterns:
                    homes[os.path.join(glob.escape(place), pattern)][path] = names
        for pattern, logs in homes.items():
            self._addHome(pattern, logs)

    def _addHome(self, pattern: str, logs: dict[str, list[str]]) -> None:
        """
        Add the places of a value of C{--rotated}.

        @param logs: the paths that it applies to, and their names.
        """
        parent, name = os.path.split(pattern)
        inside = _directories(pattern) if _isDirectory(pattern) else []
        for place in inside:
            for path, names in logs.items():
                for known in names:
                    self._places[place].add(known, path)
        if not inside and name:
            compiled = re.compile(fnmatch.translate(name))
            for place in _directories(parent):
                self._places[place].patterns.append((compiled, dict.fromkeys(logs)))

    def directories(self) -> list[str]:
        """Every directory where rotated copies may be, canonical."""
        return list(self._places)

    def isLive(self, directory: str, name: str) -> bool:
        """Whether a name in a canonical directory is a followed log, or the target of a link."""
        return os.path.join(directory, name) in self._live

    def pathsOf(self, directory: str, name: str) -> list[str]:
        """
        The followed logs that a file may be a rotated copy of, the likeliest first.

        @param directory: one of L{directories}.
        @param name: the name of a file there.
        """
        place = self._places.get(directory)
        if place is None or self.isLive(directory, name):
            return []
        found = place.usual(name)
        for compiled, logs in place.patterns:
            if compiled.match(name):
                fitting = [path for path in self._byName.usual(name) if path in logs]
                # If the name fits no log, the content decides.
                found.update(dict.fromkeys(fitting or logs))
        return list(found)

    def order(self, name: str) -> tuple[int, tuple[int, ...]]:
        """
        Sort key for the rotated copies of a log: the oldest copy sorts first.

        A newer copy has a lower number, or a later date. Only a hint, for copies that were
        modified at the same time.
        """
        place = self._byName
        ages = [r.age for r in rotationsOf(name, place.logs, place.stems)]
        return ages[0] if ages else _ageOfUnknown(name)


class RotatedNames:
    """
    Recognizes the rotated copies of a single log.

    @ivar path: the path of the log, as given.
    """

    def __init__(self, path: str, patterns: Sequence[str] = ()) -> None:
        """
        @param patterns: the values of C{--rotated}.
        """
        self.path = path
        self._index = RotatedIndex([path], patterns)

    def directories(self) -> list[str]:
        """Every directory where its rotated copies may be, canonical."""
        return self._index.directories()

    def matches(self, directory: str, name: str) -> bool:
        """Whether a file in one of L{directories} has the name of a rotated copy."""
        return bool(self._index.pathsOf(directory, name))

    def order(self, name: str) -> tuple[int, tuple[int, ...]]:
        """Sort key for its rotated copies: the oldest sorts first. Only a hint."""
        return self._index.order(name)


def _predecessors(target: str) -> Iterator[str]:
    """The paths of the logs before the target of a link, if it is numbered."""
    directory, name = os.path.split(target)
    number = _NUMBERED.match(name)
    if number is not None:
        last = int(number[1])
        for older in range(max(0, last - PREDECESSORS_MAX), last):
            yield os.path.join(directory, f"{older}.log")


def _isDirectory(pattern: str) -> bool:
    """Whether a pattern stands for directories, rather than for files in a directory."""
    if pattern.endswith("/"):
        return True
    name = os.path.basename(pattern)
    return not glob.has_magic(name) and any(map(os.path.isdir, glob.iglob(pattern)))


def _directories(pattern: str) -> list[str]:
    """Canonical directories that a directory pattern expands to; they need not exist."""
    pattern = pattern.rstrip("/") or "/"
    if not glob.has_magic(pattern):
        return [os.path.realpath(pattern)]
    found = filter(os.path.isdir, glob.iglob(pattern))
    first = islice(map(os.path.realpath, found), PATTERN_DIRECTORIES_MAX)
    return list(dict.fromkeys(first))


def _ageOfUnknown(name: str) -> tuple[int, tuple[int, ...]]:
    """Sort key for a name that only a pattern matches: the digits in it rise with time."""
    return 1, tuple(int(digits) for digits in re.findall("[0-9]{1,20}", name))
