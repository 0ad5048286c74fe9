"""
Tests for the running tail in adverse conditions: files that vanish briefly, shrink or
are copied; no space.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.sending._counts import Counts
from decnet_syslog.sending._plain import PlainSender

from ..campaigns.pipeline import World, perform
from ..tailing import TailTestCase

HEADER = b"000000 the header line, always the same\n"
BANNER = b"#" * 1500 + b"\n"


class AwayTests(TailTestCase):
    """A file that is missing during one poll."""

    def blink(self) -> None:
        """Move the file aside during one poll."""
        self.path.rename(self.logs / "aside")
        self.ship()
        (self.logs / "aside").rename(self.path)
        self.ship()

    def test_awayTwice(self) -> None:
        """
        A file that is missing during one poll, twice, a minute apart, loses and repeats
        nothing.
        """
        self.append(b"a\nb\n")
        self.ship()
        self.blink()
        self.now += 60
        self.ship()
        self.blink()
        self.append(b"c\n")
        self.assertEqual(self.settle(), b"a\nb\nc\n")

    def test_awayTwiceHalfALine(self) -> None:
        """A half-written line is not cut off if the file is missing during polls."""
        self.append(b"a\nhalf")
        self.ship()
        self.blink()
        self.now += 60
        self.ship()
        self.path.rename(self.logs / "aside")
        self.ship()
        self.ship()
        self.ship()
        got = self.ship()
        self.assertEqual(got, b"a\n")


class CopiesTests(TailTestCase):
    """Copies in the file's directory."""

    def test_copyBeforeFirstLook(self) -> None:
        """
        If the new file is copied within its directory while the forwarder is stopped,
        after a rotation, both copies are shipped: two files with the same octets are
        two contents.
        """
        self.append(b"a\n")
        self.settle()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"new\n")
        shutil.copyfile(self.path, self.logs / "app.log-20260418")
        self.start()
        self.assertEqual(self.settle(), b"a\nnew\nnew\n")
        self.assertIn("duplicate", self.events)

    def test_rotatedAndCopiedBetweenLooks(self) -> None:
        """
        If a log is rotated, written to and copied between two polls, and truncated
        later, every line is shipped once.
        """
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"new\n")
        shutil.copyfile(self.path, self.logs / "app.log-20260418")
        self.ship()
        os.truncate(self.path, 0)
        self.append(b"newer\n")
        self.assertEqual(self.settle(), b"a\nnew\nnewer\n")

    def test_partialAndWhole(self) -> None:
        """
        If logrotate's copy was interrupted and made again in its next run, every line
        is shipped.
        """
        self.append(b"a\n")
        self.settle()
        self.restart()
        self.stop()
        self.rotate()
        self.append(b"one\ntwo\nthree\n")
        t = self.path.read_bytes()
        (self.logs / "app.log.1").rename(self.logs / "app.log.3")
        (self.logs / "app.log.2").write_bytes(t[:6])
        time.sleep(0.02)
        (self.logs / "app.log.1").write_bytes(t)
        os.truncate(self.path, 0)
        self.append(b"new\n")
        self.start()
        got = self.settle()
        for line in (b"two\n", b"three\n", b"new\n"):
            self.assertIn(line, got)


class FullDiskTests(TailTestCase):
    """There is no space for the state database."""

    pattern = "*.log"

    def test_othersGoOn(self) -> None:
        """While the state cannot be written, files that need no new state continue."""
        new = self.logs / "aaa.log"
        self.append(b"a\n")
        self.ship()
        new.write_bytes(b"x\n")
        self.now += 1
        with mock.patch.object(
            self.store,
            "save",
            side_effect=sqlite3.OperationalError("database or disk is full"),
        ):
            self.append(b"b\n")
            for _ in range(5):
                try:
                    self.ship()
                except sqlite3.OperationalError:
                    pass
        self.assertIn(b"b\n", self.ledger.octets())


class ShrunkTests(TailTestCase):
    """A file that is shorter than before."""

    def test_bannerTruncatedUnread(self) -> None:
        """
        If a file with a banner is copied and truncated before any line was read (master
        down), every line is shipped.
        """
        self.append(BANNER + b"one\n" * 20)
        self.now += 1
        self.files.poll()
        self.copytruncate()
        self.append(BANNER + b"two\n")
        self.now += 1
        self.files.poll()
        self.now += 1
        self.files.poll()
        got = self.settle()
        self.assertEqual(got.replace(BANNER, b""), b"one\n" * 20 + b"two\n")

    def test_endTruncated(self) -> None:
        """If the unread end of a file is cut off, a gap is reported."""
        self.append(b"0123456\n" * 200)
        self.ship(octets=4096)
        self.append(b"unread and seen\n")
        self.now += 1
        self.files.poll()
        os.truncate(self.path, 1600)
        self.now += 1
        self.files.poll()
        self.append(b"new line, quite long\n")
        self.assertIn(b"<truncated>", self.settle())


class WorldsTests(SynchronousTestCase):
    """Worker and master together."""

    def world(self, **kw: Any) -> World:
        w = World(Path(self.mktemp()).resolve(), **kw)
        self.addCleanup(w.close)
        return w

    def lines(self, w: World) -> list[bytes]:
        return w.rawPath.read_bytes().splitlines()

    def test_headerKilled(self) -> None:
        """
        The state was saved when the file had only its header; lines were shipped; the
        forwarder was killed without saving; the log was rotated, and the new one begins
        with the same header: every line is shipped once.
        """
        w = self.world()
        w.append(HEADER)
        w.connect()
        for _ in range(5):
            perform(w, ("all",))
        w.files.save()
        for _ in range(3):
            w.line()
        for _ in range(5):
            perform(w, ("all",))
        self.assertEqual(len(self.lines(w)), 4)
        fresh = w.copyDatabase(w.statePath)
        w.cut()
        w.stopWorker()
        w.statePath = fresh
        w.rotate()
        w.append(HEADER)
        w.line()
        w.startWorker()
        w.heal()
        got = [int(x[:6]) for x in self.lines(w)]
        self.assertEqual(got, [0, 1, 2, 3, 0, 4])

    def test_heldHoleNewMaster(self) -> None:
        """
        A kept copy has a hole before the saved position, and a master with a new
        journal needs the lines: no zeros are shipped.
        """
        w = self.world()
        w.connect()
        w.warmUp()
        for _ in range(300):
            w.line(20)
        for _ in range(12):
            perform(w, ("all",))
        w.files.save()
        i = w.files.opened[0]
        self.assertGreater(i.acknowledged.offset, 3000)
        w.cut()
        for _ in range(10):
            w.line(20)
        w.poll()
        w.log.unlink()
        w.log.touch()
        w.poll()
        w.crashWorker(True)
        w.link = None
        w.master.die()
        w.sender = None
        from tests.campaigns.pipeline import Master

        os.unlink(w.rawPath)
        os.unlink(w.jsonPath)
        w.seen = {}
        w.master = Master(w, w.directory / "other-99.db")
        w.connect()
        for _ in range(60):
            perform(w, ("all",))
            w.clock.advance(1)
        text = w.rawPath.read_bytes()
        self.assertNotIn(b"\\x00", text)
        self.assertNotIn(b"\x00", text)

    def test_oldState(self) -> None:
        """
        If the state is restored from a backup made two rotations ago, every line
        arrives once.
        """
        w = self.world()
        w.connect()
        w.warmUp()
        for _ in range(3):
            w.line()
        for _ in range(5):
            perform(w, ("all",))
        w.files.save()
        backup = w.copyDatabase(w.statePath)
        for _ in range(2):
            w.rotate()
            for _ in range(3):
                w.line()
            for _ in range(5):
                perform(w, ("all",))
            for _ in range(3):
                w.clock.advance(6)
                perform(w, ("all",))
        w.files.save()
        w.cut()
        w.stopWorker()
        w.statePath = backup
        w.startWorker()
        w.heal()
        w.check()


class PlainTests(TailTestCase):
    """A master without the extension."""

    lagOctetsMax = 100

    def test_gapSaid(self) -> None:
        """
        A plain sender reports skipped lines, whether over the lag limit or too long.
        """
        clock = Clock()
        said = []

        def observe(event: dict[str, Any]) -> None:
            if "decnet" in event.get("log_namespace", ""):
                said.append(str(event.get("log_format")))

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

        class Line:
            paused = False
            out = b""

            def sendOctets(self, o: bytes) -> None:
                self.out += o

            def close(self, bye: object) -> None:
                pass

            def accepted(self) -> None:
                pass

            def whenArrived(self, call: Callable[[], None]) -> None:
                clock.callLater(0, call)

        connection = Line()
        self.append(b"".join(b"line %03d\n" % n for n in range(100)))
        self.now += 1
        self.files.poll()
        s = PlainSender(self.files, connection, clock, Counts())
        s.connectionMade()
        for _ in range(20):
            clock.advance(1)
            s.pump()
        self.append(b"x" * 50 + b"y" * 3000 + b"\nend\n")
        self.now += 1
        self.files.poll()
        for _ in range(20):
            clock.advance(1)
            s.pump()
        self.assertNotIn(b"line 000", connection.out)
        self.assertTrue(said or self.events, "the skipped lines were not reported")
