"""
Tests that files found by a poll are saved in few transactions, and before they are
read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from decnet_syslog import durable
from decnet_syslog.files import Life, StateStore, _statedatabase

from ..tailing import TailTestCase


class BurstTestCase(TailTestCase):
    """Many logs, followed by one forwarder."""

    pattern = "*.log"
    LOGS = 30

    def write(self, text: str) -> None:
        """Write a line to each log."""
        for number in range(self.LOGS):
            with open(self.logs / f"{number:02}.log", "ab") as file:
                file.write(b"%s of %d\n" % (text.encode(), number))

    def rotateAll(self) -> None:
        """Rename each log to a numbered name."""
        for number in range(self.LOGS):
            log = self.logs / f"{number:02}.log"
            for count in (2, 1):
                rotated = self.logs / f"{log.name}.{count}"
                if rotated.exists():
                    rotated.rename(self.logs / f"{log.name}.{count + 1}")
            log.rename(self.logs / f"{log.name}.1")

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Count transactions and syncs."""
        steps: list[str] = []
        enter, sync = _statedatabase.Transaction.__enter__, durable.syncData

        def entered(transaction: Any) -> None:
            steps.append("commit")
            enter(transaction)

        def synced(descriptor: int) -> None:
            steps.append("sync")
            sync(descriptor)

        with (
            mock.patch.object(_statedatabase.Transaction, "__enter__", entered),
            mock.patch("decnet_syslog.files._statedatabase.syncData", synced),
        ):
            yield steps


class BurstTests(BurstTestCase):
    """A burst of rotated files costs few transactions."""

    def test_fewCommits(self) -> None:
        """
        Finding, reading and finishing files does not need a transaction for each file.
        """
        self.write("first")
        with self.counted() as steps:
            self.settle()
        self.assertLess(steps.count("commit"), 10)
        for text in ("second", "third"):
            self.rotateAll()
            self.write(text)
        with self.counted() as steps:
            octets = self.settle()
        self.assertLess(steps.count("commit"), 10)
        self.assertEqual(
            sorted(octets.split(b"\n")[:-1]),
            sorted(
                b"%s of %d" % (text, number)
                for text in (b"first", b"second", b"third")
                for number in range(self.LOGS)
            ),
        )

    def test_fewCommitsAtStart(self) -> None:
        """A start after a burst does not need a transaction for each file either."""
        self.write("first")
        self.settle()
        self.files.save()
        self.stop()
        for text in ("second", "third"):
            self.rotateAll()
            self.write(text)
        with self.counted() as steps:
            self.start()
            octets = self.settle()
        self.assertLess(steps.count("commit"), 15)
        self.assertEqual(len(octets.splitlines()), 3 * self.LOGS)

    def test_syncedBefore(self) -> None:
        """Every file is synced before the records about its octets are committed."""
        self.write("first")
        with self.counted() as steps:
            self.now += 1
            self.files.poll()
        self.assertEqual(steps, ["sync"] * self.LOGS + ["commit"])


class SyncTests(BurstTestCase):
    """Shipped octets are on the worker's disk."""

    LOGS = 1

    def test_beforeShipping(self) -> None:
        """
        Octets that were written since the last poll are synced before they are shipped.
        """
        self.write("first")
        self.ship()
        self.write("second")
        self.now += 1
        with self.counted() as steps:
            self.files.poll()
            (one,) = self.files.opened
            self.assertIsNotNone(one.read(64))
            steps.append("shipped")
        self.assertIn("sync", steps[: steps.index("shipped")])


class NoSpaceTests(BurstTestCase):
    """The state's disk is full for some time."""

    LOGS = 3

    def full(self) -> Any:
        """Make saving fail for lack of space."""
        error = sqlite3.OperationalError("database or disk is full")
        return mock.patch.object(StateStore, "save", side_effect=error)

    def test_notRead(self) -> None:
        """A content whose record is not saved is not read, and is reported once."""
        self.write("first")
        with self.full():
            self.assertEqual(self.ship(), b"")
            self.assertEqual(self.ship(), b"")
            self.assertEqual(len(self.files.troubles), self.LOGS)
        self.assertEqual(self.events.count("unreadable"), self.LOGS)
        self.ship()
        self.assertEqual(len(self.ship().splitlines()), self.LOGS)
        self.assertEqual(self.files.troubles, {})

    def test_killedWithoutSpace(self) -> None:
        """
        A process that dies without having saved has shipped nothing, and starts anew.
        """
        self.write("first")
        with self.full():
            self.ship()
        self.restart(save=False)
        self.assertEqual(len(self.ship().splitlines()), self.LOGS)

    def test_unsavedEnd(self) -> None:
        """
        The end of a file that cannot be saved is saved later, and takes effect
        immediately.
        """
        self.write("first")
        self.ship()
        self.files.save()
        self.rotateAll()
        with self.full():
            self.settle()
            self.assertEqual(self.files.opened, [])
        self.files.save()
        self.restart(save=False)
        self.assertEqual(len(self.settle().splitlines()), self.LOGS)


class KeptTests(TailTestCase):
    """The copy of a deleted file is kept until the end of its content is saved."""

    def test_endBeforeDeletion(self) -> None:
        """The end of the content is saved first; then the copy is deleted."""
        self.append(b"one\ntwo\n")
        self.ship(pieces=0)
        os.unlink(self.path)
        self.ship(pieces=0)
        held = self.directory / "forwarder.db.held"
        (copy,) = held.iterdir()
        ends: list[bool] = []
        save = StateStore.save

        def saved(store: StateStore, contents: Any, *rest: Any) -> None:
            contents = list(contents)
            if any(content.life is Life.ENDED for content in contents):
                ends.append(copy.exists())
            save(store, contents, *rest)

        with mock.patch.object(StateStore, "save", saved):
            self.assertEqual(self.settle(), b"one\ntwo\n")
        self.assertEqual(ends, [True])
        self.assertFalse(copy.exists())
