"""
The rotated files of one path: which is the content of a bookmark, and which are new.

What must be true:

* a file is judged by content, once: opening and unpacking costs, and directories change
  for other reasons than ours. The judgement holds as long as inode, size and time of
  change are the same;
* "it is gone" is said only of what is gone. A file that cannot be opened now, a file
  that was renamed while we looked, is looked at again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .beside import oldestFirst, siblings
from .bookmarks import Bookmark
from .incarnation import Incarnation
from .rotation import (
    HEAD_OCTETS,
    beginningOf,
    fits,
    gzipOutline,
    openSibling,
    startOf,
)

__all__ = ["Found", "Rotated"]

# How often the names are gone through again because they have changed meanwhile.
SEARCHES_MAX = 5

# Looks until a compressed file that does not fit on the disk is unpacked again: each time
# costs what the disk has left.
FULL_LOOKS = 100


@dataclass(frozen=True)
class Found:
    """
    An open rotated file.

    @ivar past: the finished incarnation that it is, with octets behind its end; C{None}
        if it is new.
    @ivar older: the rotated files that are older than it.
    """

    path: str
    descriptor: int
    status: os.stat_result
    past: Bookmark | None = None
    older: Sequence[str] = ()

    def has(self, mark: Bookmark) -> bool:
        """Whether it is the file of a bookmark itself, renamed, and no copy."""
        return not self.path.endswith(".gz") and _sameInode(self.status, mark)

    def at(self, mark: Bookmark) -> Bookmark:
        """A bookmark of the content, with the inode that it has here."""
        return replace(mark, device=self.status.st_dev, inode=self.status.st_ino)


_Key = tuple[int, int, int, int]


class Rotated:
    """
    What rotation has made of a path.

    @ivar incomplete: whether the last look could not judge every file.
    @ivar refused: the files that may not be read, and why; each is told once.
    """

    def __init__(self, path: str, held: Path) -> None:
        """
        @param held: the directory for temporary files.
        """
        self._path = path
        self._held = held
        self._judged: dict[_Key, Incarnation | None] = {}
        self._full: dict[_Key, int] = {}
        self._refused: set[tuple[int, int]] = set()
        self.incomplete = False
        self.refused: list[tuple[str, str]] = []

    def paths(self) -> list[str]:
        """The rotated files, oldest first."""
        return siblings(self._path)

    def find(self, mark: Bookmark, kept: Path | None = None) -> Found | None:
        """
        Open the file that has the content of a bookmark.

        @param kept: where its own copy would be.
        @raise OSError: it may be there, and cannot be read now.
        """
        for _ in range(SEARCHES_MAX):
            paths = self.paths()
            first = [] if kept is None else [str(kept)]
            more = [p for p in self._byInode(mark.inode) if p != self._path]
            found = self._search(mark, [*first, *reversed(paths), *more])
            # A file that is renamed while we look is missed at its old and its new name.
            if found is not None or paths == self.paths():
                return found
        return None

    def hasPart(self, mark: Bookmark) -> bool:
        """Whether there is a copy that was made before the last octets that we know came."""
        for path in self.paths():
            try:
                outline = gzipOutline(path)
                if outline is not None:
                    head, size = outline
                    part = 0 < size < mark.offset and mark.head.startswith(head)
                elif path.endswith(".gz"):
                    continue
                else:
                    found = self._open(path)
                    if found is None:
                        continue
                    part = startOf(found.descriptor, mark)
                    os.close(found.descriptor)
            except OSError:
                continue
            if part:
                return True
        return False

    def sealed(self) -> list[str]:
        """Rotated files that are compressed in a way that we cannot unpack."""
        try:
            return siblings(self._path, True)
        except OSError:
            return []

    def _search(self, mark: Bookmark, paths: list[str]) -> Found | None:
        paths.sort(key=lambda path: not _sameFile(path, mark))
        for path in paths:
            try:
                found = self._open(path, mark.head)
            except PermissionError:
                if _sameFile(path, mark):
                    raise
                continue
            if found is None:
                continue
            # Compressing makes a new file: one with the inode that we look for has got it
            # from a file that was deleted.
            same = not path.endswith(".gz") and _sameInode(found.status, mark)
            if fits(found.descriptor, mark, same):
                return found
            os.close(found.descriptor)
        return None

    def _byInode(self, inode: int) -> list[str]:
        """What is beside the path by whatever name, with an inode."""
        try:
            entries = list(os.scandir(os.path.dirname(self._path)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [e.path for e in entries if inode and e.inode() == inode]

    def _open(self, path: str, head: bytes = b"") -> Found | None:
        try:
            before = os.stat(path)
        except FileNotFoundError:
            return None
        descriptor = openSibling(path, self._held, head)
        if descriptor is None:
            return None
        # Of a compressed file the descriptor is a temporary file's.
        status = before if path.endswith(".gz") else os.fstat(descriptor)
        if (before.st_dev, before.st_ino) != (status.st_dev, status.st_ino):
            # Another file got the name meanwhile.
            os.close(descriptor)
            self.incomplete = True
            return None
        return Found(path, descriptor, status)

    def unknown(
        self,
        incarnations: list[Incarnation],
        finished: Sequence[Bookmark],
        live: int | None,
        names: Sequence[str] | None = None,
    ) -> Iterator[Found]:
        """
        Those that are neither being read nor finished, oldest first.

        @param incarnations: those that are being read; may grow meanwhile.
        @param names: of the rotated files, as they were a moment ago; C{None}: as they are.
        @param live: what has the path now, if it is not among them yet.
        """
        self.incomplete = False
        self.refused = []
        judged, self._judged = self._judged, {}
        full, self._full = self._full, {}
        known = list(incarnations)
        try:
            paths = self.paths() if names is None else oldestFirst(names)
        except OSError:
            self._judged, self._full = judged, full
            self.incomplete = True
            return
        for index, path in enumerate(paths):
            status = None
            try:
                status = os.stat(path)
                key = _key(status)
                if key in judged:
                    of = judged[key]
                    if of is not None:
                        of.source = path
                    self._judged[key] = of
                    continue
                if full.get(key, 0) > 0:
                    self._full[key] = full[key] - 1
                    self.incomplete = True
                    continue
                found = self._judge(path, status, incarnations, finished, live)
            except FileNotFoundError:
                self.incomplete = True
                continue
            except OSError as error:
                self.incomplete = True
                if status is not None and error.errno == errno.ENOSPC:
                    self._full[_key(status)] = FULL_LOOKS
                inode = None if status is None else (status.st_dev, status.st_ino)
                if inode is not None and inode not in self._refused:
                    self._refused.add(inode)
                    self.refused.append((path, error.strerror or str(error)))
                continue
            if found is not None:
                yield replace(found, older=paths[:index])
        if not self.incomplete:
            there = {id(of) for of in self._judged.values()}
            for incarnation in known:
                incarnation.orphaned = (
                    incarnation.unpacked and id(incarnation) not in there
                )

    def _judge(
        self,
        path: str,
        status: os.stat_result,
        incarnations: list[Incarnation],
        finished: Sequence[Bookmark],
        live: int | None,
    ) -> Found | None:
        """A file if it is news; what it is otherwise is remembered."""
        for incarnation in incarnations:
            # Of one that is gone the inode may be another's by now.
            open_ = incarnation.descriptor is not None and not incarnation.changed
            # What was unpacked does not keep its inode from being another file's.
            held = (
                not incarnation.unpacked or incarnation.modified == status.st_mtime_ns
            )
            if open_ and held and _sameInode(status, incarnation.bookmark):
                incarnation.source = path
                self._judged[_key(status)] = incarnation
                return None
        outline = gzipOutline(path)
        if outline is not None and any(
            _outlined(outline, mark) for mark in finished if mark.head
        ):
            self._judged[_key(status)] = None
            return None
        found = self._open(path)
        if found is None:
            # Still being compressed, or broken: it is looked at when it has changed.
            self._judged[_key(status)] = None
            return None
        descriptor = found.descriptor
        size = os.fstat(descriptor).st_size
        if size == 0:
            # Nobody's copy: an empty file is the beginning of all.
            self._judged[_key(status)] = None
            os.close(descriptor)
            return None
        if live is not None and beginningOf(descriptor, live):
            # A copy that is being made of what is about to begin.
            self.incomplete = True
            os.close(descriptor)
            return None
        for incarnation in incarnations:
            if _copyOf(descriptor, incarnation):
                incarnation.source = path
                self._judged[_key(status)] = incarnation
                os.close(descriptor)
                return None
        for incarnation in incarnations:
            incarnation.look()
        if any(i.changed and not i.seeking for i in incarnations):
            # It was truncated while we compared: the copy may have been half of it.
            self.incomplete = True
            os.close(descriptor)
            return None
        past = None
        for mark in finished:
            # What is longer and no later write to the same file only begins alike.
            grown = size > mark.offset and not _sameInode(status, mark)
            if fits(descriptor, mark, False) and (not grown or path.endswith(".gz")):
                past = mark
        # A copy of a part of something finished, made to look at, is nothing new either.
        part = any(startOf(descriptor, mark) for mark in finished)
        if part or (past is not None and size <= past.offset):
            self._judged[_key(status)] = None
            os.close(descriptor)
            return None
        return replace(found, past=past)


def _key(status: os.stat_result) -> _Key:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _sameInode(status: os.stat_result, mark: Bookmark) -> bool:
    return (status.st_dev, status.st_ino) == (mark.device, mark.inode)


def _sameFile(path: str, mark: Bookmark) -> bool:
    try:
        return _sameInode(os.stat(path), mark)
    except OSError:
        return False


def _outlined(outline: tuple[bytes, int], mark: Bookmark) -> bool:
    """Whether head and size of a compressed file are those of a finished incarnation."""
    head, size = outline
    whole = min(HEAD_OCTETS, mark.offset)
    return size == mark.offset % 2**32 and len(mark.head) >= whole and head == mark.head


def _copyOf(descriptor: int, incarnation: Incarnation) -> bool:
    """Whether a file is a copy of what is being read, or of its beginning."""
    whole = incarnation.descriptor
    if whole is not None:
        return beginningOf(descriptor, whole)
    where = replace(
        incarnation.bookmark,
        offset=min(incarnation.position, incarnation.size),
        anchor=incarnation.anchor,
    )
    if where.head and fits(descriptor, where, False):
        return True
    # Its content is gone; a copy that logrotate made before the last octets came is not.
    return startOf(descriptor, replace(where, offset=incarnation.size))
