"""
File outputs: cursors over the journal.

What must be true:

* a batch reaches its file once, in the order of the journal, whole;
* the cursor says "everything up to this batch is on disk", so it moves only after
  C{fdatasync};
* rendering is a function of the batch alone. After a crash the batches behind the cursor
  are rendered again, and what the files already have of them is skipped: a line that was
  written half is completed.

Others rotate our files while we write. What we expect is (inode, size) after our last
write; before the next one we look. A file that is not there under its name any more was
renamed, moved or deleted: we go on in a new one. A file that got shorter was truncated: we
go on at its end. Either way the cursor is saved before another octet is written (what
L{FileOutput.apply} returns), with how much of what follows it is in the files before
(L{FileLength.ahead}), so that a crash never has to guess across two files. A file that
nothing is written to is looked at, too (L{FileOutput.look}): its room is not ours to keep.

What cannot be done now (a directory that is gone, a disk that is full or read-only) is
tried again for ever; only a failed sync ends the process.

Set aside: writing at recorded offsets without looking (a truncated file would get a hole)
and a temporary file with a rename (the consumers tail by inode and offset).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from itertools import chain

from .outputdeleted import Opens
from .outputfile import NO_FILE, Events, OutputFile
from .outputpaths import PLACE, OutputPaths
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


def _seconds(time: str) -> float:
    """A time of a record (RFC 3339, UTC, "Z") in seconds; 0: none is known."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


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
        paths: OutputPaths | None = None,
    ) -> None:
        """
        @param path: where to write; C{{worker}} stands for the sender's name.
        @param events: told what others do to our files: C{events(name, **facts)}.
        @param paths: of all the listener's outputs and other files.
        """
        self.path = os.path.abspath(path)
        self.name = f"{kind}:{self.path}"
        self.seq = 0
        self.unsynced = 0
        self._render = render
        self._events = events
        self._paths = (paths or OutputPaths()).of(kind, self.path, events)
        self._opens = Opens()
        # Of each file, when it was last looked whether it had been opened.
        self._sizes: dict[str, int] = {}
        self._pathOf: dict[str, str] = {}
        self._started = ""
        self._isOpened = False
        self._files: dict[str, OutputFile] = {}
        # Files as the journal has them, and those that have changed since.
        self._saved: dict[str, FileLength] = {}
        self._moved: dict[str, FileLength] = {}
        # Paths whose file we closed when nothing was half done.
        self._finished: set[str] = set()
        # What must come first in the next file of a path, of one that was deleted.
        self._again: dict[str, bytes] = {}

    def start(self, cursor: Cursor) -> None:
        """
        Begin behind what the journal says is on disk.

        @raise UserError: the file cannot be had now; when C{cursor} has files it can be
            tried again (L{apply}), else it is a mistake.
        """
        self.seq = cursor.seq
        self._saved = dict(cursor.files)
        self._started = _now()
        absence = cursor.absence
        if absence is not None and absence.seq < cursor.seq:
            # What a killed process had begun is in the hole.
            self._saved = {}
            self._events(
                "output-hole",
                path=self.path,
                since=absence.since,
                until=self._started,
                batches=cursor.seq - absence.seq,
            )
        self._paths.check(self._saved)
        self._isOpened = False
        self._open()
        file = self._files.get(self.path)
        if file is not None and file.size and not (cursor.seq or cursor.files):
            self._events(
                "output-older", path=self.path, octets=file.size, until=self._started
            )

    def _open(self) -> None:
        """Open the one file that there is, to see that it can be had."""
        if not self._isOpened and PLACE not in self.path:
            self._file(self.path)
        self._isOpened = True

    @property
    def syncDue(self) -> bool:
        """Whether so much has been written that it should be synced now."""
        return self.unsynced >= SYNC_OCTETS

    def apply(self, batches: Sequence[Batch]) -> Cursor | None:
        """
        Write the batches that follow L{seq}.

        @return: C{None} when they are written. A cursor when somebody has rotated a file
            and nothing was written: save it, then call again.
        @raise OSError: the disk is full, or cannot be written now; call again with the same
            batches.
        @raise UserError: a file cannot be had now; the same.
        @raise StorageFailed: the disk has failed.
        """
        parts: dict[str, list[Batch]] = {}
        for batch in batches:
            if batch.seq > self.seq:
                parts.setdefault(self._pathFor(batch), []).append(batch)
        for path in parts:
            self._file(path)
        self._noteOpened()
        wholes = {
            path: b"".join(chain.from_iterable(map(self._render, part)))
            for path, part in parts.items()
            if not self._files[path].isWhole
        }
        changed = [self._look(path, wholes.get(path, b"")) for path in parts]
        if any(changed):
            return self.sync()
        changed = [self._settle(path, o, parts[path][0]) for path, o in wholes.items()]
        if any(changed):
            return self.sync()
        written = {
            path: self._write(self._files[path], part, wholes.get(path))
            for path, part in parts.items()
        }
        self._noteOpened()
        # Only now: a retry after a failure in between brings all of them again.
        for path, octets in written.items():
            self._files[path].release(octets)
        self.seq = max(self.seq, batches[-1].seq)
        self._closeSome()
        return None

    def look(self) -> Cursor | None:
        """
        Let go of files that others have renamed or deleted: their room is held by us.

        @return: a cursor that is to be saved, if something has changed.
        @raise OSError: as of L{apply}.
        @raise UserError: as of L{apply}.
        @raise StorageFailed: as of L{apply}.
        """
        changed = False
        self._open()
        self._noteOpened()
        for path, file in list(self._files.items()):
            if file.finished():
                self._count(path, file)
                changed = True
            if file.isWhole and file.isElsewhere():
                self._leave(path, b"")
                changed = True
        for path in list(self._again):
            self._file(path)
            changed |= self._writeAgain(path)
        return self.sync() if changed else None

    def sync(self) -> Cursor:
        """
        Bring what was written to disk, and say so. A half-written batch does not count.

        @raise StorageFailed: the disk has failed.
        """
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
            if file.isWhole and path not in self._again:
                self._close(path)

    def close(self) -> None:
        """Close the files. Call L{sync} first."""
        for file in self._files.values():
            file.close()
        self._files = {}
        self._opens.close()

    def _noteOpened(self) -> None:
        """Note which files somebody has opened: not before this was called last."""
        seen = self._opens.seen()
        if seen is None:
            # Too many to tell: it may have been long ago.
            for file in self._files.values():
                file.opened(0)
        elif seen:
            for path, file in self._files.items():
                if file.watch in seen:
                    file.opened(min(file.size, self._sizes.get(path, 0)))
        self._sizes = {path: file.size for path, file in self._files.items()}

    def _pathFor(self, batch: Batch) -> str:
        worker = batch.provenance.worker
        path = self._pathOf.get(worker)
        if path is None or path not in self._files:
            # Looked at again when it is opened again: what is there may be another thing.
            if len(self._pathOf) > OPEN_FILES_MAX:
                self._pathOf.clear()
            path = self._pathOf[worker] = self._paths.usable(worker)
        return path

    def _write(
        self, file: OutputFile, batches: Sequence[Batch], whole: bytes | None
    ) -> int:
        """
        Write what the file does not have yet of some batches. Their octets.

        @param whole: all of them, when some are written already.
        """
        if whole is not None:
            file.append(whole)
            octets = len(whole)
        else:
            octets = 0
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
        """Close a file in which nothing is half done."""
        file = self._files[path]
        file.sync()
        self._count(path, file)
        self._finished.add(path)
        self._drop(path)

    def _drop(self, path: str) -> None:
        file = self._files.pop(path)
        self._opens.leave(file.watch)
        file.close()

    def _closeSome(self) -> None:
        """Keep no more files open than we may; those that are half done are needed."""
        excess = len(self._files) - OPEN_FILES_MAX
        if excess > 0:
            whole = [path for path, file in self._files.items() if file.isWhole]
            for path in whole[:excess]:
                self._close(path)

    def _file(self, path: str) -> OutputFile:
        """The open file for a path; the last one used is the last one to be closed."""
        file = self._files.pop(path, None)
        if file is None:
            recorded = self._moved.get(path) or self._saved.get(path)
            if recorded is None:
                recorded = NO_FILE(0)
            reopen = OutputFile.resume if path in self._finished else OutputFile.recover
            file = reopen(path, recorded, self._events)
            file.watch = self._opens.watch(file.descriptor)
            self._finished.discard(path)
        self._files[path] = file
        return file

    def _look(self, path: str, octets: bytes) -> bool:
        """See what others did to a file. True if the cursor must be saved first."""
        file = self._files[path]
        if file.isElsewhere():
            if file.isKnown:
                self._leave(path, octets)
            else:
                # It is searched for as if it had been moved before we started.
                self._moved[path] = file.counted()
                self._drop(path)
            self._count(path, self._file(path))
        elif not file.resized() and not self._isNew(path, file):
            return self._writeAgain(path)
        self._count(path, file)
        self._writeAgain(path)
        return True

    def _isNew(self, path: str, file: OutputFile) -> bool:
        """Whether the journal has another file for a path, or more of it than there is."""
        saved = self._saved.get(path)
        if saved is None:
            return True
        device, inode, length = file.place
        return (saved.device, saved.inode) != (device, inode) or saved.length > length

    def _leave(self, path: str, octets: bytes) -> None:
        """Finish with a file that is not under its name any more."""
        file = self._files[path]
        ahead, again = file.leave(octets)
        self._events("output-renamed", path=path)
        self._drop(path)
        self._moved[path] = NO_FILE(ahead)
        if again:
            self._again[path] = again

    def _writeAgain(self, path: str) -> bool:
        """Write what a deleted file had and its copy may lack. Whether something was."""
        octets = self._again.get(path, b"")
        if not octets:
            return False
        file = self._files[path]
        while octets:
            octets = octets[file.insert(octets) :]
            self._again[path] = octets
        del self._again[path]
        self._count(path, file)
        return True

    def _settle(self, path: str, octets: bytes, first: Batch) -> bool:
        """Compare what comes with what is there. True if the cursor must be saved first."""
        file = self._files[path]
        since = first.provenance.receivedAt
        if not file.settle(octets, _seconds(since)):
            return False
        if file.isLost:
            file.isLost = False
            if since <= self._started:
                # Somebody may have written it before us.
                self._events("output-lost", path=path, since=since, until=self._started)
        self._count(path, file)
        return True
