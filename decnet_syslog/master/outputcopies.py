"""
Where the octets of an output file are that is not under its name any more.

Others rotate our files: they rename them, copy them, compress them, move them to another
directory, also while no listener runs. What a killed listener had written last, and had not
counted, is then in the file they have made, and must not be written again.

What must be true: no octet counts as written because of a name. A L{Copy} has the octets
before the counted end (the anchor) at the same place, and behind them an octet counts only
when it was compared with what would be written. A worker can send what fills a file of ours,
so a file that begins like ours proves nothing.

What is looked at, in this order: the file itself, by device and inode, in the directory of
the output, in those below it and in those beside it; then files with the name of a rotated
copy (L{decnet_syslog.files}) in the same directories, the newest first. Each search is
bounded. What is elsewhere, on another file system perhaps, cannot be found.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ..durable import StorageFailed, syncDirectory
from ..files import (
    COMPRESSED,
    BadOctets,
    CannotDecode,
    codecOf,
    decoderFor,
    rotationsOf,
    stemsOf,
)
from .values import FileLength

__all__ = ["ANCHOR_OCTETS", "Copy", "EarlierFile", "common", "findCopies", "wholeLines"]

Events = Callable[..., None]

# The octets before what is counted, that a copy is recognised by.
ANCHOR_OCTETS = 1024

# Names that are looked at in one search, and how deep below the output's directory.
NAMES_MAX = 20_000
DEPTH_MAX = 2

# Files that are opened in one search: those of a few rotations.
COPIES_MAX = 8

# The clock of a file system that is elsewhere may be behind ours by so much, in seconds, and
# the kernel's for files by some milliseconds.
CLOCKS_DIFFER_S = 2.0

# What is read of an archive at a time.
PACKED_OCTETS = 32 * 1024

# Enough to tell how it is packed.
HEAD_OCTETS = 16


def common(ours: bytes, theirs: bytes) -> int:
    """How many octets two strings begin with alike."""
    most = min(len(ours), len(theirs))
    if ours[:most] == theirs[:most]:
        return most
    low = 0
    while most - low > 1:
        # Halves are compared at the speed of memory.
        middle = (low + most) // 2
        if ours[low:middle] == theirs[low:middle]:
            low = middle
        else:
            most = middle
    return low


def wholeLines(octets: bytes, count: int) -> int:
    """How many of the first C{count} octets are whole lines."""
    return octets.rfind(b"\n", 0, count) + 1


class _Unpacked:
    """
    The content of an archive, read from its beginning on; it goes back by beginning again.

    @ivar why: why it cannot be read to its end; C{None}: it can, as far as is known.
    """

    def __init__(self, descriptor: int, codec: str) -> None:
        self.why: str | None = None
        self._descriptor = descriptor
        self._codec = codec
        self._begin()

    def _begin(self) -> None:
        self._packedAt = 0
        # What was read last, and where that begins.
        self._at = 0
        self._block = b""
        self._isEnd = False
        try:
            self._decoder = decoderFor(self._codec)
        except CannotDecode as error:
            self._isEnd, self.why = True, str(error)

    def read(self, at: int, count: int) -> bytes:
        """
        Read octets of the content: less where it ends, or is damaged.

        @raise OSError: the archive cannot be read.
        """
        if at < self._at:
            self._begin()
        while not self._isEnd and at + count > self._at + len(self._block):
            more = self._next()
            # Kept from where it was asked for: after a failure the same is asked again.
            block = self._block + more
            gone = min(max(0, at - self._at), len(block))
            self._block = block[gone:]
            self._at += gone
        return self._block[at - self._at :][:count]

    def _next(self) -> bytes:
        while True:
            try:
                plain = self._decoder.read()
            except (BadOctets, CannotDecode) as error:
                # What came before it counts.
                self._isEnd, self.why = True, str(error)
                return b""
            if plain:
                return plain
            packed = os.pread(self._descriptor, PACKED_OCTETS, self._packedAt)
            if not packed:
                self._isEnd = True
                return b""
            self._packedAt += len(packed)
            self._decoder.feed(packed)


class Copy:
    """
    A file that may have what an output had, open for reading.

    @ivar path: where it was found.
    @ivar isItself: whether it is the output's own file, under another name.
    """

    def __init__(self, path: str, descriptor: int, isItself: bool) -> None:
        self.path = path
        self.isItself = isItself
        self._descriptor = descriptor
        head = os.pread(descriptor, HEAD_OCTETS, 0)
        codec = codecOf(os.path.basename(path), head)
        self._unpacked = None if codec is None else _Unpacked(descriptor, codec)

    @property
    def why(self) -> str | None:
        """Why an archive cannot be unpacked to its end; C{None}: nothing is known against it."""
        return None if self._unpacked is None else self._unpacked.why

    def read(self, at: int, count: int) -> bytes:
        """
        Read octets of the content, unpacked.

        @raise OSError: it cannot be read.
        """
        if self._unpacked is None:
            return os.pread(self._descriptor, count, at)
        return self._unpacked.read(at, count)

    def holds(self, recorded: FileLength) -> bool:
        """Whether it has what was before the end when the output was counted."""
        anchor = recorded.anchor
        try:
            return self.read(recorded.length - len(anchor), len(anchor)) == anchor
        except OSError:
            return False

    def isEnd(self, at: int) -> bool:
        """Whether nothing is behind a place."""
        return not self.read(at, 1)

    def complete(self, octets: bytes) -> bool:
        """
        Write the rest of a line that it ends in the middle of. Whether all of it was
        written: only the output's own file is written to.
        """
        if not self.isItself or self._unpacked is not None:
            return False
        path = f"/proc/self/fd/{self._descriptor}"
        try:
            writable = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.write(writable, octets) == len(octets)
        except OSError:
            return False
        finally:
            os.close(writable)

    def modified(self) -> float:
        """When it was last written, in seconds."""
        return os.fstat(self._descriptor).st_mtime

    def sync(self) -> None:
        """
        Bring it to disk, with its name: what it has is not written again.

        @raise OSError: the disk has failed.
        """
        try:
            os.fsync(self._descriptor)
            syncDirectory(Path(self.path).parent)
        except OSError as error:
            # Nothing to sync there; or moved again since, and its name is not counted on.
            if error.errno not in (
                errno.EINVAL,
                errno.EROFS,
                errno.ENOENT,
                errno.ENOTDIR,
            ):
                raise

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class EarlierFile:
    """
    The file that an output was last counted in, when it is not under its name any more and
    may have octets that come again.

    @ivar counted: how it was when it was counted; then, how far it was compared.
    """

    def __init__(self, path: str, counted: FileLength, events: Events) -> None:
        """Search for it."""
        self.counted = counted
        self._path = path
        self._events = events
        self._copies = findCopies(path, counted)
        # Whether the one copy that is left was seen to be one.
        self._isProved = False
        self._compared = b""

    def compare(self, octets: bytes, since: float) -> int | None:
        """
        Compare what comes next with what the file has.

        @param since: when the first of it was received: a copy of it is not older.
        @return: C{None}: it has all of that. Else how many octets, in whole lines; the rest
            is to be written to another file, and this is done with.
        @raise OSError: it cannot be read.
        @raise StorageFailed: it cannot be synced.
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
        if best > whole and chosen.isEnd(self.counted.length + best):
            rest = octets[best : octets.find(b"\n", best) + 1]
            if rest and chosen.complete(rest):
                whole = best + len(rest)
        if whole:
            self.sync()
        return whole

    def _choose(self, octets: bytes, since: float) -> tuple[int, Copy | None]:
        """The copy that has the most of some octets, and how many."""
        best, chosen = 0, None
        for copy in self._copies:
            if not (self._isProved or copy.holds(self.counted)):
                continue
            count = common(octets, copy.read(self.counted.length, len(octets)))
            if not (self.counted.length or copy.isItself) and (
                not count or copy.modified() < since - CLOCKS_DIFFER_S
            ):
                # Nothing was counted: it is known by these lines alone, and by its time.
                continue
            if chosen is None or count > best:
                best, chosen = count, copy
        return best, chosen

    def advance(self, octets: int, ahead: int) -> None:
        """So many of the octets that were compared last will not come again."""
        counted = self.counted
        anchor = (counted.anchor + self._compared[:octets])[-ANCHOR_OCTETS:]
        self._compared = b""
        self.counted = replace(
            counted, length=counted.length + octets, anchor=anchor, ahead=ahead
        )

    @property
    def isFound(self) -> bool:
        """Whether it was found, or a copy of it."""
        return self._isProved

    def isAtEnd(self) -> bool:
        """Whether it was found, and has nothing that was not compared."""
        return self._isProved and self._copies[0].isEnd(self.counted.length)

    def sync(self) -> None:
        """
        Bring it to disk: what it has is not written again.

        @raise StorageFailed: it is not known to be there.
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
        """Close what is open of it."""
        for copy in self._copies:
            copy.close()
        self._copies = []


def findCopies(path: str, recorded: FileLength) -> list[Copy]:
    """
    Open what may be an output's file, or have a copy of it: itself first, then the newest.

    @param recorded: how it was when it was counted. Without an anchor only a file that is
        itself, or one with the name of a rotated copy, is taken.
    """
    found: list[tuple[bool, int, str]] = []
    mayBeCopy = rotatedNamesOf(os.path.basename(path))
    for entry in _nearby(path):
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or entry.path == path:
            continue
        isItself = (status.st_dev, status.st_ino) == (recorded.device, recorded.inode)
        if isItself or mayBeCopy(entry.name):
            found.append((not isItself, -status.st_mtime_ns, entry.path))
    copies: list[Copy] = []
    for isOther, _, where in sorted(found)[:COPIES_MAX]:
        try:
            descriptor = os.open(
                where, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            )
        except OSError:
            # Compressed or deleted since, or not ours to read: no copy.
            continue
        try:
            copies.append(Copy(where, descriptor, not isOther))
        except OSError:
            os.close(descriptor)
    return copies


def rotatedNamesOf(base: str) -> Callable[[str], bool]:
    """
    Tell whether a name is that of a copy of an output: rotated, or the same name, also
    compressed, as it is in another directory.
    """
    same = {base, *[base + suffix for suffix in COMPRESSED]}
    stems = set(stemsOf(base))

    def mayBeCopy(name: str) -> bool:
        return name in same or any(True for _ in rotationsOf(name, {base}, stems))

    return mayBeCopy


def _nearby(path: str) -> Iterator[os.DirEntry[str]]:
    """
    The entries of the directory of a path, of those below it and of those beside it.

    A directory that may not be read is left out.
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
    parent = os.path.dirname(own)
    for beside in _entries(parent):
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
