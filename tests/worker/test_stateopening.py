"""Tests for L{decnet_syslog.worker._stateopening}: DECNET's database in the bundle's directory."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from unittest import mock

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from decnet_syslog.files import StateStore
from decnet_syslog.worker._stateopening import openState

# Another process: within one process, SQLite's locks would not conflict.
HOLDER = """
import sys
from pathlib import Path
from decnet_syslog.files import StateStore
store = StateStore.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@implementer(ILogObserver)
class Said:
    """Collects our own log messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("decnet_syslog"):
            self.lines.append(formatEvent(event))


class OpenStateTests(SynchronousTestCase):
    """A forwarder with a state database of its own, in its first start."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.decnet = self.directory / "forwarder.db"
        observer = Said()
        self.said = observer.lines
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def open(self) -> StateStore:
        store = openState(self.directory / "state.db", self.decnet)
        self.addCleanup(store.close)
        return store

    def decnetWrites(self, offset: object) -> None:
        with closing(sqlite3.connect(self.decnet)) as db, db:
            db.execute(
                "CREATE TABLE forwarder_offset (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
            )
            db.execute("INSERT INTO forwarder_offset VALUES ('default', ?)", (offset,))

    def test_offsetCounts(self) -> None:
        """The offset counts, and the log reports it."""
        self.decnetWrites(42)
        self.assertEqual(self.open().legacyOffset(), 42)
        self.assertIn("beginning at 42", self.said[0])

    def test_directoryOfAnotherUser(self) -> None:
        """
        If this user may not enter the directory, one sentence warns, with the remedy, and the
        forwarder begins without an offset.
        """
        real = Path.stat

        def stat(path: Path, **options: bool) -> os.stat_result:
            if path == self.decnet:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return real(path, **options)

        with mock.patch.object(Path, "stat", stat):
            self.assertEqual(self.open().legacyOffset(), None)
        (said,) = self.said
        self.assertIn("Permission denied", said)
        self.assertIn("decnet-syslog offset import", said)

    def test_unusableDatabaseEndsTheStart(self) -> None:
        """A database that cannot be read, or has no offset, ends the start with one line."""
        real = os.open

        def refuse(path: object, *rest: object, **options: object) -> int:
            if path == self.decnet:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return real(path, *rest, **options)  # type: ignore[arg-type]

        self.decnetWrites(42)
        with mock.patch.object(os, "open", refuse):
            error = str(self.assertRaises(SystemExit, self.open))
        self.assertIn("Permission denied", error)
        self.assertIn("decnet-syslog offset import", error)
        self.assertNotIn("\n", error)
        self.decnet.unlink()
        self.decnetWrites("rubbish")
        error = str(self.assertRaises(SystemExit, self.open))
        self.assertIn("'rubbish'", error)
        self.assertNotIn("\n", error)

    def test_pipeInItsPlaceIsRefused(self) -> None:
        """A FIFO in its place is refused with one line, without waiting for its other end."""
        os.mkfifo(self.decnet)
        error = str(self.assertRaises(SystemExit, self.open))
        self.assertIn("forwarder.db", error)
        self.assertNotIn("\n", error)

    def test_otherForwarderRuns(self) -> None:
        """
        If the database in the bundle's directory is the one of another forwarder of ours that
        runs, this one starts without waiting for its lock.
        """
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self.decnet)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        self.addCleanup(holder.wait)
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.stdin.close)
        self.assertEqual(holder.stdout.readline(), b"open\n")
        waits = AssertionError("waits for the lock")
        with mock.patch("sqlite3.connect", side_effect=waits):
            self.assertEqual(self.open().legacyOffset(), None)
        self.assertEqual(self.said, [])
