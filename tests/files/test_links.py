"""Tests for files with several names, and for copies in the same directory."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from unittest import mock

from ..tailing import TailTestCase


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


class OneObjectTests(TailTestCase):
    """Another name of the file at the configured path, at a start of the forwarder."""

    def check(self) -> None:
        """A restart neither repeats a line nor reports a repeat."""
        for _ in range(2):
            self.restart()
            self.append(b"more\n")
            self.settle()
        self.assertEqual(self.settle(), b"a\nb\nmore\nmore\n", self.events)
        self.assertNotIn("duplicate", self.events)
        self.assertNotIn("copy-not-certain", self.events)

    def test_symbolicLink(self) -> None:
        """The path is a symbolic link, as of Kubernetes."""
        for name in ("0.log", "elsewhere.txt"):
            with self.subTest(name=name):
                self.stop()
                self.directory = self.directory / name
                self.directory.mkdir()
                self.begin()
                (self.logs / "pods").mkdir()
                self.path.symlink_to(f"pods/{name}")
                self.append(b"a\nb\n")
                self.settle()
                self.check()

    def test_rotatedName(self) -> None:
        """The file also has the name of a rotated copy: a hard link."""
        self.append(b"a\nb\n")
        self.settle()
        os.link(self.path, self.logs / "app.log.1")
        self.check()

    def test_linkIsRenamed(self) -> None:
        """The name at the configured path goes, and the other one stays."""
        self.append(b"a\nb\n")
        self.settle()
        self.restart()
        os.link(self.path, self.logs / "app.log.1")
        self.settle()
        self.path.unlink()
        self.append(b"new\n")
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\nnew\n", self.events)
        self.assertNotIn("duplicate", self.events)


class RelinkedTests(TailTestCase):
    """A symbolic link that leads to another name of the same directory."""

    def setUp(self) -> None:
        super().setUp()
        self.pods = self.logs / "pods"
        self.pods.mkdir()
        self.path.symlink_to("pods/0.log")
        self.append(b"a\n")
        self.settle()

    def relink(self, name: str) -> None:
        (self.logs / "temporary").symlink_to(f"pods/{name}")
        (self.logs / "temporary").rename(self.path)

    def test_rotatedUnseen(self) -> None:
        """A file is created at the new target and rotated between two looks."""
        for looks in (0, 1):
            name = f"{looks + 1}.log"
            self.relink(name)
            for number in range(3):
                if looks:
                    self.ship()
                self.append(b"%d %d\n" % (looks, number))
                if number < 2:
                    rotated = f"{name}.2026110{number + 1}-101010"
                    (self.pods / name).rename(self.pods / rotated)
            self.settle()
        expected = [b"%d %d" % (x, y) for x in range(2) for y in range(3)]
        self.assertEqual(self.settle().splitlines(), [b"a", *expected], self.events)

    def test_formerTarget(self) -> None:
        """The former target is written to, rotated and compressed after the change."""
        self.relink("1.log")
        self.append(b"new\n")
        with open(self.pods / "0.log", "ab") as former:
            former.write(b"b\n")
            self.ship()
            (self.pods / "0.log").rename(self.pods / "0.log.1")
            former.write(b"c\n")
        (self.pods / "0.log.1.gz").write_bytes(gzip.compress(b"a\nb\nc\n"))
        (self.pods / "0.log.1").unlink()
        self.assertEqual(
            Counter(self.settle().splitlines()),
            Counter([b"a", b"b", b"c", b"new"]),
            self.events,
        )

    def test_severalRestarts(self) -> None:
        """
        A container restarts several times between two looks, and while the forwarder is
        stopped: every log is shipped, in the order of the restarts.
        """
        for number in range(1, 4):
            self.relink(f"{number}.log")
            self.append(b"%d\n" % number)
        self.settle()
        self.files.save()
        self.stop()
        for number in range(4, 13):
            self.relink(f"{number}.log")
            self.append(b"%d\n" % number)
            if number == 7:
                (self.pods / "7.log").rename(self.pods / "7.log.20261101-101010")
                self.append(b"7 more\n")
        self.start()
        expected = [b"a", *(b"%d" % number for number in range(1, 8)), b"7 more"]
        expected += [b"%d" % number for number in range(8, 13)]
        self.assertEqual(self.settle().splitlines(), expected, self.events)

    def test_otherNumbers(self) -> None:
        """Later numbers, and numbers that were there at the first look, are not older logs."""
        for name in ("3.log", "0.txt", "x.log", "12.log"):
            (self.pods / name).write_bytes(b"other\n")
        self.relink("2.log")
        self.append(b"b\n")
        self.assertEqual(self.settle(), b"a\nb\n", self.events)


class CopiedWhileStoppedTests(TailTestCase):
    """A rotated file and its copy exist when the forwarder starts."""

    def check(self, kept: bool) -> None:
        """Check that the copy is shipped and reported if, and only if, it stays."""
        octets = self.settle()
        self.assertEqual(octets.count(b"a\n"), 2 if kept else 1, self.events)
        self.assertEqual("duplicate" in self.events, kept, self.events)

    def copied(self, name: str, octets: bytes, kept: bool) -> None:
        self.append(b"a\nb\n")
        self.ship(pieces=0)
        self.rotate()
        self.append(b"c\n")
        self.ship(pieces=0)
        self.restart()
        self.stop()
        (self.logs / name).write_bytes(octets)
        self.start()
        self.ship()
        if not kept:
            (self.logs / "app.log.1").unlink()
        for _ in range(3):
            self.settle()
        self.check(kept)

    def test_archiveReplacesOriginal(self) -> None:
        """
        An archive whose original gzip deletes a moment after the start is the same
        content.
        """
        self.copied("app.log.1.gz", gzip.compress(b"a\nb\n"), kept=False)

    def test_archiveStays(self) -> None:
        """
        An archive that stays next to its original (gzip -k, or gzip was killed) is
        another content, and is reported.
        """
        self.copied("app.log.1.gz", gzip.compress(b"a\nb\n"), kept=True)

    def test_copyStays(self) -> None:
        """
        A copy that stays under another rotated name is another content, and is
        reported.
        """
        self.copied("app.log.2", b"a\nb\n", kept=True)


class RepeatedTests(TailTestCase):
    """A file that begins with delivered lines is shipped, and an event reports it."""

    def setUp(self) -> None:
        super().setUp()
        self.append(b"banner\na\nb\nc\n")
        self.settle()

    def rotateAway(self) -> bytes:
        octets = self.path.read_bytes()
        self.rotate()
        self.append(b"new\n")
        self.settle()
        self.assertNotIn("duplicate", self.events)
        return octets

    def check(self, shipped: bytes) -> None:
        self.assertEqual(self.settle(), shipped)
        self.assertIn("duplicate", self.events)

    def test_copyAtPath(self) -> None:
        """
        A copy of a rotated file that is put at the log's path is shipped and reported.
        """
        octets = self.rotateAway()
        self.path.unlink()
        self.path.write_bytes(octets + b"d\n")
        self.check(octets + b"new\n" + octets + b"d\n")

    def test_restoredFromBackup(self) -> None:
        """
        A rotated file that is deleted and later restored from a backup is shipped and
        reported.
        """
        octets = self.rotateAway()
        (self.logs / "app.log.1").unlink()
        self.settle()
        (self.logs / "app.log.7").write_bytes(octets)
        self.check(octets + b"new\n" + octets)

    def test_grownCopy(self) -> None:
        """
        A grown copy of a rotated file under another rotated name is shipped and
        reported.
        """
        octets = self.rotateAway()
        (self.logs / "app.log.7").write_bytes(octets + b"d\n")
        self.check(octets + b"new\n" + octets + b"d\n")

    def test_truncatedToMiddle(self) -> None:
        """
        A log that is truncated to some of its lines is shipped again from its
        beginning, and reported.
        """
        octets = self.path.read_bytes()
        for running in (True, False):
            if not running:
                self.restart()
                self.stop()
                self.events.clear()
            os.truncate(self.path, len(b"banner\na\n"))
            self.append(b"d\n" if running else b"e\n")
            if not running:
                self.start()
            self.settle()
            self.assertIn("duplicate", self.events)
        cut = b"banner\na\n"
        self.assertEqual(self.settle(), octets + cut + b"d\n" + cut + b"e\n")

    def test_sameBanner(self) -> None:
        """A log that begins with the same line as the previous one is not reported."""
        self.rotate()
        self.append(b"banner\n")
        self.settle()
        self.append(b"other\n")
        self.settle()
        self.assertNotIn("duplicate", self.events)


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
