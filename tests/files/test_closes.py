"""Tests for L{decnet_syslog.files._closes}: processes that can still write to a rotated file."""

from __future__ import annotations

import os
from typing import BinaryIO

from decnet_syslog.files._closes import WATCHED_MAX, CloseEvents
from decnet_syslog.files._finish import QUIET_LINE_S, QUIET_UNKNOWN_S

from ..tailing import TailTestCase


def unknown(descriptor: int) -> None:
    """What a forwarder finds out that may only read the logs."""


class NoLeasesTests(TailTestCase):
    """A forwarder to which the kernel grants no leases."""

    isWritten = staticmethod(unknown)

    def setUp(self) -> None:
        super().setUp()
        self.append(b"one\n")
        self.ship()
        self.writer: BinaryIO = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self.addCleanup(self.writer.close)

    def isHeld(self) -> bool:
        """Whether the forwarder has the rotated file open."""
        return any(one.file is not None for one in self.files.opened)

    def after(self, seconds: float) -> None:
        """Look once a second, for some time."""
        for _ in range(int(seconds)):
            self.now += 0.4
            self.ship()

    def test_closedFileEnds(self) -> None:
        """
        The forwarder closes a rotated file some seconds after its writer has, and much
        later if it has not.
        """
        self.rotate()
        self.after(QUIET_LINE_S + 2)
        self.assertTrue(self.isHeld())
        self.writer.write(b"two\n")
        self.writer.close()
        self.ship()
        self.assertTrue(self.isHeld())
        self.after(QUIET_LINE_S + 2)
        self.assertFalse(self.isHeld())
        self.assertEqual(self.ledger.octets(), b"one\ntwo\n")

    def test_openFileIsKept(self) -> None:
        """The forwarder waits for a writer that keeps its file open, and ships its lines."""
        self.rotate()
        self.after(QUIET_UNKNOWN_S - 5)
        self.assertTrue(self.isHeld())
        self.writer.write(b"two\n")
        self.after(QUIET_UNKNOWN_S - 5)
        self.assertTrue(self.isHeld())
        self.after(10)
        self.assertFalse(self.isHeld())
        self.assertEqual(self.ledger.octets(), b"one\ntwo\n")

    def test_otherWriter(self) -> None:
        """If another writer goes on after the file was closed, its lines are shipped."""
        with open(self.path, "ab", buffering=0) as other:
            self.rotate()
            other.write(b"two\n")
        self.after(QUIET_LINE_S + 2)
        self.assertFalse(self.isHeld())
        self.writer.write(b"three\n")
        self.after(3)
        self.assertEqual(self.ledger.octets(), b"one\ntwo\nthree\n")

    def test_deletedFileIsKept(self) -> None:
        """For a file without a name, a close proves nothing: its other writers are unseen."""
        with open(self.path, "ab", buffering=0):
            self.path.unlink()
        self.after(QUIET_LINE_S + 2)
        self.writer.write(b"two\n")
        self.after(3)
        self.assertEqual(self.ledger.octets(), b"one\ntwo\n")


class CloseEventsTests(TailTestCase):
    """What is watched, and how much."""

    def objectOf(self, name: str) -> tuple[int, tuple[int, int]]:
        descriptor = os.open(self.logs / name, os.O_RDONLY | os.O_CREAT)
        self.addCleanup(os.close, descriptor)
        status = os.fstat(descriptor)
        return descriptor, (status.st_dev, status.st_ino)

    def closes(self, isWritten: object = unknown) -> CloseEvents:
        closes = CloseEvents(lambda: self.now, isWritten)  # type: ignore[arg-type]
        self.addCleanup(closes.close)
        return closes

    def write(self, name: str) -> None:
        with open(self.logs / name, "ab") as file:
            file.write(b"line\n")

    def test_lastClose(self) -> None:
        """The time is that of the look which found the last close."""
        closes = self.closes()
        descriptor, key = self.objectOf("a")
        self.assertIsNone(closes.closedAt(key))
        closes.watch(descriptor, key)
        self.assertIsNone(closes.closedAt(key))
        for self.now in (5.0, 9.0):
            self.write("a")
            self.assertEqual(closes.closedAt(key), self.now)

    def test_knownWriters(self) -> None:
        """A file about whose writers the kernel tells is not watched."""
        closes = self.closes(lambda descriptor: False)
        descriptor, key = self.objectOf("a")
        closes.watch(descriptor, key)
        self.write("a")
        self.assertIsNone(closes.closedAt(key))

    def test_inodeGivenAgain(self) -> None:
        """A file that is gone is forgotten, so that the next one with its inode is watched."""
        closes = self.closes()
        path = self.logs / "a"
        path.touch()
        descriptor = os.open(path, os.O_RDONLY)
        status = os.fstat(descriptor)
        key = (status.st_dev, status.st_ino)
        closes.watch(descriptor, key)
        path.unlink()
        os.close(descriptor)
        self.assertIsNone(closes.closedAt(key))
        # Another file, which stands for one with the same inode.
        descriptor, _ = self.objectOf("b")
        closes.watch(descriptor, key)
        self.write("b")
        self.assertEqual(closes.closedAt(key), self.now)

    def test_watchesAreBounded(self) -> None:
        """The oldest file is no longer watched when there are too many."""
        closes = self.closes()
        descriptor, key = self.objectOf("a")
        closes.watch(descriptor, key)
        for number in range(WATCHED_MAX):
            closes.watch(descriptor, (0, number))
        self.assertIsNone(closes.closedAt(key))
