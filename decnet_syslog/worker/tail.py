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
  stopped, and are incarnations of their own.

A file that is deleted while we have it open is copied beside the state, as far as it is not
acknowledged, so that a restart does not lose it. Set aside: a hard link made beforehand.
logrotate (3.21) fails on a file that has a second name, "Operation not supported".
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from .bookmarks import Bookmark, Bookmarks
from .incarnation import Incarnation
from .rotation import (
    beginningOf,
    fits,
    openRegular,
    openSibling,
    pastOf,
    siblings,
    startOf,
)

__all__ = ["Events", "Tail"]

# How long a writer may go on writing to a file that was renamed away, in seconds:
# logrotate's postrotate has told it to reopen by then.
LATE_WRITER_S = 10.0

# How long the copy of a truncated file is looked for, in seconds: compressing takes time.
SEEK_S = 10.0

# Longer than a tick of any file system's clock, in nanoseconds.
DIRECTORY_TICK_NS = 50_000_000

Events = Callable[..., None]


class Tail:
    """
    One configured path.

    @ivar incarnations: those not finished, oldest first.
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
    ) -> None:
        """
        @param clock: seconds that never go back.
        @param events: told what happens to the file: C{events(name, **facts)}.
        @param startOffset: where to begin in a file that is seen for the first time.
        """
        self.path = path
        self.incarnations: list[Incarnation] = []
        self._bookmarks = bookmarks
        self._clock = clock
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._events = events
        self._startOffset = startOffset
        self._held = Path(f"{bookmarks.path}.held")
        self._current: Incarnation | None = None
        self._stream = uuid4().hex
        self._generation = -1
        self._started = False
        self._unreadable: str | None = None
        self._seekUntil: dict[Incarnation, float] = {}
        self._directoryTime = 0

    def poll(self) -> None:
        """Look at the file system once."""
        if not self._started:
            self._start()
        for incarnation in self.incarnations:
            incarnation.look()
        current = self._current
        if current is not None and current.changed:
            self._truncated(current)
        self._seek()
        self._lookAtName()
        self._lookAtDirectory()
        for incarnation in self.incarnations:
            self._keep(incarnation)
        self._finish()

    def close(self) -> None:
        """Close every file."""
        for incarnation in self.incarnations:
            incarnation.close()

    def holds(self, device: int, inode: int) -> bool:
        """Whether a file is one that this tail has open."""
        return any(
            (i.bookmark.device, i.bookmark.inode) == (device, inode)
            for i in self.incarnations
        )

    def _open(self, path: str) -> int | None:
        try:
            descriptor = openRegular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._cannot(error.strerror or str(error))
            return None
        if descriptor is None:
            self._cannot("it is not a regular file")
            return None
        if self._unreadable is not None:
            self._events("readable-again", path=path)
            self._unreadable = None
        return descriptor

    def _cannot(self, reason: str) -> None:
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
            self._strangers()
        # A file that was renamed away can come back.
        for incarnation in self.incarnations:
            mark = incarnation.bookmark
            usable = incarnation.lost is None and not incarnation.seeking
            if (
                (mark.device, mark.inode) == here
                and usable
                and incarnation.descriptor is not None
            ):
                incarnation.replacedAt = None
                incarnation.final = False
                self._current = incarnation
                return
        descriptor = self._open(self.path)
        if descriptor is not None:
            self._current = self._new(descriptor)

    def _replace(self, incarnation: Incarnation) -> None:
        """Its name is another file's."""
        self._current = None
        incarnation.replacedAt = self._clock()
        self._events("renamed", path=self.path, generation=incarnation.generation)

    def _new(self, descriptor: int, offset: int = 0) -> Incarnation:
        """Begin an incarnation; its bookmark is on disk before it is offered."""
        self._generation += 1
        status = os.fstat(descriptor)
        mark = Bookmark(
            self._stream,
            self._generation,
            self.path,
            status.st_dev,
            status.st_ino,
            status.st_size,
            offset=offset,
            base=offset,
            origin=offset,
        )
        self._bookmarks.save([mark])
        return self._add(mark, descriptor)

    def _add(self, mark: Bookmark, descriptor: int | None) -> Incarnation:
        incarnation = Incarnation(
            mark,
            descriptor,
            self._messageOctetsMax,
            self._lagOctetsMax,
            self._saveInstead,
        )
        self.incarnations.append(incarnation)
        return incarnation

    def _saveInstead(self, before: Bookmark, after: Bookmark) -> None:
        same = (before.stream, before.generation) == (after.stream, after.generation)
        self._bookmarks.save([after], None if same else before)
        if before.stream == self._stream and not same:
            self._stream = after.stream
        self._generation = max(self._generation, after.generation)

    # Truncation

    def _truncated(self, old: Incarnation) -> None:
        """The content is gone from under the name: find its copy, begin the new one."""
        self._events(
            "truncated",
            path=self.path,
            generation=old.generation,
            position=old.position,
        )
        self._current = None
        old.replacedAt = self._clock()
        old.close()
        # What is at its inode is another content now.
        old.bookmark = replace(old.bookmark, device=0, inode=0)
        old.seeking = True
        self._bookmarks.save([old.bookmark])
        self._seekUntil[old] = self._clock() + SEEK_S
        self._seek()
        self._strangers()
        descriptor = self._open(self.path)
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
            found = self._find(where)
            if found is not None:
                incarnation.use(*found)
                del self._seekUntil[incarnation]
            elif self._clock() >= until or self._copiedEarlier(where):
                del self._seekUntil[incarnation]
                incarnation.lose("truncated")
                self._events(
                    "copy-not-found", path=self.path, position=incarnation.position
                )

    def _find(self, mark: Bookmark) -> tuple[int, str] | None:
        """Open the rotated file that has a content."""
        for path in reversed(siblings(self.path)):
            descriptor = openSibling(path, self._held)
            if descriptor is None:
                continue
            if mark.head and fits(descriptor, mark, False):
                return descriptor, path
            os.close(descriptor)
        return None

    def _copiedEarlier(self, mark: Bookmark) -> bool:
        """Whether the copy was made before the last octets that we know came."""
        for path in siblings(self.path):
            descriptor = openSibling(path, self._held)
            if descriptor is not None:
                try:
                    if startOf(descriptor, mark):
                        return True
                finally:
                    os.close(descriptor)
        return False

    # The end of an incarnation

    def _finish(self) -> None:
        """Leave what is shipped and has no writer any more."""
        now = self._clock()
        for incarnation in list(self.incarnations):
            if incarnation.replacedAt is None or incarnation.seeking:
                continue
            incarnation.final = now - incarnation.replacedAt >= LATE_WRITER_S
            done = (
                incarnation.bookmark.offset == incarnation.position == incarnation.size
            )
            if done and (incarnation.final or incarnation.lost is not None):
                mark = replace(
                    incarnation.bookmark, finished=True, size=incarnation.size
                )
                incarnation.bookmark = mark
                self._bookmarks.save([mark])
                self._bookmarks.forget(self.path)
                self._release(mark)
                incarnation.close()
                self.incarnations.remove(incarnation)

    def _link(self, mark: Bookmark) -> Path:
        return self._held / f"{mark.stream}-{mark.generation}"

    def _keep(self, incarnation: Incarnation) -> None:
        """Keep what was deleted under us."""
        try:
            incarnation.keepFrom(self._link(incarnation.bookmark))
        except OSError as error:
            self._events("not-kept", path=self.path, reason=error.strerror)

    def _release(self, mark: Bookmark) -> None:
        try:
            self._link(mark).unlink()
        except OSError:
            pass

    # The start

    def _start(self) -> None:
        """Find what the bookmarks know, and what came while we were stopped."""
        self._started = True
        marks = self._bookmarks.of(self.path)
        rotated = siblings(self.path)
        if not marks:
            self._firstSight(rotated)
            return
        self._stream = marks[-1].stream
        self._generation = max(mark.generation for mark in marks)
        live = self._open(self.path)
        for mark in marks:
            if not mark.finished:
                self._resume(mark, live, rotated)
        # A content that was found late has a higher generation than the one after it.
        age = {path: number for number, path in enumerate(rotated)}
        self.incarnations.sort(
            key=lambda i: (i is self._current, age.get(i.source or "", -1))
        )
        self._strangers()
        if live is not None and (
            self._current is None or self._current.descriptor != live
        ):
            self._current = self._new(live)

    def _firstSight(self, rotated: list[str]) -> None:
        """A path without bookmarks: its rotated files are from before our time."""
        past = []
        for path in rotated[-32:]:
            self._generation += 1
            mark = pastOf(path, self.path, self._stream, self._generation, self._held)
            if mark is not None:
                past.append(mark)
        self._bookmarks.save(past)
        descriptor = self._open(self.path)
        if descriptor is None:
            return
        offset = self._startOffset or 0
        if offset > os.fstat(descriptor).st_size:
            offset = 0
        self._current = self._new(descriptor, offset)

    def _resume(self, mark: Bookmark, live: int | None, rotated: list[str]) -> None:
        """Find the file of a bookmark."""
        if live is not None and self._current is None:
            status = os.fstat(live)
            same = (status.st_dev, status.st_ino) == (mark.device, mark.inode)
            if fits(live, mark, same):
                mark = replace(mark, device=status.st_dev, inode=status.st_ino)
                self._current = self._add(mark, live)
                return
        candidates = [str(self._link(mark)), *reversed(rotated)]
        candidates.sort(key=lambda path: not _sameFile(path, mark))
        for path in candidates:
            descriptor = openSibling(path, self._held)
            if descriptor is None:
                continue
            if fits(descriptor, mark, _sameFile(path, mark)):
                incarnation = self._add(_at(path, mark), descriptor)
                incarnation.dirty = True
                incarnation.source = path
                incarnation.replacedAt = self._clock()
                return
            os.close(descriptor)
        self._events(
            "vanished", path=self.path, generation=mark.generation, offset=mark.offset
        )
        incarnation = self._add(mark, None)
        incarnation.replacedAt = self._clock()
        incarnation.lose("vanished")

    def _strangers(self) -> None:
        """
        Rotated files that nobody knows: rotated between two looks, or while we were stopped.

        One that is finished and has grown since, by a writer that kept it open, goes on.
        """
        finished = [mark for mark in self._bookmarks.of(self.path) if mark.finished]
        rotated = siblings(self.path)
        for index, path in enumerate(rotated):
            descriptor = openSibling(path, self._held)
            if descriptor is None:
                continue
            if self._known(path, descriptor):
                os.close(descriptor)
                continue
            size = os.fstat(descriptor).st_size
            past = None
            if any(startOf(descriptor, mark) for mark in finished):
                self._events("copy-ignored", path=path)
                os.close(descriptor)
                continue
            for mark in finished:
                # An empty file is known by its inode only as long as it is empty.
                if fits(descriptor, mark, _sameFile(path, mark) and size == 0):
                    past = mark
            if past is None:
                incarnation = self._new(descriptor)
                self._events(
                    "rotated-unseen", path=path, generation=incarnation.generation
                )
            elif size > past.offset:
                incarnation = self._add(replace(past, finished=False), descriptor)
                self._events("late-write", path=path, generation=incarnation.generation)
            else:
                os.close(descriptor)
                continue
            incarnation.source = path
            incarnation.replacedAt = self._clock()
            self._beforeUnread(incarnation, rotated[:index])

    def _lookAtDirectory(self) -> None:
        """
        See whether there are new names beside ours.

        A file that was written and truncated between two looks shows nowhere else.
        """
        try:
            changed = os.stat(os.path.dirname(self.path)).st_mtime_ns
        except OSError:
            return
        if changed != self._directoryTime:
            # File systems count in ticks: what changes again in the same one shows the
            # same time. So a recent time does not count as seen.
            recent = time.time_ns() - changed < DIRECTORY_TICK_NS
            self._directoryTime = 0 if recent else changed
            self._strangers()

    def _beforeUnread(self, incarnation: Incarnation, older: list[str]) -> None:
        """
        Put what was found between those of which nothing was read yet, by age.

        @param older: the rotated files that are older than it.
        """
        self.incarnations.remove(incarnation)
        at = len(self.incarnations)
        while at:
            before = self.incarnations[at - 1]
            read = before.position != before.bookmark.origin
            if read or before.source in older:
                break
            at -= 1
        self.incarnations.insert(at, incarnation)

    def _known(self, path: str, descriptor: int) -> bool:
        """Whether a rotated file is what we have open, or a copy of it."""
        try:
            status = os.stat(path)
        except OSError:
            return True
        here = (status.st_dev, status.st_ino)
        for incarnation in self.incarnations:
            if (incarnation.bookmark.device, incarnation.bookmark.inode) == here:
                incarnation.source = path
                return True
        for incarnation in self.incarnations:
            where = replace(
                incarnation.bookmark,
                offset=min(incarnation.position, incarnation.size),
                anchor=incarnation.anchor,
            )
            if where.head and fits(descriptor, where, False):
                incarnation.source = path
                return True
            # Somebody's copy of a part of it, made to look at.
            if incarnation.descriptor is not None and beginningOf(
                descriptor, incarnation.descriptor
            ):
                return True
        return False


def _at(path: str, mark: Bookmark) -> Bookmark:
    """A bookmark of the content that is at a path."""
    try:
        status = os.stat(path)
    except OSError:
        return replace(mark, device=0, inode=0)
    return replace(mark, device=status.st_dev, inode=status.st_ino)


def _sameFile(path: str, mark: Bookmark) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (mark.device, mark.inode)
