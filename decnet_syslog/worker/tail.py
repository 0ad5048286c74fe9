"""
The tail: one log file through all its incarnations.

What must be true: every octet that was ever in the file under its name is given out by
exactly one incarnation, older ones before newer ones, or is in a gap that says so.

A look at the file system (L{Tail.poll}) is a comparison of what is there with what we
hold open:

* the name has another inode: it was renamed away. The old incarnation is read to its end
  through its descriptor, and kept for C{LATE_WRITER_S} for writers that have it open;
* the content is not the one we know (shorter, or other octets at head or anchor): it was
  truncated. The copy that logrotate made is looked for by content and read instead; for
  C{SEEK_S}, then the rest is a gap;
* after a start, every bookmark that is not finished is looked for: at the name, among what
  we hold, among the rotated files; rotated files that no bookmark knows came while we were
  stopped, and are incarnations of their own. What is there and cannot be read is
  waited for: it is neither gone nor new.

A file that is deleted while we have it open is copied beside the state, as far as it is not
acknowledged, so that a restart does not lose it. Set aside: a hard link made beforehand.
logrotate (3.21) fails on a file that has a second name, "Operation not supported".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from .beside import Beside, Directories, oldestFirst
from .bookmarks import Bookmark, Bookmarks
from .incarnation import Incarnation
from .rotated import Rotated
from .rotation import HEAD_OCTETS, beginningOf, fits, openRegular, pastOf

__all__ = ["Events", "Tail", "sweep"]

# How long a writer may go on writing to a file that was renamed away, in seconds:
# logrotate's postrotate has told it to reopen by then.
LATE_WRITER_S = 10.0

# How long the copy of a truncated file is looked for, in seconds: compressing takes time.
SEEK_S = 10.0

# A deleted file that could not be kept is tried again after so long, in seconds: the disk
# that was full may have been cleared.
KEEP_RETRY_S = 30.0

# How often rotated files are looked at although no name has changed, in seconds.
STRANGERS_S = 5.0

# How long a file that was there and is not may be away when we start, in seconds.
ABSENT_S = 5.0

Events = Callable[..., None]


def heldBeside(bookmarks: Bookmarks) -> Path:
    """The directory of the copies of deleted files."""
    return Path(f"{bookmarks.path}.held")


def sweep(bookmarks: Bookmarks) -> None:
    """
    Delete what a killed forwarder left: half a copy, and copies of what was shipped since.

    A copy that no bookmark knows stays: bookmarks can be lost and restored.
    """
    finished = {f"{m.stream}-{m.generation}" for m in bookmarks.all() if m.finished}
    try:
        for path in heldBeside(bookmarks).iterdir():
            if path.name in finished or path.suffix == ".part":
                path.unlink()
    except OSError:
        # There is none, or it is looked at when something is to be kept.
        pass


class Tail:
    """
    One configured path.

    @ivar incarnations: those not finished, oldest first.
    @ivar trouble: what could not be read at the last look, or C{None}.
    """

    def __init__(
        self,
        path: str,
        bookmarks: Bookmarks,
        clock: Callable[[], float],
        messageOctetsMax: Callable[[], int],
        lagOctetsMax: int | None,
        events: Events,
        startOffset: int | None = None,
        begun: Callable[[int], int | None] = lambda descriptor: 0,
        follow: bool = True,
        directories: Directories | None = None,
    ) -> None:
        """
        @param clock: seconds that never go back.
        @param events: told what happens to the file: C{events(name, **facts)}.
        @param startOffset: where to begin in a file that is seen for the first time.
        @param begun: octets of an open file that were shipped when it had another path;
            C{None} while that path's tail reads it.
        @param follow: whether the path may be a symbolic link.
        @param directories: shared with other tails.
        """
        self.path = path
        self.incarnations: list[Incarnation] = []
        self._bookmarks = bookmarks
        self._clock = clock
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._events = events
        self._startOffset = startOffset
        self._begun = begun
        self._follow = follow
        self._directories = directories or Directories(clock)
        self._held = heldBeside(bookmarks)
        self._current: Incarnation | None = None
        self._stream = uuid4().hex
        self._generation = -1
        self._started = False
        self._unreadable: str | None = None
        self.trouble: str | None = None
        self._seekUntil: dict[Incarnation, float] = {}
        self._growth: dict[Incarnation, tuple[int, float]] = {}
        self._keepAt: dict[Incarnation, float] = {}
        self._rotated = Rotated(path, self._held)
        self._directoryTime = 0
        self._strangersAt = 0.0
        self._firstTry: float | None = None
        self._sealedSaid = False
        # Whether the second half of a look is due.
        self._isLooking = False

    def poll(self) -> None:
        """Look at the file system once."""
        self.lookAtFiles()
        self.lookBeside()

    def lookAtFiles(self) -> None:
        """First, see what has become of the files that are open, and of the name."""
        self.trouble = None
        self._isLooking = False
        if not self._started and not self._tryToStart():
            return
        for incarnation in list(self.incarnations):
            incarnation.look()
            if incarnation.stale:
                self._startAgain()
                return
            if incarnation.changed and not incarnation.seeking:
                self._truncated(incarnation)
            if incarnation.trouble is not None:
                self._cannot(incarnation.trouble)
        self._seek()
        self._lookAtName()
        self._isLooking = True

    def lookBeside(self) -> None:
        """
        Then, see what is beside them, and what is finished.

        Not before: what was truncated, or has another file's name by now, has its octets in a
        rotated file, and these come first.
        """
        if not self._isLooking:
            return
        self._isLooking = False
        self._lookAtDirectory()
        newer = 0
        for incarnation in reversed(self.incarnations):
            incarnation.newerOctets = newer
            newer += incarnation.size - incarnation.position
        for incarnation in self.incarnations:
            self._skipDeleted(incarnation)
            self._keep(incarnation)
        self._finish()

    def _startAgain(self) -> None:
        """
        A file server has forgotten a file that we have open: look for it as after a start.

        It was deleted or renamed on another machine, or the server itself came back.
        """
        self._events("stale", path=self.path)
        marks = [
            replace(i.bookmark, size=max(i.bookmark.size, i.size, i.seen))
            for i in self.incarnations
        ]
        self._bookmarks.save(marks)
        self.close()
        self.incarnations = []
        self._current = None
        self._seekUntil.clear()
        self._growth.clear()
        self._keepAt.clear()
        self._rotated = Rotated(self.path, self._held)
        self._firstTry = None
        self._started = False

    def close(self) -> None:
        """Close every file."""
        for incarnation in self.incarnations:
            incarnation.close()

    def holds(self, device: int, inode: int) -> bool:
        """Whether a file is one that this tail has open."""
        return any(
            not i.unpacked and (i.bookmark.device, i.bookmark.inode) == (device, inode)
            for i in self.incarnations
        )

    def _open(self) -> int | None:
        """Open what has the name now, if it is a regular file."""
        try:
            return self._openOrRaise()
        except OSError as error:
            self._cannot(error.strerror or str(error))
            return None

    def _openOrRaise(self) -> int | None:
        try:
            descriptor = openRegular(self.path, self._follow)
        except FileNotFoundError:
            return None
        if descriptor is None:
            self._cannot("it is not a regular file")
            return None
        if self._unreadable is not None:
            self._events("readable-again", path=self.path)
            self._unreadable = None
        return descriptor

    def _cannot(self, reason: str) -> None:
        self.trouble = reason
        if self._unreadable != reason:
            self._events("unreadable", path=self.path, reason=reason)
            self._unreadable = reason

    def _lookAtName(self) -> None:
        """See whether the name has another file by now."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            if self._current is not None:
                self._replace(self._current)
            return
        except OSError as error:
            self._cannot(error.strerror or str(error))
            return
        here = (status.st_dev, status.st_ino)
        current = self._current
        if current is not None:
            if (current.bookmark.device, current.bookmark.inode) == here:
                return
            self._replace(current)
        # A file that was renamed away can come back.
        for incarnation in self.incarnations:
            mark = incarnation.bookmark
            # What was unpacked does not keep its inode from being another file's.
            held = not incarnation.unpacked
            usable = held and incarnation.lost is None and not incarnation.seeking
            if (
                (mark.device, mark.inode) == here
                and usable
                and incarnation.descriptor is not None
            ):
                incarnation.replacedAt = None
                incarnation.final = False
                self._growth.pop(incarnation, None)
                self._current = incarnation
                break
        else:
            descriptor = self._open()
            if current is not None:
                self._strangersBefore(descriptor)
            if descriptor is not None:
                self._begin(descriptor)

    def _begin(self, descriptor: int, startOffset: int = 0) -> None:
        """Begin what has the name now, unless another tail still reads it."""
        begun = self._begun(descriptor)
        if begun is None:
            os.close(descriptor)
            return
        past = self._past(descriptor)
        if past is not None:
            self._events("returned", path=self.path, generation=past.generation)
            self._current = self._add(replace(past, finished=False), descriptor)
            self._current.dirty = True
            return
        offset = max(startOffset, begun)
        if offset > os.fstat(descriptor).st_size:
            offset = 0
        self._current = self._new(descriptor, offset)

    def _past(self, descriptor: int) -> Bookmark | None:
        """The finished incarnation that a file is: it was away, and has come back."""
        status = os.fstat(descriptor)
        here = (status.st_dev, status.st_ino)
        for mark in reversed(self._bookmarks.of(self.path)):
            same = mark.finished and (mark.device, mark.inode) == here
            if same and mark.head and fits(descriptor, mark, True):
                return mark
        return None

    def _replace(self, incarnation: Incarnation) -> None:
        """Its name is another file's."""
        self._current = None
        incarnation.replacedAt = self._clock()
        self._events("renamed", path=self.path, generation=incarnation.generation)

    def _new(
        self, descriptor: int, offset: int = 0, status: os.stat_result | None = None
    ) -> Incarnation:
        """
        Begin an incarnation; its bookmark is on disk before it is offered.

        @param status: of the file that the descriptor's was unpacked from.
        """
        try:
            return self._newOrRaise(descriptor, offset, status or os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise

    def _newOrRaise(
        self, descriptor: int, offset: int, status: os.stat_result
    ) -> Incarnation:
        size = os.fstat(descriptor).st_size
        # A size without a head would be a content that cannot be found again: a gap of
        # what is then shipped as a stranger's.
        head = os.pread(descriptor, min(HEAD_OCTETS, size), 0)
        if head:
            self._bookmarks.bringToDisk(descriptor, self.path)
        mark = Bookmark(
            self._stream,
            self._generation + 1,
            self.path,
            status.st_dev,
            status.st_ino,
            size if head else 0,
            head,
            offset=offset,
            base=offset,
            origin=offset,
        )
        self._bookmarks.save([mark])
        self._generation += 1
        return self._add(mark, descriptor)

    def _add(self, mark: Bookmark, descriptor: int | None) -> Incarnation:
        incarnation = Incarnation(
            mark,
            descriptor,
            self._messageOctetsMax,
            self._lagOctetsMax,
            self._saveInstead,
            self._bookmarks.bringToDisk,
        )
        self.incarnations.append(incarnation)
        return incarnation

    def _saveInstead(self, before: Bookmark, after: Bookmark) -> None:
        same = (before.stream, before.generation) == (after.stream, after.generation)
        if not same and self._link(before).exists():
            # Before the bookmark: under the new name it is found by content, if need be.
            self._link(before).rename(self._link(after))
        self._bookmarks.save([after], None if same else before)
        if before.stream == self._stream and not same:
            self._stream = after.stream
        self._generation = max(self._generation, after.generation)

    # Truncation

    def _truncated(self, old: Incarnation) -> None:
        """
        The content is gone from its file: find its copy, begin the new one.

        If it had been renamed away before, what is in the file now is a stranger's.
        """
        self._events(
            "truncated",
            path=self.path,
            generation=old.generation,
            position=old.position,
        )
        wasCurrent = old is self._current
        if wasCurrent:
            self._current = None
            old.replacedAt = self._clock()
        old.close()
        # What is at its inode is another content now.
        old.bookmark = replace(old.bookmark, device=0, inode=0)
        old.seeking = True
        self._seekUntil[old] = self._clock() + SEEK_S
        self._bookmarks.save([old.bookmark])
        self._seek()
        descriptor = self._open() if wasCurrent else None
        self._strangersBefore(descriptor)
        if descriptor is not None:
            self._current = self._new(descriptor)

    def _seek(self) -> None:
        """Look for the copies of what was truncated."""
        for incarnation, until in list(self._seekUntil.items()):
            where = replace(
                incarnation.bookmark,
                offset=incarnation.position,
                anchor=incarnation.anchor,
            )
            try:
                found = self._rotated.find(where) if where.head else None
            except OSError as error:
                # It may be there: the search has not begun.
                self._cannot(error.strerror or str(error))
                self._seekUntil[incarnation] = self._clock() + SEEK_S
                continue
            if found is not None:
                incarnation.use(found.descriptor, found.path, found.status.st_mtime_ns)
                del self._seekUntil[incarnation]
            elif self._clock() >= until or self._rotated.hasPart(where):
                del self._seekUntil[incarnation]
                incarnation.lose("truncated")
                self._events(
                    "copy-not-found", path=self.path, position=incarnation.position
                )

    # The end of an incarnation

    def _finish(self) -> None:
        """Leave what is shipped and has no writer any more."""
        now = self._clock()
        for incarnation in list(self.incarnations):
            if incarnation.replacedAt is None or incarnation.seeking:
                continue
            grew, since = self._growth.get(incarnation, (0, incarnation.replacedAt))
            if incarnation.grew != grew:
                grew, since = incarnation.grew, now
            self._growth[incarnation] = (grew, since)
            incarnation.final = now - since >= LATE_WRITER_S
            done = (
                incarnation.bookmark.offset == incarnation.position == incarnation.size
            )
            if done and incarnation.final and incarnation.seen > incarnation.size:
                # A copy that was made before the last octets came, which we had seen.
                incarnation.lose("truncated")
                continue
            if done and (incarnation.final or incarnation.lost is not None):
                mark = replace(
                    incarnation.bookmark, finished=True, size=incarnation.size
                )
                incarnation.bookmark = mark
                self._bookmarks.save([mark])
                self._bookmarks.forget(self.path, len(self._rotated.paths()))
                self._release(mark)
                incarnation.close()
                self.incarnations.remove(incarnation)
                self._growth.pop(incarnation, None)
                self._keepAt.pop(incarnation, None)

    def _link(self, mark: Bookmark) -> Path:
        return self._held / f"{mark.stream}-{mark.generation}"

    def _skipDeleted(self, incarnation: Incarnation) -> None:
        """Do not hold a deleted file that will be skipped when its turn comes."""
        cap = self._lagOctetsMax
        if cap is not None and incarnation.newerOctets >= cap and incarnation.deleted:
            incarnation.lose("lag-cap")
            self._release(incarnation.bookmark)

    def _keep(self, incarnation: Incarnation) -> None:
        """Keep what was deleted under us."""
        now = self._clock()
        if not incarnation.endangered or now < self._keepAt.get(incarnation, now):
            return
        try:
            # The copy begins at the offset: it must be the one that a restart knows.
            self._bookmarks.save([incarnation.bookmark])
            incarnation.keep(self._link(incarnation.bookmark))
        except (OSError, sqlite3.DatabaseError) as error:
            self._keepAt[incarnation] = now + KEEP_RETRY_S
            reason = getattr(error, "strerror", None) or str(error)
            self._events("not-kept", path=self.path, reason=reason)

    def _release(self, mark: Bookmark) -> None:
        try:
            self._link(mark).unlink()
        except OSError:
            pass

    # The start

    def _tryToStart(self) -> bool:
        """
        Begin, or begin at the next look.

        What is there and cannot be read is waited for: it is not gone, so its octets are
        no gap, and not new, so they are not shipped again.
        """
        try:
            if self._absent():
                return False
            self._start()
        except BaseException as error:
            self.close()
            self.incarnations = []
            self._current = None
            if not isinstance(error, OSError):
                raise
            self._cannot(error.strerror or str(error))
            return False
        self._started = True
        return True

    def _absent(self) -> bool:
        """Whether nothing is there yet of what was there: a mount that comes late."""
        if self._firstTry is None:
            self._firstTry = self._clock()
        if self._clock() - self._firstTry >= ABSENT_S or os.path.exists(self.path):
            return False
        known = any(not mark.finished for mark in self._bookmarks.of(self.path))
        held = self._held.exists() and any(self._held.iterdir())
        return known and not held and not self._rotated.paths()

    def _start(self) -> None:
        """Find what the bookmarks know, and what came while we were stopped."""
        marks = self._bookmarks.of(self.path)
        live = self._openOrRaise()
        try:
            if marks:
                self._stream = marks[-1].stream
                self._generation = max(mark.generation for mark in marks)
                for mark in marks:
                    if not mark.finished:
                        self._resume(mark, live)
            else:
                self._firstSight()
            if marks:
                # A content that was found late has a higher generation than the one after
                # it.
                self.incarnations.sort(key=lambda i: (i is self._current, i.modified))
                self._strangers(live)
        except BaseException:
            if live is not None and self._current is None:
                os.close(live)
            raise
        if live is not None and self._current is None:
            self._begin(live, 0 if marks else self._startOffset or 0)

    def _firstSight(self) -> None:
        """A path without bookmarks: its rotated files are from before our time."""
        past = []
        for path in self._rotated.paths():
            self._generation += 1
            mark = pastOf(path, self.path, self._stream, self._generation, self._held)
            if mark is not None:
                past.append(mark)
        self._bookmarks.save(past)

    def _resume(self, mark: Bookmark, live: int | None) -> None:
        """
        Find the file of a bookmark.

        A new file can begin as the old one did: the name alone says nothing. What was
        rotated away fits as well then, and is no copy of what has the name: it has the
        inode of the bookmark, or is more than the beginning of it.
        """
        found = self._rotated.find(mark, self._link(mark))
        if live is not None and self._current is None:
            status = os.fstat(live)
            same = (status.st_dev, status.st_ino) == (mark.device, mark.inode)
            renamed = not same and found is not None and found.has(mark)
            if (
                not renamed
                and fits(live, mark, same)
                and (found is None or beginningOf(found.descriptor, live))
            ):
                if found is not None:
                    os.close(found.descriptor)
                mark = replace(mark, device=status.st_dev, inode=status.st_ino)
                self._current = self._add(mark, live)
                return
        if found is None:
            self._events(
                "vanished",
                path=self.path,
                generation=mark.generation,
                offset=mark.offset,
            )
            incarnation = self._add(mark, None)
            incarnation.lose("vanished")
        else:
            kept = found.path == str(self._link(mark))
            # What we keep has a hole before the offset: it is not there for a new master.
            at = replace(found.at(mark), origin=mark.offset) if kept else found.at(mark)
            incarnation = self._add(at, found.descriptor)
            incarnation.dirty = True
            incarnation.foundAt(found.path, found.status.st_mtime_ns)
        incarnation.replacedAt = self._clock()

    def _strangers(self, live: int | None = None, beside: Beside | None = None) -> None:
        """
        Rotated files that nobody knows: rotated between two looks, or while we were stopped.

        One that is finished and has grown since, by a writer that kept it open, goes on.

        @param live: what has the name now, if it has not begun yet. A rotated file can be
            a copy of it.
        @param beside: what was there a moment ago. Who begins something new must know what
            is there now.
        """
        finished = [mark for mark in self._bookmarks.of(self.path) if mark.finished]
        for found in self._rotated.unknown(
            self.incarnations, finished, live, None if beside is None else beside.paths
        ):
            begun = self._begun(found.descriptor)
            if begun is None:
                # Another path's, by a link.
                os.close(found.descriptor)
                continue
            if found.past is None:
                begun = min(begun, os.fstat(found.descriptor).st_size)
                incarnation = self._new(found.descriptor, begun, found.status)
                self._events(
                    "rotated-unseen", path=found.path, generation=incarnation.generation
                )
            else:
                mark = replace(found.at(found.past), finished=False)
                incarnation = self._add(mark, found.descriptor)
                self._events(
                    "late-write", path=found.path, generation=incarnation.generation
                )
            incarnation.foundAt(found.path, found.status.st_mtime_ns)
            incarnation.replacedAt = self._clock()
            self._beforeUnread(incarnation, found.older)
        for path, reason in self._rotated.refused:
            self._events("unreadable", path=path, reason=reason)
        if self._sealedSaid:
            return
        sealed = (
            self._rotated.sealed() if beside is None else oldestFirst(beside.sealed)
        )
        if sealed:
            self._sealedSaid = True
            reason = "compressed, and only .gz can be unpacked"
            self._events("unreadable", path=sealed[-1], reason=reason)

    def _strangersBefore(self, live: int | None) -> None:
        """L{_strangers}; C{live} is closed if that fails."""
        try:
            self._strangers(live)
        except BaseException:
            if live is not None:
                os.close(live)
            raise

    def _lookAtDirectory(self) -> None:
        """
        See whether there are new names beside ours.

        A file that was written and truncated between two looks shows nowhere else.
        """
        try:
            beside = self._directories.beside(self.path)
        except OSError:
            return
        # A writer that kept a rotated file open changes the file, not the directory.
        due = self._clock() >= self._strangersAt
        if beside.changed != self._directoryTime or due:
            self._strangersAt = self._clock() + STRANGERS_S
            self._strangers(beside=beside)
            again = beside.recent or self._rotated.incomplete
            self._directoryTime = 0 if again else beside.changed

    def _beforeUnread(self, incarnation: Incarnation, older: Sequence[str]) -> None:
        """
        Put what was found between those of which nothing was read yet, by age.

        @param older: the rotated files that are older than it.
        """
        self.incarnations.remove(incarnation)
        at = len(self.incarnations)
        while at:
            before = self.incarnations[at - 1]
            read = before.position != before.bookmark.origin
            behind = before.modified < incarnation.modified or (
                before.modified == incarnation.modified and before.source in older
            )
            if read or (before is not self._current and behind):
                break
            at -= 1
        self.incarnations.insert(at, incarnation)
