"""
Tests for very many files: the number of open streams is limited, and the others take
turns.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import FILES_MAX
from decnet_syslog.files._follower import FileFollower
from decnet_syslog.limits import Limits

from ..campaigns.pipeline import World, perform, randomHistory, run


class ManyTestCase(SynchronousTestCase):
    """A worker that follows a pattern of logs."""

    def world(self, limit: int) -> World:
        directory = Path(self.mktemp()).resolve()
        world = World(directory, patterns=["*.log"], filesPerConnection=limit)
        self.addCleanup(world.close)
        return world

    def write(self, world: World, numbers: range) -> None:
        """Write a line to each of some files."""
        for number in numbers:
            with (world.logs / f"{number:04}.log").open("ab") as log:
                log.write(b"of %d\n" % number)

    def arrived(self, world: World) -> list[int]:
        """The numbers of the files whose lines have arrived."""
        octets = world.rawPath.read_bytes()
        return sorted(int(line.split()[1]) for line in octets.splitlines())

    def go(self, world: World, rounds: int = 4) -> None:
        for _ in range(rounds):
            # Patterns are evaluated at intervals.
            world.clock.advance(1)
            perform(world, ("all",))


class GapTests(ManyTestCase):
    """A gap in the middle of a file."""

    def test_checksumRestartsAfterGap(self) -> None:
        """After a gap the checksum restarts, in the same way on both ends."""
        world = self.world(5)
        world.log.write_bytes(b"one\n" + b"x" * 3000 + b"\n" + b"two\n")
        world.connect()
        self.go(world, 9)
        (one,) = world.files.opened
        position = one.acknowledged
        self.assertEqual(
            (position.offset, position.base, position.crc),
            (3009, 3005, crc32(b"two\n")),
        )


class ManyTests(ManyTestCase):
    """As many files as a listener accepts, and more."""

    def test_defaultLimits(self) -> None:
        """
        By default a listener lets a forwarder open as many streams as it follows files,
        and more.
        """
        self.assertLess(FILES_MAX, Limits.filesPerConnection)
        self.assertLess(Limits.filesPerConnection, Limits.filesPerWorker)

    def test_hundredsOfFiles(self) -> None:
        """Hundreds of files are shipped over one connection."""
        world = self.world(Limits.filesPerConnection)
        self.write(world, range(400))
        world.connect()
        link = world.link
        self.go(world)
        self.write(world, range(400))
        self.go(world)
        self.assertEqual(self.arrived(world), sorted([*range(400)] * 2))
        self.assertIs(world.link, link)
        self.assertEqual(world.files.troubles, {})

    def test_moreFilesThanStreams(self) -> None:
        """
        Files over the limit wait, and this is reported; when a file is finished, the
        next one follows.
        """
        world = self.world(5)
        world.log.unlink()
        for _ in range(2):
            world.clock.advance(11)
            world.poll()
        self.write(world, range(12))
        world.connect()
        link = world.link
        self.go(world)
        self.assertEqual(self.arrived(world), list(range(5)))
        self.assertEqual(len(world.files.troubles), 7)
        self.assertIn("at most 5 files", next(iter(world.files.troubles.values())))
        for first in (0, 5):
            for number in range(first, first + 5):
                (world.logs / f"{number:04}.log").unlink()
            for _ in range(4):
                world.clock.advance(11)
                self.go(world)
        self.assertEqual(self.arrived(world), list(range(12)))
        self.assertEqual(world.files.troubles, {})
        self.assertIs(world.link, link)

    def test_manyRotations(self) -> None:
        """A connection persists however often its file is rotated."""
        world = self.world(3)
        world.connect()
        link = world.link
        for _ in range(12):
            world.line()
            self.go(world)
            world.rotate()
            world.clock.advance(11)
            self.go(world, 8)
        assert world.session is not None
        self.assertLessEqual(len(world.session.opened), 3)
        self.assertIs(world.link, link)
        world.check()

    def test_crashesWithFewStreams(self) -> None:
        """
        With crashes, rotations and hardly any streams, every line arrives once and in
        order.
        """
        for seed in range(12):
            directory = Path(self.mktemp()).resolve()
            run(directory, randomHistory(seed), filesPerConnection=2, patience=4)
            shutil.rmtree(directory)

    def test_rotatedBehindAll(self) -> None:
        """
        A rotated file found late goes first: a newer file gives up its stream for it.
        """
        world = self.world(2)
        for _ in range(2):
            self.go(world)
        world.connect()
        self.write(world, range(1))
        self.go(world)
        world.line()
        copy = world.logs / "app.log.1"
        copy.write_bytes(world.log.read_bytes())
        os.truncate(world.log, 0)
        world.line()
        for _ in range(8):
            world.clock.advance(3)
            self.go(world)
        numbers = [n for n in world.rawPath.read_bytes().splitlines() if n[:2] != b"of"]
        self.assertEqual([int(n) for n in numbers], [1, 2])
        self.assertEqual(world.files.troubles, {})

    def test_warningEndsWithConnection(self) -> None:
        """Without a connection, no files are reported as waiting for a stream."""
        world = self.world(1)
        self.write(world, range(1))
        world.connect()
        self.go(world)
        self.assertEqual(len(world.files.troubles), 1)
        world.cut()
        self.assertEqual(world.files.troubles, {})


class LookTests(ManyTestCase):
    """Events during a poll of very many files."""

    def between(self, world: World, act: Callable[[], None]) -> None:
        """Do something between the checks of two files."""
        look = FileFollower.pollPath

        def looked(follower: FileFollower) -> None:
            look(follower)
            patched.restore()
            act()

        patched = self.patch(FileFollower, "pollPath", looked)

    def started(self) -> tuple[World, Path]:
        world = self.world(256)
        world.log.unlink()
        (world.logs / "a.log").write_bytes(b"a\n")
        log = world.logs / "b.log"
        log.touch()
        world.connect()
        self.go(world)
        return world, log

    def lines(self, world: World) -> list[bytes]:
        return [n for n in world.rawPath.read_bytes().splitlines() if n != b"a"]

    def test_copytruncateDuringPoll(self) -> None:
        """
        If a file is copied and truncated during the poll of another, the copy is
        shipped first.
        """
        world, log = self.started()

        def act() -> None:
            (world.logs / "b.log.1").write_bytes(b"old\n")
            log.write_bytes(b"new\n")

        self.between(world, act)
        self.go(world, 6)
        self.assertEqual(self.lines(world), [b"old", b"new"])

    def test_twiceRotated(self) -> None:
        """
        A file that is created, renamed and created again during a poll is shipped in
        this order.
        """
        world, log = self.started()
        log.rename(world.logs / "b.log.2")
        self.go(world)

        def act() -> None:
            log.write_bytes(b"old\n")
            log.rename(world.logs / "b.log.1")
            log.write_bytes(b"new\n")

        self.between(world, act)
        self.go(world, 6)
        self.assertEqual(self.lines(world), [b"old", b"new"])

    def test_timeSetBack(self) -> None:
        """
        A tool that resets the directory's modification time hides no file for long.
        """
        world, _ = self.started()
        os.utime(world.logs, (1_700_000_000,) * 2)
        self.go(world)
        (world.logs / "b.log.1").write_bytes(b"old\n")
        os.utime(world.logs, (1_700_000_000,) * 2)
        self.go(world, 12)
        self.assertEqual(self.lines(world), [b"old"])
