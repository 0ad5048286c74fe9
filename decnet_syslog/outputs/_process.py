"""
An output in its own process.

Rendering records takes more processor time than the rest of the listener, and one Python
process uses one processor. So a L{RemoteOutput} runs a L{FileOutput} in a child process:
batches go over a socket pair, cursors come back. The child knows no journal and no connection.
Octets that it has written count once its cursor is saved.

Requirement: two processes never write one output. A child notices the death of its listener
only after the current batch, and a new listener may have started by then. So listener and
children hold one lock on a file next to the journal. It is free when all have ended.

Set aside: a thread of the listener, even with the compiled renderer, which works without the
interpreter's lock. Lines of one shape go as fast in a thread, with 6 % less CPU time; but lines
of many shapes, a twentieth of them for the exact path in Python, take a quarter more time,
because that path holds the lock which the connections need (docs/performance.rst has the
figures). Also the start of processes by L{multiprocessing}, which imports the main module again
and shares too much with the child.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.logger import Logger

from ..boundaries import Called
from ..errors import UserError
from ..journal import Batch, Cursor
from ..private import openPrivate
from ._fileoutput import SYNC_OCTETS, FileOutput
from ._interfaces import Events
from ._paths import OutputPaths
from ._pipe import ObjectPipe
from ._rendering import FORMATS, Format

__all__ = ["ListenerLock", "RemoteOutput", "serve"]

# The time for the last batch of a child whose listener has died, in seconds.
LOCK_PATIENCE_S = 15.0

# A child ends when the socket pair is closed, after all batches. It ignores signals, which an
# init system or a terminal sends to all processes at once.
_IGNORED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class ListenerLock:
    """
    The lock that a listener and its children hold as long as one of them lives.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor: int | None = None

    def acquire(self, patience: float = LOCK_PATIENCE_S) -> None:
        """
        Take the lock; wait for the children of a listener that has died.

        @raise UserError: another listener holds it, or the file cannot be made.
        """
        descriptor = openPrivate(
            self._path,
            "the lock",
            "it is next to --journal: choose a directory that this user can write",
        )
        deadline = time.monotonic() + patience
        isWaiting = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise UserError(
                        f"{self._path} is locked: is another decnet-listener running?"
                    ) from None
                if not isWaiting:
                    isWaiting = True
                    self._log.info(
                        "waiting for up to {seconds:.0f} s for {path!r}: another decnet-listener,"
                        " or its child, holds it",
                        seconds=patience,
                        path=str(self._path),
                    )
                time.sleep(0.02)
            else:
                self.descriptor = descriptor
                return

    def release(self) -> None:
        """Release the lock; living children keep it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class RemoteOutput:
    """
    A L{FileOutput} in a child process. Every call blocks until the child has answered.

    @ivar name: the key of its cursor.
    @ivar lineWork: see L{Format}.
    @ivar seq: see L{FileOutput}.
    @ivar unsynced: see L{FileOutput}.
    """

    def __init__(
        self,
        format: Format,
        path: str,
        events: Events,
        lock: ListenerLock | None = None,
        paths: OutputPaths | None = None,
    ) -> None:
        """
        @param paths: see L{FileOutput}.
        """
        # This object is never started; it only gives the name for a path.
        self.path = os.path.abspath(path)
        self.name = FileOutput(format, path, events).name
        self.seq = 0
        self.unsynced = 0
        self.lineWork = format.lineWork
        self._format = format
        self._events = events
        self._lock = lock
        self._paths = paths or OutputPaths()
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: ObjectPipe | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id; C{None}: not started, or ended."""
        return None if self._child is None else self._child.pid

    @property
    def syncDue(self) -> bool:
        """As of L{FileOutput}."""
        return self.unsynced >= SYNC_OCTETS

    def start(self, cursor: Cursor) -> None:
        """
        Start the child, and call L{FileOutput.start} there.

        @raise UserError: the file cannot be opened.
        """
        ours, theirs = socket.socketpair()
        kept = [theirs.fileno()]
        if self._lock is not None and self._lock.descriptor is not None:
            kept.append(self._lock.descriptor)
        code = (
            f"import sys; sys.path[:] = {sys.path!r};"
            " from decnet_syslog.outputs._paths import OutputPaths;"
            " from decnet_syslog.outputs._process import serve;"
            f" serve({theirs.fileno()}, {self._format.name!r}, {self.path!r}, {self._paths!r})"
        )
        # The child inherits the blocked signals, and unblocks them once it ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=kept, stdin=subprocess.DEVNULL
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._pipe = ObjectPipe(ours.detach())
        self._call("start", cursor)

    def apply(self, batches: Sequence[Batch]) -> Cursor | None:
        """As of L{FileOutput}."""
        cursor: Cursor | None = self._call("apply", batches)
        return cursor

    def checkFiles(self) -> Cursor | None:
        """As of L{FileOutput}."""
        cursor: Cursor | None = self._call("checkFiles")
        return cursor

    def sync(self) -> Cursor:
        """As of L{FileOutput}."""
        cursor: Cursor = self._call("sync")
        return cursor

    def reopen(self) -> None:
        """As of L{FileOutput}."""
        self._call("reopen")

    def close(self) -> None:
        """Close the files and end the child."""
        if self._pipe is None:
            return
        try:
            self._call("close")
        finally:
            self.abandon()

    def abandon(self) -> int | None:
        """
        End the child, even if it has failed.

        @return: its exit status; C{None}: there is no child.
        """
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._child is None:
            return None
        status, self._child = self._child.wait(), None
        return status

    def _call(self, method: str, *arguments: object) -> Called:
        assert self._pipe is not None, "not started"
        try:
            self._pipe.send((method, arguments))
            result, error, self.seq, self.unsynced, events = self._pipe.recv()
        except (EOFError, OSError) as lost:
            raise RuntimeError(f"the process of {self.name} has ended") from lost
        for name, facts in events:
            self._events(name, **facts)
        if error is not None:
            raise error
        return result


def serve(descriptor: int, format: str, path: str, paths: OutputPaths) -> None:
    """The child's main loop: serve the listener's calls until the listener is gone."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    events: list[tuple[str, dict[str, object]]] = []

    def event(name: str, **facts: object) -> None:
        events.append((name, facts))

    output = FileOutput(FORMATS[format], path, event, paths)
    line = ObjectPipe(descriptor)
    while True:
        try:
            method, arguments = line.recv()
        except (EOFError, ConnectionResetError):
            # A reset means that the listener was killed before it read an answer.
            return
        result, error = None, None
        try:
            result = getattr(output, method)(*arguments)
        except Exception as failed:
            error = failed
        said, events = events, []
        try:
            line.send((result, error, output.seq, output.unsynced, said))
        except OSError:
            return
