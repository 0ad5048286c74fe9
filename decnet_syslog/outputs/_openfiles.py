"""
The files of an output: the open ones, and for each path the file that the journal has.

An output with C{{worker}} in its path has as many files as workers. It keeps a bounded number of
them open.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..journal import FileLength
from ._deleted import Opens
from ._file import NO_FILE, OutputFile
from ._interfaces import Events

__all__ = ["OpenFiles"]

# Files that an output with a {worker} in its path keeps open.
OPEN_FILES_MAX = 256


class OpenFiles:
    """
    The open files by path, in the order of their last use, and what the journal must learn.

    @ivar open: the open files.
    @ivar opens: tells which files other programs open.
    @ivar unrecorded: paths whose file has changed in a way that the journal must have first.
    """

    def __init__(self, events: Events) -> None:
        self.open: dict[str, OutputFile] = {}
        self.unrecorded: set[str] = set()
        self._events = events
        # The files in the journal, and the ones that have changed since.
        self._saved: dict[str, FileLength] = {}
        self._moved: dict[str, FileLength] = {}
        # Paths whose file this process closed without a surplus.
        self._finished: set[str] = set()
        # For a path whose next file continues that of another path of the same worker: the other
        # path.
        self._after: dict[str, str] = {}
        self.opens = Opens()
        # The sizes of the files at the last check for opens.
        self._sizes: dict[str, int] = {}

    def start(self, saved: Mapping[str, FileLength]) -> None:
        """Begin with the files that the journal has."""
        self._saved = dict(saved)

    def use(self, path: str) -> OutputFile:
        """
        The open file for a path; the last one used is the last one to be closed.

        @raise OSError: the file cannot be opened now.
        @raise UserError: the same.
        @raise StorageFailed: the disk has failed.
        """
        file = self.open.pop(path, None)
        if file is None:
            recorded = self._moved.get(path) or self._saved.get(path) or NO_FILE(0)
            reopen = OutputFile.resume if path in self._finished else OutputFile.recover
            former = self._after.get(path, path)
            file = reopen(path, recorded, self._events, former)
            self._after.pop(path, None)
            self.watch(file)
            place = recorded.device, recorded.inode, recorded.length
            if path in self._finished and file.place != place:
                # Rotated while it was closed. A new file may even have its inode number.
                self.unrecorded.add(path)
            self._finished.discard(path)
        self.open[path] = file
        return file

    def isNew(self, path: str) -> bool:
        """Whether the journal has another file for an open one's path, or a longer one."""
        saved = self._saved.get(path)
        if saved is None:
            return True
        device, inode, length = self.open[path].place
        return (saved.device, saved.inode) != (device, inode) or saved.length > length

    def count(self, path: str) -> None:
        """Note the length of an open file for the journal."""
        self._moved[path] = self.open[path].counted()

    def sync(self) -> dict[str, FileLength]:
        """
        Bring everything written to disk.

        @return: the files that have changed, for the journal.
        @raise StorageFailed: the disk has failed.
        """
        for path, file in self.open.items():
            if file.dirty:
                file.sync()
                self.count(path)
        moved, self._moved = self._moved, {}
        self._saved.update(moved)
        return moved

    def finish(self, path: str) -> None:
        """
        Close a file without a surplus.

        @raise StorageFailed: the disk has failed.
        """
        self.open[path].sync()
        self.count(path)
        self._finished.add(path)
        self._drop(path)

    def finishSome(self) -> None:
        """Close files over the limit, except the ones with a surplus."""
        excess = len(self.open) - OPEN_FILES_MAX
        if excess > 0:
            whole = [path for path, file in self.open.items() if file.isWhole]
            for path in whole[:excess]:
                self.finish(path)

    def forsake(self, path: str) -> None:
        """Close a file that was moved before its surplus was compared: it is searched for."""
        self.count(path)
        self._drop(path)

    def leave(self, path: str, octets: bytes) -> bytes:
        """
        Finish with a file that is not under its name any more.

        @param octets: the octets after the cursor, or their beginning.
        @return: the octets that must come first in the next file.
        @raise OSError: the file cannot be read now.
        @raise StorageFailed: the file cannot be synced.
        """
        # It may have been opened since the last time, too.
        self.noteOpened()
        ahead, again = self.open[path].leave(octets)
        self._events("output-renamed", path=path)
        self._drop(path)
        self._moved[path] = NO_FILE(ahead)
        return again

    def takeOver(self, path: str, other: str) -> bool:
        """
        Continue the file of another path of the same worker in C{path}.

        That file may hold octets after the cursor. So its record moves: at most one path of a
        worker has such a record.

        @return: whether there was a record.
        """
        recorded = self._moved.get(other) or self._saved.get(other)
        if recorded is None or not (recorded.inode or recorded.ahead):
            return False
        if other not in self._finished:
            self._moved[path] = recorded
            self._finished.discard(path)
            self._after[path] = other
        self._moved[other] = NO_FILE(0)
        self._finished.discard(other)
        self.unrecorded.add(path)
        return True

    def watch(self, file: OutputFile) -> None:
        """Watch for programs that open a file."""
        file.watch = self.opens.watch(file.descriptor)
        if file.size and file.watch is not None:
            # Others may have opened it before.
            file.opened(0)

    def noteOpened(self) -> None:
        """Note which files other programs opened since the last call."""
        seen = self.opens.seen()
        if seen is None:
            # Events were lost: any open may have been long ago.
            for file in self.open.values():
                file.opened(0)
        elif seen:
            watched = {file.watch: path for path, file in self.open.items()}
            for watch, isOpen in seen:
                path = watched.get(watch)
                if path is None:
                    continue
                if isOpen:
                    size = min(self.open[path].size, self._sizes.get(path, 0))
                    self.open[path].opened(size)
                else:
                    self.open[path].closed()
        self._sizes = {path: file.size for path, file in self.open.items()}

    def close(self) -> None:
        """Close all files. Call L{sync} first."""
        for file in self.open.values():
            file.close()
        self.open = {}
        self.opens.close()

    def _drop(self, path: str) -> None:
        file = self.open.pop(path)
        self.opens.leave(file.watch)
        file.close()
