"""
Tests for the tail in adverse conditions: killed, deleted, unreadable or moved files.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from typing import Any
from unittest import mock
from zlib import crc32

from decnet_syslog.files import _objects, _reconcile
from decnet_syslog.files._finish import KEEP_RETRY_S
from decnet_syslog.files._kept import KeptFiles

from ..tailing import TailTestCase


class KilledTests(TailTestCase):
    """The forwarder is down while its file changes."""

    def test_renamedWhileDown(self) -> None:
        """
        A file that was renamed while the forwarder was down is found by its saved
        identity.
        """
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.append(b"b\n")
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_killedAndTruncated(self) -> None:
        """
        A forwarder killed after the first read of a new file finds the file's copy
        after a truncation.
        """
        self.ship()
        self.path.touch()
        self.ship()
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        [before] = self.files.opened
        self.restart(save=False)
        self.copytruncate()
        self.append(b"new\n")
        self.files.poll()
        old, _ = self.files.opened
        self.assertEqual(old.key, (before.key[0], 0))
        # The position that the master reports is in the file that was found.
        self.assertEqual(old.checksum(0, 2), crc32(b"a\n"))

    def test_vanishedWhileStopped(self) -> None:
        """
        A file that vanished while the forwarder was down is a gap, up to its known end.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.path.unlink()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\n<vanished>new\n")

    def test_inodeReused(self) -> None:
        """A file with the old inode but other content is a new file."""
        self.append(b"a\n")
        self.ship()
        self.restart()
        with open(self.path, "r+b") as file:
            file.write(b"other content\n")
        self.assertEqual(self.settle(), b"a\nother content\n")

    def test_renamedDuringTheSearch(self) -> None:
        """
        A rotation during the search for a file does not make it count as vanished.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.rotate()
        (self.logs / "app.log.2").write_bytes(b"something else\n")
        real = _objects.openRegular
        moves = [self.rotate]

        def moving(path: str, *arguments: Any) -> int | None:
            if moves:
                moves.pop()()
            return real(path, *arguments)

        with mock.patch("decnet_syslog.files._examine.openRegular", moving):
            self.ship()
        self.assertNotIn("vanished", self.events)
        self.assertTrue(self.settle().startswith(b"a\nb\n"))


class CopyTests(TailTestCase):
    """logrotate copies and truncates while the tail reads."""

    def test_truncatedWhileJudged(self) -> None:
        """
        A copy that is incomplete at the first check and complete a moment later is
        recognised.
        """
        lines = b"".join([b"%04d line\n" % n for n in range(500)])
        self.append(lines)
        self.ship()
        copy = self.logs / "app.log.1"
        copy.write_bytes(lines[:2000])
        real = _reconcile.reconcile

        def judged(*arguments: Any) -> Any:
            copy.write_bytes(lines)
            os.truncate(self.path, 0)
            return real(*arguments)

        with mock.patch("decnet_syslog.files._matching.reconcile", judged):
            self.ship()
        self.append(b"new\n")
        self.assertEqual(self.settle(), lines + b"new\n")

    def test_shortCopyGivesUpOnce(self) -> None:
        """A content whose copy is too short is given up once."""
        lines = b"".join([b"%04d line\n" % n for n in range(500)])
        self.append(lines)
        self.ship()
        self.append(b"last\n" * 10)
        self.now += 1
        self.files.poll()
        (self.logs / "app.log.1").write_bytes(lines + b"last\n" * 3)
        os.truncate(self.path, 0)
        for _ in range(3):
            self.now += 1
            self.files.poll()
        self.assertEqual(self.settle(), lines + b"last\n" * 3 + b"<truncated>")
        self.assertEqual(self.events.count("truncated"), 1)


class KeptTests(TailTestCase):
    """A file is deleted before its lines are acknowledged."""

    def test_keptFromDeletion(self) -> None:
        """A file that was renamed and deleted survives a restart."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.rotate()
        (self.logs / "app.log.1").unlink()
        self.now += 1
        self.files.poll()
        self.restart()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")
        self.assertEqual(list((self.directory / "forwarder.db.held").iterdir()), [])

    def test_keptFromWhereSaved(self) -> None:
        """The kept copy of a deleted file begins where a killed forwarder continues."""
        lines = b"".join([b"%05d line\n" % n for n in range(900)])
        self.append(lines)
        self.ship(pieces=20, octets=110)
        self.files.save()
        self.ship(pieces=40, octets=110)
        self.rotate()
        (self.logs / "app.log.1").unlink()
        self.now += 1
        self.files.poll()
        self.restart(save=False)
        self.assertEqual(self.settle(), lines)

    def test_notKept(self) -> None:
        """If a deleted file cannot be kept, this is reported once and retried later."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.rotate()
        (self.logs / "app.log.1").unlink()
        full = OSError(errno.ENOSPC, "No space left on device")
        with mock.patch.object(KeptFiles, "keep", side_effect=full):
            for _ in range(5):
                self.now += 1
                self.files.poll()
        self.assertEqual(self.events.count("not-kept"), 1)
        self.now += KEEP_RETRY_S
        self.files.poll()
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\n")


class RefusedTests(TailTestCase):
    """A file that exists but cannot be opened is neither gone nor new."""

    def refusing(self, error: int, name: str = "") -> Any:
        """Make all log files, or one, impossible to open."""
        real = os.open

        def refuse(path: Any, *arguments: Any, **keywords: Any) -> int:
            if str(path).startswith(str(self.logs)) and str(path).endswith(name):
                raise OSError(error, os.strerror(error), path)
            return real(path, *arguments, **keywords)

        return mock.patch("os.open", refuse)

    def test_unreadableAtStart(self) -> None:
        """
        A file that cannot be opened at the start is waited for, without a gap or
        repeated lines.
        """
        for number, error in enumerate([errno.EACCES, errno.EMFILE, errno.EIO]):
            for move in (lambda: None, self.rotate, self.copytruncate):
                with self.subTest(error=error, move=move):
                    self.append(b"%d a\n" % number)
                    before = self.settle()
                    self.append(b"%d b\n" % number)
                    self.restart()
                    move()
                    self.append(b"%d c\n" % number)
                    with self.refusing(error):
                        self.assertEqual(self.ship(), before)
                        self.assertEqual(self.ship(), before)
                    self.assertEqual(self.events.count("unreadable"), 1)
                    self.events.clear()
                    want = b"%d b\n%d c\n" % (number, number)
                    self.assertEqual(self.settle(), before + want)

    def test_unreadableCopy(self) -> None:
        """A rotated file that is being read but becomes unreadable is waited for."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.rotate()
        self.append(b"new\n")
        with self.refusing(errno.EACCES, "app.log.1"):
            self.assertEqual(self.ship(), b"a\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_unrelatedUnreadable(self) -> None:
        """
        An unreadable rotated file that is not being read delays nothing, and is
        reported once.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        (self.logs / "app.log.7").write_bytes(b"somebody's\n")
        self.restart()
        with self.refusing(errno.EACCES, "app.log.7"):
            self.assertEqual(self.ship(), b"a\nb\n")
            self.ship()
        self.assertEqual(self.events.count("unreadable"), 1)

    def test_legacyElsewhere(self) -> None:
        """
        What is not an offset of the log is reported once, and the log is shipped from its start.
        """
        for times, offset in enumerate((5, 10**15, -1, "rubbish"), 1):
            self.stop()
            self.events.clear()
            (self.directory / "forwarder.db").unlink()
            with closing(sqlite3.connect(self.directory / "forwarder.db")) as db:
                db.execute(
                    "CREATE TABLE forwarder_offset"
                    " (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
                )
                db.execute(
                    "INSERT INTO forwarder_offset VALUES ('default', ?)", (offset,)
                )
                db.commit()
            self.path.write_bytes(b"a\nb\n")
            self.start()
            with self.refusing(errno.EACCES):
                self.ship()
            self.assertEqual(self.ship(), b"a\nb\n" * times)
            self.assertEqual(self.events.count("offset-elsewhere"), 1, offset)

    def test_legacyUnreadableAtStart(self) -> None:
        """
        The offset of DECNET's forwarder is applied when an unreadable file becomes
        readable.
        """
        self.stop()
        (self.directory / "forwarder.db").unlink()
        with closing(sqlite3.connect(self.directory / "forwarder.db")) as db:
            db.execute(
                "CREATE TABLE forwarder_offset"
                " (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
            )
            db.execute("INSERT INTO forwarder_offset VALUES ('default', 2)")
            db.commit()
        self.append(b"a\nb\n")
        self.start()
        with self.refusing(errno.EACCES):
            self.ship()
        self.assertEqual(self.ship(), b"b\n")
