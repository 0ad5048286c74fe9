"""
File outputs: cursors over the journal.

What must be true:

* a batch reaches its file once, in the order of the journal, whole;
* the cursor says "everything up to this batch is on disk", so it moves only after
  C{fdatasync};
* rendering is a function of the batch alone. After a crash the batches behind the cursor
  are rendered again, and what the file already has of them is skipped: a line that was
  written half is completed.

Others rotate our files while we write. What we expect is (inode, size) after our last
write; before the next one we look. A file that is not there under its name any more was
renamed: we go on in a new one. A file that got shorter was truncated: we go on at its
end. Either way the cursor is saved before another octet is written (what L{apply}
returns), so that a crash never has to guess across two files.

Set aside: writing at recorded offsets without looking (a truncated file would get a hole)
and a temporary file with a rename (the consumers tail by inode and offset).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain

from .outputfile import Events, OutputFile
from .values import Batch, Cursor, FileLength

__all__ = ["FileOutput", "Render"]

# A batch is released, and the cursor moved, at least once in so many written octets.
SYNC_OCTETS = 32 * 1024 * 1024

# What is written at a time, about: it is still in the processor's cache when the kernel
# copies it. What is not takes five times as long.
WRITE_OCTETS = 64 * 1024

# Files that an output with a {worker} in its path keeps open.
OPEN_FILES_MAX = 256


# A batch as pieces of whole lines.
Render = Callable[[Batch], Iterable[bytes]]

# What is put behind a path that a worker's name makes and that is taken.
REFUSED = ".refused"
REFUSED_MAX = 1024


def _mayBeOutput(path: str) -> bool:
    """Whether there is a regular file, or nothing."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


class FileOutput:
    """
    One output: a renderer and the file, or files, it goes to.

    @ivar name: what its cursor is filed under; of kind and path.
    @ivar seq: the last batch whose octets have all been handed to the kernel.
    @ivar unsynced: octets written since the last sync.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        render: Render,
        events: Events,
        reserved: Collection[str] = (),
    ) -> None:
        """
        @param path: where to write; C{{worker}} stands for the sender's name.
        @param events: told what others do to our files: C{events(name, **facts)}.
        @param reserved: paths of the listener's other files: no worker's name makes one of
            them this output's.
        """
        self.path = os.path.abspath(path)
        self.name = f"{kind}:{self.path}"
        self.seq = 0
        self.unsynced = 0
        self._render = render
        self._events = events
        self._reserved = frozenset(reserved)
        self._refused: set[str] = set()
        self._files: dict[str, OutputFile] = {}
        # Files as the journal has them, and those that have changed since.
        self._saved: dict[str, FileLength] = {}
        self._moved: dict[str, FileLength] = {}

    def start(self, cursor: Cursor) -> None:
        """
        Begin behind what the journal says is on disk.

        @raise UserError: the file cannot be had.
        """
        self.seq = cursor.seq
        self._saved = dict(cursor.files)
        if "{worker}" not in self.path:
            self._file(self.path)

    @property
    def syncDue(self) -> bool:
        """Whether so much has been written that it should be synced now."""
        return self.unsynced >= SYNC_OCTETS

    def apply(self, batches: Sequence[Batch]) -> Cursor | None:
        """
        Write the batches that follow L{seq}.

        @return: C{None} when they are written. A cursor when somebody has rotated a file
            and nothing was written: save it, then call again.
        @raise OSError: the disk is full, or worse; call again with the same batches.
        """
        parts: dict[str, list[Batch]] = {}
        for batch in batches:
            if batch.seq > self.seq:
                parts.setdefault(self._pathFor(batch), []).append(batch)
        files = {path: self._file(path) for path in parts}
        looks = [self._look(path, file) for path, file in files.items()]
        if any(looks):
            return self.sync()
        written = {path: self._write(files[path], parts[path]) for path in parts}
        # Only now: a retry after a failure in between brings all of them again.
        for path, octets in written.items():
            files[path].release(octets)
        self.seq = max(self.seq, batches[-1].seq)
        while len(self._files) > OPEN_FILES_MAX:
            self._close(next(iter(self._files)))
        return None

    def sync(self) -> Cursor:
        """Bring what was written to disk, and say so. A half-written batch does not count."""
        for path, file in self._files.items():
            if file.dirty:
                file.sync()
                self._count(path, file)
        moved, self._moved = self._moved, {}
        self._saved.update(moved)
        self.unsynced = 0
        return Cursor(self.name, self.seq, moved)

    def reopen(self) -> None:
        """Close the files; the next write opens what is there under their names."""
        for path, file in list(self._files.items()):
            if not file.surplus:
                self._close(path)

    def close(self) -> None:
        """Close the files. Call L{sync} first."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def _pathFor(self, batch: Batch) -> str:
        # A CN with a slash, or one that is "." or "..", is refused at the handshake.
        path = self.path.replace("{worker}", batch.provenance.worker)
        if path == self.path or path in self._files:
            return path
        if path in self._reserved or not _mayBeOutput(path):
            # Beside it: one worker's name must not stop the lines of all.
            if path not in self._refused and len(self._refused) < REFUSED_MAX:
                self._refused.add(path)
                self._events("output-refused", path=path, instead=path + REFUSED)
            path += REFUSED
        return path

    def _write(self, file: OutputFile, batches: Sequence[Batch]) -> int:
        """Write what the file does not have yet of some batches. Their octets."""
        octets = 0
        if file.surplus or file.copied:
            # Compared in one piece.
            whole = b"".join(chain.from_iterable(map(self._render, batches)))
            file.append(whole)
            octets = len(whole)
        else:
            pieces: list[bytes] = []
            waiting = 0
            for piece in chain.from_iterable(map(self._render, batches)):
                pieces.append(piece)
                waiting += len(piece)
                if waiting >= WRITE_OCTETS:
                    file.extend(b"".join(pieces))
                    octets += waiting
                    pieces, waiting = [], 0
            file.extend(b"".join(pieces))
            octets += waiting
        self.unsynced += octets
        return octets

    def _count(self, path: str, file: OutputFile) -> None:
        self._moved[path] = file.counted()

    def _close(self, path: str) -> None:
        file = self._files.pop(path)
        file.sync()
        self._count(path, file)
        file.close()

    def _file(self, path: str) -> OutputFile:
        """The open file for a path; the last one used is the last one to be closed."""
        file = self._files.pop(path, None)
        if file is None:
            counted = self._moved.get(path) or self._saved.get(path)
            if counted is None:
                file = OutputFile(path, self._events)
            else:
                file = OutputFile.recover(path, counted, self._events)
        self._files[path] = file
        return file

    def _look(self, path: str, file: OutputFile) -> bool:
        """See what others did to a file. True if the cursor must be saved first."""
        resized = file.resized()
        # A half-written batch is finished where it began.
        if not file.surplus and file.renamed(path):
            self._events("output-renamed", path=path)
            self._close(path)
            file = self._files[path] = OutputFile(path, self._events)
        saved = self._saved.get(path)
        if (
            resized
            or saved is None
            or (saved.device, saved.inode) != (file.device, file.inode)
            or saved.length > file.size
        ):
            self._count(path, file)
            return True
        return False
