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

from decnet_syslog.files import Gap, Vanished, _examine
from decnet_syslog.files._directories import Siblings
from decnet_syslog.files._finish import QUIET_S

from .peers import requirePeer
from .tailing import TailTestCase


class WithinALookTests(TailTestCase):
    """What happens between the halves of a look."""

    def between(self, *steps: Callable[[], object]) -> Any:
        """Do something once the path was looked at, and before its rotated files are."""
        left, lookAgain = list(steps), Siblings.lookAgain

        def does(siblings: Siblings) -> None:
            while left:
                left.pop(0)()
            lookAgain(siblings)

        return mock.patch.object(Siblings, "lookAgain", does)

    def copy(self) -> None:
        """As logrotate does with copytruncate and extension, up to the copy."""
        shutil.copyfile(self.path, self.logs / "app.1.log")

    def truncate(self) -> None:
        """And then."""
        os.truncate(self.path, 0)


class CopyWithinALookTests(WithinALookTests):
    """A copy that is larger than the log was at its last look, where a pattern finds both."""

    pattern = "*.log"

    def test_grown(self) -> None:
        """The copy is no log of its own, and nothing is repeated."""
        self.append(b"one\n")
        self.ship()
        with self.between(lambda: self.append(b"two\n"), self.copy):
            self.ship()
        self.truncate()
        self.append(b"three\n")
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")

    def test_truncated(self) -> None:
        """The same, if the log was truncated by then."""
        self.append(b"one\n")
        self.ship()
        with self.between(lambda: self.append(b"two\n"), self.copy, self.truncate):
            self.ship()
        self.append(b"three\n")
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")


class LateArchiveTests(TailTestCase):
    """A file is compressed and deleted, and its archive was not complete when looked at."""

    def compressLate(self) -> None:
        """Deliver a file that ends while its archive is still waited for."""
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

    def test_running(self) -> None:
        """It is known by its octets, and not shipped again."""
        self.compressLate()
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")
        self.assertNotIn("rotated-unseen", self.events)

    def test_killed(self) -> None:
        """Nor after a kill."""
        self.compressLate()
        self.files.save()
        self.restart(save=False)
        self.assertEqual(self.settle(), b"one\ntwo\nthree\n")
        self.assertNotIn("rotated-unseen", self.events)


class KeptAndCompressedTests(TailTestCase):
    """A deleted file was kept beside the state, while its archive was not complete."""

    def test_killed(self) -> None:
        """What was kept and the archive are one content."""
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
    """The number of a deleted file is given to another program's file."""

    def test_notOurs(self) -> None:
        """It is not shipped: only its own object, with its content, would be."""
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


class RotationTests(TailTestCase):
    """Renamed, truncated, compressed, deleted; while running and while stopped."""

    def test_renamed(self) -> None:
        """The old file is finished first, its last line too."""
        self.append(b"a\nb\nlast")
        self.ship(pieces=1)
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nlastnew\n")

    def test_lateWriter(self) -> None:
        """A writer that still has the old file open is read."""
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
        """Two rotations between two looks: the file in between is found."""
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"between\n")
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nbetween\nnew\n")

    def test_deleted(self) -> None:
        """A deleted file is read to its end through its descriptor."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.path.unlink()
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_compressedAndDeleted(self) -> None:
        """So is one that was unpacked, also by who starts again, and in its place."""
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

    def test_truncated(self) -> None:
        """copytruncate: what was not read yet comes from the copy."""
        self.append(b"a\nb\nc\n")
        self.ship(pieces=1, octets=2)
        self.copytruncate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nc\nnew\n")

    def test_truncatedAndGrown(self) -> None:
        """Truncated and grown past the offset between two looks: noticed."""
        self.append(b"first\n")
        self.ship()
        self.copytruncate()
        self.append(b"another line, longer than the first\n")
        self.assertEqual(self.settle(), b"first\nanother line, longer than the first\n")

    def test_truncatedWithoutCopy(self) -> None:
        """Without a copy, what was not read is a gap."""
        self.append(b"a\nbb\n")
        self.ship(pieces=1, octets=2)
        os.truncate(self.path, 0)
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\n<truncated>new\n")

    def test_stopped(self) -> None:
        """Rotated, several times, compressed, truncated while stopped."""
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
        """What was rotated before our first look is not ours; what comes after is."""
        (self.logs / "app.log.1").write_bytes(b"before our time\n")
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"b\n")
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_somebodysCopy(self) -> None:
        """
        A copy that somebody made under a rotated name is shipped, and reported: two files with
        the same octets are two contents. Under another name it is somebody else's file.
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

    def test_logrotate(self) -> None:
        """The real logrotate, renaming and truncating, running and stopped."""
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
        """Truncated and grown between a look and a read: the read notices."""
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
        """Truncated and grown between a look and a read, with the head it had: noticed."""
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
        """A renamed file that somebody truncates is a gap, and blocks nothing."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.rotate()
        self.append(b"new\n")
        self.files.poll()
        os.truncate(self.logs / "app.log.1", 0)
        self.assertEqual(self.settle(), b"a\n<truncated>new\n")

    def test_slowLateWriter(self) -> None:
        """A late writer in the middle of a line has its grace from each write on."""
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
        """Compressed files are not unpacked again when something else changes beside them."""
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
        """A checksum of a file that is closed meanwhile is refused, not another file's."""
        self.append(b"a\n")
        self.ship()
        [incarnation] = self.files.opened
        self.assertEqual(incarnation.checksum(0, 2), crc32(b"a\n"))
        self.assertRaises(Vanished, incarnation.checksum, 0, 3)
        incarnation.close()
        self.assertRaises(Vanished, incarnation.checksum, 0, 2)


class LagTests(TailTestCase):
    """The cap on the lag, over several incarnations."""

    lagOctetsMax = 100

    def test_allCount(self) -> None:
        """What is behind in newer files counts: no more than the cap is left of all."""
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
    """Several files by a pattern."""

    pattern = "*.log"

    def test_files(self) -> None:
        """Files that appear later are shipped; a file that another was renamed to is not
        shipped again."""
        self.append(b"a\n")
        self.ship()
        (self.logs / "other.log").write_bytes(b"other\n")
        self.now += 1
        self.ship()
        (self.logs / "other.log").rename(self.logs / "other-1.log")
        self.now += 1
        self.assertEqual(self.settle(), b"a\nother\n")


class WidePatternTests(TailTestCase):
    """A pattern that gives the rotated files too."""

    pattern = "app.log*"

    def test_rotated(self) -> None:
        """Copies and compressed files are rotated ones, not files of their own."""
        for line in (b"a\n", b"b\n", b"c\n"):
            self.append(line)
            self.ship()
            self.copytruncate()
        self.compress(2)
        self.append(b"d\n")
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\nc\nd\n")


class ExtensionTests(TailTestCase):
    """Rotated names that look like log files of their own (logrotate's "extension")."""

    pattern = "*.log"

    def test_renamedOver(self) -> None:
        """A file that is renamed to where there was another one before is not shipped twice."""
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
    """copytruncate whose copy lacks what was written, and shipped, before the truncation."""

    def test_notAcknowledgedYet(self) -> None:
        """The short copy is no new file, not even while the rest is unacknowledged."""
        self.append(b"a\nb\n")
        self.ship()
        shutil.copyfile(self.path, self.logs / "app.log.1")
        self.append(b"c\n")
        self.files.poll()
        (one,) = self.files.opened
        chunk = one.read(64)
        assert chunk is not None and not isinstance(chunk, Gap)
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
        """While a copy is being made, nothing is read that it might lack."""
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
