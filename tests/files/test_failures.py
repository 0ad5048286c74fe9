"""Tests for the tail when the machine fails: no space, stale handles, sparse files."""

from __future__ import annotations

import errno
import gzip
import os
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files._archives import RESERVE_OCTETS
from decnet_syslog.files._finish import KEEP_RETRY_S
from decnet_syslog.wire import BYE

from ..campaigns.pipeline import End, World, perform
from ..tailing import TailTestCase

# Sparse: reading it would take minutes.
HOLE_OCTETS = 1024**4


class FullTests(TailTestCase):
    """The state database has no space."""

    def full(self) -> Any:
        error = sqlite3.OperationalError("database or disk is full")
        return mock.patch.object(self.store, "save", side_effect=error)

    def test_fullAtFirstRead(self) -> None:
        """Lines read while their position could not be saved are read again."""
        self.path.touch()
        self.ship()
        self.append(b"a\nb\n")
        with self.full():
            self.assertEqual(self.ship(octets=2), b"")
        self.assertEqual(self.ship(octets=2), b"a\nb\n")

    def test_fullFirstSightDescriptors(self) -> None:
        """A start that fails for lack of space leaves no descriptor open."""
        self.append(b"a\n")
        (self.logs / "app.log.1").write_bytes(b"past\n")
        before = len(os.listdir("/proc/self/fd"))
        with self.full():
            for _ in range(20):
                self.now += 0.6
                self.files.poll()
        self.assertLess(len(os.listdir("/proc/self/fd")) - before, 3)
        self.assertEqual(self.settle(), b"a\n")

    def test_fullStrangersDescriptors(self) -> None:
        """
        If an unknown rotated file is found at a start without space, no descriptor is
        left open.
        """
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"between\n")
        self.rotate()
        self.append(b"new\n")
        self.start()
        before = len(os.listdir("/proc/self/fd"))
        with self.full():
            for _ in range(20):
                self.now += 0.6
                self.files.poll()
        self.assertLess(len(os.listdir("/proc/self/fd")) - before, 3)
        self.assertEqual(self.settle(), b"a\nbetween\nnew\n")


class KeepingTests(TailTestCase):
    """Copies of deleted files."""

    def held(self) -> list[str]:
        directory = self.directory / "forwarder.db.held"
        return sorted(os.listdir(directory)) if directory.exists() else []

    def delete(self, octets: bytes = b"a\nb\n") -> None:
        self.append(octets)
        self.ship(pieces=1, octets=2)
        self.rotate()
        (self.logs / "app.log.1").unlink()
        self.now += 1

    def breaking(self) -> Any:
        """The disk becomes full after half the copy."""
        real = os.pwrite
        count = [0]

        def pwrite(descriptor: int, octets: bytes, at: int) -> int:
            count[0] += 1
            if count[0] > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, octets, at)

        return mock.patch("os.pwrite", pwrite)

    def test_partRemoved(self) -> None:
        """A partial copy that has filled the disk is removed."""
        self.delete()
        with self.breaking():
            self.files.poll()
        self.assertEqual(self.events.count("not-kept"), 1)
        self.assertEqual(self.held(), [])
        self.now += KEEP_RETRY_S
        self.files.poll()
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_spaceLeft(self) -> None:
        """
        A copy leaves space for the saved positions: without them nothing continues.
        """
        self.delete()
        little = mock.Mock(f_bavail=10, f_frsize=4096)
        with mock.patch("os.statvfs", return_value=little):
            self.files.poll()
        self.assertEqual(self.events.count("not-kept"), 1)
        self.assertEqual(self.held(), [])
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_fullState(self) -> None:
        """A copy that waits for space does not delay later files."""
        self.delete()
        full = sqlite3.OperationalError("database or disk is full")
        with mock.patch.object(self.store, "save", side_effect=full):
            self.files.poll()
            self.assertEqual(self.events.count("not-kept"), 1)
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_holesAreNotCopied(self) -> None:
        """The holes of a deleted file are not copied."""
        self.delete(b"a\nb\n" + b"c\n" * 3000)
        [incarnation] = self.files.opened
        assert incarnation.file is not None
        with open(f"/proc/self/fd/{incarnation.file.descriptor}", "r+b") as file:
            file.truncate(HOLE_OCTETS)
        real = os.pread
        octets = [0]

        def pread(descriptor: int, count: int, at: int) -> bytes:
            found = real(descriptor, count, at)
            octets[0] += len(found)
            assert octets[0] < 64 * 1024 * 1024, "reads the hole"
            return found

        with mock.patch("os.pread", pread):
            self.files.poll()
        [name] = self.held()
        status = os.stat(self.directory / "forwarder.db.held" / name)
        self.assertEqual(status.st_size, HOLE_OCTETS)
        self.assertLess(status.st_blocks * 512, 1024 * 1024)

    def test_leftoversAreRemoved(self) -> None:
        """Kept copies from a killed forwarder, partial or finished, are removed."""
        self.delete()
        self.files.poll()
        [name] = self.held()
        with mock.patch("decnet_syslog.files._kept.KeptFiles.release"):
            self.assertEqual(self.settle(), b"a\nb\n")
        (self.directory / "forwarder.db.held" / f"{name}.part").write_bytes(b"a\n")
        self.append(b"c\n")
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\nc\n")
        self.assertEqual(self.held(), [])


class HoleTests(TailTestCase):
    """A sparse file."""

    def test_holeBehindLines(self) -> None:
        """A hole from the last line to the end of a file is not read."""
        self.append(b"a\n" + b"b" * 100_000)
        os.truncate(self.path, HOLE_OCTETS)
        real = os.pread
        octets = [0]

        def pread(descriptor: int, count: int, at: int) -> bytes:
            found = real(descriptor, count, at)
            octets[0] += len(found)
            assert octets[0] < 64 * 1024 * 1024, "reads the hole"
            return found

        with mock.patch("os.pread", pread):
            self.assertEqual(self.ship(), b"a\n")
            self.append(b"\nc\n")
            self.assertEqual(self.ship(), b"a\n<oversize>c\n")


class StaleTests(TailTestCase):
    """A file server has forgotten a file that the forwarder has open."""

    def stale(self, descriptor: int) -> Any:
        """C{ESTALE} from one open file, until it is closed."""
        forgotten = {descriptor}

        def of(name: str) -> Any:
            real = getattr(os, name)

            def call(first: Any, *arguments: Any, **keywords: Any) -> Any:
                if first in forgotten:
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
                return real(first, *arguments, **keywords)

            return mock.patch(f"os.{name}", call)

        close = os.close

        def closing(descriptor: int) -> None:
            forgotten.discard(descriptor)
            close(descriptor)

        for patch in (of("fstat"), of("pread"), mock.patch("os.close", closing)):
            patch.start()
            self.addCleanup(patch.stop)

    def forget(self) -> None:
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        [incarnation] = self.files.opened
        assert incarnation.file is not None
        assert incarnation.file.descriptor is not None
        self.stale(incarnation.file.descriptor)

    def test_deletedElsewhere(self) -> None:
        """
        A file that was deleted on the server becomes a gap, and the file that now has
        its name is shipped.
        """
        self.forget()
        other = self.logs / "other"
        other.write_bytes(b"new\n")
        other.rename(self.path)
        self.assertEqual(self.settle(), b"a\n<vanished>new\n")

    def test_renamedElsewhere(self) -> None:
        """A file that has another name now is found: nothing is lost."""
        self.forget()
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_sameFile(self) -> None:
        """If the server returns with the same file, nothing is repeated."""
        self.forget()
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")


class ReusedTests(TailTestCase):
    """
    The inode of a compressed file is reused by another file while its content is read.
    """

    def compressed(self) -> None:
        """A rotated, compressed file that is not completely read yet."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.stop()
        self.rotate()
        self.compress(1)
        self.start()
        self.ship(pieces=0)

    def test_inodeOfLiveFile(self) -> None:
        """The live file with the same inode is not taken for the compressed one."""
        self.compressed()
        packed = self.logs / "app.log.1.gz"
        packed.write_bytes(b"new\n")
        packed.rename(self.path)
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_inodeOfRotatedFile(self) -> None:
        """A rotated file with the same inode is not taken for the compressed one."""
        self.compressed()
        packed = self.logs / "app.log.1.gz"
        packed.write_bytes(b"new\n")
        packed.rename(self.logs / "app.log.1")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_sourceReplaced(self) -> None:
        """
        The unpacked content is kept when another file gets the name of its source.
        """
        self.compressed()
        packed = self.logs / "app.log.1.gz"
        packed.unlink()
        self.append(b"new\n")
        self.rotate()
        self.compress(1)
        self.ship(pieces=0)
        self.restart()
        self.assertEqual(self.settle(), b"a\nb\nnew\n")


class BombTests(TailTestCase):
    """A compressed file whose content is larger than the disk."""

    def test_bombIsLeftAlone(self) -> None:
        """
        Unpacking stops as soon as space is short, and is not retried at each poll.
        """
        self.append(b"a\n")
        self.ship()
        (self.logs / "app.log.1.gz").write_bytes(gzip.compress(bytes(8 * 1024**2)))
        little = mock.Mock(f_bavail=RESERVE_OCTETS // 4096 + 512, f_frsize=4096)
        real = os.write
        octets = [0]

        def write(descriptor: int, data: bytes) -> int:
            octets[0] += len(data)
            return real(descriptor, data)

        with (
            mock.patch("os.statvfs", return_value=little),
            mock.patch("os.write", write),
        ):
            for n in range(20):
                self.append(b"%d\n" % n)
                self.ship()
        self.assertLessEqual(octets[0], 3 * 1024**2)
        self.assertIn("unreadable", self.events)
        lines = b"".join([b"%d\n" % n for n in range(20)])
        self.assertEqual(self.ship(), b"a\n" + lines)


def closed(end: End, bye: BYE) -> None:
    """The worker closes the connection."""
    end.closed = True


class RunningTests(SynchronousTestCase):
    """Worker and master together."""

    def world(self) -> World:
        world = World(Path(self.mktemp()).resolve())
        self.addCleanup(world.close)
        world.connect()
        world.warmUp()
        return world

    def test_goneWhenKilled(self) -> None:
        """Lines of a deleted file that the master has are not reported as lost."""
        world = self.world()
        world.line()
        for _ in range(5):
            perform(world, ("all",))
        # The saved state knows more octets than are acknowledged then, and fewer than
        # will be.
        [content] = world.files.opened
        content.content.seen = content.acknowledged.offset + 8
        content.dirty = True
        world.files.save()
        before = world.copyDatabase(world.statePath)
        for _ in range(3):
            world.line()
        for _ in range(5):
            perform(world, ("all",))
        have = world.rawPath.read_bytes()
        world.cut()
        world.stopWorker()
        world.statePath = before
        world.log.unlink()
        world.log.touch()
        world.startWorker()
        world.heal()
        self.assertEqual(world.rawPath.read_bytes(), have)
        self.assertEqual(world.counts.diverged, {})

    def test_staleFileInTransit(self) -> None:
        """
        If a file server forgets a file while its lines are in transit, every line
        arrives once.
        """
        world = self.world()
        for _ in range(9):
            world.line(50)
        perform(world, ("send",))
        for content in world.files.opened:
            content.isStale = True
        world.line()
        perform(world, ("poll",))
        self.assertIn("stale", world.events)
        # The stream belongs to another file generation now: a new connection continues
        # it.
        with mock.patch.object(End, "close", closed):
            world.heal()
        world.check()


class AlikeTests(TailTestCase):
    """Files that begin alike, or have the same age."""

    def test_headerRotatedStopped(self) -> None:
        """
        A file of only a header that was renamed while the forwarder was stopped is
        recognised.
        """
        self.append(b"#header\n")
        self.ship()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"#header\nnew\n")
        self.start()
        self.assertEqual(self.settle(), b"#header\n#header\nnew\n")

    def test_identicalStopped(self) -> None:
        """
        A file is rotated while the forwarder is stopped, and the new one is identical:
        both are shipped.
        """
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"a\n")
        self.start()
        self.assertEqual(self.settle(), b"a\na\n")

    def test_clockBack(self) -> None:
        """
        If the clock was set back between two rotations while the forwarder was stopped,
        the order of files is kept.
        """
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.stop()
        self.append(b"b\n")
        self.rotate()
        self.append(b"c\n")
        self.rotate()
        self.append(b"d\n")
        os.utime(self.logs / "app.log.1", (1000, 1000))
        self.start()
        self.assertEqual(self.settle(), b"a\nb\nc\nd\n")
