"""
An output in a process of its own.

Rendering records takes more of a processor than everything else a listener does, and one
Python process uses one processor. So a L{RemoteOutput} does what a L{FileOutput} does, in
a child: batches go over a socket pair, cursors come back. Nothing else changes. The child
knows no journal and no connection; what it has written counts when its cursor is saved.

What must be true: two processes never write one output. A child notices that the listener
has died when its current batch is written, and a new listener may be there by then. So
both hold one lock on a file beside the journal, which is free when both have ended.

Set aside: threads (one interpreter lock), and L{multiprocessing}'s own start of processes,
which imports the main module again and shares what we do not want to share.
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
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..private import openPrivate
from .outputfile import Events
from .outputpaths import OutputPaths
from .outputs import SYNC_OCTETS, FileOutput, Render
from .rendering import renderJSON, renderRaw
from .values import Batch, Cursor

__all__ = ["ListenerLock", "RemoteOutput", "serve"]

RENDERERS: dict[str, Render] = {"raw": renderRaw, "json": renderJSON}

# How long a child of a listener that died may take for its last batch, in seconds.
LOCK_PATIENCE_S = 15.0

# The end of a listener is told by the end of the socket pair, in order; not by signals,
# which an init system or a terminal sends to every process at once.
_IGNORED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class ListenerLock:
    """
    Held by a listener and its children as long as one of them lives.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor: int | None = None

    def acquire(self, patience: float = LOCK_PATIENCE_S) -> None:
        """
        Take the lock; wait for what is left of a listener that died.

        @raise UserError: another listener holds it, or it cannot be made.
        """
        descriptor = openPrivate(
            self._path,
            "the lock",
            "give --journal, which it is beside, a directory that this user can write",
        )
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise UserError(
                        f"{self._path} is locked: is another decnet-listener running?"
                    ) from None
                time.sleep(0.02)
            else:
                self.descriptor = descriptor
                return

    def release(self) -> None:
        """Let go; children that still live keep it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class RemoteOutput:
    """
    A L{FileOutput} in a child. Every call blocks until the child has answered.

    @ivar name: what its cursor is filed under.
    @ivar seq: as of L{FileOutput}.
    @ivar unsynced: as of L{FileOutput}.
    """

    def __init__(
        self,
        kind: str,
        path: str,
        events: Events,
        lock: ListenerLock | None = None,
        paths: OutputPaths | None = None,
    ) -> None:
        """
        @param kind: of L{RENDERERS}.
        @param paths: as of L{FileOutput}.
        """
        # Never started: it knows the name that belongs to a path.
        self.path = os.path.abspath(path)
        self.name = FileOutput(kind, path, RENDERERS[kind], events).name
        self.seq = 0
        self.unsynced = 0
        self._kind = kind
        self._events = events
        self._lock = lock
        self._paths = paths or OutputPaths()
        self._child: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    @property
    def syncDue(self) -> bool:
        """As of L{FileOutput}."""
        return self.unsynced >= SYNC_OCTETS

    def start(self, cursor: Cursor) -> None:
        """
        Start the child, and L{FileOutput.start} there.

        @raise UserError: the file cannot be had.
        """
        ours, theirs = socket.socketpair()
        kept = [theirs.fileno()]
        if self._lock is not None and self._lock.descriptor is not None:
            kept.append(self._lock.descriptor)
        code = (
            f"import sys; sys.path[:] = {sys.path!r};"
            " from decnet_syslog.master.outputpaths import OutputPaths;"
            " from decnet_syslog.master.outputprocess import serve;"
            f" serve({theirs.fileno()}, {self._kind!r}, {self.path!r}, {self._paths!r})"
        )
        # A child begins with these blocked, and ignores them before it lets them come.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=kept, stdin=subprocess.DEVNULL
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._line = Connection(ours.detach())
        self._call("start", cursor)

    def apply(self, batches: Sequence[Batch]) -> Cursor | None:
        """As of L{FileOutput}."""
        cursor: Cursor | None = self._call("apply", batches)
        return cursor

    def look(self) -> Cursor | None:
        """As of L{FileOutput}."""
        cursor: Cursor | None = self._call("look")
        return cursor

    def sync(self) -> Cursor:
        """As of L{FileOutput}."""
        cursor: Cursor = self._call("sync")
        return cursor

    def reopen(self) -> None:
        """As of L{FileOutput}."""
        self._call("reopen")

    def close(self) -> None:
        """Close the files, and end the child."""
        if self._line is None:
            return
        try:
            self._call("close")
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the child, whatever it does."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._child is not None:
            self._child.wait()
            self._child = None

    def _call(self, method: str, *arguments: Any) -> Any:
        assert self._line is not None, "not started"
        try:
            self._line.send((method, arguments))
            result, error, self.seq, self.unsynced, events = self._line.recv()
        except (EOFError, OSError) as lost:
            raise RuntimeError(f"the process of {self.name} has ended") from lost
        for name, facts in events:
            self._events(name, **facts)
        if error is not None:
            raise error
        return result


def serve(descriptor: int, kind: str, path: str, paths: OutputPaths) -> None:
    """The child: do what the listener says until it is gone."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    events: list[tuple[str, dict[str, Any]]] = []

    def event(name: str, **facts: Any) -> None:
        events.append((name, facts))

    output = FileOutput(kind, path, RENDERERS[kind], event, paths)
    line = Connection(descriptor)
    while True:
        try:
            method, arguments = line.recv()
        except (EOFError, ConnectionResetError):
            # Reset: it was killed with an answer of ours unread.
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
