"""
The search for an output's file that is not under its name any more.

Other programs rotate our files: they rename them, copy them, compress them, and move them to
other directories, also while no listener runs. That file then holds the last lines that a
killed listener wrote and did not count. They must not be written again.

Requirement: a name never proves that octets were written. A L{Copy} must hold the octets
before the counted end (the anchor) in the same place. After that, an octet counts only when
it equals the octet that the output would write next. A worker can choose lines that fill a
file of ours, so the beginning of a file proves nothing.

The search covers the output's directory, the directories below it, and sibling directories. The
file itself comes first, found by device and inode in any of them. Then come files with the names
of rotated copies (L{decnet_syslog.files}), the newest first; but not in a sibling directory, nor
in a directory that contains a file with the output's own name. Such a directory may belong to
another output or another listener, with files of the same octets. These are not our files: if
they counted, lines would be missing in ours. They count only in the search for the end of a file
that was deleted a moment ago, unless a process has them open for writing. The search is bounded.
It cannot find a file on another file system or in a distant directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace

from ..durable import StorageFailed
from ..files import COMPRESSED, isOpenForWriting, rotationsOf, stemsOf
from ..journal import FileLength
from ._copies import ANCHOR_OCTETS, Copy, common, wholeLines

__all__ = ["EarlierFile", "Events", "findCopies"]

Events = Callable[..., None]

# A search looks at no more names than this, and no deeper below the output's directory.
NAMES_MAX = 20_000
DEPTH_MAX = 2

# A search opens no more files than this: the copies of a few rotations.
COPIES_MAX = 8

# The clock of a remote file system may be this much behind ours, in seconds. The kernel's
# own file times are some milliseconds behind.
CLOCKS_DIFFER_S = 2.0


class EarlierFile:
    """
    The file that the cursor names, while it may hold octets that come again.

    @ivar counted: the file as the cursor has it; then, as far as it was compared.
    @ivar unlike: the chosen copy and the offset where it goes on with octets that the output
        would not write; C{None} if it does not.
    """

    def __init__(
        self,
        path: str,
        counted: FileLength,
        events: Events,
        former: str | None = None,
    ) -> None:
        """
        Search for the file and its copies.

        @param former: the path that the file had, if that is not C{path}.
        """
        self.counted = counted
        self.unlike: tuple[str, int] | None = None
        self._path = path
        self._events = events
        self._copies = findCopies(path, counted, former=former)
        # Whether one copy was chosen; the others are closed then.
        self._isProved = False
        self._compared = b""

    def compare(self, octets: bytes, since: float) -> int | None:
        """
        Compare the octets that come next with the file.

        @param since: the time when the first octet was received: a copy is not older.
        @return: C{None} if the file holds all of the octets. Otherwise the length of the whole
            lines that it holds: the rest goes to another file, and this object is finished.
        @raise OSError: the file cannot be read.
        @raise StorageFailed: the file cannot be synced.
        """
        best, chosen = self._choose(octets, since)
        unreadable = [(copy.path, copy.why) for copy in self._copies if copy.why]
        for copy in [copy for copy in self._copies if copy is not chosen]:
            copy.close()
            self._copies.remove(copy)
        if chosen is None:
            for where, why in unreadable:
                self._events("output-unreadable", path=self._path, copy=where, why=why)
            return 0
        if not self._isProved:
            self._isProved = True
            self._events("output-followed", path=self._path, copy=chosen.path)
        if best == len(octets):
            self._compared = octets
            return None
        whole = wholeLines(octets, best)
        if not chosen.isEnd(self.counted.length + best):
            self.unlike = chosen.path, self.counted.length + whole
        elif best > whole:
            rest = octets[best : octets.find(b"\n", best) + 1]
            if rest and chosen.complete(rest):
                whole = best + len(rest)
        # This includes octets from earlier calls: they count from now on, too.
        self.sync()
        return whole

    def _choose(self, octets: bytes, since: float) -> tuple[int, Copy | None]:
        """The copy with the longest common prefix, and the length of that."""
        best, chosen = 0, None
        for copy in self._copies:
            if not (self._isProved or copy.holds(self.counted)):
                continue
            count = common(octets, copy.read(self.counted.length, len(octets)))
            if not (
                self._isProved
                or self.counted.anchor
                or self._isEvidence(copy, octets, count, since)
            ):
                continue
            if chosen is None or count > best:
                best, chosen = count, copy
        return best, chosen

    def _isEvidence(self, copy: Copy, octets: bytes, count: int, since: float) -> bool:
        """
        Whether C{count} common octets identify a copy when the cursor has no anchor. An inode
        number alone does not: a new file can have that of a deleted one.
        """
        length = self.counted.length
        if copy.isItself:
            isAtEnd = length + count > 0 and copy.isEnd(length + count)
            return isAtEnd or wholeLines(octets, count) > 0
        isRecent = copy.modified() >= since - CLOCKS_DIFFER_S
        return isRecent and wholeLines(octets, count) > 0

    def advance(self, octets: int, ahead: int) -> None:
        """Move on: the first C{octets} of the last comparison do not come again."""
        counted = self.counted
        anchor = (counted.anchor + self._compared[:octets])[-ANCHOR_OCTETS:]
        self._compared = b""
        self.counted = replace(
            counted, length=counted.length + octets, anchor=anchor, ahead=ahead
        )

    @property
    def isFound(self) -> bool:
        """Whether the search found the file, or a copy."""
        return self._isProved

    def isAtEnd(self) -> bool:
        """Whether the file was found, and every octet was compared."""
        return self._isProved and self._copies[0].isEnd(self.counted.length)

    def sync(self) -> None:
        """
        Bring the file to disk: its octets are not written again.

        @raise StorageFailed: the file may not be on disk.
        """
        for copy in self._copies:
            try:
                copy.sync()
            except OSError as error:
                raise StorageFailed(
                    f"cannot sync {copy.path}, where the output {self._path} was:"
                    f" {error.strerror}"
                ) from error

    def close(self) -> None:
        """Close all files."""
        for copy in self._copies:
            copy.close()
        self._copies = []


def findCopies(
    path: str,
    recorded: FileLength,
    isJustMoved: bool = False,
    former: str | None = None,
) -> list[Copy]:
    """
    Open the file that an output was counted in, and files that may be copies.

    @param recorded: the file as it was counted.
    @param isJustMoved: the file was deleted a moment ago, and may have been moved to a sibling
        directory. Files there count unless a process has them open for writing, as it has the
        file of another output.
    @param former: the path whose copies are searched for, if that is not C{path}; in the same
        directory.
    @return: the file itself first, then the newest.
    """
    found: list[tuple[bool, int, str, bool]] = []
    base = os.path.basename(former or path)
    mayBeCopy = _copyNames(base)
    own = os.path.dirname(path)
    entries = list(_nearby(path))
    # Directories that may be another output's.
    strange = {
        os.path.dirname(entry.path)
        for entry in entries
        if entry.name == base and entry.path != path
    }
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or entry.path == path:
            continue
        isItself = (status.st_dev, status.st_ino) == (recorded.device, recorded.inode)
        place = os.path.dirname(entry.path)
        isOurs = place == own or (_isBelow(place, own) and place not in strange)
        if isItself or ((isOurs or isJustMoved) and mayBeCopy(entry.name)):
            isSure = isItself or isOurs
            found.append((not isItself, -status.st_mtime_ns, entry.path, isSure))
    copies: list[Copy] = []
    for isOther, _, where, isSure in sorted(found)[:COPIES_MAX]:
        try:
            descriptor = os.open(
                where, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            )
        except OSError:
            # Compressed or deleted since, or not readable for this user.
            continue
        if not isSure and isOpenForWriting(descriptor) is not False:
            os.close(descriptor)
            continue
        try:
            copies.append(Copy(where, descriptor, not isOther))
        except OSError:
            os.close(descriptor)
    return copies


def _isBelow(place: str, directory: str) -> bool:
    """Whether a directory is below another."""
    return place.startswith(directory.rstrip("/") + "/")


def _copyNames(base: str) -> Callable[[str], bool]:
    """
    Recognize the names of copies of an output: rotated names, and the same name in another
    directory or with the suffix of a compression program.
    """
    same = {base, *[base + suffix for suffix in COMPRESSED]}
    stems = set(stemsOf(base))

    def mayBeCopy(name: str) -> bool:
        return name in same or any(True for _ in rotationsOf(name, {base}, stems))

    return mayBeCopy


def _nearby(path: str) -> Iterator[os.DirEntry[str]]:
    """
    The entries of a path's directory, of the directories below it and of its siblings.

    Directories that cannot be read are left out.
    """
    own = os.path.dirname(path)
    seen = {own}
    level, depth, left = [own], 0, NAMES_MAX
    while level and depth <= DEPTH_MAX:
        below: list[str] = []
        for directory in level:
            for entry in _entries(directory):
                left -= 1
                if left < 0:
                    return
                yield entry
                if _isDirectory(entry) and entry.path not in seen:
                    seen.add(entry.path)
                    below.append(entry.path)
        level, depth = below, depth + 1
    for beside in _entries(os.path.dirname(own)):
        if not _isDirectory(beside) or beside.path in seen:
            continue
        for entry in _entries(beside.path):
            left -= 1
            if left < 0:
                return
            yield entry


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _isDirectory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
