"""Tests for the inotify wake-up, which is only a hint: nothing depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from twisted.internet import inotify, reactor
from twisted.internet.defer import Deferred
from twisted.python._inotify import INotifyError
from twisted.trial.unittest import TestCase

from decnet_syslog.reactors import IReactor
from decnet_syslog.worker import _inotify as watch
from decnet_syslog.worker._inotify import DirectoryWatch


class DirectoryWatchTests(TestCase):
    """Wake-ups from a real inotify."""

    timeout = 60

    def setUp(self) -> None:
        self.here = Path(self.mktemp()).resolve()
        self.here.mkdir(parents=True)
        self.woken: Deferred[None] = Deferred()

    def watch(self, *directories: Path) -> DirectoryWatch:
        def changed() -> None:
            if not self.woken.called:
                self.woken.callback(None)

        paths = [str(path) for path in directories]
        found = DirectoryWatch(cast(IReactor, reactor), paths, changed)
        self.addCleanup(found.stop)
        return found

    async def test_writtenFileWakes(self) -> None:
        """Writing to a file in the directory causes a wake-up."""
        self.watch(self.here).arm()
        (self.here / "log").write_bytes(b"x")
        await self.woken

    async def test_missingDirectory(self) -> None:
        """
        A missing directory affects no other directory, and is watched once it exists.
        """
        missing = self.here / "missing"
        found = self.watch(missing, self.here)
        found.arm()
        missing.mkdir()
        await self.woken
        self.woken = Deferred()
        found.arm()
        (missing / "log").write_bytes(b"x")
        await self.woken

    async def test_recreatedDirectory(self) -> None:
        """A directory that is removed and recreated is watched again."""
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

    def test_noInotifyInstance(self) -> None:
        """
        If the kernel refuses another inotify instance, nothing fails; there are only no
        wake-ups.
        """

        def fail(reactor: object) -> inotify.INotify:
            raise INotifyError("INotify initialization error.")

        self.patch(watch, "INotify", fail)
        found = self.watch(self.here)
        found.arm()
        found.stop()
