"""
The pulse: what a forwarder says of itself, also when it has nothing to send.

What must be true:

* a master that can hear it is told every C{BEAT_S} that we are alive, how far behind we
  are and what we cannot read; of new trouble at the next look;
* it says what is the case, not what was sent: sizes and times are of the files;
* it costs a fixed amount a look, however many lines there are.

How old a line is, no file says. So sizes are noted with the time, at each look: a line
that ends behind a size came after that time. A line that was there before we looked is at
least as old as its file's last change.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..wire.control import BEAT, STATE, TROUBLE, ControlLine
from ..wire.report import STATES_MAX, TROUBLES_MAX
from .incarnation import Incarnation
from .tails import Tails

__all__ = ["BEAT_S", "LOOK_S", "FileState", "Pulse"]

# A master calls us silent when it misses two.
BEAT_S = 10.0

# How often the files' sizes are noted, in seconds: what an age is exact to.
LOOK_S = 1.0

# Sizes that are kept of one file. When there are more, two neighbours become one.
NOTES_MAX = 64

# Of a name and a reason, in characters: both are for people.
NAME_CHARACTERS_MAX = 1000
REASON_CHARACTERS_MAX = 200

# How long it is told that a file has differed from what the master holds, in seconds:
# long enough to be seen, though the file has gone on as a new stream.
DIVERGED_S = 60.0


class FileState:
    """
    How far one file is delivered.

    @ivar age: of its oldest complete line that is not acknowledged, in seconds; 0: none.
    """

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.age = 0.0
        self._notes: deque[tuple[float, int]] = deque()
        self._noted = incarnation.bookmark.offset

    @property
    def behind(self) -> int:
        """Octets that are not acknowledged, those of an unfinished line too."""
        incarnation = self.incarnation
        return max(0, incarnation.size - incarnation.bookmark.offset)

    def look(self, now: float, wall: float) -> None:
        """Note the size, and see how old the oldest line is."""
        incarnation = self.incarnation
        size, offset = incarnation.size, incarnation.bookmark.offset
        if size < self._noted:
            self._notes.clear()
            self._noted = offset
        if size > self._noted:
            came = now
            if not self._notes and incarnation.modified:
                came -= max(0.0, wall - incarnation.modified / 1e9)
            self._notes.append((came, size))
            self._noted = size
            if len(self._notes) > NOTES_MAX:
                self._merge()
        while self._notes and self._notes[0][1] <= offset:
            self._notes.popleft()
        nothing = offset == incarnation.position and incarnation.unfinished == size
        self.age = 0.0 if nothing or not self._notes else now - self._notes[0][0]

    def _merge(self) -> None:
        """Halve the notes: what came in two looks counts as come in the first."""
        notes = list(self._notes)
        self._notes = deque(
            (first[0], second[1])
            for first, second in zip(notes[::2], notes[1::2], strict=False)
        )
        if len(notes) % 2:
            self._notes.append(notes[-1])


class Pulse:
    """
    Note how the files are, and say it.

    @ivar files: how each is, as of the last look.
    """

    def __init__(
        self,
        tails: Tails,
        clock: IReactorTime,
        say: Callable[[Iterable[ControlLine]], bool],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param say: send control lines; whether there was somebody to take them.
        """
        self.files: dict[Incarnation, FileState] = {}
        self._tails = tails
        self._clock = clock
        self._say = say
        self._wallClock = wallClock
        self._saidAt: float | None = None
        self._saidTroubles: list[TROUBLE] = []
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look, now and every C{LOOK_S}."""
        self._timer = None
        self.look()
        self._timer = self._clock.callLater(LOOK_S, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connected(self) -> None:
        """Somebody new listens: tell at the next look."""
        self._saidAt = None

    @property
    def behind(self) -> int:
        """Octets of all files that are not acknowledged."""
        return sum([state.behind for state in self.files.values()])

    @property
    def age(self) -> float:
        """Of the oldest complete line of all that is not acknowledged, in seconds."""
        return max([state.age for state in self.files.values()], default=0.0)

    def troubles(self) -> list[TROUBLE]:
        """What is wrong with files now; as many as a report has."""
        now = self._clock.seconds()
        found = [("stuck", *item) for item in self._tails.troubles.items()]
        found += [
            ("diverged", name, "the master holds another content of it")
            for name, when in self._tails.counts.diverged.items()
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

    def look(self) -> None:
        """See how the files are, and say it if it is time."""
        now, wall = self._clock.seconds(), self._wallClock()
        current = self._tails.incarnations
        self.files = {
            incarnation: self.files.get(incarnation) or FileState(incarnation)
            for incarnation in current
        }
        for state in self.files.values():
            state.look(now, wall)
        troubles = self.troubles()
        due = self._saidAt is None or now - self._saidAt >= BEAT_S
        if (due or troubles != self._saidTroubles) and self._say(self._lines(troubles)):
            self._saidAt, self._saidTroubles = now, troubles

    def _lines(self, troubles: list[TROUBLE]) -> list[ControlLine]:
        behind = [state for state in self.files.values() if state.behind]
        behind.sort(key=lambda state: (-state.age, -state.behind))
        states = [
            STATE(
                state.incarnation.stream,
                state.incarnation.generation,
                state.incarnation.size,
                state.incarnation.bookmark.offset,
                round(state.age * 1000),
            )
            for state in behind[:STATES_MAX]
        ]
        beat = BEAT(len(self.files), self.behind, round(self.age * 1000))
        return [*states, *troubles, beat]
