"""
Tests for the journal's disk: full, small, and given back.

They use real file systems of a few megabytes where mounting is permitted, and otherwise
SQLite's own limits.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import SkipTest, mock
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.durable import BLOCKED, isFull, whyBlocked
from decnet_syslog.journal._diskfiles import available
from decnet_syslog.journal._groupcommit import GroupCommit
from decnet_syslog.journal._places import SegmentSizes
from decnet_syslog.journal._reserve import Reserve
from decnet_syslog.journal._shares import MIB, DiskShares, fitting, pieces
from decnet_syslog.journal._sqlite import Journal, JournalFull
from decnet_syslog.journal._upkeep import TIDY_S
from decnet_syslog.journal._values import Batch, Cursor, Deposit, StreamLease
from decnet_syslog.limits import Limits

from ..databases import Database
from ..doubles import STREAM, MasterTestCase, lines
from ..peers import PairTestCase


@contextmanager
def disk(directory: Path, octets: int) -> Iterator[Path]:
    """A temporary disk of this size."""
    place = directory / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={octets},mode=700", "tmpfs", str(place)],
        capture_output=True,
    )
    if done.returncode:
        raise SkipTest("mounting a small disk is not permitted")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def sizes(place: Path) -> dict[str, int]:
    """The sizes of the files in a directory."""
    return {path.name: path.stat().st_size for path in place.iterdir()}


def pages(database: Database) -> int:
    """The size of a database after a checkpoint."""
    return int(database.value("PRAGMA page_count") * database.value("PRAGMA page_size"))


class Sender:
    """A client that sends to a journal until the journal refuses."""

    def __init__(self, journal: Journal, octets: int) -> None:
        self.journal = journal
        self.line = os.urandom(octets // 2).hex().encode() + b"\n"
        self.grant = journal.grant("w1", STREAM, 0, 0, "/var/log/x")
        self.at, self.crc = self.grant.offset, self.grant.crc

    def send(self) -> None:
        """Send one deposit."""
        (batch,) = self.journal.commit([lines(self.grant, self.at, self.line)])
        assert batch is not None
        self.at, self.crc = batch.end, crc32(self.line, self.crc)

    def fill(self) -> int:
        """Send until the journal is full. Returns the number of accepted deposits."""
        taken = 0
        while True:
            try:
                self.send()
            except JournalFull:
                return taken
            taken += 1


def takeAll(place: Path) -> Path:
    """Another program uses all free space."""
    other = place / "other"
    with open(other, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return other


class SmallDiskTests(SynchronousTestCase):
    """A disk of a few megabytes, used by the journal alone or shared."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)

    def open(self, place: Path) -> Journal:
        self.database = Database()
        journal = Journal.open(place / "j.db", reserve=True, connect=self.database)
        journal.useOutputs(["raw"])
        return journal

    def hasReserve(self, journal: Journal) -> bool:
        """Whether the journal's reserve is on the disk."""
        return Reserve(journal.path, MIB).isHeld

    def release(self, journal: Journal) -> None:
        """Move the output's cursor to the end."""
        journal.commit([], [Cursor("raw", journal.mark.number, {})])

    def look(self, journal: Journal, sender: Sender) -> None:
        """Check that the journal has exactly the accepted deposits."""
        (known,) = journal.known("w1")
        self.assertEqual((known.offset, known.crc), (sender.at, sender.crc))

    def test_filledRepeatedly(self) -> None:
        """
        A journal that deposits of any size fill repeatedly accepts the output's cursor
        each time, releases everything, and takes as much as before.
        """
        for mebibytes, octets in (
            (4, 500),
            (8, 50_000),
            (24, 3_000),
            (24, 100_000),
            (24, 900_000),
            (64, 2_500_000),
        ):
            with (
                self.subTest(mebibytes=mebibytes, octets=octets),
                disk(self.directory, mebibytes * MIB) as place,
            ):
                journal = self.open(place)
                sender = Sender(journal, octets)
                taken = []
                for _ in range(3):
                    taken.append(sender.fill())
                    self.look(journal, sender)
                    self.assertTrue(self.hasReserve(journal))
                    self.release(journal)
                    self.assertEqual((journal.octets, journal.read(0, 1)), (0, []))
                # The rest is for rows, the WAL, and the reserve that lets cursors be
                # saved.
                self.assertGreater(taken[0] * octets, mebibytes * MIB * 3 // 10)
                self.assertGreater(min(taken), max(taken) * 8 // 10)
                journal.close()

    def test_spaceTakenByOthers(self) -> None:
        """
        When others use up the disk, the journal can still save cursors and release
        batches.
        """
        for mebibytes, octets in ((8, 2_000), (24, 100_000)):
            with (
                self.subTest(mebibytes=mebibytes, octets=octets),
                disk(self.directory, mebibytes * MIB) as place,
            ):
                journal = self.open(place)
                sender = Sender(journal, octets)
                sender.fill()
                other = takeAll(place)
                self.assertRaises(JournalFull, sender.send)
                self.release(journal)
                self.assertEqual(journal.octets, 0)
                self.look(journal, sender)
                other.unlink()
                while journal.giveBack():
                    pass
                self.assertTrue(self.hasReserve(journal))
                self.assertGreater(sender.fill(), 5)
                journal.close()

    def test_reserveGrowsWithDisk(self) -> None:
        """
        A journal that was opened on a full disk uses space that becomes free later.
        """
        with disk(self.directory, 24 * MIB) as place:
            other = takeAll(place)
            os.truncate(other, 16 * MIB)
            journal = self.open(place)
            small = sizes(place)["j.db-reserve"]
            other.unlink()
            for _ in range(3):
                journal.giveBack()
            self.assertGreater(sizes(place)["j.db-reserve"], 2 * small)
            sender = Sender(journal, 50_000)
            self.assertGreater(sender.fill() * 50_000, 10 * MIB)
            self.release(journal)
            journal.close()

    def test_startOnFullDisk(self) -> None:
        """A journal starts on a completely full disk, and frees space."""
        with disk(self.directory, 8 * MIB) as place:
            code = (
                "import os, sys, pathlib\n"
                "from tests.journal.test_space import Sender, SmallDiskTests, takeAll\n"
                "from decnet_syslog.journal._sqlite import Journal\n"
                "place = pathlib.Path(sys.argv[1])\n"
                "journal = Journal.open(place / 'j.db', reserve=True)\n"
                "journal.useOutputs(['raw'])\n"
                "sender = Sender(journal, 20000)\n"
                "sender.fill()\n"
                "takeAll(place)\n"
                "print(sender.at, sender.crc, flush=True)\n"
                "os._exit(0)\n"
            )
            said = subprocess.run(
                [sys.executable, "-c", code, str(place)],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            self.assertGreater(sizes(place)["j.db-wal"], 0)
            journal = self.open(place)
            (known,) = journal.known("w1")
            self.assertEqual(said.stdout.split(), [str(known.offset), str(known.crc)])
            # A returning connection is not refused for lack of space.
            sender = Sender(journal, 20000)
            sender.fill()
            self.release(journal)
            (place / "other").unlink()
            while journal.giveBack():
                pass
            self.assertGreater(sender.fill(), 50)
            self.look(journal, sender)
            journal.close()

    def test_killedBeforeRelease(self) -> None:
        """
        A process is killed after it saved the cursors and before it deleted the
        released batches: the outputs have everything and no cursor will move, yet the
        space is freed.
        """
        with disk(self.directory, 8 * MIB) as place:
            journal = self.open(place)
            sender = Sender(journal, 20000)
            sender.fill()
            self.database.connection.refused = ("DELETE FROM batch",)
            self.release(journal)
            self.database.connection.close()
            journal = self.open(place)
            self.assertGreater(journal.octets, 2 * MIB)
            sender = Sender(journal, 20000)
            self.assertGreater(sender.fill(), 50)
            self.look(journal, sender)
            journal.close()

    def test_capacityIsBelowLimit(self) -> None:
        """Senders are throttled before the journal refuses anything."""
        with disk(self.directory, 24 * MIB) as place:
            journal = self.open(place)
            sender = Sender(journal, 100_000)
            while journal.octets < journal.capacity:
                sender.send()
                journal.giveBack()
            # Everything that may be in memory by then fits.
            waiting = fitting(Limits(), available(journal.path)).pending
            for _ in range(waiting // 100_000):
                sender.send()
            self.release(journal)
            self.assertLess(journal.octets, journal.capacity)
            journal.close()

    def test_noReserve(self) -> None:
        """On a disk that never has room for the reserve, nothing is accepted."""
        with disk(self.directory, 2 * MIB) as place:
            takeAll(place)
            os.truncate(place / "other", MIB * 12 // 10)
            journal = self.open(place)
            self.assertFalse(self.hasReserve(journal))
            self.assertRaises(JournalFull, Sender, journal, 1000)
            journal.close()


class GivenBackTests(SynchronousTestCase):
    """The disk space of a finished backlog."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.path = directory / "j.db"

    def test_spaceIsGivenBack(self) -> None:
        """
        Space is given back in bounded steps while the journal is in use; new batches
        are kept.
        """
        # Everything is in rows: tests.test_segments has the same for segments.
        inRows = SegmentSizes(commitMin=100 * MIB)
        database = Database()
        journal = Journal.open(self.path, sizes=inRows, connect=database)
        self.addCleanup(journal.close)
        journal.useOutputs(["raw"])
        sender = Sender(journal, MIB)
        while journal.octets < 56 * MIB:
            sender.send()
        self.assertGreater(self.path.stat().st_size, 40 * MIB)
        journal.commit([], [Cursor("raw", journal.mark.number - 1, {})])
        self.assertTrue(journal.hasSpare)
        steps, kept = 0, 1
        while journal.hasSpare:
            before = pages(database)
            if not journal.giveBack():
                # The next round.
                sender.line = b"between\n"
                sender.send()
                kept += 1
            steps += 1
            self.assertLess(before - pages(database), 9 * MIB)
            self.assertLess(steps, 100)
        self.assertLess(sum(sizes(self.path.parent).values()), 40 * MIB)
        self.assertLess(self.path.stat().st_size, 24 * MIB)
        self.assertEqual(len(journal.read(0, 10**9)), kept)
        self.assertEqual(journal.known("w1")[0].offset, sender.at)

    def test_reusedSpaceIsKept(self) -> None:
        """Space that is needed repeatedly is kept."""
        database = Database()
        journal = Journal.open(self.path, connect=database)
        self.addCleanup(journal.close)
        journal.useOutputs(["raw"])
        sender = Sender(journal, MIB)
        lengths = []
        for _ in range(4):
            while journal.octets < 30 * MIB:
                sender.send()
            journal.commit([], [Cursor("raw", journal.mark.number, {})])
            while journal.giveBack():
                pass
            lengths.append(pages(database))
        self.assertEqual(len(set(lengths)), 1, lengths)

    def test_olderJournalGivesBack(self) -> None:
        """
        A journal from an older program, which could not give space back, can do so
        after a start.
        """
        with sqlite3.connect(self.path, isolation_level=None) as db:
            db.execute("PRAGMA page_size = 32768")
            db.execute("PRAGMA journal_mode = WAL")
            # Created as in that version.
            schema = Path(__file__).parent.parent / "data" / "schemas" / "journal-2.sql"
            db.executescript(schema.read_text("utf-8"))
            db.execute("PRAGMA user_version = 2")
            db.execute("INSERT INTO meta VALUES ('identity', ?)", ("a" * 32,))
            db.execute("INSERT INTO cursor VALUES ('raw', 40)")
            for _ in range(40):
                db.execute(
                    "INSERT INTO batch (worker, fingerprint, address, received_at, marks,"
                    " start, \"end\", octets) VALUES ('w1', 'f', 'a', 'r', 0, 0, 0, ?)",
                    (bytes(MIB),),
                )
            db.execute("DELETE FROM batch WHERE seq < 40")
        db.close()
        self.path.chmod(0o600)
        self.assertGreater(self.path.stat().st_size, 30 * MIB)
        database = Database()
        journal = Journal.open(self.path, connect=database)
        self.addCleanup(journal.close)
        self.assertLess(self.path.stat().st_size, 4 * MIB)
        self.assertEqual(
            (journal.identity, [b.seq for b in journal.read(0, 10**9)]),
            ("a" * 32, [40]),
        )
        self.assertEqual(database.value("PRAGMA auto_vacuum"), 2)


class PieceTests(SynchronousTestCase):
    """Large commits, or commits with little space, use several transactions."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        shares = replace(DiskShares.of(available(directory / "j.db")), piece=100_000)
        self.patch(DiskShares, "of", lambda octets: shares)
        self.database = Database()
        self.journal = Journal.open(directory / "j.db", connect=self.database)
        self.addCleanup(self.journal.close)

    def deposits(self, grant: StreamLease, count: int) -> list[Deposit]:
        octets = b"x" * 49_999 + b"\n"
        return [lines(grant, n * len(octets), octets) for n in range(count)]

    def test_piecesInOrder(self) -> None:
        """
        Pieces are in order and within the limit, but have at least one deposit each.
        """
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        deposits = self.deposits(grant, 7)
        cut = list(pieces(deposits, 120_000))
        self.assertEqual([len(piece) for piece in cut], [2, 2, 2, 1])
        self.assertEqual([d for piece in cut for d in piece], deposits)
        self.assertEqual([len(piece) for piece in pieces(deposits, 1)], [1] * 7)

    def test_calledAgain(self) -> None:
        """
        If the disk fills up after some pieces, a second call with the same deposits
        commits the remaining ones, without repetition or omission.
        """
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        deposits = self.deposits(grant, 8)
        with self.database.full(pages=64):
            self.assertRaises(JournalFull, self.journal.commit, deposits)
            some = self.journal.known("w1")[0].offset // 50_000
            self.assertIn(some, range(1, 8))
            # Cursors are saved in between, and other clients' deposits are not.
            self.assertEqual(self.journal.commit([], [Cursor("raw", 0, {})]), [])
            self.assertRaises(JournalFull, self.journal.commit, deposits)
        batches = self.journal.commit(deposits)
        self.assertEqual([b.seq for b in batches if b is not None], [*range(1, 9)])
        self.assertEqual(len(self.journal.read(0, 10**9)), 8)
        self.assertEqual(self.journal.known("w1")[0].offset, 400_000)
        # The counters match the content.
        counted = self.journal.octets, self.journal.keptOctets
        path = self.journal.path
        self.journal.close()
        self.journal = Journal.open(path)
        self.addCleanup(self.journal.close)
        self.assertEqual((self.journal.octets, self.journal.keptOctets), counted)
        # A third call finds all of them stale.
        self.assertEqual(self.journal.commit(deposits[:1]), [None])

    def test_staleAcross(self) -> None:
        """
        Deposits that a connection sent after a stale deposit are stale in the next
        piece as well.
        """
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        other = self.journal.grant("w1", STREAM, 1, 0, "y")
        stale = replace(self.deposits(grant, 1)[0], start=9, end=50_009)
        behind = self.deposits(other, 4)
        batches = self.journal.commit([stale, *behind])
        self.assertEqual(batches, [None] * 5)


class BudgetTests(SynchronousTestCase):
    """The division of a disk."""

    def test_budgetFitsDisk(self) -> None:
        """
        On any disk, the reserve covers the growth by a checkpoint, and everything fits.
        """
        for mebibytes in (4, 8, 16, 24, 64, 120, 1000, 100_000):
            budget = DiskShares.of(mebibytes * MIB)
            with self.subTest(mebibytes=mebibytes, budget=budget):
                self.assertLessEqual(
                    budget.reserve + budget.wal + 5 * budget.piece,
                    mebibytes * MIB * 2 // 3,
                )
                self.assertLessEqual(budget.growth, budget.reserve)
                self.assertLessEqual(budget.reserve, 32 * MIB)
                self.assertLessEqual(budget.wal, 64 * MIB)

    def test_memoryLimitsFitDisk(self) -> None:
        """
        The octets waiting in memory fit on the disk; on a large disk the configured
        limits apply.
        """
        small = fitting(Limits(), 24 * MIB)
        self.assertLess(small.pending, 5 * MIB)
        self.assertLessEqual(small.pendingPerConnection, small.pending)
        self.assertEqual(fitting(Limits(), 10**12), Limits())

    def test_reserveIsAllocated(self) -> None:
        """The reserve's blocks are allocated, and only the owner can read it."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        reserve = Reserve(directory / "j.db", MIB)
        self.assertEqual((reserve.isHeld, reserve.lacks), (False, MIB))
        # A copy may have lost its blocks.
        reserve.path.touch()
        os.truncate(reserve.path, MIB)
        self.assertFalse(Reserve(directory / "j.db", MIB).isHeld)
        reserve.path.unlink()
        reserve.take()
        self.assertTrue(Reserve(directory / "j.db", MIB).isHeld)
        self.assertGreaterEqual(reserve.path.stat().st_blocks * 512, MIB)
        self.assertEqual(reserve.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual((reserve.giveUp(), reserve.giveUp()), (True, False))
        self.assertEqual(reserve.lacks, MIB)

    def test_plantedLinkOrPipe(self) -> None:
        """A link or a FIFO planted in place of the reserve is left alone."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        precious = directory / "precious"
        precious.write_bytes(b"x")
        reserve = Reserve(directory / "j.db", MIB)
        for plant in (
            lambda: reserve.path.symlink_to(precious),
            lambda: os.link(precious, reserve.path),
            lambda: os.mkfifo(reserve.path),
        ):
            plant()
            reserve.take()
            self.assertFalse(reserve.isHeld)
            self.assertFalse(reserve.giveUp())
            self.assertEqual(precious.read_bytes(), b"x")
            reserve.path.unlink()


class WaitingTests(MasterTestCase):
    """The listener while the journal is full."""

    def test_cursorsOfAFullJournal(self) -> None:
        """A listener that stops while deposits wait for space saves the cursors."""
        commit = self.journal.commit
        self.journal.useOutputs(["raw"])

        def full(
            deposits: Sequence[Deposit], cursors: Sequence[Cursor] = ()
        ) -> list[Batch | None]:
            if deposits:
                raise JournalFull("no space for the journal")
            return commit(deposits, cursors)

        self.journal.commit = full  # type: ignore[method-assign, assignment]
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.commits.deposit(Handing([lines(grant, 0, b"a\n")]))
        self.assertTrue(self.commits.full)
        self.commits.saveCursor(Cursor("raw", 5, {}))
        done: list[object] = []
        self.commits.flush().addCallback(done.append)
        self.assertEqual(done, [True])
        self.journal.commit = commit  # type: ignore[method-assign]
        self.restart()
        self.assertEqual(self.journal.useOutputs(["raw"])["raw"].seq, 5)

    def test_cursorsWait(self) -> None:
        """Cursors that cannot be saved for lack of space are saved later."""
        self.journal.useOutputs(["raw"])
        commit = self.journal.commit
        self.journal.commit = mock.Mock(side_effect=JournalFull("x"))  # type: ignore[method-assign]
        self.commits.deposit(Handing([lines(None, 0, b"a\n")]))
        self.commits.saveCursor(Cursor("raw", 5, {}))
        done: list[object] = []
        self.commits.flush().addCallback(done.append)
        self.assertEqual(done, [False])
        self.journal.commit = commit  # type: ignore[method-assign]
        self.clock.advance(5)
        self.assertFalse(self.commits.full)
        self.restart()
        self.assertEqual(self.journal.useOutputs(["raw"])["raw"].seq, 5)

    def test_cursorsNeverGoBack(self) -> None:
        """
        While deposits wait for space, the cursors of their first attempt do not replace newer
        ones, whose batches the journal has released.
        """
        commit = self.journal.commit
        self.journal.useOutputs(["raw"])
        saved: list[int] = []

        def full(
            deposits: Sequence[Deposit], cursors: Sequence[Cursor] = ()
        ) -> list[Batch | None]:
            saved.extend(cursor.seq for cursor in cursors)
            commit([], cursors)
            if deposits:
                raise JournalFull("no space for the journal")
            return []

        self.journal.commit = full  # type: ignore[method-assign, assignment]
        self.commits.saveCursor(Cursor("raw", 5, {}))
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.commits.deposit(Handing([lines(grant, 0, b"a\n")]))
        self.assertTrue(self.commits.full)
        for seq in range(6, 12):
            self.commits.saveCursor(Cursor("raw", seq, {}))
            self.commits.flush()
            self.clock.advance(1.0)
        self.assertEqual(saved, sorted(saved))
        self.assertIn(11, saved)
        self.journal.commit = commit  # type: ignore[method-assign]
        self.clock.advance(1.0)
        self.assertFalse(self.commits.full)
        self.restart()
        self.assertEqual(self.journal.useOutputs(["raw"])["raw"].seq, 11)

    def test_roomAgain(self) -> None:
        """
        Connections throttled because the disk was nearly full resume when there is
        space again.
        """
        self.journal.capacity = 0
        self.journal.hasSpare = True
        self.assertTrue(self.commits.backpressure.isBlocked)
        self.assertTrue(self.commits.backpressure.shouldPause("w1"))
        waiting = Handing([])
        self.commits.waitForRoom(waiting)
        self.assertEqual(waiting.rooms, 0)
        # The disk is checked; it has space.
        self.clock.advance(TIDY_S)
        self.assertEqual(waiting.rooms, 1)
        self.assertFalse(self.commits.backpressure.isBlocked)

    def test_fullDiskIsReportedOnce(self) -> None:
        """
        A disk filled by others is reported once, and so is the return of free space.
        """
        disk = mock.patch("decnet_syslog.journal._space.available", return_value=0)
        disk.start()
        self.addCleanup(mock.patch.stopall)
        self.journal.giveBack()
        said: list[str] = []
        for name in ("error", "info"):
            self.patch(Logger, name, lambda logger, text: said.append(text))
        self.commits.waitForRoom(Handing([]))
        # Not immediately: a small disk is full for a moment between two cursors.
        self.clock.advance(TIDY_S)
        self.assertEqual((said, self.commits.obstacle), ([], None))
        for _ in range(9):
            self.clock.advance(TIDY_S)
        self.assertEqual(len(said), 1, said)
        self.assertIn("no room", str(self.commits.obstacle))
        disk.stop()
        for _ in range(3):
            self.clock.advance(TIDY_S)
        self.assertEqual((len(said), self.commits.obstacle), (2, None))

    def test_stepsBetweenCommits(self) -> None:
        """Disk space is given back between commits, and no longer after a stop."""
        calls: list[Deferred[bool]] = []

        class Spare(GroupCommit):
            def perform(self, function: object, *arguments: object) -> Deferred[bool]:  # type: ignore[override]
                calls.append(Deferred())
                return calls[-1]

        self.journal.hasSpare = True
        commits = Spare(self.journal, mock.Mock(), self.clock, self.failures.append)
        commits.waitForRoom(Handing([]))
        self.clock.advance(TIDY_S)
        # One step at a time, however many callers ask.
        commits.waitForRoom(Handing([]))
        self.clock.advance(TIDY_S)
        self.assertEqual(len(calls), 1)
        calls[0].callback(True)
        self.clock.advance(0.1)
        self.assertEqual(len(calls), 2)
        calls[1].callback(False)
        commits.stop()
        self.clock.advance(10 * TIDY_S)
        self.assertEqual(len(calls), 2)


class Handing:
    """A depositor with these deposits."""

    def __init__(self, deposits: list[Deposit]) -> None:
        self.deposits = deposits
        self.rooms = 0

    def take(self, receivedAt: str) -> Sequence[Deposit]:
        deposits, self.deposits = self.deposits, []
        return deposits

    def committed(self, batches: Sequence[Batch | None], now: float) -> None:
        """The deposits are committed."""

    def acknowledge(self) -> None:
        """No acknowledgement is needed."""

    def resumeReading(self) -> None:
        self.rooms += 1

    def failed(self) -> None:
        raise AssertionError("an internal error")


# Programs that write until a write fails, and then until writes succeed again.
WRITER = {
    "journal": """
import pathlib, sys
from decnet_syslog.journal._sqlite import Journal, JournalFull
from tests.doubles import STREAM, lines
journal = Journal.open(pathlib.Path(sys.argv[1]))
grant = journal.grant("w1", STREAM, 0, 0, "x")
said, at = [], 0
for _ in range(300):
    try:
        assert journal.commit([lines(grant, at, b"line\\n")]) != [None]
        at += 5
        word = "taken"
    except JournalFull:
        word = "blocked"
    if word != (said[-1:] or ["taken"])[0]:
        said.append(word)
assert journal.known("w1")[0].offset == at
assert sum(len(b.octets) for b in journal.read(0, 10**9)) == at
print(*said)
""",
    "state": """
import pathlib, sqlite3, sys
from decnet_syslog.files import StateStore
from decnet_syslog.files._contents import Content
state = StateStore.open(pathlib.Path(sys.argv[1]))
said, saved = [], 0
for number in range(300):
    try:
        state.save([Content("a" * 32, number, "x")])
        saved += 1
        word = "taken"
    except sqlite3.DatabaseError:
        word = "blocked"
    if word != (said[-1:] or ["taken"])[0]:
        said.append(word)
assert len(state.contentsOf("x")) == saved
print(*said)
""",
}


class ReadOnlyTests(SynchronousTestCase):
    """A file system that turns read-only is waited out like a full one."""

    def error(self, name: str) -> sqlite3.DatabaseError:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = name
        return error

    def test_blockedJournal(self) -> None:
        """
        A commit that cannot be written is refused, and accepted once writing works
        again.
        """
        for number in (errno.EROFS, errno.EIO):
            with self.subTest(error=errno.errorcode[number]):
                self.assertEqual(self.traced("journal", number), "blocked taken")

    def test_blockedState(self) -> None:
        """
        The forwarder continues without its state database: the master has the
        positions.
        """
        for number in (errno.EROFS, errno.ENOSPC):
            with self.subTest(error=errno.errorcode[number]):
                self.assertEqual(self.traced("state", number), "blocked taken")

    def traced(self, kind: str, number: int) -> str:
        """
        Write to a database whose writes fail for a while: from the 200th to the 219th.

        @return: the program's output.
        """
        if shutil.which("strace") is None:
            raise SkipTest("strace is needed to make writes fail")
        path = Path(self.mktemp()).resolve()
        path.mkdir(parents=True)
        trace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64"]
        trace += [
            "-e",
            f"inject=pwrite64:error={errno.errorcode[number]}:when=200..219",
        ]
        done = subprocess.run(
            [*trace, sys.executable, "-c", WRITER[kind], str(path / "x.db")],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_failedSyncIsFatal(self) -> None:
        """
        A failed write is examined for a temporary cause; a failed sync is always fatal.
        """
        path = Path(self.mktemp()).resolve()
        path.mkdir(parents=True)
        path /= "j.db"
        once = self.error("SQLITE_IOERR_WRITE")
        self.assertEqual(whyBlocked(once, path), "a write has failed")
        for number, words in BLOCKED.items():
            failing = OSError(number, os.strerror(number))
            self.patch(os, "pwrite", mock.Mock(side_effect=failing))
            for name in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE"):
                why = whyBlocked(self.error(name), path)
                self.assertEqual(why, words)
            for name in ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", ""):
                self.assertFalse(isFull(self.error(name), path), name)


class ProcessTests(PairTestCase):
    """A listener and a forwarder as processes."""

    def test_fullKilled(self) -> None:
        """
        With a small disk for the journal and an output disk that is full for a while,
        others use up the journal's disk and the listener is killed and restarted: every
        line arrives once, in order.
        """
        with disk(self.directory, 16 * MIB) as place:
            output = self.directory / "output"
            output.mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(output)],
                check=True,
            )
            self.addCleanup(subprocess.run, ["umount", "-l", str(output)], check=True)
            ballast = output / "ballast"
            ballast.write_bytes(bytes(46 * MIB))
            pair = self.pair(
                [
                    f"--journal={place}/j.db",
                    f"--log-path={output}/small.log",
                    "--json-path=",
                ]
            )
            worker = pair.enroll("w1", ["--max-lag-bytes=0"])
            pair.startListener()
            worker.forwarder.start()
            line = b"<134>1 - decky ssh - x - %06d " + b"x" * 400 + b"\n"
            count = 50_000
            worker.append(b"".join([line % number for number in range(count)]))
            self.waitFor(
                pair,
                lambda: sizes(place).get("j.db", 0) > 3 * MIB,
                "the journal is not full",
            )
            other = takeAll(place)
            pair.listener.kill()
            pair.listener.start()
            self.waitFor(
                pair,
                lambda: pair.listener.output().count("wait in the journal") > 1,
                "the output is not blocked again",
            )
            ballast.unlink()
            other.unlink()
            self.waitForFile(pair, output / "small.log", count)
            self.assertEqual(
                (output / "small.log").read_bytes(), worker.file.read_bytes()
            )
            pair.listener.stop()
            self.assertNotIn("j.db-wal", sizes(place))
            worker.forwarder.stop()
            self.assertNotIn("Traceback", pair.listener.output())
            pair.stop()
