"""
Looks at the files: soon after a directory changes, and every poll interval.

The files thread does one look at a time, so a slow disk delays the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import FollowedFiles
from ..reactors import IReactor
from ._filesthread import FilesThread
from ._inotify import DirectoryWatch

__all__ = ["FileLooks"]

# Delay between a change of a directory and the look, in seconds: one look serves many changes.
WAKE_S = 0.002

# A look that a change triggers waits at least this many times as long as the previous look took,
# but no longer than the poll interval: with very many files, looking must not take all the time.
POLL_SHARE = 4


class FileLooks:
    """Looks at the files until it is stopped."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        thread: FilesThread,
        files: FollowedFiles,
        directories: Iterable[str],
        pollSeconds: float,
        looked: Callable[[], None],
    ) -> None:
        """
        @param directories: a change in any directory here causes a look.
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
        # How long the last look at the files took, in seconds.
        self._looking = 0.0

    def start(self) -> None:
        """Look now, and then repeatedly."""
        self._look()

    def usePollSeconds(self, pollSeconds: float) -> None:
        """Look at least this often from now on."""
        self._pollSeconds = pollSeconds
        self.wake()

    def stopWatching(self) -> None:
        """Stop reacting to changes. A look under way is the last one."""
        self._isStopped = True
        self._watch.stop()

    def stop(self) -> None:
        """Cancel the next look."""
        if self._poll is not None:
            self._poll.cancel()

    def wake(self) -> None:
        """A directory changed: look soon."""
        if self._poll is not None:
            self._poll.cancel()
        delay = max(WAKE_S, min(POLL_SHARE * self._looking, self._pollSeconds))
        self._poll = self._reactor.callLater(delay, self._look)

    def ask(self) -> Deferred[None]:
        """Look at the files after all work that is queued; fires when the look is done."""
        return self._thread.ask(self._pollFiles)

    def _look(self) -> None:
        self._poll = None
        # Armed before the look: the next look sees a change that happens during this one.
        self._watch.arm()
        if self._isLooking:
            # A slow disk delays the previous look: try again later.
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)
            return
        self._isLooking = True
        self.ask().addErrback(
            lambda failure: self._log.failure(
                "cannot look at the log files; trying again at the next look", failure
            )
        ).addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._isLooking = False
        self._whenLooked()
        if self._poll is None and not self._isStopped:
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)

    def _pollFiles(self) -> None:
        """Look at the files, in the files thread."""
        began = self._reactor.seconds()
        self._files.poll()
        self._looking = self._reactor.seconds() - began
