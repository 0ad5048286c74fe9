"""
Opens and examines the rotated files of a path until each is identified.

* A file is identified once, because opening and unpacking cost time, and its directory also
  changes for other reasons. It stays identified until inode, size or modification time change.
* Only a file that is gone counts as gone. A file that cannot be opened now, or was renamed during
  the look, is examined again.
* The examiner waits for a file that is still being written, but only for a bounded time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ._archives import openArchive
from ._candidates import SeenFile
from ._contents import HEAD_OCTETS
from ._examined import (
    NOTHING,
    Examined,
    FileState,
    archiveByTrailer,
    checksumOf,
    claimOf,
    stateOf,
)
from ._objects import FileId, birthTime, identify, openRegular
from ._outcomes import NoSpace, Unfinished, Unpacked
from ._rotations import compressionOf
from ._writers import isOpenForWriting

__all__ = ["Examiner"]

# A file counts as complete after this many seconds without a change: if no process has it open
# for writing; if the system cannot say; if a process has.
SETTLED_S = 2.0
SETTLED_UNKNOWN_S = 10.0
SETTLED_WRITTEN_S = 60.0

# The same for an archive: with many files and sharedscripts, its original is deleted late.
SETTLED_ARCHIVE_S = 30.0

# Seconds before an archive that did not fit is unpacked again; each try fills the disk.
FULL_RETRY_S = 30.0


class Examiner:
    """
    Examines rotated files.

    @ivar isIncomplete: whether some file must be examined again.
    @ivar refused: the files that could not be read at the last look, and the reasons.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        directory: Path,
        isWritten: Callable[[int], bool | None] = isOpenForWriting,
        isKnown: Callable[[bytes, int, int], bool] = lambda head, size, crc: False,
    ) -> None:
        """
        @param directory: for nameless files.
        @param isKnown: whether a delivered content without a file has this head, size and CRC-32.
        """
        self._isKnown = isKnown
        self._clock = clock
        self._directory = directory
        self._isWritten = isWritten
        self._judged: dict[str, FileState] = {}
        self._watched: dict[str, tuple[FileState, float]] = {}
        self._retryAt: dict[str, float] = {}
        self._kept: dict[str, Examined] = {}
        self.isIncomplete = False
        self.refused: dict[str, str] = {}

    def judged(self, path: str, state: FileState) -> None:
        """Note that a file is identified, as long as it does not change."""
        self._judged[path] = state
        self._watched.pop(path, None)
        self._kept.pop(path, None)

    def forgetOne(self, path: str) -> None:
        """Note that a file is not identified any more."""
        self._judged.pop(path, None)

    def known(self) -> list[str]:
        """The files that are identified."""
        return list(self._judged)

    def doubt(self, path: str) -> bool:
        """Whether an identified file has changed; if so, it is not identified any more."""
        known = self._judged.get(path)
        try:
            if known is None or known == stateOf(os.stat(path, follow_symlinks=False)):
                return False
        except OSError:
            # Its directory has changed, and the next look reads that anyway.
            return False
        del self._judged[path]
        return True

    def forget(self, there: Mapping[str, int]) -> None:
        """Drop the notes on names that do not exist any more."""
        for known in (self._judged, self._watched, self._retryAt):
            for path in [p for p in known if p not in there]:
                del known[path]
        for path in [p for p in self._kept if p not in there]:
            self._kept.pop(path).close()

    def close(self) -> None:
        """Close the files that are kept for the next look."""
        for one in self._kept.values():
            one.close()
        self._kept.clear()

    def files(
        self,
        there: Mapping[str, int],
        owns: Callable[[str, os.stat_result], bool | None],
        live: FileId | None = None,
    ) -> Iterable[Examined]:
        """
        Open the files that are not identified yet, each object once.

        @param there: paths and inodes.
        @param owns: whether a file is a content's, by its object; C{None}: ask again later.
        @param live: the object at the configured path, if it is identified in the same match.
            Its other name (a hard link, the target of a symbolic link) is not a second
            file.
        """
        self.isIncomplete = False
        self.refused = {}
        self.forget(there)
        objects = set() if live is None else {live}
        for path, inode in there.items():
            known = self._judged.get(path)
            if known is not None and known.inode == inode:
                continue
            try:
                one = self._examine(path, owns)
            except FileNotFoundError:
                self.isIncomplete = True
                continue
            except OSError as error:
                self.isIncomplete = True
                self.refused[path] = error.strerror or str(error)
                continue
            if one is None:
                continue
            if one.seen.file in objects:
                # It was renamed during the look, or has two names: examine it again later.
                self.isIncomplete = True
                self._kept.pop(path, None)
                one.close()
                continue
            objects.add(one.seen.file)
            yield one

    def _examine(
        self, path: str, owns: Callable[[str, os.stat_result], bool | None]
    ) -> Examined | None:
        status = os.stat(path, follow_symlinks=False)
        state = stateOf(status)
        if not stat.S_ISREG(status.st_mode) or self._judged.get(path) == state:
            # Rotation does not create links, but a user who can write here might.
            self.judged(path, state)
            return None
        owned = owns(path, status)
        if owned is None:
            self.isIncomplete = True
            return None
        if owned:
            self.judged(path, state)
            return None
        if self._clock() < self._retryAt.get(path, 0.0):
            self.isIncomplete = True
            return None
        settledFor = self._settledFor(path, state)
        kept = self._kept.get(path)
        if kept is not None:
            if kept.state == state and kept.descriptor >= 0:
                kept.seen = self._seen(kept, settledFor)
                return kept
            self._kept.pop(path).close()
            # The file is not the content that its trailer claims: unpack it this time.
        isClaimTrusted = kept is None or kept.descriptor >= 0
        return self._open(path, state, settledFor, isClaimTrusted)

    def _settledFor(self, path: str, state: FileState) -> float:
        """For how many seconds a file has not changed."""
        now = self._clock()
        watched = self._watched.get(path)
        if watched is None or watched[0] != state:
            self._watched[path] = watched = (state, now)
        return now - watched[1]

    def _open(
        self, path: str, state: FileState, settledFor: float, isClaimTrusted: bool
    ) -> Examined | None:
        descriptor = openRegular(path, False)
        if descriptor is None:
            return None
        one: Examined | None = None
        try:
            status = os.fstat(descriptor)
            if stateOf(status) != state:
                # Another file has got the name since, or the file was written to.
                self.isIncomplete = True
                return None
            file = identify(descriptor)
            born = birthTime(descriptor)
            if not compressionOf(path):
                one = Examined(path, descriptor, NOTHING, state, 0, born)
                one.seen = self._seen(one, settledFor, file)
                return one
            claimed = claimOf(path, descriptor) if isClaimTrusted else None
            if claimed is not None and self._isKnown(*claimed):
                return archiveByTrailer(path, claimed, file, state, born)
            return self._unpack(path, descriptor, state, settledFor, file, born)
        finally:
            if one is None:
                os.close(descriptor)

    def _unpack(
        self,
        path: str,
        descriptor: int,
        state: FileState,
        settledFor: float,
        file: FileId,
        born: int,
    ) -> Examined | None:
        outcome = openArchive(
            descriptor,
            self._directory,
            name=os.path.basename(path),
            isWritten=self._isWritten,
        )
        if isinstance(outcome, Unpacked):
            one = Examined(path, outcome.descriptor, NOTHING, state, state.size, born)
            one.seen = self._seen(one, settledFor, file)
            return one
        if isinstance(outcome, Unfinished):
            self.isIncomplete = True
            # The unpacked octets are discarded each time, so do not retry at every look.
            self._retryAt[path] = self._clock() + min(1.0, outcome.wait or 1.0)
            return None
        if isinstance(outcome, NoSpace):
            self.isIncomplete = True
            self.refused[path] = os.strerror(errno.ENOSPC)
            self._retryAt[path] = self._clock() + FULL_RETRY_S
            return None
        reason = getattr(outcome, "reason", "its content is too large")
        seen = SeenFile(file, state.size, b"", lambda start, end, crc: None)
        return Examined(path, -1, seen, state, state.size, born, reason)

    def _seen(
        self, one: Examined, settledFor: float, file: FileId | None = None
    ) -> SeenFile:
        descriptor = one.descriptor
        isWritten = None if one.archived else self._isWritten(descriptor)
        needed = {
            True: SETTLED_WRITTEN_S,
            False: SETTLED_S,
            None: SETTLED_UNKNOWN_S,
        }[isWritten]
        if one.archived:
            needed = SETTLED_ARCHIVE_S
        return SeenFile(
            one.seen.file if file is None else file,
            os.fstat(descriptor).st_size,
            os.pread(descriptor, HEAD_OCTETS, 0),
            checksumOf(descriptor),
            isSettled=settledFor >= needed,
            isWritten=isWritten,
            isArchive=bool(one.archived),
            birth=one.birth,
            pread=lambda count, at: os.pread(descriptor, count, at),
            copyOf=one.copyOf,
        )

    def hasChanged(self, one: Examined) -> bool:
        """Whether a file was written to since it was opened."""
        return stateOf(os.fstat(one.descriptor)) != one.state

    def wait(self, one: Examined) -> None:
        """Keep a file that cannot be identified yet open for the next look."""
        self.isIncomplete = True
        self._kept[one.path] = one
