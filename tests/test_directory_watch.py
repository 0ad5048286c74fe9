"""The wake-up for a directory that changes: a hint, and nothing depends on it."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import inotify, reactor
from twisted.internet.defer import Deferred
from twisted.python._inotify import INotifyError
from twisted.trial.unittest import TestCase

from decnet_syslog.worker import watch
from decnet_syslog.worker.watch import DirectoryWatch


class DirectoryWatchTests(TestCase):
    """With a real inotify."""

    timeout = 60

    def setUp(self) -> None:
        self.here = Path(self.mktemp()).resolve()
        self.here.mkdir(parents=True)
        self.woken: Deferred[None] = Deferred()

    def watch(self, *directories: Path) -> DirectoryWatch:
        def changed() -> None:
            if not self.woken.called:
                self.woken.callback(None)

        found = DirectoryWatch(reactor, [str(path) for path in directories], changed)
        self.addCleanup(found.stop)
        return found

    async def test_change(self) -> None:
        """A file that is written to."""
        self.watch(self.here).arm()
        (self.here / "log").write_bytes(b"x")
        await self.woken

    async def test_missing(self) -> None:
        """A directory that is not there costs nothing, not the others either, and is
        watched when it is."""
        missing = self.here / "missing"
        found = self.watch(missing, self.here)
        found.arm()
        missing.mkdir()
        await self.woken
        self.woken = Deferred()
        found.arm()
        (missing / "log").write_bytes(b"x")
        await self.woken

    async def test_removed(self) -> None:
        """A directory that is removed and made again while it is watched."""
        directory = self.here / "directory"
        directory.mkdir()
        found = self.watch(directory)
        found.arm()
        directory.rmdir()
        await self.woken
        found.arm()
        directory.mkdir()
        found.arm()
        self.woken = Deferred()
        (directory / "log").write_bytes(b"x")
        await self.woken

    def test_none(self) -> None:
        """The kernel gives no more instances: nobody is woken, nothing fails."""

        def fail(reactor: object) -> inotify.INotify:
            raise INotifyError("INotify initialization error.")

        self.patch(watch, "INotify", fail)
        found = self.watch(self.here)
        found.arm()
        found.stop()
