"""Tests for L{decnet_syslog.worker.beside}."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.worker.beside import Directories, siblings

OLD_S = 1_700_000_000


class BesideTests(SynchronousTestCase):
    """The names beside a log."""

    def setUp(self) -> None:
        self.logs = Path(self.mktemp()).resolve()
        self.logs.mkdir(parents=True)
        self.log = str(self.logs / "app.log")
        self.directories = Directories()

    def write(self, *names: str) -> None:
        for age, name in enumerate(names):
            (self.logs / name).write_bytes(b"x\n")
            os.utime(self.logs / name, (OLD_S - age, OLD_S - age))

    def settle(self) -> None:
        """The directory has not changed for long."""
        os.utime(self.logs, (OLD_S, OLD_S))

    def names(self) -> list[str]:
        return sorted(map(os.path.basename, self.directories.beside(self.log).paths))

    def test_names(self) -> None:
        """What rotation makes of the name, and nothing else."""
        self.write("app.log", "app.log.1", "app.log-20260418", "app.log.2.gz")
        self.write("app.log.old", "app.logs.1", "app.lo", "app.log.3.xz", "b.log.1")
        self.assertEqual(
            self.names(), ["app.log-20260418", "app.log.1", "app.log.2.gz"]
        )
        (sealed,) = self.directories.beside(self.log).sealed
        self.assertEqual(os.path.basename(sealed), "app.log.3.xz")
        self.assertEqual(siblings(self.log, True), [sealed])

    def test_order(self) -> None:
        """By time, and by number where the time is the same; regular files only."""
        self.write("app.log.1", "app.log.3", "app.log.2")
        os.utime(self.logs / "app.log.3", (OLD_S - 9, OLD_S - 9))
        os.utime(self.logs / "app.log.1", (OLD_S - 2, OLD_S - 2))
        (self.logs / "app.log.4").symlink_to(self.logs / "app.log.1")
        (self.logs / "app.log.5").mkdir()
        found = [path.rpartition(".")[2] for path in siblings(self.log)]
        self.assertEqual(found, ["3", "2", "1"])

    def test_noDirectory(self) -> None:
        """A directory that is gone has nothing; the others cannot be told apart from it."""
        self.assertEqual(siblings("/nowhere/app.log"), [])
        self.assertRaises(OSError, self.directories.beside, "/nowhere/app.log")

    def test_unchanged(self) -> None:
        """A directory that has not changed for long is not read again, until it has."""
        self.write("app.log.1")
        self.settle()
        self.assertEqual(self.names(), ["app.log.1"])
        with mock.patch("os.listdir", side_effect=AssertionError):
            self.assertEqual(self.names(), ["app.log.1"])
        self.write("app.log.2")
        self.assertEqual(self.names(), ["app.log.1", "app.log.2"])

    def test_recent(self) -> None:
        """One that has just changed may have changed again in the same tick."""
        self.write("app.log.1")
        self.assertTrue(self.directories.beside(self.log).recent)
        now = os.stat(self.logs).st_mtime_ns
        self.write("app.log.2")
        os.utime(self.logs, ns=(now, now))
        self.assertEqual(self.names(), ["app.log.1", "app.log.2"])

    def test_oneLook(self) -> None:
        """In one look a directory is read once, for all; the next look sees what is new."""
        self.write("app.log.1")
        with self.directories.oneLook():
            first = self.directories.beside(self.log)
            self.write("app.log.2")
            self.assertEqual(self.names(), ["app.log.1"])
            other = self.directories.beside(str(self.logs / "b.log"))
            # Who compares this with the directory's time looks again.
            self.assertEqual(other.changed, first.changed)
            self.assertLess(first.changed, os.stat(self.logs).st_mtime_ns + 1)
            self.assertEqual(len(siblings(self.log)), 2)
        with self.directories.oneLook():
            self.assertEqual(self.names(), ["app.log.1", "app.log.2"])
