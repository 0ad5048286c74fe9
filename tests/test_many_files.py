"""Very many files: what is open at once has a limit, and the rest has its turn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import FILES_MAX
from decnet_syslog.master.limits import Limits

from .pipeline import World, perform, randomHistory, run


class ManyTestCase(SynchronousTestCase):
    """A worker whose logs are a pattern's."""

    def world(self, limit: int) -> World:
        directory = Path(self.mktemp()).resolve()
        world = World(directory, patterns=["*.log"], filesPerConnection=limit)
        self.addCleanup(world.close)
        return world

    def write(self, world: World, numbers: range) -> None:
        """A line into each of some files."""
        for number in numbers:
            with (world.logs / f"{number:04}.log").open("ab") as log:
                log.write(b"of %d\n" % number)

    def arrived(self, world: World) -> list[int]:
        """Of which files lines have arrived."""
        octets = world.rawPath.read_bytes()
        return sorted(int(line.split()[1]) for line in octets.splitlines())

    def go(self, world: World, rounds: int = 4) -> None:
        for _ in range(rounds):
            # Patterns are looked at now and then.
            world.clock.advance(1)
            perform(world, ("all",))


class GapTests(ManyTestCase):
    """A gap in the middle of a file."""

    def test_base(self) -> None:
        """The checksum begins anew behind it, at both ends alike."""
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
    """Files that a listener has room for, and more."""

    def test_defaults(self) -> None:
        """A forwarder may have as many files as a listener lets it open, and more."""
        self.assertLess(FILES_MAX, Limits.filesPerConnection)
        self.assertLess(Limits.filesPerConnection, Limits.filesPerWorker)

    def test_many(self) -> None:
        """Hundreds of files, over one connection."""
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

    def test_tooMany(self) -> None:
        """Those that have no place wait, and that is said; when one is done the next comes."""
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
        self.assertIn("takes 5 files", next(iter(world.files.troubles.values())))
        for first in (0, 5):
            for number in range(first, first + 5):
                (world.logs / f"{number:04}.log").unlink()
            for _ in range(4):
                world.clock.advance(11)
                self.go(world)
        self.assertEqual(self.arrived(world), list(range(12)))
        self.assertEqual(world.files.troubles, {})
        self.assertIs(world.link, link)

    def test_rotations(self) -> None:
        """A connection lives as long as it may, however often its file is rotated."""
        world = self.world(3)
        world.connect()
        link = world.link
        for _ in range(12):
            world.line()
            self.go(world)
            world.rotate()
            world.clock.advance(11)
            self.go(world, 8)
        assert world.reception is not None
        self.assertLessEqual(len(world.reception.opened), 3)
        self.assertIs(world.link, link)
        world.check()

    def test_histories(self) -> None:
        """Crashes and rotations with hardly a place: every line once and in order."""
        for seed in range(12):
            directory = Path(self.mktemp()).resolve()
            run(directory, randomHistory(seed), filesPerConnection=2, patience=4)
            shutil.rmtree(directory)

    def test_rotatedBehindAll(self) -> None:
        """A rotated file that is found late goes first: the newer one gives it its place."""
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

    def test_toldNoMore(self) -> None:
        """Without a connection nobody refuses a file."""
        world = self.world(1)
        self.write(world, range(1))
        world.connect()
        self.go(world)
        self.assertEqual(len(world.files.troubles), 1)
        world.cut()
        self.assertEqual(world.files.troubles, {})


class LookTests(ManyTestCase):
    """What happens while very many files are looked at."""

    def between(self, world: World, act: Callable[[], None]) -> None:
        """Do something between the looks at two files."""
        first, *_ = world.files._followers.values()
        look = first.lookAtPath

        def looked() -> None:
            look()
            first.lookAtPath = look  # type: ignore[method-assign]
            act()

        first.lookAtPath = looked  # type: ignore[method-assign]

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

    def test_copytruncate(self) -> None:
        """Truncated behind the look at another file: the copy is shipped first."""
        world, log = self.started()

        def act() -> None:
            (world.logs / "b.log.1").write_bytes(b"old\n")
            log.write_bytes(b"new\n")

        self.between(world, act)
        self.go(world, 6)
        self.assertEqual(self.lines(world), [b"old", b"new"])

    def test_twiceRotated(self) -> None:
        """Made, renamed and made again behind it: in this order."""
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
        """A tool that sets the directory's time back hides nothing for long."""
        world, _ = self.started()
        os.utime(world.logs, (1_700_000_000,) * 2)
        self.go(world)
        (world.logs / "b.log.1").write_bytes(b"old\n")
        os.utime(world.logs, (1_700_000_000,) * 2)
        self.go(world, 12)
        self.assertEqual(self.lines(world), [b"old"])
