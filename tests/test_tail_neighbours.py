"""Tests for files with several names, and for copies in the same directory."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from unittest import mock

from .tailing import TailTestCase


class ArchiveTests(TailTestCase):
    """An archive next to the file that it was made from."""

    def kept(self, seconds: float) -> bytes:
        """Compress a finished file, and delete it some seconds later."""
        self.append(b"a\nb\n")
        self.ship()
        self.rotate()
        self.append(b"new\n")
        self.settle()
        plain = self.logs / "app.log.1"
        octets = plain.read_bytes()
        (self.logs / "app.log.1.gz").write_bytes(gzip.compress(octets))
        until = self.now + seconds
        while self.now < until:
            self.ship()
        plain.unlink()
        return self.settle()

    def test_archiveReplacesOriginal(self) -> None:
        """
        An archive is ignored while the original still exists, and counts as the same
        content once it is deleted.
        """
        self.assertEqual(self.kept(5), b"a\nb\nnew\n")
        self.assertNotIn("duplicate", self.events)

    def test_archiveNextToOriginal(self) -> None:
        """
        An archive that stays next to the original is a separate content, and is
        reported.
        """
        self.assertEqual(self.kept(60), b"a\nb\nnew\na\nb\n")
        self.assertIn("duplicate", self.events)


class NameTests(TailTestCase):
    """Several configured paths that lead to one file."""

    def lines(self) -> Counter[bytes]:
        return Counter(self.settle().splitlines())


class RotatedNameTests(NameTests):
    """A configured path that is the rotated name of another."""

    configured = ("app.log", "app.log.1")

    def test_grownUnderRotatedName(self) -> None:
        """
        A file that was renamed from one path to the other is continued there, even
        after a restart.
        """
        self.append(b"a\n")
        (self.logs / "app.log.1").write_bytes(b"before\n")
        self.settle()
        self.path.rename(self.logs / "app.log.1")
        self.append(b"b\n")
        self.settle()
        for line in (b"c\n", b"d\n"):
            with open(self.logs / "app.log.1", "ab") as file:
                file.write(line)
            self.settle()
            self.restart()
        self.assertEqual(
            self.lines(), Counter([b"before", b"a", b"b", b"c", b"d"]), self.events
        )


class HardLinkTests(NameTests):
    """A file with two names."""

    configured = ("a.log", "b.log")

    def test_linesOnce(self) -> None:
        """The lines are shipped once, through a rotation and a restart."""
        self.path = self.logs / "a.log"
        self.append(b"a\n")
        os.link(self.path, self.logs / "b.log")
        self.settle()
        self.append(b"b\n")
        self.settle()
        self.path.rename(self.logs / "a.log.1")
        self.append(b"new\n")
        self.settle()
        for line in (b"c\n", b"d\n"):
            with open(self.logs / "b.log", "ab") as file:
                file.write(line)
            self.settle()
            self.restart()
        self.assertEqual(
            self.lines(), Counter([b"a", b"b", b"c", b"d", b"new"]), self.events
        )


class LinkTests(NameTests):
    """A log, and a symbolic link to it."""

    configured = ("a.log", "link")

    def test_noReportsOrOpens(self) -> None:
        """The lines arrive once, and polls neither report nor open anything."""
        self.path = self.logs / "a.log"
        self.append(b"a\n")
        (self.logs / "link").symlink_to("a.log")
        self.settle()
        self.assertLessEqual(self.events.count("link-changed"), 1)
        with mock.patch("decnet_syslog.files._pathname.openRegular") as opened:
            for _ in range(5):
                self.ship()
            opened.assert_not_called()
        self.assertEqual(self.lines(), Counter([b"a"]))


class StrangerTests(TailTestCase):
    """Files with unrelated names in the directory."""

    def test_renamedAndRewritten(self) -> None:
        """
        If the log was renamed and rewritten while the forwarder was stopped, the
        renamed file is ignored.
        """
        self.append(b"a\n")
        self.settle()
        self.restart()
        self.stop()
        self.path.rename(self.logs / "notes.txt")
        (self.logs / "notes.txt").write_bytes(b"secret, and longer\n")
        self.append(b"new\n")
        self.start()
        self.assertEqual(self.settle(), b"a\nnew\n")

    def test_inodeGivenAgain(self) -> None:
        """A file that reuses the inode number of a deleted log is left alone."""
        for running in (True, False):
            self.append(b"a\n")
            before = self.settle()
            if not running:
                self.restart()
                self.stop()
            inode = self.path.stat().st_ino
            self.path.unlink()
            for number in range(50):
                other = self.logs / f"other{number}.txt"
                other.write_bytes(b"secret\n")
                if other.stat().st_ino == inode:
                    break
            self.append(b"new\n")
            if not running:
                self.start()
            self.assertEqual(self.settle(), before + b"new\n")


class LateDirectoryTests(TailTestCase):
    """A directory of rotated files that does not exist yet."""

    rotated = ("old",)

    def test_comesLater(self) -> None:
        """
        The directory is searched once it exists, while a content is still missing.
        """
        old, away = self.logs / "old", self.logs / "away"
        old.mkdir()
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.stop()
        self.append(b"b\n")
        self.path.rename(old / "app.log.1")
        old.rename(away)
        self.append(b"new\n")
        self.start()
        self.ship()
        self.ship()
        away.rename(old)
        for _ in range(5):
            self.ship()
        self.assertEqual(self.settle(), b"a\nb\nnew\n")


class UnreadableArchiveTests(TailTestCase):
    """Archives that cannot be unpacked."""

    def test_toldOnce(self) -> None:
        """
        An archive becomes a gap record once, even after a restart; an archive from
        before the first start becomes none.
        """
        broken = b"\x1f\x8b" + b"garbage" * 10
        (self.logs / "app.log.9.gz").write_bytes(broken)
        os.utime(self.logs / "app.log.9.gz", (1, 1))
        self.append(b"a\n")
        self.settle()
        (self.logs / "app.log.8.gz").write_bytes(broken + b"!")
        with mock.patch("decnet_syslog.files._archives.UNFINISHED_S", 0.0):
            self.settle()
            self.restart()
            self.assertEqual(self.settle(), b"a\n<unreadable>")
