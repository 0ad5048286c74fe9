"""
Tests for several journals: acknowledgements of one journal count only for that journal,
if masters change, are restored, or lie.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import Life, OpenContent
from decnet_syslog.sending._acked import AckedSender
from decnet_syslog.sending._connection import ListenerProtocolError
from decnet_syslog.sending._opening import REFUSED_MAX
from decnet_syslog.wire import (
    ACK,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LIST,
    LISTED,
    MARK,
    NUMBER_MAX,
    RESUME,
    SEEN,
    encodeControl,
)

from ..campaigns.pipeline import World, perform
from ..worker.test_forwarder import AckedTestCase

A, B = "a" * 32, "b" * 32
OLD, NEW = "1" * 32, "2" * 32
DATA = b"one\ntwo\n"


class ConversationTestCase(AckedTestCase):
    """A sender, and a master whose lines all come from the test."""

    def setUp(self) -> None:
        super().setUp()
        self.rotated = self.directory / "app.log.1"
        self.sender: AckedSender | None = None

    def opened(self) -> list[tuple[str, int, int]]:
        """The OPEN requests sent: stream, generation, start."""
        found = []
        for line in self.connection.octets.decode("latin-1").splitlines():
            if line.startswith("OPEN "):
                _, stream, generation, start, _ = line.split(" ")
                found.append((stream, int(generation), int(start)))
        return found

    def settle(self, seconds: float = 15) -> None:
        """Poll the files until nothing is in transit."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.files.poll()
            if self.sender is not None:
                self.sender.pump()
            self.clock.advance(0)

    def greet(self, journal: str, mark: tuple[int, str] | None = None) -> None:
        """Open a new connection and send its HELLO."""
        self.sender = self.ship()
        hello = (
            HELLO(1, journal, 4096, 256)
            if mark is None
            else HELLO2(2, journal, 4096, 256, *mark)
        )
        self.tell(self.sender, hello)

    def lose(self) -> None:
        """End the connection."""
        assert self.sender is not None
        self.sender.connectionLost()
        self.sender = None

    def takeAll(self) -> None:
        """
        Answer as a master that has everything it acknowledged, and accepts the rest.
        """
        assert self.sender is not None
        for content in list(self.files.opened):
            there = content.acknowledged
            alias = (there.stream, there.generation)
            if alias in [one[:2] for one in self.opened()]:
                there = self.files.journal.rememberedOf(content) or there
                self.tell(
                    self.sender, RESUME(*alias, there.offset, there.base, there.crc)
                )
        for content in list(self.files.opened):
            there = content.acknowledged
            if content.position > there.offset:
                self.tell(
                    self.sender,
                    ACK(there.stream, there.generation, content.position),
                )

    def deliver(self, journal: str, mark: tuple[int, str] | None = None) -> None:
        """
        Let a previously unknown journal accept everything, then end the connection.
        """
        self.greet(journal, mark)
        if encodeControl(LIST()) in self.connection.octets:
            assert self.sender is not None
            self.tell(self.sender, LISTED())
        self.takeAll()
        self.settle()
        self.lose()

    def rotate(self) -> None:
        """Rename the log and poll; the log is finished if it was delivered."""
        self.log.rename(self.rotated)
        self.log.write_bytes(b"")
        self.files.poll()

    def lives(self) -> list[Life]:
        """The states of all recorded contents."""
        self.files.save()
        return [one.life for one in self.store.contentsOf(str(self.log))]


class HistoryTests(ConversationTestCase):
    """Marks, and journals restored from a copy."""

    def delivered(self) -> None:
        """A rotated file that journal A has, up to its mark 5."""
        self.append(DATA)
        self.greet(A, (4, OLD))
        assert self.sender is not None
        self.tell(self.sender, LISTED())
        self.tell(self.sender, RESUME(*self.content().key, 0, 0, 0))
        self.tell(self.sender, MARK(5, OLD))
        self.tell(self.sender, ACK(*self.content().key, 8))
        self.rotate()
        self.settle()
        self.lose()
        self.assertEqual(self.lives(), [Life.ENDED, Life.LIVE])
        self.assertEqual(self.store.seen(A), (5, OLD))

    def test_markWithPosition(self) -> None:
        """A mark is stored no later than the position that it covers."""
        self.append(DATA)
        self.greet(A, (4, OLD))
        assert self.sender is not None
        self.tell(self.sender, LISTED())
        self.assertEqual(self.store.seen(A), (4, OLD))
        self.tell(self.sender, RESUME(*self.content().key, 0, 0, 0))
        self.tell(self.sender, MARK(5, OLD))
        self.tell(self.sender, ACK(*self.content().key, 8))
        authority = (A, "w1")
        self.assertEqual(self.store.positions(authority), {})
        self.files.save()
        self.assertEqual(self.store.positions(authority)[self.content().key].offset, 8)
        self.assertEqual(self.store.seen(A), (5, OLD))

    def test_asksFirst(self) -> None:
        """No stream is opened before it is known whether the journal was restored."""
        self.delivered()
        self.greet(A, (9, OLD))
        self.settle(3)
        self.assertEqual(self.connection.octets, encodeControl(SEEN(5, OLD)))
        # The old mark is kept until the answer.
        self.assertEqual(self.store.seen(A), (5, OLD))

    def test_finishedFileIsNotOffered(self) -> None:
        """If the journal holds the mark, finished files are not offered again."""
        self.delivered()
        self.greet(A, (9, OLD))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(True))
        self.settle(3)
        self.assertEqual([one[1] for one in self.opened()], [1])
        self.files.save()
        self.assertEqual(self.store.seen(A), (9, OLD))

    def test_lostMarkOffersFinishedFiles(self) -> None:
        """
        If the journal lost the mark, finished files are offered again, even after a
        kill; RESUME decides about each.
        """
        self.delivered()
        self.greet(A, (3, NEW))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(False))
        self.assertEqual([one[1:] for one in self.opened()], [(0, 0), (1, 0)])
        # Killed here. The state has the new mark, and that earlier deliveries no longer
        # count.
        self.assertEqual(self.store.seen(A), (3, NEW))
        self.lose()
        self.stop()
        self.start()
        self.files.poll()
        self.greet(A, (4, NEW))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(True))
        self.assertEqual([one[1:] for one in self.opened()], [(0, 0), (1, 0)])
        key = self.opened()[0][:2]
        self.tell(self.sender, RESUME(*key, 4, 0, crc32(b"one\n")))
        self.assertTrue(self.connection.octets.endswith(b" 4\n3 two"))
        self.tell(self.sender, ACK(*key, 8))
        self.settle()
        self.assertEqual(self.lives(), [Life.ENDED, Life.LIVE])

    def test_unchangedPositionIsNotRead(self) -> None:
        """If RESUME has the known position, the file is not read again."""
        self.delivered()
        self.greet(A, (3, NEW))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(False))
        (content, _) = self.files.opened

        def checksum(start: int, end: int, crc: int = 0) -> int:
            raise AssertionError("the file was read")

        content.checksum = checksum  # type: ignore[method-assign]
        self.tell(self.sender, RESUME(*content.key, 8, 0, crc32(DATA)))
        self.assertEqual(content.acknowledged.offset, 8)

    def test_keptButBehind(self) -> None:
        """
        A journal whose position is lower does not have the lines, whatever its HISTORY
        says.
        """
        self.delivered()
        self.greet(A, (4, OLD))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(True))
        self.assertEqual([one[1:] for one in self.opened()], [(0, 0), (1, 0)])

    def test_goneIsAGap(self) -> None:
        """
        If the journal lost lines of a file that no longer exists, they become a gap
        record.
        """
        self.delivered()
        self.rotated.unlink()
        self.settle(20)
        self.assertEqual(self.lives(), [Life.GONE, Life.LIVE])
        self.greet(A, (3, NEW))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(False))
        key = self.opened()[0][:2]
        self.tell(self.sender, RESUME(*key, 4, 0, crc32(b"one\n")))
        self.assertIn(b"SKIP 4 vanished\n", self.connection.octets)

    def test_compressedFile(self) -> None:
        """If the journal lost lines of a compressed file, they are sent from it."""
        self.delivered()
        (self.directory / "app.log.2.gz").write_bytes(gzip.compress(DATA))
        self.rotated.unlink()
        self.settle(20)
        self.greet(A, (3, NEW))
        assert self.sender is not None
        self.tell(self.sender, HISTORY(False))
        key = self.opened()[0][:2]
        self.tell(self.sender, RESUME(*key, 4, 0, crc32(b"one\n")))
        self.assertTrue(self.connection.octets.endswith(b" 4\n3 two"))

    def test_withoutMarks(self) -> None:
        """A journal without marks is offered every file each time."""
        self.append(DATA)
        self.deliver(A)
        self.rotate()
        self.deliver(A)
        self.assertEqual(self.lives(), [Life.ENDED, Life.LIVE])
        self.greet(A)
        self.assertEqual([one[1:] for one in self.opened()], [(0, 0), (1, 0)])

    def test_protocolErrors(self) -> None:
        """HISTORY without SEEN, and a mark that decreases, are protocol errors."""
        self.append(DATA)
        self.greet(A, (4, OLD))
        assert self.sender is not None
        for line in (HISTORY(True), MARK(3, OLD)):
            self.assertRaises(ListenerProtocolError, self.sender.controlReceived, line)


class LiarTests(ConversationTestCase):
    """A false master that holds the master's bundle."""

    def lie(self, journal: str = B) -> OpenContent:
        """Connect to a false master, up to its first RESUME."""
        self.greet(journal)
        assert self.sender is not None
        if encodeControl(LIST()) in self.connection.octets:
            self.tell(self.sender, LISTED())
        return self.files.opened[0]

    def assertOwed(self) -> None:
        """Check that the true master is offered everything from the beginning."""
        self.greet(A, (1, OLD))
        assert self.sender is not None
        self.tell(self.sender, LISTED())
        self.assertEqual(min(start for *_, start in self.opened()), 0)
        key = self.opened()[0][:2]
        self.tell(self.sender, RESUME(*key, 0, 0, 0))
        self.assertIn(b"3 one3 two", self.connection.octets)

    def test_absurdKnownNumbers(self) -> None:
        """
        Numbers in KNOWN that exceed our own counts are ignored, and rotation still
        works.
        """
        self.append(DATA)
        self.greet(B)
        assert self.sender is not None
        for known in (
            KNOWN("e" * 32, NUMBER_MAX, 8, 0, crc32(DATA), "x"),
            KNOWN("e" * 32, 0, NUMBER_MAX, 0, crc32(DATA), "x"),
            KNOWN("e" * 32, 1, 8, 8, 0, "x"),
            KNOWN("e" * 32, 2, NUMBER_MAX, NUMBER_MAX, 0, "x"),
        ):
            self.tell(self.sender, known)
        self.tell(self.sender, LISTED())
        self.assertEqual(self.opened(), [(*self.content().key, 0)])
        self.rotate()
        self.settle(3)
        self.lose()
        self.assertOwed()

    def test_falseStreamName(self) -> None:
        """A false stream name for a content counts only for that journal."""
        self.append(DATA)
        self.greet(B)
        assert self.sender is not None
        key = self.content().key
        self.tell(self.sender, KNOWN("e" * 32, 7, 8, 0, crc32(DATA), "x"))
        self.tell(self.sender, LISTED())
        self.assertEqual(self.opened(), [("e" * 32, 7, 8)])
        self.assertEqual(self.content().key, key)
        self.lose()
        self.assertOwed()

    def test_checksumOfNothing(self) -> None:
        """
        If a journal claims a position with an empty checksum, its claim counts for that
        journal only.
        """
        self.append(DATA)
        content = self.lie()
        assert self.sender is not None
        self.tell(self.sender, RESUME(*content.key, 8, 8, 0))
        self.rotate()
        self.settle()
        self.lose()
        self.assertOwed()

    def test_acknowledgedAndLost(self) -> None:
        """
        A journal that acknowledges everything and then reports another checksum counts
        for nothing.
        """
        self.append(DATA)
        self.lie()
        self.takeAll()
        self.settle(3)
        self.lose()
        content = self.lie()
        assert self.sender is not None
        alias = self.opened()[0][:2]
        self.tell(self.sender, RESUME(*alias, 8, 0, 7))
        self.tell(self.sender, LISTED())
        self.assertNotEqual(self.opened()[-1][:2], alias)
        self.assertEqual(content.size, 8)
        self.lose()
        self.assertOwed()

    def test_endlessRefusals(self) -> None:
        """
        A journal that claims different octets for every stream name is disconnected
        after a limit.
        """
        self.append(DATA)
        self.lie()
        assert self.sender is not None
        with self.assertRaises(ListenerProtocolError):
            for _ in range(REFUSED_MAX + 1):
                self.tell(self.sender, RESUME(*self.opened()[-1][:2], 8, 0, 7))

    def test_numbersForLostFiles(self) -> None:
        """For contents without a file, only our own counts are used."""
        self.append(DATA)
        self.lie()
        self.lose()
        self.log.unlink()
        self.sender = None
        self.settle(20)
        content = self.lie()
        assert self.sender is not None
        self.tell(self.sender, RESUME(*content.key, NUMBER_MAX, NUMBER_MAX, 0))
        self.settle(3)
        self.assertLessEqual(content.content.seen, len(DATA))
        self.lose()

    def test_sameJournal(self) -> None:
        """
        If a false journal has the true one's identity and no marks, the true journal is
        not assumed to have what the false one acknowledged.
        """
        self.append(DATA[:4])
        self.deliver(A, (5, OLD))
        self.append(DATA[4:])
        self.lie(A)
        self.takeAll()
        self.rotate()
        self.settle()
        self.lose()
        self.assertEqual(self.lives(), [Life.ENDED, Life.LIVE])
        self.greet(A, (6, OLD))
        assert self.sender is not None
        self.assertEqual([one[1] for one in self.opened()], [0, 1])
        self.tell(self.sender, RESUME(*self.opened()[0][:2], 4, 0, crc32(b"one\n")))
        self.assertTrue(self.connection.octets.endswith(b"3 two"))


class JournalsTests(SynchronousTestCase):
    """A worker and masters with real journals."""

    def world(self, **options: object) -> World:
        world = World(Path(self.mktemp()).resolve(), **options)  # type: ignore[arg-type]
        self.addCleanup(world.close)
        world.connect()
        world.warmUp()
        return world

    def go(self, world: World, rounds: int = 8) -> None:
        for _ in range(rounds):
            world.clock.advance(2)
            perform(world, ("all",))

    def rename(self, world: World, name: str) -> None:
        """Give the worker's certificate another name."""
        world.cut()
        world.worker = name
        world.connect()

    def test_renamedAndBack(self) -> None:
        """
        After a change of the CN and back, with the same state, nothing is repeated or
        lost.
        """
        for marks in (True, False):
            world = self.world(history=marks)
            for name in ("w2", "w1", "w2"):
                world.line()
                self.go(world)
                self.rename(world, name)
                self.go(world)
                world.line()
                world.rotate()
                self.go(world)
            world.line()
            world.heal()
            world.check()

    def test_alternatingMasters(self) -> None:
        """With two masters in turn, each has every line once."""
        world = self.world()
        for _ in range(3):
            for act in (world.line, world.rotate, world.line):
                act()
                self.go(world)
            world.changeMaster()
            world.connect()
            self.go(world)
        world.heal()
        world.check()
        world.changeMaster()
        world.heal()
        world.check()

    def test_putBackOften(self) -> None:
        """
        A master that is restored, grows, and is restored again from the same snapshot
        has every line once.
        """
        world = self.world()
        world.takeSnapshot()
        for _ in range(3):
            for act in (world.line, world.rotate, world.line):
                world.connect()
                act()
                self.go(world)
            world.restoreSnapshot()
            world.connect()
            self.go(world)
        world.heal()
        world.check()

    def test_stateLostRotated(self) -> None:
        """
        The state is lost while a rotated file is being shipped: a file that the master
        has in part is continued, newer ones are shipped, and complete ones are not
        repeated.
        """
        for octets in (200, 300, 400, 500):
            world = self.world()
            for _ in range(4):
                world.line(60)
            self.go(world)
            world.rotate()
            for _ in range(3):
                world.line(60)
            perform(world, ("send",))
            world.step(10)
            perform(world, ("hear",))
            world.poll()
            # A part of the second file arrives, or none.
            world.deliver(octets, False)
            world.step(10)
            world.rotate()
            world.line()
            world.loseState()
            world.heal()
            world.check()

    def test_rotatedBeforeFirstStart(self) -> None:
        """Files rotated before the first start that no master knows are not shipped."""
        directory = Path(self.mktemp()).resolve()
        (directory / "logs").mkdir(parents=True)
        (directory / "logs" / "app.log.1").write_bytes(b"000009 older\n")
        world = World(directory)
        self.addCleanup(world.close)
        world.connect()
        world.line()
        world.heal()
        world.check()

    def test_lostJournalAndOutputs(self) -> None:
        """
        After the loss of a journal and its outputs, every line still on the worker's
        disk is delivered again.
        """
        world = self.world()
        for _ in range(3):
            world.line()
            self.go(world)
            world.rotate()
            self.go(world)
        world.line()
        self.go(world)
        world.cut()
        world.master.die()
        os.unlink(world.rawPath)
        os.unlink(world.jsonPath)
        world.seen = {}
        world.master = type(world.master)(world, world.directory / "fresh-0.db")
        world.heal()
        world.check()
