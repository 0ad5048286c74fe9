"""
Looks at the files: soon after a directory changes, and every poll interval.

The files' thread does the look, one at a time: a slow disk makes the next look wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import FollowedFiles
from .filesthread import FilesThread
from .watch import DirectoryWatch

__all__ = ["FileLooks"]

# After a directory has changed, look this much later, in seconds: one look for many changes.
WAKE_S = 0.002

# And so many times as long as the look before has taken, if that is no longer than without a
# change: of very many files looks are not all that is done.
LOOK_SHARE = 4


class FileLooks:
    """The looks at the files, until they are stopped."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        thread: FilesThread,
        files: FollowedFiles,
        directories: Iterable[str],
        pollSeconds: float,
        looked: Callable[[], None],
    ) -> None:
        """
        @param directories: a change in one of them causes a look.
        @param looked: called after each look.
        """
        self._reactor = reactor
        self._thread = thread
        self._files = files
        self._pollSeconds = pollSeconds
        self._whenLooked = looked
        self._watch = DirectoryWatch(reactor, directories, self.wake)
        self._poll: IDelayedCall | None = None
        self._isLooking = False
        self._isStopped = False
        # How long the last look at the files has taken, in seconds.
        self._looking = 0.0

    def start(self) -> None:
        """Look now, and again and again."""
        self._look()

    def stopWatching(self) -> None:
        """Stop waking for changes. A look under way is the last."""
        self._isStopped = True
        self._watch.stop()

    def stop(self) -> None:
        """Look no more."""
        if self._poll is not None:
            self._poll.cancel()

    def wake(self) -> None:
        """A directory has changed: look soon."""
        if self._poll is not None:
            self._poll.cancel()
        delay = max(WAKE_S, min(LOOK_SHARE * self._looking, self._pollSeconds))
        self._poll = self._reactor.callLater(delay, self._look)

    def ask(self) -> Deferred[None]:
        """Have the files looked at behind whatever is under way; fires when it is done."""
        return self._thread.ask(self._pollFiles)

    def _look(self) -> None:
        self._poll = None
        # Armed before the look: what changes meanwhile is seen by the next.
        self._watch.arm()
        if self._isLooking:
            # The disk makes the last look wait: there is one to come.
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)
            return
        self._isLooking = True
        self.ask().addErrback(
            lambda failure: self._log.failure(
                "cannot read the log files; trying again", failure
            )
        ).addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._isLooking = False
        self._whenLooked()
        if self._poll is None and not self._isStopped:
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)

    def _pollFiles(self) -> None:
        """In the files' thread."""
        began = self._reactor.seconds()
        self._files.poll()
        self._looking = self._reactor.seconds() - began
