"""
The files near an output that may be its lost file, or a copy.

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

from ..files import COMPRESSED, isOpenForWriting, rotationsOf, stemsOf
from ..journal import FileLength
from ._copies import Copy

__all__ = ["findCopies"]

# A search looks at no more names than this, and no deeper below the output's directory.
NAMES_MAX = 20_000
DEPTH_MAX = 2

# A search opens no more files than this: the copies of a few rotations.
COPIES_MAX = 8


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
    for sibling in _entries(os.path.dirname(own)):
        if not _isDirectory(sibling) or sibling.path in seen:
            continue
        for entry in _entries(sibling.path):
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
