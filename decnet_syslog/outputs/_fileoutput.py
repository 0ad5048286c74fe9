"""
File outputs: cursors over the journal.

Requirements:

* every batch reaches its file once, whole, and in the order of the journal;
* the cursor says "everything up to this batch is on disk", so it moves only after
  C{fdatasync};
* rendering is a function of the batch alone. After a crash the output renders the batches
  after the cursor again, and skips the octets that the files already have.

Other programs rotate our files while we write. Before each write the output checks that the
file has the inode and the size of our last write. If the file is not under its name any more,
it was renamed, moved or deleted: the output goes on in a new file. If it is shorter, it was
truncated: the output goes on at its end. In both cases the cursor is saved before another
octet is written (L{FileOutput.apply} returns it), with the number of octets after it that
are in earlier files (L{FileLength.ahead}). So a crash never has to guess across two files.
An idle output checks its files, too (L{FileOutput.checkFiles}), because an open deleted file
keeps its room on the disk.

When the directory is missing, or the disk is full or read-only, the caller retries for ever.
Only a failed sync ends the process.

Set aside: writing at recorded offsets without looking (a truncated file would get a hole),
and a temporary file with a rename (the consumers tail by inode and offset).

This module is long because a change by another program can be met in each step, and the order
of the steps is the proof.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import chain

from ..errors import UserError
from ..journal import Batch, Cursor
from ._file import OutputFile
from ._interfaces import Events
from ._openfiles import OPEN_FILES_MAX, OpenFiles
from ._paths import PLACE, OutputPaths
from ._rendering import Format

__all__ = ["FileOutput"]

# The output syncs, and its cursor moves, at least once in this many written octets.
SYNC_OCTETS = 32 * 1024 * 1024

# Write about this much at a time: the kernel then copies it from the processor's cache.
# Without the cache a copy takes five times as long.
WRITE_OCTETS = 64 * 1024


def _seconds(time: str) -> float:
    """A time of a record (RFC 3339, UTC, "Z") in seconds; 0 if it cannot be read."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


class FileOutput:
    """
    One output: a format and the file, or files, it goes to.

    @ivar name: the key of its cursor, made of format and path.
    @ivar lineWork: see L{Format}.
    @ivar files: its open files.
    @ivar seq: the last batch whose octets have all been handed to the kernel.
    @ivar unsynced: octets written since the last sync.
    """

    def __init__(
        self,
        format: Format,
        path: str,
        events: Events,
        paths: OutputPaths | None = None,
    ) -> None:
        """
        @param path: the file; C{{worker}} stands for the sender's name.
        @param events: called when other programs change our files: C{events(name, **facts)}.
        @param paths: the paths of all outputs and other files of the listener.
        """
        self.path = os.path.abspath(path)
        self.name = f"{format.name}:{self.path}"
        self.lineWork = format.lineWork
        self.seq = 0
        self.unsynced = 0
        self._format = format
        self._render = format.render
        self._events = events
        self._paths = (paths or OutputPaths()).of(format.name, self.path, events)
        self._pathOf: dict[str, str] = {}
        self._started = ""
        self._isOpened = False
        self.files = OpenFiles(events)
        # The end of a deleted file, which must come first in the next file of its path.
        self._again: dict[str, bytes] = {}

    def start(self, cursor: Cursor) -> None:
        """
        Begin after the cursor.

        @raise WrongKind: a file that this output did not write has lines of another kind.
        @raise UserError: the file cannot be opened now. If C{cursor} has files, L{apply} tries
            again; otherwise the options are wrong.
        """
        self.seq = cursor.seq
        saved = dict(cursor.files)
        self._started = _now()
        absence = cursor.absence
        if absence is not None and absence.seq < cursor.seq:
            # The surplus of a killed process belongs to the hole.
            saved = {}
            self._events(
                "output-hole",
                path=self.path,
                since=absence.since,
                until=self._started,
                batches=cursor.seq - absence.seq,
            )
        self._paths.check(self._format, saved)
        self.files.start(saved)
        self._isOpened = False
        try:
            self._open()
        except OSError as error:
            # A cut line cannot be ended on a full disk.
            raise UserError(
                f"cannot write the output {self.path}: {error.strerror}; free some space, or"
                " check its disk"
            ) from error
        file = self.files.open.get(self.path)
        if file is not None and file.size and not (cursor.seq or cursor.files):
            self._events(
                "output-older", path=self.path, octets=file.size, until=self._started
            )

    def _open(self) -> None:
        """Open the file of an output with one file; or check where the files will be."""
        if self._isOpened:
            return
        if PLACE not in self.path:
            self.files.use(self.path)
        elif not os.path.isdir(os.path.dirname(self.path)):
            raise UserError(
                f"no directory {os.path.dirname(self.path)} for the output"
                f" {os.path.basename(self.path)}: make it, or choose another path"
            )
        self._isOpened = True

    @property
    def syncDue(self) -> bool:
        """Whether enough has been written for a sync now."""
        return self.unsynced >= SYNC_OCTETS

    def apply(self, batches: Sequence[Batch]) -> Cursor | None:
        """
        Write the batches that follow L{seq}.

        @return: C{None} when they are written. A cursor when another program has rotated a
            file and nothing was written: save it, then call again.
        @raise OSError: the disk is full, or cannot be written now. Call again with the same
            batches.
        @raise UserError: a file cannot be opened now. The same.
        @raise StorageFailed: the disk has failed.
        """
        parts: dict[str, list[Batch]] = {}
        for batch in batches:
            if batch.seq > self.seq:
                parts.setdefault(self._pathFor(batch), []).append(batch)
        for path in parts:
            self.files.use(path)
        self.files.noteOpened()
        wholes = {
            path: b"".join(chain.from_iterable(map(self._render, part)))
            for path, part in parts.items()
            if not self.files.open[path].isWhole
        }
        changed = [self._look(path, wholes.get(path, b"")) for path in parts]
        if any(changed):
            return self.sync()
        changed = [self._settle(path, o, parts[path][0]) for path, o in wholes.items()]
        if any(changed):
            return self.sync()
        written = {
            path: self._write(self.files.open[path], part, wholes.get(path))
            for path, part in parts.items()
        }
        self.files.noteOpened()
        # Only now, because a retry after a failure repeats them all.
        for path, octets in written.items():
            self.files.open[path].release(octets)
        self.seq = max(self.seq, batches[-1].seq)
        self.files.finishSome()
        return None

    def checkFiles(self) -> Cursor | None:
        """
        Close files that other programs have renamed or deleted, to free their room.

        @return: the cursor to save, if something has changed.
        @raise OSError: as for L{apply}.
        @raise UserError: as for L{apply}.
        @raise StorageFailed: as for L{apply}.
        """
        changed = False
        self._open()
        self.files.noteOpened()
        for path, file in list(self.files.open.items()):
            if file.watch is None:
                self.files.watch(file)
            if file.finished():
                self.files.count(path)
                changed = True
            if file.isWhole and file.isElsewhere():
                self._leave(path, b"")
                changed = True
        for path in list(self._again):
            self.files.use(path)
            changed |= self._writeAgain(path)
        return self.sync() if changed else None

    def sync(self) -> Cursor:
        """
        Bring everything written to disk.

        @return: the cursor. It does not count a batch that is written in part.
        @raise StorageFailed: the disk has failed.
        """
        moved = self.files.sync()
        self.unsynced = 0
        return Cursor(self.name, self.seq, moved)

    def reopen(self) -> None:
        """Close the files; the next write opens their paths again."""
        for path, file in list(self.files.open.items()):
            if file.isWhole and path not in self._again:
                self.files.finish(path)

    def close(self) -> None:
        """Close the files. Call L{sync} first."""
        self.files.close()

    def _pathFor(self, batch: Batch) -> str:
        worker = batch.provenance.worker
        path = self._pathOf.get(worker)
        if path is None or path not in self.files.open:
            # Decide again before each open: the file may have become a directory.
            if len(self._pathOf) > OPEN_FILES_MAX:
                self._pathOf.clear()
            path = self._pathOf[worker] = self._choose(worker)
        return path

    def _choose(self, worker: str) -> str:
        """The path for a worker's lines: that of an open file, or else the best."""
        possible = self._paths.possible(worker)
        for path in possible:
            if path in self.files.open:
                return path
        path = self._paths.usable(worker)
        for other in possible:
            if other != path and self.files.takeOver(path, other):
                again = self._again.pop(other, b"")
                if again:
                    self._again[path] = self._again.get(path, b"") + again
        return path

    def _write(
        self, file: OutputFile, batches: Sequence[Batch], whole: bytes | None
    ) -> int:
        """
        Write some batches, as far as no file has them.

        @param whole: the rendered batches, if some octets are written already.
        @return: the number of their octets.
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

    def _look(self, path: str, octets: bytes) -> bool:
        """Check for changes by other programs. True if the cursor must be saved first."""
        files = self.files
        file = files.open[path]
        if file.isElsewhere():
            if file.isKnown:
                self._leave(path, octets)
            else:
                # Search for it, as if it had been moved before the start.
                files.forsake(path)
            files.use(path)
        elif not (file.resized() or files.isNew(path) or path in files.unrecorded):
            return self._writeAgain(path)
        files.unrecorded.discard(path)
        files.count(path)
        self._writeAgain(path)
        return True

    def _leave(self, path: str, octets: bytes) -> None:
        """Finish with a file that is not under its name any more."""
        again = self.files.leave(path, octets)
        if again:
            self._again[path] = again

    def _writeAgain(self, path: str) -> bool:
        """
        Write the end of a deleted file, which its copy may lack.

        @return: whether there was such an end.
        """
        octets = self._again.get(path, b"")
        if not octets:
            return False
        file = self.files.open[path]
        while octets:
            octets = octets[file.write(octets) :]
            self._again[path] = octets
        del self._again[path]
        self.files.count(path)
        return True

    def _settle(self, path: str, octets: bytes, first: Batch) -> bool:
        """Compare the next octets with the files. True if the cursor must be saved first."""
        file = self.files.open[path]
        since = first.provenance.receivedAt
        size = file.size
        if not file.settle(octets, _seconds(since)):
            return False
        # Only the process before this one can have written octets that come again.
        mayRepeat = since <= self._started
        if file.isLost and mayRepeat:
            self._events("output-lost", path=path, since=since, until=self._started)
        if file.unlike is not None:
            where, offset = file.unlike
            if mayRepeat:
                self._events(
                    "output-unlike",
                    path=path,
                    copy=where,
                    offset=offset,
                    since=since,
                    until=self._started,
                )
            else:
                self._events(
                    "output-foreign-write", path=where, size=size, expected=offset
                )
        file.isLost, file.unlike = False, None
        self.files.count(path)
        return True
