"""Long work in slices, so that the thread can do other work between them."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IDelayedCall

from ._connection import IClock
from ._identification import Slices

__all__ = ["SlicedWork"]


class SlicedWork:
    """The jobs of a connection, oldest first, one slice per turn."""

    def __init__(self, clock: IClock) -> None:
        self._clock = clock
        self._jobs: deque[Slices[None]] = deque()
        self._turn: IDelayedCall | None = None

    def begin(self, job: Slices[None]) -> None:
        """Queue a job; it starts when the earlier ones are done."""
        self._jobs.append(job)
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._goOn)

    def stop(self) -> None:
        """Abandon all jobs."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        for job in self._jobs:
            job.close()
        self._jobs.clear()

    def _goOn(self) -> None:
        self._turn = None
        job = self._jobs[0]
        try:
            next(job)
        except StopIteration:
            self._jobs.remove(job)
        if self._jobs and self._turn is None:
            self._turn = self._clock.callLater(0, self._goOn)
