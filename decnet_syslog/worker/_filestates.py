"""
The state of each file: octets delivered, age of the oldest undelivered line, trouble.

What must be true:

* sizes and times are those of the files now, whether a master received them or not;
* a look costs a fixed amount per file, however many lines there are.

A file does not record the age of its lines. So each look notes the size with the time: a line
that ends beyond a noted size was written after that time. A line that was there before the first
look is at least as old as the last change of its file.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..files import FollowedFiles, OpenContent
from ..sending import Counts
from ..wire import STATES_MAX, TROUBLE, TROUBLES_MAX

__all__ = ["FileReport", "FileState", "FileStates", "Report"]

# Noted sizes per file. When there are more, each two neighbours become one.
NOTES_MAX = 64

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
    """

    name: str
    stream: str
    generation: int
    size: int
    position: int
    age: float

    @property
    def behind(self) -> int:
        """Octets that are not acknowledged, including those of an unfinished line."""
        return max(0, self.size - self.position)


@dataclass(frozen=True, slots=True)
class Report:
    """
    The state of all files at one look.

    @ivar files: those furthest behind first, at most as many as a report holds.
    @ivar followed: the number of followed files.
    @ivar troubles: present trouble: kind, name (path) and reason.
    """

    files: tuple[FileReport, ...] = ()
    followed: int = 0
    behind: int = 0
    age: float = 0.0
    troubles: tuple[TROUBLE, ...] = ()


class FileState:
    """
    The notes on a file's growth.

    @ivar age: age of its oldest complete line that is not acknowledged, in seconds; 0: none.
    """

    def __init__(self, content: OpenContent) -> None:
        self.content = content
        self.age = 0.0
        self._notes: deque[tuple[float, int]] = deque()
        self._noted = content.acknowledged.offset

    def look(self, now: float, wall: float) -> None:
        """Note the size, and compute the age of the oldest line."""
        content = self.content
        size, offset = content.size, content.acknowledged.offset
        if size < self._noted:
            self._notes.clear()
            self._noted = offset
        if size > self._noted:
            came = now
            if not self._notes and content.content.modified:
                came -= max(0.0, wall - content.content.modified / 1e9)
            self._notes.append((came, size))
            self._noted = size
            if len(self._notes) > NOTES_MAX:
                self._merge()
        while self._notes and self._notes[0][1] <= offset:
            self._notes.popleft()
        nothing = offset == content.position and content.unfinished == size
        self.age = 0.0 if nothing or not self._notes else now - self._notes[0][0]

    def report(self) -> FileReport:
        """The state at the last look."""
        content = self.content
        there = content.acknowledged
        return FileReport(
            content.name,
            there.stream,
            there.generation,
            content.size,
            there.offset,
            self.age,
        )

    def _merge(self) -> None:
        """Halve the notes: octets noted in two looks count as noted in the first."""
        notes = list(self._notes)
        self._notes = deque(
            (first[0], second[1])
            for first, second in zip(notes[::2], notes[1::2], strict=False)
        )
        if len(notes) % 2:
            self._notes.append(notes[-1])


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

    def look(self) -> Report:
        """Look at all files."""
        now, wall = self._clock(), self._wallClock()
        self._states = {
            content: self._states.get(content) or FileState(content)
            for content in self._files.opened
        }
        for state in self._states.values():
            state.look(now, wall)
        files = [state.report() for state in self._states.values()]
        files.sort(key=lambda file: (-file.age, -file.behind))
        return Report(
            tuple(files[:STATES_MAX]),
            len(files),
            sum([file.behind for file in files]),
            max([file.age for file in files], default=0.0),
            tuple(self._troubles(now)),
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
