"""Tests for the tail through rotation: L{decnet_syslog.files}."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any
from unittest import mock
from zlib import crc32

from decnet_syslog.files import GapChunk, Vanished, _examine
from decnet_syslog.files._directories import Siblings
from decnet_syslog.files._finish import QUIET_S
from decnet_syslog.files._objects import FileId

from ..peers import requirePeer
from ..tailing import TailTestCase


class WithinALookTests(TailTestCase):
    """Events between the two halves of a poll."""

    def between(self, *steps: Callable[[], object]) -> Any:
        """Do something after the path was checked and before its rotated files are."""
        left, refreshAgain = list(steps), Siblings.refreshAgain

        def does(siblings: Siblings) -> None:
            while left:
                left.pop(0)()
            refreshAgain(siblings)

        return mock.patch.object(Siblings, "refreshAgain", does)

    def copy(self) -> None:
        """Copy as logrotate does with copytruncate and extension."""
        shutil.copyfile(self.path, self.logs / "app.1.log")

    def truncate(self) -> None:
        """Truncate as logrotate does after the copy."""
        os.truncate(self.path, 0)


class CopyWithinALookTests(WithinALookTests):
    """
    The pattern matches the log and its copy, and the copy is larger than the log at its
    last check.
    """

    pattern = "*.log"

    def test_grownCopy(self) -> None:
        """The copy does not count as a log of its own, and nothing is repeated."""
        self.append(b"one\n")
        self.ship()
        with self.between(lambda: self.append(b"two\n"), self.copy):
            self.ship()
        self.truncate()
        self.append(b"three\n")
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")

    def test_grownCopyOfTruncatedLog(self) -> None:
        """
        If the log is already truncated, the copy does not count as a log of its own,
        and nothing is repeated.
        """
        self.append(b"one\n")
        self.ship()
        with self.between(lambda: self.append(b"two\n"), self.copy, self.truncate):
            self.ship()
        self.append(b"three\n")
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")


class LateArchiveTests(TailTestCase):
    """
    A file is compressed and deleted, and its archive was incomplete when it was first
    checked.
    """

    def compressLate(self) -> None:
        """Deliver a file that ends while its archive is still incomplete."""
        self.append(b"one\ntwo\n")
        self.ship()
        self.rotate()
        self.append(b"three\n")
        self.ship()
        archive = self.logs / "app.log.1.gz"
        packed = gzip.compress(b"one\ntwo\n")
        archive.write_bytes(packed[:9])
        self.ship()
        archive.write_bytes(packed)
        (self.logs / "app.log.1").unlink()
        self.ship()

    def test_archiveIsRecognised(self) -> None:
        """The archive is recognised by its content, and not shipped again."""
        self.compressLate()
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")
        self.assertNotIn("rotated-unseen", self.events)

    def test_archiveIsRecognisedAfterKill(self) -> None:
        """After a kill the archive is recognised as well."""
        self.compressLate()
        self.files.save()
        self.restart(save=False)
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")
        self.assertNotIn("rotated-unseen", self.events)


class KeptAndCompressedTests(TailTestCase):
    """
    A deleted file was kept next to the state database while its archive was incomplete.
    """

    def test_keptFileAndArchive(self) -> None:
        """The kept file and the archive count as one content."""
        self.append(b"one\ntwo\n")
        self.ship(pieces=0)
        self.rotate()
        self.append(b"three\n")
        archive = self.logs / "app.log.1.gz"
        packed = gzip.compress(b"one\ntwo\n")
        archive.write_bytes(packed[:9])
        self.ship(pieces=0)
        archive.write_bytes(packed)
        (self.logs / "app.log.1").unlink()
        self.ship(pieces=0)
        self.assertEqual(len(list((self.directory / "forwarder.db.held").iterdir())), 1)
        self.restart(save=False)
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")
        self.assertNotIn("rotated-unseen", self.events)


class OtherObjectTests(TailTestCase):
    """The inode number of a deleted file is reused for another program's file."""

    def test_notOurs(self) -> None:
        """
        The other file is not shipped: only the same file with the same content would
        be.
        """
        self.append(b"one\ntwo\n")
        self.ship(pieces=0)
        self.files.save()
        self.stop()
        self.path.unlink()
        stranger = self.logs / "logrotate.state"
        stranger.write_bytes(b"logrotate state -- version 2\n")
        with mock.patch.object(Siblings, "withInode", return_value=[str(stranger)]):
            self.start()
            octets = self.settle()
        self.assertNotIn(b"logrotate", octets)
        self.assertEqual(octets, b"<vanished>")


class ReusedNumberTests(TailTestCase):
    """
    A content whose own file was deleted, while it is open; a copy of it was found, and deleted,
    too. The copy is not open, so a new file can get its inode number.
    """

    def setUp(self) -> None:
        super().setUp()
        self.append(b"first\n")
        self.ship()
        copy = self.logs / "app.log.old"
        shutil.copyfile(self.path, copy)
        self.path.unlink()
        self.append(b"")
        self.ship()
        (self.found,) = [o for o in self.files.opened if o.home == str(copy)]
        self.assertEqual(self.found.content.file.inode, copy.stat().st_ino)
        copy.unlink()

    def reuse(self, name: str) -> None:
        """Let a new file have the number of the deleted copy."""
        path = self.logs / name
        path.unlink(missing_ok=True)
        path.write_bytes(b"second\n")
        status = path.stat()
        # As if the file system had reused it; the number on record is the copy's.
        version = self.found.content.file.version
        self.found.content.file = FileId(status.st_dev, status.st_ino, version)

    def test_rotatedFile(self) -> None:
        """A new rotated file with the number is a file of its own."""
        self.reuse("app.log-20300101")
        self.assertEqual(self.settle(), b"first\nsecond\n")

    def test_liveFile(self) -> None:
        """A new file with the number at the configured path is a file of its own."""
        self.reuse("app.log")
        self.assertEqual(self.settle(), b"first\nsecond\n")

    def test_afterRestart(self) -> None:
        """Files with reused numbers are files of their own after a restart, too."""
        for name in ("app.log-20300101", "app.log"):
            self.reuse(name)
        self.restart()
        self.assertEqual(self.settle().count(b"second\n"), 2)


class RotationTests(TailTestCase):
    """
    Logs are renamed, truncated, compressed and deleted, with the forwarder running and
    stopped.
    """

    def test_renamedFile(self) -> None:
        """A renamed file is finished first, including its last line."""
        self.append(b"a\nb\nlast")
        self.ship(pieces=1)
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nlastnew\n")

    def test_lateWriter(self) -> None:
        """Lines from a writer that still has the old file open are read."""
        self.append(b"a\n")
        self.ship()
        writer = open(self.path, "ab")  # noqa: SIM115
        self.addCleanup(writer.close)
        self.rotate()
        self.append(b"new\n")
        self.ship()
        writer.write(b"late\n")
        writer.flush()
        self.assertEqual(self.settle(), b"a\nnew\nlate\n")

    def test_twiceBetweenLooks(self) -> None:
        """If a log is rotated twice between two polls, the file in between is found."""
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"between\n")
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nbetween\nnew\n")

    def test_deletedFile(self) -> None:
        """A deleted file is read to its end through its open descriptor."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.path.unlink()
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_compressedAndDeleted(self) -> None:
        """
        An unpacked archive that was deleted is read to its end, even after a restart,
        and in its place in the order.
        """
        self.ship()
        self.append(b"a\nb\n")
        self.copytruncate()
        self.append(b"c\n")
        self.copytruncate()
        self.compress(2)
        os.utime(self.logs / "app.log.2.gz", (10**9, 10**9))
        self.append(b"d\n")
        self.ship(pieces=0)
        (self.logs / "app.log.2.gz").unlink()
        self.ship(pieces=0)
        self.restart(save=False)
        self.assertEqual(self.settle(), b"a\nb\nc\nd\n")

    def test_unreadLinesFromCopy(self) -> None:
        """After copytruncate, unread lines are read from the copy."""
        self.append(b"a\nb\nc\n")
        self.ship(pieces=1, octets=2)
        self.copytruncate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nc\nnew\n")

    def test_truncatedAndGrown(self) -> None:
        """
        A file that was truncated and has grown past the offset between two polls is
        detected.
        """
        self.append(b"first\n")
        self.ship()
        self.copytruncate()
        self.append(b"another line, longer than the first\n")
        self.assertEqual(self.settle(), b"first\nanother line, longer than the first\n")

    def test_truncatedWithoutCopy(self) -> None:
        """If there is no copy, the unread lines of a truncated file become a gap."""
        self.append(b"a\nbb\n")
        self.ship(pieces=1, octets=2)
        os.truncate(self.path, 0)
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\n<truncated>new\n")

    def test_rotatedWhileStopped(self) -> None:
        """
        Logs that were rotated several times, compressed or truncated while the
        forwarder was stopped lose no line.
        """
        moves: dict[str, Callable[[], None]] = {
            "renamed": self.rotate,
            "truncated": self.copytruncate,
        }
        for name, move in moves.items():
            for packed in (False, True):
                with self.subTest(move=name, packed=packed):
                    self.append(b"a %s\nb\n" % name.encode())
                    before = self.settle()
                    self.append(b"unread %s %d\n" % (name.encode(), packed))
                    self.restart()
                    self.stop()
                    move()
                    between = b"between %s %d\n" % (name.encode(), packed)
                    self.append(between)
                    move()
                    if packed:
                        self.compress(1)
                        self.compress(2)
                    self.append(b"new %s %d\n" % (name.encode(), packed))
                    self.start()
                    what = b"%s %d\n" % (name.encode(), packed)
                    want = b"unread " + what + b"between " + what + b"new " + what
                    self.assertEqual(self.settle(), before + want)

    def test_firstSight(self) -> None:
        """Files rotated before the first poll are not shipped; later ones are."""
        (self.logs / "app.log.1").write_bytes(b"before our time\n")
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"b\n")
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_somebodysCopy(self) -> None:
        """
        A user's copy under a rotated name is shipped and reported: two files
        with the same octets are two contents. A copy under another name is ignored.
        """
        self.append(b"a\nb\n")
        self.ship()
        shutil.copyfile(self.path, self.logs / "app.log.bak")
        shutil.copyfile(self.path, self.logs / "app.log.9")
        self.append(b"c\n")
        self.ship()
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nc\na\nb\nnew\n")
        self.assertIn("duplicate", self.events)

    def test_realLogrotate(self) -> None:
        """
        With the real logrotate renaming and truncating, running and stopped, every line
        arrives.
        """
        program = requirePeer("logrotate")
        want = b"first\n"
        self.append(want)
        self.ship()
        for round_ in range(8):
            mode = ("create", "copytruncate")[round_ // 4]
            if round_ % 2:
                self.files.save()
                self.stop()
            configuration = self.directory / "logrotate.conf"
            configuration.write_text(
                f'"{self.path}" {{\n  rotate 20\n  {mode}\n  compress\n  delaycompress\n}}\n'
            )
            configuration.chmod(0o644)
            self.append(b"round %d\n" % round_)
            want += b"round %d\n" % round_
            state = self.directory / "logrotate.state"
            done = subprocess.run(
                [program, "-f", "-s", str(state), str(configuration)],
                capture_output=True,
                text=True,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            if round_ % 2:
                self.start()
            self.ship()
        self.append(b"end\n")
        self.assertEqual(self.settle(), want + b"end\n")

    def test_truncatedAfterTheLook(self) -> None:
        """
        A file truncated and grown between a poll and a read is detected by the read.
        """
        self.append(b"first\n")
        self.ship()
        self.append(b"second\n")
        self.now += 1
        self.files.poll()
        [incarnation] = self.files.opened
        self.copytruncate()
        self.append(b"another line, longer than all before\n")
        self.assertIsNone(incarnation.read(64))
        self.assertEqual(
            self.settle(), b"first\nsecond\nanother line, longer than all before\n"
        )

    def test_sameHeadAfterTheLook(self) -> None:
        """
        A file truncated and grown between a poll and a read is detected even if its
        head is the same.
        """
        banner = b"#" * 1500 + b"\n"
        self.append(banner + b"first\n")
        self.ship(octets=4096)
        self.now += 1
        self.files.poll()
        [incarnation] = self.files.opened
        self.copytruncate()
        second = b"another line\n" * 3
        self.append(banner + second)
        self.assertIsNone(incarnation.read(64))
        self.assertEqual(self.settle(), banner + b"first\n" + banner + second)

    def test_truncatedWhenRenamed(self) -> None:
        """A renamed file that another program truncates becomes a gap, and delays nothing."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.rotate()
        self.append(b"new\n")
        self.files.poll()
        os.truncate(self.logs / "app.log.1", 0)
        self.assertEqual(self.settle(), b"a\n<truncated>new\n")

    def test_slowLateWriter(self) -> None:
        """
        A late writer in the middle of a line gets a new grace period with each write.
        """
        self.append(b"a\n")
        self.ship()
        with open(self.path, "ab", buffering=0) as writer:
            self.rotate()
            self.append(b"new\n")
            self.ship()
            for _ in range(12):
                self.now += QUIET_S / 2
                writer.write(b"p")
                self.assertEqual(self.ship(), b"a\nnew\n")
            writer.write(b"\n")
        self.assertEqual(self.ship(), b"a\nnew\npppppppppppp\n")

    def test_unpackedOnce(self) -> None:
        """
        Compressed files are not unpacked again when another file in their directory
        changes.
        """
        for number in range(3):
            self.append(b"%d\n" % number)
            self.ship()
            self.rotate()
        self.append(b"end\n")
        want = self.settle()
        for number in (1, 2, 3):
            self.compress(number)
        with mock.patch.object(_examine, "openArchive") as unpack:
            for _ in range(5):
                (self.logs / "other").touch()
                (self.logs / "other").unlink()
                self.ship()
            self.restart()
            self.assertEqual(self.settle(), want)
            unpack.assert_not_called()

    def test_closedUnderAThread(self) -> None:
        """
        If a file is closed during its checksum, the checksum is refused, so that it can
        never be another file's.
        """
        self.append(b"a\n")
        self.ship()
        [incarnation] = self.files.opened
        self.assertEqual(incarnation.checksum(0, 2), crc32(b"a\n"))
        self.assertRaises(Vanished, incarnation.checksum, 0, 3)
        incarnation.close()
        self.assertRaises(Vanished, incarnation.checksum, 0, 2)


class LagTests(TailTestCase):
    """The limit on the lag, over several file generations."""

    lagOctetsMax = 100

    def test_allCount(self) -> None:
        """
        Unread octets in newer files count: at most the limit remains over all files.
        """
        for generation in range(5):
            lines = [b"%d %03d\n" % (generation, n) for n in range(15)]
            self.append(b"".join(lines))
            self.now += 1
            self.files.poll()
            self.rotate()
        left = self.settle().replace(b"<lag-cap>", b"")
        self.assertTrue(left.endswith(b"4 014\n"))
        self.assertLessEqual(len(left), 100)
        self.assertGreater(len(left), 80)


class PatternTests(TailTestCase):
    """A pattern matches several files."""

    pattern = "*.log"

    def test_newAndRenamedFiles(self) -> None:
        """
        A file that appears later is shipped; one that was only renamed is not shipped
        again.
        """
        self.append(b"a\n")
        self.ship()
        (self.logs / "other.log").write_bytes(b"other\n")
        self.now += 1
        self.ship()
        (self.logs / "other.log").rename(self.logs / "other-1.log")
        self.now += 1
        self.assertEqual(self.settle(), b"a\nother\n")


class WidePatternTests(TailTestCase):
    """A pattern that matches the rotated files too."""

    pattern = "app.log*"

    def test_rotatedFilesAreRecognised(self) -> None:
        """
        Copies and compressed files count as rotated files, not as logs of their own.
        """
        for line in (b"a\n", b"b\n", b"c\n"):
            self.append(line)
            self.ship()
            self.copytruncate()
        self.compress(2)
        self.append(b"d\n")
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\nc\nd\n")


class ExtensionTests(TailTestCase):
    """Rotated names that look like log names (logrotate's "extension")."""

    pattern = "*.log"

    def test_renamedOver(self) -> None:
        """A file that is renamed over another is not shipped twice."""
        (self.logs / "app-1.log").write_bytes(b"from before\n")
        for number in range(4):
            self.append(b"line %d\n" % number)
            self.ship()
            (self.logs / "app-1.log").rename(self.logs / "app-2.log")
            self.path.rename(self.logs / "app-1.log")
            self.ship()
            self.restart()
        shipped = self.settle()
        for number in range(4):
            self.assertEqual(shipped.count(b"line %d\n" % number), 1)


class CopiedEarlierTests(TailTestCase):
    """
    copytruncate whose copy lacks lines that were written and shipped before the
    truncation.
    """

    def test_notAcknowledgedYet(self) -> None:
        """
        The short copy does not count as a new file, even while the later lines are
        unacknowledged.
        """
        self.append(b"a\nb\n")
        self.ship()
        shutil.copyfile(self.path, self.logs / "app.log.1")
        self.append(b"c\n")
        self.files.poll()
        (one,) = self.files.opened
        chunk = one.read(64)
        assert chunk is not None and not isinstance(chunk, GapChunk)
        os.truncate(self.path, 0)
        self.append(b"new\n")
        for _ in range(3):
            self.now += 0.6
            self.files.poll()
            (self.logs / "app.log.1").touch()
        self.assertEqual(len(self.files.opened), 2)
        self.ledger.add(one, chunk)
        one.acknowledge(chunk.end, 0, 0)
        self.assertEqual(self.settle(), b"a\nb\nc\nnew\n")

    def test_whileCopied(self) -> None:
        """While a copy is being made, no lines are read that it might lack."""
        self.append(b"a\n")
        self.ship()
        with open(self.logs / "app.log.1", "wb") as copy:
            copy.write(b"a\n")
            copy.flush()
            self.append(b"b\n")
            self.assertEqual(self.ship(), b"a\n")
            copy.write(b"b\n")
            copy.flush()
            os.truncate(self.path, 0)
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")
