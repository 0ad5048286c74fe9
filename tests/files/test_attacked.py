"""Tests for the tail under attack: cases found by an independent search for faults."""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import sqlite3
import time
from typing import Any
from unittest import mock

from decnet_syslog.files import AcknowledgedPosition

from ..tailing import TailTestCase

HEADER = b"#fields ts host event\n"
BANNER = b"#" * 1500 + b"\n"


class Base(TailTestCase):
    """A tail whose open descriptors can be counted."""

    def fds(self) -> int:
        return len(os.listdir("/proc/self/fd"))


class ReturnsTests(Base):
    """A file that goes away and comes back."""

    def test_vanishesAndReturns(self) -> None:
        """A log that is moved aside and back 12 s later is continued."""
        self.append(b"a\nb\n")
        self.settle()
        self.path.rename(self.logs / "aside")
        self.settle()
        (self.logs / "aside").rename(self.path)
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")

    def test_mountLate(self) -> None:
        """
        A log directory that is mounted after the forwarder has started is continued.
        """
        self.append(b"a\nb\n")
        self.settle()
        self.files.save()
        self.stop()
        self.logs.rename(self.directory / "unmounted")
        self.logs.mkdir()
        self.start()
        self.ship()
        self.ship()
        self.logs.rmdir()
        (self.directory / "unmounted").rename(self.logs)
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")

    def test_mountLateNoDirectory(self) -> None:
        """
        A log directory that does not exist at the start and appears later is continued.
        """
        self.append(b"a\nb\n")
        self.settle()
        self.files.save()
        self.stop()
        self.logs.rename(self.directory / "unmounted")
        self.start()
        self.ship()
        self.ship()
        (self.directory / "unmounted").rename(self.logs)
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")

    def test_restartAfterReturn(self) -> None:
        """A log that was rotated, finished and then renamed back is continued."""
        self.append(b"a\nb\n")
        self.settle()
        self.rotate()
        self.settle()
        (self.logs / "app.log.1").rename(self.path)
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")


class ManyTests(Base):
    """Very many rotated files."""

    def test_firstSightMany(self) -> None:
        """Many rotated files from before the first start are not shipped."""
        for n in range(40):
            (self.logs / f"app.log.{n + 1}").write_bytes(b"old %d\n" % n)
        self.append(b"a\n")
        self.assertEqual(self.settle(), b"a\n")

    def test_finishedMany(self) -> None:
        """
        Many finished files with dated names are not shipped again after a restart.
        """
        want = b""
        for n in range(70):
            self.append(b"line %d\n" % n)
            want += b"line %d\n" % n
            self.ship()
            self.path.rename(self.logs / f"app.log-{20260101 + n}")
            self.now += 12
            self.ship()
            self.now += 12
            self.ship()
        self.assertEqual(self.settle(), want)
        self.restart()
        self.assertEqual(self.settle(), want)


class CompressorsTests(Base):
    """Files compressed in other ways."""

    def test_compressedWithXz(self) -> None:
        """A finished file that is compressed with xz is not shipped again."""
        self.append(b"a\nb\n")
        self.ship()
        self.rotate()
        self.append(b"c\n")
        self.settle()
        p = self.logs / "app.log.1"
        (self.logs / "app.log.1.xz").write_bytes(lzma.compress(p.read_bytes()))
        p.unlink()
        self.assertEqual(self.settle(), b"a\nb\nc\n")

    def test_gzTrailingZeros(self) -> None:
        """Trailing zeros in a gz file are ignored, as by gzip(1) (tape padding)."""
        self.append(b"a\nb\nc\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.rotate()
        self.append(b"new\n")
        p = self.logs / "app.log.1"
        (self.logs / "app.log.1.gz").write_bytes(
            gzip.compress(p.read_bytes()) + b"\x00" * 512
        )
        p.unlink()
        self.assertEqual(self.settle(), b"a\nb\nc\nnew\n")

    def test_gzMembers(self) -> None:
        """A gz file of several members, of which the first is short, is recognised."""
        self.append(b"a\n" + b"b" * 1200 + b"\nc\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.rotate()
        self.append(b"new\n")
        p = self.logs / "app.log.1"
        t = p.read_bytes()
        (self.logs / "app.log.1.gz").write_bytes(
            gzip.compress(t[:100]) + gzip.compress(t[100:])
        )
        p.unlink()
        self.assertEqual(self.settle(), t + b"new\n")


class AlikeTests(Base):
    """Contents that begin alike."""

    def test_bannerBetweenShorter(self) -> None:
        """
        A shorter file with the same banner of more than 1 KiB, rotated unseen, is
        shipped.
        """
        self.append(BANNER + b"first, quite long line\n" * 5)
        self.ship(octets=4096)
        self.rotate()
        self.settle()
        self.append(BANNER + b"second\n")
        self.rotate()
        self.append(b"end\n")
        got = self.settle()
        self.assertIn(b"second\n", got)

    def test_bannerGzSameSize(self) -> None:
        """
        A compressed file with the same banner and size as a finished one, rotated while
        the forwarder was stopped, is shipped.
        """
        self.append(BANNER + b"first!\n")
        self.ship(octets=4096)
        self.rotate()
        self.settle()
        self.restart()
        self.stop()
        self.append(BANNER + b"second\n")
        self.rotate()
        self.compress(1)
        self.append(b"end\n")
        self.start()
        self.assertIn(b"second\n", self.settle())

    def test_headerOnlyThenMore(self) -> None:
        """
        A file of only a header is in its grace period while the next file, with the
        same header, is rotated unseen: both are shipped.
        """
        self.append(HEADER)
        self.ship()
        self.rotate()
        self.ship()
        self.append(HEADER + b"one\n")
        self.rotate()
        self.append(HEADER + b"two\n")
        got = self.settle()
        self.assertEqual(got, HEADER + HEADER + b"one\n" + HEADER + b"two\n")

    def test_headerOnlyFinished(self) -> None:
        """
        A file of only a header is finished; the next file, with the same header, is
        rotated unseen: both are shipped.
        """
        self.append(HEADER)
        self.ship()
        self.rotate()
        self.settle()
        self.append(HEADER + b"one\n")
        self.rotate()
        self.append(HEADER + b"two\n")
        got = self.settle()
        self.assertEqual(got, HEADER + HEADER + b"one\n" + HEADER + b"two\n")

    def test_headerStopped(self) -> None:
        """
        The forwarder stopped when the log was only a header; the log has grown and was
        rotated, and the new one begins alike: both are shipped.
        """
        self.append(HEADER)
        self.ship()
        self.restart()
        self.stop()
        self.append(b"one\n")
        self.rotate()
        self.append(HEADER + b"two\n")
        self.start()
        self.assertEqual(self.settle(), HEADER + b"one\n" + HEADER + b"two\n")

    def test_headerStoppedTruncated(self) -> None:
        """
        The forwarder stopped when the log was only a header; the log has grown, was
        copied and truncated, and now begins alike again: no line is lost or repeated.
        """
        self.append(HEADER)
        self.ship()
        self.restart()
        self.stop()
        self.append(b"one\n")
        self.copytruncate()
        self.append(HEADER + b"two\n")
        self.start()
        # The live file begins like the recorded content: it is undecidable which of the
        # two files continues it, but no line is lost or repeated.
        got = self.settle()
        self.assertEqual(
            sorted(got.splitlines()),
            sorted((HEADER + b"one\n" + HEADER + b"two\n").splitlines()),
        )

    def test_bannerUnread(self) -> None:
        """
        Before anything is acknowledged (master down), the log is copied and truncated
        twice while the forwarder is stopped, with the same banner: all three are
        shipped.
        """
        self.append(BANNER + b"one\n")
        self.now += 1
        self.files.poll()
        self.restart()
        self.stop()
        self.copytruncate()
        self.append(BANNER + b"two\n")
        self.copytruncate()
        self.append(BANNER + b"three\n")
        self.start()
        got = self.settle().replace(BANNER, b"")
        self.assertEqual(got, b"one\ntwo\nthree\n")

    def test_bannerUnreadRenamed(self) -> None:
        """
        Before anything is acknowledged (master down), the log is renamed twice while
        the forwarder is stopped, with the same banner: all three are shipped.
        """
        self.append(BANNER + b"one\n")
        self.now += 1
        self.files.poll()
        self.restart()
        self.stop()
        self.rotate()
        self.append(BANNER + b"two\n")
        self.rotate()
        self.append(BANNER + b"three\n")
        self.start()
        got = self.settle().replace(BANNER, b"")
        self.assertEqual(got, b"one\ntwo\nthree\n")

    def test_bannerRunning(self) -> None:
        """
        While the master is down, the log is renamed twice between polls, with the same
        banner: all three are shipped.
        """
        self.append(BANNER + b"one\n")
        self.now += 1
        self.files.poll()
        self.rotate()
        self.append(BANNER + b"two\n")
        self.rotate()
        self.append(BANNER + b"three\n")
        got = self.settle().replace(BANNER, b"")
        self.assertEqual(got, b"one\ntwo\nthree\n")


class InodesTests(Base):
    """Inodes that are reused."""

    def test_vanishedInodeReused(self) -> None:
        """
        A log is deleted while the forwarder is stopped; its inode is reused by the next
        log, which is rotated as well.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.stop()
        with open(self.path, "r+b") as f:
            f.write(b"other content\n")
        self.rotate()
        self.append(b"new\n")
        self.start()
        self.assertIn(b"other content\n", self.settle())


class WritesTests(Base):
    """Writers that keep a rotated file open."""

    def test_lateAfterGrace(self) -> None:
        """
        A writer that kept app.log.1 open writes after the grace period; the file is
        deleted later.
        """
        self.append(b"a\n")
        self.ship()
        w = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self.addCleanup(w.close)
        self.rotate()
        self.append(b"new\n")
        self.settle()
        time.sleep(0.1)
        self.ship()
        w.write(b"late\n")
        for _ in range(20):
            self.ship()
        self.assertIn(b"late\n", self.settle())


class OrderTests(Base):
    """Files are shipped oldest first."""

    def test_heldBehindOlder(self) -> None:
        """
        If app.log.1 is unshipped and app.log is deleted and kept, files are shipped
        oldest first after a kill.
        """
        self.append(b"A1\n")
        self.now += 1
        self.files.poll()
        self.rotate()
        self.append(b"B1\n")
        self.now += 1
        self.files.poll()
        self.path.unlink()
        self.now += 1
        self.files.poll()
        self.restart(save=True)
        self.append(b"C1\n")
        self.assertEqual(self.settle(), b"A1\nB1\nC1\n")


class StorageTests(Base):
    """The state database cannot be written for some time."""

    def full(self, times: int = 10**6) -> Any:
        real = self.store.save
        left = [times]

        def save(*a: Any, **k: Any) -> Any:
            if left[0] > 0:
                left[0] -= 1
                raise sqlite3.OperationalError("database or disk is full")
            return real(*a, **k)

        return mock.patch.object(self.store, "save", save)

    def poll(self) -> None:
        try:
            self.now += 0.6
            self.files.poll()
        except sqlite3.OperationalError:
            pass

    def test_fullAtTruncation(self) -> None:
        """
        If the state cannot be written during a truncation, no line is lost or repeated.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.copytruncate()
        self.append(b"new\n")
        with self.full():
            self.poll()
            self.poll()
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_fullDescriptors(self) -> None:
        """
        If the state cannot be written for many polls, descriptors do not accumulate.
        """
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"new\n")
        before = self.fds()
        with self.full():
            for _ in range(50):
                self.poll()
        self.assertLess(self.fds() - before, 5)
        self.assertEqual(self.settle(), b"a\nnew\n")

    def test_fullAtStart(self) -> None:
        """
        If the state cannot be written at a start after two rotations, no line is lost
        or repeated.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"between\n")
        self.rotate()
        self.append(b"new\n")
        self.start()
        with self.full():
            self.poll()
            self.poll()
        self.assertEqual(self.settle(), b"a\nb\nbetween\nnew\n")

    def test_fullAtStartLive(self) -> None:
        """
        If the state cannot be written at a start while there is an unseen rotated file,
        the live log causes no gap and no repetition.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.stop()
        (self.logs / "app.log.1").write_bytes(b"unseen\n")
        self.start()
        with self.full():
            self.poll()
            self.poll()
        self.assertEqual(self.events.count("vanished"), 0)
        got = self.settle()
        self.assertEqual(got.count(b"b\n"), 1)
        self.assertNotIn(b"<", got)


class GlobTests(Base):
    """A pattern."""

    pattern = "*.log"

    def test_oneBadFile(self) -> None:
        """An unreadable file does not stop the others."""
        bad = self.logs / "aaa.log"
        bad.write_bytes(b"bad\n")
        self.append(b"a\n")
        self.ship()
        descriptor = next(
            one.file.descriptor
            for one in self.files.opened
            if one.file is not None and one.name.endswith("aaa.log")
        )
        real = os.pread

        def pread(d: int, *a: Any) -> bytes:
            if d == descriptor:
                raise OSError(errno.EIO, "Input/output error")
            return real(d, *a)

        self.append(b"b\n")
        with mock.patch("os.pread", pread):
            for _ in range(5):
                try:
                    self.ship()
                except OSError:
                    pass
        self.assertIn(b"b\n", self.ledger.octets())

    def test_unreadableSaid(self) -> None:
        """An unreadable file is reported."""
        bad = self.logs / "aaa.log"
        bad.write_bytes(b"bad\n")
        real = os.open

        def refuse(p: Any, *a: Any, **k: Any) -> int:
            if str(p).endswith("aaa.log"):
                raise PermissionError(errno.EACCES, "no", p)
            return real(p, *a, **k)

        with mock.patch("os.open", refuse):
            for _ in range(5):
                self.ship()
        self.assertIn("unreadable", self.events)

    def test_symlinkSortedFirst(self) -> None:
        """
        If the pattern matches the log and a symbolic link that sorts before it, lines
        are shipped once, in order.
        """
        self.append(b"one\n")
        os.symlink("app.log", self.logs / "a.log")
        self.settle()
        for n in range(3):
            self.rotate()
            self.append(b"round %d\n" % n)
            self.ship()
            self.settle()
        got = self.settle()
        self.assertEqual(got, b"one\nround 0\nround 1\nround 2\n")

    def test_symlinkSortedLast(self) -> None:
        """
        If the pattern matches the log and a symbolic link that sorts after it, lines
        are shipped once, in order.
        """
        self.append(b"one\n")
        os.symlink("app.log", self.logs / "z.log")
        self.settle()
        for n in range(3):
            self.rotate()
            self.append(b"round %d\n" % n)
            self.ship()
            self.settle()
        got = self.settle()
        self.assertEqual(got, b"one\nround 0\nround 1\nround 2\n")


class DirectoryTests(Base):
    """The directory cannot be read for some time."""

    def test_scandirFails(self) -> None:
        """
        If the directory cannot be listed at the start, the files do not count as
        deleted.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"new\n")
        self.start()
        refused = mock.Mock(side_effect=OSError(errno.EMFILE, "Too many open files"))
        with mock.patch.multiple("os", scandir=refused, listdir=refused):
            self.ship()
        self.assertTrue(refused.called)
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_statFails(self) -> None:
        """
        If os.stat of a rotated file fails with an error other than ENOENT, the poll
        succeeds.
        """
        self.append(b"a\n")
        self.ship()
        (self.logs / "app.log.1").write_bytes(b"x\n")
        real = os.stat

        def stat(p: Any, *a: Any, **k: Any) -> os.stat_result:
            if str(p).endswith("app.log.1"):
                raise OSError(errno.EIO, "io", p)
            return real(p, *a, **k)

        with mock.patch("os.stat", stat):
            self.ship()


class HeldTests(Base):
    """The kept copy of a deleted file."""

    def test_adoptAfterKept(self) -> None:
        """
        A kept file whose stream was adopted under another name does not count as
        vanished after a restart.
        """
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.path.unlink()
        self.now += 1
        self.files.poll()
        i = self.files.opened[0]
        m = i.acknowledged
        self.files.journal.adopt(
            {i: AcknowledgedPosition("f" * 32, 7, m.offset, m.base, m.crc)}
        )
        self.restart()
        self.settle()
        self.assertNotIn("vanished", self.events)

    def test_newMaster(self) -> None:
        """
        If a kept copy has a hole and a new master needs everything from the beginning,
        no zeros are shipped.
        """
        lines = b"".join(b"%05d line\n" % n for n in range(900))
        self.append(lines)
        self.ship(pieces=50, octets=110)
        self.path.unlink()
        self.now += 1
        self.files.poll()
        self.restart()
        self.now += 1
        self.files.poll()
        i = self.files.opened[0]
        self.files.journal.connect(("new", "worker"), resend=True, isHistoryKept=False)
        out = b""
        while (p := i.read(256)) is not None:
            out += getattr(p, "octets", b"<gap>")
        self.assertNotIn(b"\x00", out)
