"""
The rotated files of one path, opened and looked at, until it is known what they are.

What must be true:

* a file is judged once: opening and unpacking costs, and directories change for other reasons
  than ours. The judgement holds while inode, size and time of change are the same;
* "it is gone" is said only of what is gone. A file that cannot be opened now, a file that
  was renamed while we looked, is looked at again;
* a file that may still be becoming what it will be is waited for, for a bounded time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ._archives import openArchive
from ._contents import HEAD_OCTETS
from ._examined import NOTHING, Examined, FileState, checksumOf, claimOf, stateOf
from ._objects import FileId, birthTime, identify, openRegular
from ._outcomes import NoSpace, Unfinished, Unpacked
from ._rotations import compressionOf
from ._rules import SeenFile
from ._writers import isOpenForWriting

__all__ = ["Examiner"]

# After so long without a change a file is taken for complete, in seconds: nobody writes to it;
# somebody may, and the system does not say; somebody does.
SETTLED_S = 2.0
SETTLED_UNKNOWN_S = 10.0
SETTLED_WRITTEN_S = 60.0

# An archive stands beside what it was made of until its maker deletes that, in seconds: with
# many files and sharedscripts that takes longer.
SETTLED_ARCHIVE_S = 30.0

# Until a compressed file that does not fit on the disk is unpacked again, in seconds: each time
# costs what the disk has left.
FULL_RETRY_S = 30.0


class Examiner:
    """
    Looks at rotated files.

    @ivar isIncomplete: whether some file is to be looked at again.
    @ivar refused: the files that could not be read at the last look, and why.
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
        @param isKnown: whether a content that is delivered and has lost its file has a head,
            a size and a CRC-32: its archive need not be unpacked.
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
        """It is known what a file is, while it stays as it is."""
        self._judged[path] = state
        self._watched.pop(path, None)
        self._kept.pop(path, None)

    def forgetOne(self, path: str) -> None:
        """It is not known any more what a file is."""
        self._judged.pop(path, None)

    def known(self) -> list[str]:
        """The files that were judged."""
        return list(self._judged)

    def doubt(self, path: str) -> bool:
        """Whether a file is not any more as it was when it was judged."""
        known = self._judged.get(path)
        try:
            if known is None or known == stateOf(os.stat(path, follow_symlinks=False)):
                return False
        except OSError:
            # Its directory has changed: that is looked at.
            return False
        del self._judged[path]
        return True

    def forget(self, there: Mapping[str, int]) -> None:
        """Drop what is known of names that are gone."""
        for known in (self._judged, self._watched, self._retryAt):
            for path in [p for p in known if p not in there]:
                del known[path]
        for path in [p for p in self._kept if p not in there]:
            self._kept.pop(path).close()

    def close(self) -> None:
        """Close what is still waited for."""
        for one in self._kept.values():
            one.close()
        self._kept.clear()

    def files(
        self,
        there: Mapping[str, int],
        owns: Callable[[str, os.stat_result], bool | None],
    ) -> Iterable[Examined]:
        """
        The files of which it is not known what they are, each open, each object once.

        @param there: paths and inodes.
        @param owns: whether a file is known to be that of a content, by its object.
        """
        self.isIncomplete = False
        self.refused = {}
        self.forget(there)
        objects: set[FileId] = set()
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
                # It was renamed while we looked, or has two names: ask again by the second.
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
            # No rotation makes a link; somebody who can write here might.
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
        # An archive that was not unpacked, and is not what its trailer claims, is unpacked.
        isClaimTrusted = kept is None or kept.descriptor >= 0
        return self._open(path, state, settledFor, isClaimTrusted)

    def _settledFor(self, path: str, state: FileState) -> float:
        """How long a file has not changed, in seconds."""
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
                # Another file got the name meanwhile, or it was written to.
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
                return _claimed(path, claimed, file, state, born)
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
            # What is unpacked is thrown away each time: not at each look.
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
        """Whether somebody has written to a file since it was opened."""
        return stateOf(os.fstat(one.descriptor)) != one.state

    def wait(self, one: Examined) -> None:
        """It cannot be said yet what a file is: keep it for the next look."""
        self.isIncomplete = True
        self._kept[one.path] = one


def _claimed(
    path: str,
    claim: tuple[bytes, int, int],
    file: FileId,
    state: FileState,
    born: int,
) -> Examined:
    """An archive that is not unpacked: its trailer claims a content that has ended."""
    head, size, crc = claim
    seen = SeenFile(
        file,
        size,
        head,
        lambda s, e, c: crc if (s, e, c) == (0, size, 0) else None,
    )
    return Examined(path, -1, seen, state, state.size, born)
