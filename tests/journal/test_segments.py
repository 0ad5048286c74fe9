"""Tests for L{decnet_syslog.journal._segments}, through a journal on a real disk."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.journal._batches import LOST
from decnet_syslog.journal._places import SegmentSizes
from decnet_syslog.journal._segmentfile import HEADER_OCTETS, MAGIC, segmentsPath
from decnet_syslog.journal._space import SEGMENTS_MIN, Space
from decnet_syslog.journal._sqlite import Journal, JournalFailed, JournalFull
from decnet_syslog.journal._values import Batch, Cursor, Deposit, StreamLease
from decnet_syslog.outputs._rendering import renderJSON, renderRaw

from ..databases import Database
from ..doubles import PROVENANCE, STREAM, lines

SIZES = SegmentSizes(segment=64 * 1024, commitMin=1024)

# Of a commit that goes to a segment.
LINE = b"x" * 2047 + b"\n"


class SegmentsTestCase(SynchronousTestCase):
    """A journal with one output and small segments."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.path = directory / "j.db"
        self.file = segmentsPath(self.path)
        self.at = 0
        self.start()

    def start(self) -> None:
        self.database = Database()
        self.journal = Journal.open(self.path, sizes=SIZES, connect=self.database)
        self.addCleanup(self.journal.close)
        self.journal.useOutputs(["raw"])
        self.grant: StreamLease = self.journal.grant("w1", STREAM, 0, 0, "/a.log")

    def restart(self) -> None:
        self.journal.close()
        self.start()

    def crash(self) -> None:
        """Kill the process: the files are as they are now."""
        fresh = self.path.with_name(f"after-{self.path.name}")
        for end in ("", "-wal", "-segments"):
            if os.path.exists(f"{self.path}{end}"):
                shutil.copyfile(f"{self.path}{end}", f"{fresh}{end}")
        os.chmod(fresh, 0o600)
        self.path, self.file = fresh, segmentsPath(fresh)
        self.start()

    def send(self, octets: bytes = LINE) -> Batch:
        """Commit octets of the stream."""
        deposit = lines(self.grant, self.at, octets)
        (batch,) = self.journal.commit([deposit])
        assert batch is not None
        self.at = deposit.end
        return batch

    def release(self, seq: int) -> None:
        self.journal.commit([], [Cursor("raw", seq, {})])

    def unread(self) -> list[Batch]:
        return self.journal.read(0, 10**9)

    def allocated(self) -> float:
        """The number of segments in the file."""
        return (self.file.stat().st_size - HEADER_OCTETS) / SIZES.segment

    def rows(self) -> list[tuple[int, int | None]]:
        """Of each row, the number of octets in it, and its place."""
        return self.database.rows(
            "SELECT length(octets), place FROM batch ORDER BY seq"
        )


class PlacingTests(SegmentsTestCase):
    """What goes to segments, and where."""

    def test_largeCommit(self) -> None:
        """A large commit's octets are in the file, not in rows, and read back the same."""
        sent = [self.send(), self.send(b"y" * 9_999 + b"\n")]
        self.assertEqual(self.rows(), [(0, 0), (0, 2048)])
        octets = self.file.read_bytes()[HEADER_OCTETS:]
        self.assertTrue(octets.startswith(LINE + b"yyy"))
        self.assertEqual(self.unread(), sent)
        self.restart()
        self.assertEqual(self.unread(), sent)
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_smallCommit(self) -> None:
        """A small commit is one row, in one sync; there is no file before a large one."""
        with mock.patch("os.fdatasync") as sync:
            self.send(b"small\n")
        self.assertEqual(sync.call_count, 0)
        self.assertEqual(self.rows(), [(6, None)])
        self.assertFalse(self.file.exists())

    def test_manyDepositsOneWrite(self) -> None:
        """The deposits of a commit are written and synced together."""
        first = self.send(LINE * 2)
        deposits = [
            lines(self.grant, self.at + n * 300, b"z" * 299 + b"\n") for n in range(10)
        ]
        with (
            mock.patch("os.pwrite", side_effect=os.pwrite) as write,
            mock.patch("os.fdatasync", side_effect=os.fdatasync) as sync,
        ):
            batches = self.journal.commit(deposits)
        self.assertEqual((write.call_count, sync.call_count), (1, 1))
        self.assertEqual(self.unread(), [first, *batches])

    def test_octetsBeforeRows(self) -> None:
        """
        The header and the name of the file are synced before octets are written, and these
        before the transaction that names them is committed.
        """
        calls: list[str] = []
        write = os.pwrite
        for name, what in (("fdatasync", "sync"), ("fsync", "sync directory")):
            self.patch(os, name, lambda descriptor, what=what: calls.append(what))

        def written(descriptor: int, octets: bytes, at: int) -> int:
            calls.append(f"write at {at}")
            return write(descriptor, octets, at)

        self.patch(os, "pwrite", written)
        self.database.connection.set_trace_callback(
            lambda statement: calls.append(statement) if "COMMIT" in statement else None
        )
        self.send()
        begin = ["write at 0", "sync", "sync directory"]
        self.assertEqual(calls, [*begin, f"write at {HEADER_OCTETS}", "sync", "COMMIT"])

    def test_gapsAndMessages(self) -> None:
        """A gap stays in its row; messages with line feeds go to segments."""
        gap = Deposit(PROVENANCE, self.grant, 0, 5000, b"", reason="lag-cap")
        messages = Deposit(PROVENANCE, None, 0, 0, b"a\nb" * 1000, (3,) * 1000)
        sent = self.journal.commit([gap, messages])
        self.assertEqual([place for _, place in self.rows()], [None, 0])
        self.restart()
        self.assertEqual(self.unread(), sent)

    def test_staleDeposit(self) -> None:
        """A stale deposit takes no place."""
        stale = lines(self.grant, 999, LINE)
        other = Deposit(PROVENANCE, None, 0, 0, LINE)
        self.assertEqual(
            [b and len(b.octets) for b in self.journal.commit([other, stale])],
            [len(LINE), None],
        )
        self.assertEqual(self.rows(), [(0, 0)])

    def test_acrossSegments(self) -> None:
        """Octets fill segments to the last octet, whatever the sizes of batches are."""
        dice = random.Random(1)
        sent = [self.send(b"o" * dice.randint(1024, 60_000) + b"\n") for _ in range(40)]
        octets = sum(len(batch.octets) for batch in sent)
        self.assertEqual(self.allocated(), -(-octets // SIZES.segment))
        self.restart()
        self.assertEqual(self.unread(), sent)

    def test_longDeposit(self) -> None:
        """A deposit that is longer than a segment is a row."""
        sent = self.send(b"o" * SIZES.segment + b"\n")
        self.assertEqual(self.rows(), [(SIZES.segment + 1, None)])
        self.assertEqual(self.unread(), [sent])

    def test_restartsContinueTheSegment(self) -> None:
        """Each start goes on where the last batch ends: starts cost no room."""
        sent = []
        for _ in range(8):
            sent.append(self.send())
            self.crash()
        self.assertEqual(
            [place for _, place in self.rows()], [2048 * n for n in range(8)]
        )
        self.assertEqual(self.unread(), sent)

    def test_countedOctets(self) -> None:
        """
        The size that --journal-max limits is the same before and after a start. The file
        has at most three more segments: the oldest, the newest, and one that waits for a
        sync.
        """
        for n in range(60):
            self.send(b"o" * (1024 + 997 * n % 9000) + b"\n")
            if n % 7 == 6:
                self.release(n - 5)
            limit = self.journal.octets + 3 * SIZES.segment
            if n % 20 == 19:
                before = self.journal.octets, dict(self.journal.octetsOf)
                self.restart()
                self.assertEqual((self.journal.octets, self.journal.octetsOf), before)
            self.assertLess(self.file.stat().st_size, limit)
        self.release(60)
        self.assertEqual((self.journal.octets, self.journal.octetsOf), (0, {}))

    def test_smallDisk(self) -> None:
        """On a small disk, where a segment is a large part, everything is in rows."""
        small = SIZES.segment * SEGMENTS_MIN - 1
        with mock.patch("decnet_syslog.journal._space.available", return_value=small):
            self.restart()
            self.send()
        self.assertEqual(self.rows(), [(2048, None)])


class ReuseTests(SegmentsTestCase):
    """Segments are used again, and returned to the disk."""

    def fill(self, segments: int) -> list[Batch]:
        return [self.send(LINE * 16) for _ in range(2 * segments)]

    def test_usedAgain(self) -> None:
        """The file does not grow while outputs keep up."""
        for _ in range(20):
            self.release(self.fill(1)[-1].seq)
        self.assertLessEqual(self.allocated(), 3)

    def test_notBeforeDeletionIsSynced(self) -> None:
        """
        A segment is not used again before the deletion of its batches is on disk: a
        power cut brings them back, with their octets.
        """
        sent = [*self.fill(1), self.send()]
        image = self.path.with_name("image.db")
        for end in ("", "-wal"):
            shutil.copyfile(f"{self.path}{end}", f"{image}{end}")
        image.chmod(0o600)
        self.release(sent[-1].seq)

        # The next commit fills a segment. The power is cut before its transaction is synced.
        def cut(statement: str) -> None:
            if statement == "COMMIT" and not segmentsPath(image).exists():
                shutil.copyfile(self.file, segmentsPath(image))

        self.database.connection.set_trace_callback(cut)
        self.send(b"n" * SIZES.segment)
        self.journal.close()
        self.path = image
        self.start()
        self.assertEqual(self.unread(), sent)

    def test_unsyncedTransaction(self) -> None:
        """A transaction without changes does not sync a deletion before it."""
        self.release(self.fill(1)[-1].seq)
        self.journal.commit([])
        self.journal.commit([lines(self.grant, 999_999, b"stale\n")])
        # The first segment stays as it is until a commit was synced.
        half = LINE * 16
        sent = [self.send(half), self.send(half), self.send(half)]
        self.assertEqual(
            self.rows(), [(0, SIZES.segment), (0, SIZES.segment + len(half)), (0, 0)]
        )
        self.assertEqual(self.unread(), sent)

    def test_roomForRowsFirst(self) -> None:
        """
        Room for the rows of a large commit may come from segments that are returned to
        the disk; then others are allocated.
        """
        last = self.fill(3)[-1]
        has = iter([False, True])
        self.patch(Space, "has", lambda space, octets: next(has, True))
        deposit = lines(self.grant, self.at, LINE * 31)
        (batch,) = self.journal.commit([deposit], [Cursor("raw", last.seq, {})])
        self.assertEqual(self.unread(), [batch])
        self.assertEqual([octets for octets, _ in self.rows()], [0])

    def test_undoneTransaction(self) -> None:
        """Places of a transaction that was undone are used for the next one."""
        self.send()
        self.database.connection.refused = ("COMMIT",)
        for _ in range(3):
            self.assertRaises(JournalFull, self.send, LINE * 31)
        self.database.connection.refused = ()
        self.send(LINE * 31)
        self.assertEqual([place for _, place in self.rows()], [0, 2048])
        self.assertEqual(self.allocated(), 1)

    def test_givenBack(self) -> None:
        """The room of a delivered backlog is returned, and a clean stop returns the rest."""
        last = self.fill(40)[-1].seq
        self.assertEqual(self.allocated(), 40)
        self.release(last)
        self.send(b"small\n")
        rounds = 0
        while self.journal.hasSpare and rounds < 50:
            while self.journal.giveBack():
                pass
            rounds += 1
        self.assertLess(self.allocated(), 4)
        self.journal.close()
        self.assertLessEqual(self.allocated(), 1)

    def test_givenBackForRows(self) -> None:
        """When rows have no room, unused segments are returned at once."""
        self.release(self.fill(40)[-1].seq)
        self.send(b"small\n")
        self.patch(Space, "has", lambda space, octets: False)
        deposit = lines(None, 0, LINE * 80)
        with self.database.full():
            self.assertRaises(JournalFull, self.journal.commit, [deposit])
        self.assertLess(self.allocated(), 4)


class FailureTests(SegmentsTestCase):
    """Disks that are full, and disks that fail."""

    def failing(self, name: str, number: int) -> None:
        """Let a call of the operating system fail from now on."""
        error = OSError(number, os.strerror(number))
        self.patch(os, name, mock.Mock(side_effect=error))

    def test_octetsInRowsInstead(self) -> None:
        """If a segment cannot be allocated or written, the octets are committed in rows."""
        for name in ("posix_fallocate", "pwrite"):
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                with self.subTest(call=name, error=errno.errorcode[number]):
                    self.setUp()
                    self.failing(name, number)
                    sent = [self.send(), self.send()]
                    self.assertEqual(self.rows(), [(2048, None)] * 2)
                    self.doCleanups()
                    self.start()
                    self.assertEqual(self.unread(), sent)

    def test_shortWrite(self) -> None:
        """The rest of a short write is written, too."""
        write = os.pwrite
        self.patch(os, "pwrite", lambda fd, octets, at: write(fd, octets[:700], at))
        sent = self.send()
        self.assertEqual(self.unread(), [sent])

    def test_failedSync(self) -> None:
        """A failed sync ends the journal: nothing is committed."""
        self.failing("fdatasync", errno.EIO)
        self.assertRaises(JournalFailed, self.send)
        self.doCleanups()
        self.start()
        self.assertEqual(self.unread(), [])
        self.assertEqual(self.grant.offset, 0)

    def test_syncOfReadOnlyFileSystem(self) -> None:
        """A file system that became read-only with octets not on disk has failed."""
        self.send()
        self.failing("fdatasync", errno.EROFS)
        self.assertRaises(JournalFailed, self.send)

    def test_failedSyncOfDirectory(self) -> None:
        """Nothing is committed to a file whose name may be lost."""
        self.failing("fsync", errno.EIO)
        self.assertRaises(JournalFailed, self.send)

    def test_failedRead(self) -> None:
        """A failed read ends the journal, as a failed read of the database does."""
        self.send()
        self.failing("pread", errno.EIO)
        self.assertRaises(JournalFailed, self.unread)

    def test_plantedFile(self) -> None:
        """A link or a pipe in place of the file is not followed; octets are in rows."""
        precious = self.path.with_name("precious")
        precious.write_bytes(b"p")
        for plant in (
            lambda: self.file.symlink_to(precious),
            lambda: os.mkfifo(self.file),
        ):
            plant()
            self.send()
            self.assertEqual(self.rows()[-1], (2048, None))
            self.assertEqual(precious.read_bytes(), b"p")
            self.file.unlink()


class DamageTests(SegmentsTestCase):
    """Segments that are lost, torn, or of another time: always an error or a gap."""

    def damaged(self, change: Callable[[bytearray], object]) -> list[Batch]:
        """What the journal has when the file was changed while it was closed."""
        self.journal.close()
        octets = bytearray(self.file.read_bytes())
        change(octets)
        self.file.write_bytes(octets)
        self.start()
        return self.unread()

    def test_missingFile(self) -> None:
        """
        A missing file ends the start with the remedy. With an empty one, gap records take
        the place of its lines, and the journal goes on.
        """
        sent = [self.send(), self.send(b"small\n"), self.send()]
        self.journal.close()
        self.file.unlink()
        error = self.assertRaises(UserError, Journal.open, self.path, sizes=SIZES)
        self.assertIn(str(self.file), str(error))
        self.assertIn("create an empty file", str(error))
        self.assertEqual(len(str(error).splitlines()), 1)
        self.file.touch(0o600)
        self.start()
        there = self.unread()
        self.assertEqual([b.reason for b in there], [LOST, None, LOST])
        self.assertEqual(
            [(b.seq, b.start, b.end) for b in there],
            [(b.seq, b.start, b.end) for b in sent],
        )
        # New octets take no place that a row names.
        more = self.send()
        self.assertEqual(self.unread()[-1], more)
        self.assertEqual([b.reason for b in self.unread()], [LOST, None, LOST, None])
        self.release(more.seq)
        self.assertEqual(self.journal.octets, 0)

    def test_missingUnneededFile(self) -> None:
        """Without batches in it, the file is not missed."""
        self.release(self.send().seq)
        self.journal.close()
        self.file.unlink()
        self.start()
        self.assertEqual(self.unread(), [])

    def test_eachSector(self) -> None:
        """A changed, empty or foreign sector makes a gap of its batch, and of no other."""
        sent = [self.send() for _ in range(4)]
        whole = self.file.read_bytes()
        for start in range(0, 4 * len(LINE), 512):
            at = HEADER_OCTETS + start
            for sector in (bytes(512), b"\xff" * 512, os.urandom(512)):
                there = self.damaged(
                    lambda octets, at=at, sector=sector: octets.__setitem__(  # type: ignore[misc]
                        slice(at, at + 512), sector
                    )
                )
                lost = start // len(LINE)
                self.assertEqual(there[lost].reason, LOST)
                self.assertEqual(there[lost].octets, b"")
                self.assertEqual(there[lost].provenance, sent[lost].provenance)
                del there[lost]
                self.assertEqual(there, [b for n, b in enumerate(sent) if n != lost])
                self.journal.close()
                self.file.write_bytes(whole)

    def test_eachFlippedBit(self) -> None:
        """Flipped bits make a gap."""
        self.send()
        dice = random.Random(1)
        for _ in range(20):
            bit = 8 * HEADER_OCTETS + dice.randrange(8 * len(LINE))
            flip = lambda octets, bit=bit: octets.__setitem__(  # noqa: E731
                bit // 8, octets[bit // 8] ^ 1 << bit % 8
            )
            self.assertEqual(self.damaged(flip)[0].reason, LOST)
            self.assertIsNone(self.damaged(flip)[0].reason)

    def test_truncated(self) -> None:
        """A file that was cut short: the batches before the cut are whole."""
        sent = [self.send() for _ in range(4)]
        there = self.damaged(
            lambda octets: octets.__delitem__(slice(HEADER_OCTETS + 5000, None))
        )
        self.assertEqual(there[:2], sent[:2])
        self.assertEqual([b.reason for b in there[2:]], [LOST, LOST])

    def test_olderDatabase(self) -> None:
        """
        A database of an earlier moment, with segments that were used again since: gaps,
        never other lines.
        """
        first = self.send(LINE * 31)
        self.journal.close()
        earlier = self.path.read_bytes()
        self.start()
        self.release(first.seq)
        for _ in range(4):
            self.release(self.send(b"y" * 60_000 + b"\n").seq)
        self.journal.close()
        self.path.write_bytes(earlier)
        self.start()
        self.assertEqual([b.reason for b in self.unread()], [LOST])

    def test_gapRecords(self) -> None:
        """The outputs' gap records name the worker, the file and the range."""
        self.send()
        self.journal.commit([Deposit(PROVENANCE, None, 0, 0, LINE)])
        ofFile, ofNone = self.damaged(lambda octets: octets.clear())
        (line,) = renderRaw(ofFile)
        self.assertIn(
            b'start="0" end="2048" octets="2048" reason="journal-damaged"', line
        )
        (record,) = renderJSON(ofNone)
        self.assertIn(b"2048 octets of a file without a name of w1", record)
        self.assertIn(b'"source_offset": null', record)

    def test_strangeRows(self) -> None:
        """Places that this program never writes end the start or the read with one line."""
        self.send()
        self.journal.close()
        for change in ("place = -5", "size = -1", "size = 1 << 60", "place = 'x'"):
            with self.subTest(change=change):
                copy = self.path.with_name("strange.db")
                shutil.copyfile(self.path, copy)
                shutil.copyfile(self.file, segmentsPath(copy))
                copy.chmod(0o600)
                with closing(sqlite3.connect(copy)) as db:
                    db.execute(f"UPDATE batch SET {change}")
                    db.commit()
                with self.assertRaises(JournalFailed) as caught:
                    journal = Journal.open(copy, sizes=SIZES)
                    try:
                        journal.read(0, 10**9)
                    finally:
                        journal.close()
                self.assertEqual(len(str(caught.exception).splitlines()), 1)


class IdentityTests(SegmentsTestCase):
    """The file belongs to one journal, and to no other."""

    def refused(self) -> str:
        """Try to start. The file is left as it is."""
        before = self.file.read_bytes()
        error = self.assertRaises(UserError, Journal.open, self.path, sizes=SIZES)
        self.assertEqual(self.file.read_bytes(), before)
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertIn(str(self.file), str(error))
        return str(error)

    def plant(self, octets: bytes) -> None:
        self.journal.close()
        self.file.unlink(missing_ok=True)
        self.file.write_bytes(octets)
        self.file.chmod(0o600)

    def foreign(self) -> list[bytes]:
        """Files that are no file of this journal."""
        other = self.path.with_name("other.db")
        journal = Journal.open(other, sizes=SIZES)
        journal.commit([lines(None, 0, LINE)])
        journal.close()
        whole = segmentsPath(other).read_bytes()
        header = whole[:HEADER_OCTETS]
        return [
            whole,
            header,
            header[:-1],
            header[: len(MAGIC) + 8],
            b"p",
            os.urandom(3 * SIZES.segment),
            bytes(HEADER_OCTETS + 1),
            bytes(3 * SIZES.segment),
            LINE * 32,
        ]

    def test_journalMovedAlone(self) -> None:
        """
        A new journal does not start with the file of a journal that was moved away. That
        journal is whole when it is put back.
        """
        sent = [self.send() for _ in range(5)]
        self.journal.close()
        away = self.path.with_name("away")
        self.path.rename(away)
        self.assertIn("belongs to another journal", self.refused())
        self.assertIn("move it away", self.refused())
        away.rename(self.path)
        self.start()
        self.assertEqual(self.unread(), sent)

    def test_foreignFileUnneeded(self) -> None:
        """The start refuses a file of something else, and does not change it."""
        for octets in self.foreign():
            with self.subTest(begin=octets[:50], size=len(octets)):
                self.plant(octets)
                self.assertIn("move it away", self.refused())

    def test_foreignFileNeeded(self) -> None:
        """Without its own file, a journal with rows does not start; with it, nothing is lost."""
        sent = [self.send() for _ in range(3)]
        self.journal.close()
        ours = self.file.read_bytes()
        # The format before there was a header.
        for octets in [*self.foreign(), ours[HEADER_OCTETS:]]:
            with self.subTest(begin=octets[:50], size=len(octets)):
                self.plant(octets)
                self.assertIn("create an empty file", self.refused())
        self.plant(ours)
        self.start()
        self.assertEqual(self.unread(), sent)

    def test_secondName(self) -> None:
        """A file with a second name may be another's: it is refused, whatever is in it."""
        self.send()
        self.journal.close()
        ours = self.file.read_bytes()
        for octets in (b"", ours, os.urandom(3 * SIZES.segment)):
            with self.subTest(size=len(octets)):
                self.plant(octets)
                other = self.path.with_name("second")
                other.hardlink_to(self.file)
                self.refused()
                self.assertEqual(other.read_bytes(), octets)
                other.unlink()

    def test_remedyOfSecondName(self) -> None:
        """A copy is used."""
        sent = self.send()
        self.journal.close()
        second = self.path.with_name("second")
        second.hardlink_to(self.file)
        self.assertIn("cp -p", self.refused())
        shutil.copy2(self.file, f"{self.file}.copy")
        os.rename(f"{self.file}.copy", self.file)
        self.start()
        self.assertEqual(self.unread(), [sent])

    def test_plantedWhileRunning(self) -> None:
        """A file that comes up later is not written either; octets are in rows."""
        for octets in self.foreign():
            with self.subTest(begin=octets[:50], size=len(octets)):
                self.file.write_bytes(octets)
                self.send()
                self.assertEqual(self.rows()[-1], (2048, None))
                self.assertEqual(self.file.read_bytes(), octets)
                self.file.unlink()
        second = self.path.with_name("second")
        second.touch(0o600)
        self.file.hardlink_to(second)
        self.send()
        self.assertEqual(self.rows()[-1], (2048, None))
        self.assertEqual(second.read_bytes(), b"")

    def test_tornHeader(self) -> None:
        """What a crash leaves of the header is no obstacle, with rows or without."""
        sent = [self.send()]
        self.journal.close()
        header = self.file.read_bytes()[:HEADER_OCTETS]
        for octets in (
            b"",
            header[:1],
            header[:50],
            header[:512],
            header[:50] + bytes(HEADER_OCTETS - 50),
            bytes(50) + header[50:],
            bytes(512),
            bytes(HEADER_OCTETS),
        ):
            with self.subTest(begin=octets[:60], size=len(octets)):
                self.plant(octets)
                self.start()
                self.assertEqual(self.unread()[0].reason, LOST)
                sent.append(self.send())
                self.assertEqual(self.rows()[-1][0], 0)
                self.assertEqual(self.file.read_bytes()[:HEADER_OCTETS], header)
                self.restart()
                self.assertEqual(self.unread()[-1], sent[-1])

    def test_damageAfterHeader(self) -> None:
        """Damage to the rest of the header's page costs nothing."""
        sent = self.send()
        self.journal.close()
        octets = bytearray(self.file.read_bytes())
        octets[512:HEADER_OCTETS] = os.urandom(HEADER_OCTETS - 512)
        self.plant(bytes(octets))
        self.start()
        self.assertEqual(self.unread(), [sent])

    def test_failedSyncOfHeader(self) -> None:
        """If the header cannot be synced, nothing is committed, and the next start goes on."""
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        with mock.patch("os.fdatasync", side_effect=error):
            self.assertRaises(JournalFailed, self.send)
        self.restart()
        sent = self.send()
        self.assertEqual(self.unread(), [sent])

    def test_unreadableHeader(self) -> None:
        """A disk that cannot read the header has failed."""
        self.send()
        self.journal.close()
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        with mock.patch("os.pread", side_effect=error):
            self.assertRaises(JournalFailed, Journal.open, self.path, sizes=SIZES)
