"""
The state of each file: octets delivered, age of the oldest undelivered line, troubles.

What must be true:

* sizes and times are those of the files now, whether a master was told or not;
* a look costs a fixed amount per file, however many lines there are.

How old a line is, no file says. So sizes are noted with the time, at each look: a line
that ends behind a size came after that time. A line that was there before we looked is at
least as old as its file's last change.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..files import FollowedFiles, OpenContent
from ..wire.control import TROUBLE
from ..wire.report import STATES_MAX, TROUBLES_MAX
from .counts import Counts

__all__ = ["FileReport", "FileState", "FileStates", "Report"]

# Sizes that are kept of one file. When there are more, two neighbours become one.
NOTES_MAX = 64

# Of a name and a reason, in characters: both are for people.
NAME_CHARACTERS_MAX = 1000
REASON_CHARACTERS_MAX = 200

# How long it is told that a file has differed from what the master holds, in seconds:
# long enough to be seen, though the file has gone on as a new stream.
DIVERGED_S = 60.0


@dataclass(frozen=True, slots=True)
class FileReport:
    """
    How far one file is delivered.

    @ivar stream: what the master calls it, and C{generation}.
    @ivar age: of its oldest complete line that is not acknowledged, in seconds; 0: none.
    """

    name: str
    stream: str
    generation: int
    size: int
    position: int
    age: float

    @property
    def behind(self) -> int:
        """Octets that are not acknowledged, those of an unfinished line too."""
        return max(0, self.size - self.position)


@dataclass(frozen=True, slots=True)
class Report:
    """
    How all files are, at one look.

    @ivar files: the furthest behind first, no more than a report has.
    @ivar followed: how many there are.
    @ivar troubles: path or kind of what is wrong: kind, name and reason.
    """

    files: tuple[FileReport, ...] = ()
    followed: int = 0
    behind: int = 0
    age: float = 0.0
    troubles: tuple[TROUBLE, ...] = ()


class FileState:
    """
    Notes on one file's growth.

    @ivar age: of its oldest complete line that is not acknowledged, in seconds; 0: none.
    """

    def __init__(self, content: OpenContent) -> None:
        self.content = content
        self.age = 0.0
        self._notes: deque[tuple[float, int]] = deque()
        self._noted = content.acknowledged.offset

    def look(self, now: float, wall: float) -> None:
        """Note the size, and see how old the oldest line is."""
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
        """How it is."""
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
        """Halve the notes: what came in two looks counts as come in the first."""
        notes = list(self._notes)
        self._notes = deque(
            (first[0], second[1])
            for first, second in zip(notes[::2], notes[1::2], strict=False)
        )
        if len(notes) % 2:
            self._notes.append(notes[-1])


class FileStates:
    """
    How the files are. Used by the files' thread.
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
        """See how the files are."""
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
        """What is wrong with files now; as many as a report has."""
        found = [("stuck", *item) for item in self._files.troubles.items()]
        found += [
            ("diverged", name, "the master holds another content of it")
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
