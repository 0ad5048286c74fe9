"""The tail where the machine itself gives way: no space, stale handles, files of holes."""

from __future__ import annotations

import errno
import gzip
import os
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import RESERVE_OCTETS
from decnet_syslog.files._finish import KEEP_RETRY_S
from decnet_syslog.wire.control import BYE

from .pipeline import End, World, perform
from .tailing import TailTestCase

# Sparse: to read it would take minutes.
HOLE_OCTETS = 1024**4


class FullTests(TailTestCase):
    """The state has no space."""

    def full(self) -> Any:
        error = sqlite3.OperationalError("database or disk is full")
        return mock.patch.object(self.store, "save", side_effect=error)

    def test_fullAtFirstRead(self) -> None:
        """What was read when its bookmark could not be saved is read again."""
        self.path.touch()
        self.ship()
        self.append(b"a\nb\n")
        with self.full():
            self.assertEqual(self.ship(octets=2), b"")
        self.assertEqual(self.ship(octets=2), b"a\nb\n")

    def test_fullFirstSightDescriptors(self) -> None:
        """A start that fails for want of space leaves nothing open."""
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
        """The same when a rotated file that nobody knows is found at the start."""
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
        """The disk is full after half the copy."""
        real = os.pwrite
        count = [0]

        def pwrite(descriptor: int, octets: bytes, at: int) -> int:
            count[0] += 1
            if count[0] > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, octets, at)

        return mock.patch("os.pwrite", pwrite)

    def test_partRemoved(self) -> None:
        """A copy that has filled the disk does not keep it full."""
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
        """A copy leaves space for the bookmarks: without them nothing goes on."""
        self.delete()
        little = mock.Mock(f_bavail=10, f_frsize=4096)
        with mock.patch("os.statvfs", return_value=little):
            self.files.poll()
        self.assertEqual(self.events.count("not-kept"), 1)
        self.assertEqual(self.held(), [])
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_fullState(self) -> None:
        """A copy that waits for space does not hold up what comes after it."""
        self.delete()
        full = sqlite3.OperationalError("database or disk is full")
        with mock.patch.object(self.store, "save", side_effect=full):
            self.files.poll()
            self.assertEqual(self.events.count("not-kept"), 1)
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_hole(self) -> None:
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

    def test_leftovers(self) -> None:
        """What a killed forwarder left beside the state goes: half a copy, a finished one."""
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
    """A file of holes."""

    def test_holeBehindLines(self) -> None:
        """A hole up to the end of a file that has lines is not read."""
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
    """A file server has forgotten a file that we have open."""

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
        """It is gone: that is said, and what has its name now goes on."""
        self.forget()
        other = self.logs / "other"
        other.write_bytes(b"new\n")
        other.rename(self.path)
        self.assertEqual(self.settle(), b"a\n<vanished>new\n")

    def test_renamedElsewhere(self) -> None:
        """It is there by another name: nothing is lost."""
        self.forget()
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_sameFile(self) -> None:
        """The server has come back, and the file with it: nothing is repeated."""
        self.forget()
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")


class ReusedTests(TailTestCase):
    """The inode of a compressed file goes to another file while its content is read."""

    def compressed(self) -> None:
        """A rotated, compressed file, of which something is still to be read."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.stop()
        self.rotate()
        self.compress(1)
        self.start()
        self.ship(pieces=0)

    def test_live(self) -> None:
        """The file that has the name now is not taken for it."""
        self.compressed()
        packed = self.logs / "app.log.1.gz"
        packed.write_bytes(b"new\n")
        packed.rename(self.path)
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_rotated(self) -> None:
        """A rotated file is not taken for it."""
        self.compressed()
        packed = self.logs / "app.log.1.gz"
        packed.write_bytes(b"new\n")
        packed.rename(self.logs / "app.log.1")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_sourceReplaced(self) -> None:
        """What was unpacked is kept when another file has the name of its source."""
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
    """A compressed file that is larger than the disk."""

    def test_bomb(self) -> None:
        """It is left alone as soon as the space is short, and not tried at each look."""
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
    """The worker closes."""
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
        """What the master holds of a file that is gone is not said to be lost."""
        world = self.world()
        world.line()
        for _ in range(5):
            perform(world, ("all",))
        # The bookmark knows more octets than are acknowledged, and fewer than will be.
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

    def test_stale(self) -> None:
        """A file server forgets a file while pieces of it are on their way."""
        world = self.world()
        for _ in range(9):
            world.line(50)
        perform(world, ("send",))
        for content in world.files.opened:
            content.isStale = True
        world.line()
        perform(world, ("poll",))
        self.assertIn("stale", world.events)
        # The stream is another incarnation's now: a new connection takes it up.
        with mock.patch.object(End, "close", closed):
            world.heal()
        world.check()


class AlikeTests(TailTestCase):
    """Files that begin alike, or are as old as each other says."""

    def test_headerRotatedStopped(self) -> None:
        """Nothing but the header was in a file that was renamed while we were stopped."""
        self.append(b"#header\n")
        self.ship()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"#header\nnew\n")
        self.start()
        self.assertEqual(self.settle(), b"#header\n#header\nnew\n")

    def test_identicalStopped(self) -> None:
        """A file is rotated while we are stopped, and the new one is the same, octet by octet."""
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"a\n")
        self.start()
        self.assertEqual(self.settle(), b"a\na\n")

    def test_clockBack(self) -> None:
        """The clock was set back between two rotations while we were stopped."""
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
