"""
The state of each file: octets delivered, age of the oldest undelivered line, trouble.

What must be true:

* sizes and times are those of the files now, whether a master received them or not;
* a look costs a fixed amount per file, however many lines there are.

A file does not record the age of its lines. So each look notes the size with the time: a line
between two noted sizes was written between the two times. A line that was there before the first
look is at least as old as the last change of its file.

A backlog of a day needs no note for each of its seconds: two notes that are closer together than
a small part of their age become one. An age is therefore right to that part, however long a backlog
has grown and however fast it is then delivered.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..files import FollowedFiles, OpenContent
from ..sending import Counts
from ..wire import AGES_MAX, STATES_MAX, TROUBLE, TROUBLES_MAX

__all__ = ["FileReport", "FileState", "FileStates", "FilesSummary"]

# Notes closer together than this part of their age become one.
WIDTH = 0.05

# Notes are looked through when there are this many, or twice as many as were left the last time.
# WIDTH leaves about 200 for a backlog of a day.
NOTES_MIN = 64

# The most notes, whatever the clock does: the oldest ones become one.
NOTES_MAX = 1024

# A report has another point of a file's ages when the age has shrunk by this part.
STEP = 0.1

# Maximum length of a name and of a reason, in characters: both are for people.
NAME_CHARACTERS_MAX = 1000
REASON_CHARACTERS_MAX = 200

# How long a report mentions that a file differed from the master's content, in seconds: long
# enough to be seen, although the file has continued as a new stream.
DIVERGED_S = 60.0


@dataclass(frozen=True, slots=True)
class FileReport:
    """
    How much of a file is delivered.

    @ivar stream: its name in the journal, with C{generation}.
    @ivar age: age of its oldest complete line that is not acknowledged, in seconds; 0: none.
    @ivar ages: positions with the age of the octet there, in seconds, in the order of the file,
        the acknowledged position first; at most as many as a report holds.
    """

    name: str
    stream: str
    generation: int
    size: int
    position: int
    age: float
    ages: tuple[tuple[int, float], ...] = ()

    @property
    def behind(self) -> int:
        """Octets that are not acknowledged, including those of an unfinished line."""
        return max(0, self.size - self.position)


@dataclass(frozen=True, slots=True)
class FilesSummary:
    """
    The state of all files at one look.

    @ivar files: those furthest behind first, at most as many as a report holds.
    @ivar followed: the number of followed files.
    @ivar troubles: present trouble: kind, name (path) and reason.
    @ivar at: the time of the look, on the clock.
    """

    files: tuple[FileReport, ...] = ()
    followed: int = 0
    behind: int = 0
    age: float = 0.0
    troubles: tuple[TROUBLE, ...] = ()
    at: float = 0.0


class FileState:
    """
    The notes on a file's growth.

    @ivar age: age of its oldest complete line that is not acknowledged, in seconds; 0: none.
    """

    def __init__(self, content: OpenContent) -> None:
        self.content = content
        self.age = 0.0
        self._now = 0.0
        # Size and time, both growing. The first note is at or before the acknowledged position.
        self._notes: deque[tuple[int, float]] = deque()
        self._sizeAtLook = content.acknowledged.offset
        self._lookedAt: float | None = None
        self._notesDue = NOTES_MIN

    @property
    def notes(self) -> int:
        """The number of noted sizes."""
        return len(self._notes)

    def note(self, now: float, wall: float) -> None:
        """Note the size, and compute the age of the oldest line."""
        content = self.content
        # A file can be read further than its size was at the last look at it.
        offset = content.acknowledged.offset
        size = max(content.size, content.position, offset)
        if size < self._sizeAtLook:
            self._notes.clear()
            self._sizeAtLook, self._lookedAt = offset, None
        if size > self._sizeAtLook:
            self._note(size, now, wall)
        self._sizeAtLook, self._lookedAt, self._now = size, now, now
        while len(self._notes) > 1 and self._notes[1][0] <= offset:
            self._notes.popleft()
        nothing = offset == content.position and content.unfinished == content.size
        self.age = 0.0 if nothing or offset >= size else self._ageAt(offset)

    def _note(self, size: int, now: float, wall: float) -> None:
        """Note that the file has grown since the last look."""
        notes = self._notes
        if self._lookedAt is None:
            came = now
            if self.content.content.modified:
                came -= max(0.0, wall - self.content.content.modified / 1e9)
            notes.append((self._sizeAtLook, came))
            notes.append((size, came))
            return
        # Nothing came between the last growth and the last look.
        if not notes or notes[-1][1] < self._lookedAt:
            notes.append((self._sizeAtLook, self._lookedAt))
        notes.append((size, now))
        if len(notes) >= self._notesDue:
            self._merge(now)

    def _ageAt(self, offset: int) -> float:
        """The age of the octet at an offset, between the two notes around it."""
        before = self._notes[0] if self._notes else (offset, self._now)
        for note in self._notes:
            if note[0] > offset:
                grown = note[0] - before[0]
                share = (offset - before[0]) / grown if grown else 1.0
                return self._now - (before[1] + share * (note[1] - before[1]))
            before = note
        return self._now - before[1]

    def _ages(self) -> tuple[tuple[int, float], ...]:
        """Points between which the age is nearly a straight line, the oldest first."""
        offset = self.content.acknowledged.offset
        points = [(offset, self.age)]
        skipped: tuple[int, float] | None = None
        for size, came in self._notes:
            if size <= offset:
                continue
            age = self._now - came
            if age > (1 - STEP) * points[-1][1]:
                skipped = (size, age)
                continue
            if skipped is not None:
                points.append(skipped)
                skipped = None
            points.append((size, max(0.0, age)))
            if len(points) >= AGES_MAX - 1:
                break
        if skipped is not None:
            points.append(skipped)
        return tuple(points[:AGES_MAX])

    def report(self) -> FileReport:
        """The state at the last look."""
        content = self.content
        there = content.acknowledged
        return FileReport(
            content.name,
            there.stream,
            there.generation,
            max(content.size, content.position, there.offset),
            there.offset,
            self.age,
            self._ages() if self.age else ((there.offset, 0.0),),
        )

    def _merge(self, now: float) -> None:
        """Drop notes that are close to their neighbours, for their age."""
        notes = list(self._notes)
        kept = notes[:1]
        for at in range(1, len(notes) - 1):
            if notes[at + 1][1] - kept[-1][1] > WIDTH * (now - notes[at + 1][1]):
                kept.append(notes[at])
        kept += notes[-1:]
        if len(kept) > NOTES_MAX:
            del kept[1 : len(kept) - NOTES_MAX + 1]
        self._notes = deque(kept)
        self._notesDue = max(NOTES_MIN, 2 * len(kept))


class FileStates:
    """
    The state of all files. Used in the files thread.
    """

    def __init__(
        self,
        files: FollowedFiles,
        counts: Counts,
        clock: Callable[[], float],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._counts = counts
        self._clock = clock
        self._wallClock = wallClock
        self._states: dict[OpenContent, FileState] = {}

    @property
    def notes(self) -> int:
        """The number of noted sizes of all files: the memory that their states take."""
        return sum([state.notes for state in self._states.values()])

    def summarize(self) -> FilesSummary:
        """Look at all files."""
        now, wall = self._clock(), self._wallClock()
        self._states = {
            content: self._states.get(content) or FileState(content)
            for content in self._files.opened
        }
        for state in self._states.values():
            state.note(now, wall)
        files = [state.report() for state in self._states.values()]
        files.sort(key=lambda file: (-file.age, -file.behind))
        return FilesSummary(
            tuple(files[:STATES_MAX]),
            len(files),
            sum([file.behind for file in files]),
            max([file.age for file in files], default=0.0),
            tuple(self._troubles(now)),
            now,
        )

    def _troubles(self, now: float) -> list[TROUBLE]:
        """Present trouble with files, at most as many as a report holds."""
        found = [("stuck", *item) for item in self._files.troubles.items()]
        found += [
            ("diverged", name, "the master holds other content for it")
            for name, when in self._counts.diverged.items()
            if now - when < DIVERGED_S
        ]
        return [
            TROUBLE(
                kind,
                name[:NAME_CHARACTERS_MAX] or "?",
                reason[:REASON_CHARACTERS_MAX] or "?",
            )
            for kind, name, reason in found[:TROUBLES_MAX]
        ]
