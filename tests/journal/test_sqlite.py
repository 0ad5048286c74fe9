"""Tests for L{decnet_syslog.journal._sqlite}."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from zlib import crc32

from decnet_syslog.errors import UserError
from decnet_syslog.journal import _gaps as gaps
from decnet_syslog.journal._cursors import ABSENT_MAX
from decnet_syslog.journal._segmentfile import segmentsPath
from decnet_syslog.journal._sqlite import (
    PAGE_OCTETS,
    Journal,
    JournalFailed,
    JournalFull,
)
from decnet_syslog.journal._stored import storedOctets
from decnet_syslog.journal._values import (
    DEPOSIT_COST,
    Absence,
    Cursor,
    Deposit,
    FileLength,
)

from ..doubles import PROVENANCE, STREAM, MasterTestCase, lines

W2 = replace(PROVENANCE, worker="w2")


class PositionTests(MasterTestCase):
    """The position of a stream is committed together with its octets, or neither is."""

    def test_newStream(self) -> None:
        """An unknown stream begins where its sender says."""
        grant = self.journal.grant("w1", STREAM, 0, 17, "/var/log/x")
        self.assertEqual(
            (grant.offset, grant.base, grant.crc, grant.epoch), (17, 17, 0, 1)
        )

    def test_committedPositionIsGranted(self) -> None:
        """The next connection is granted the committed position."""
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.journal.commit([lines(grant, 0, b"a\nb\n"), lines(grant, 4, b"c\n")])
        self.restart()
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.assertEqual((grant.offset, grant.crc), (6, crc32(b"a\nb\nc\n")))

    def test_staleStartIsRefused(self) -> None:
        """
        A deposit that does not start at the stream's position is not committed, nor are
        later deposits of the same connection.
        """
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        first = lines(grant, 0, b"a\n")
        behind = lines(grant, 2, b"b\n")
        batches = self.journal.commit([first, first, behind])
        self.assertEqual([batch is None for batch in batches], [False, True, True])
        other = replace(PROVENANCE, address="192.0.2.9:9")
        batches = self.journal.commit([first, replace(behind, provenance=other)])
        self.assertEqual([batch is None for batch in batches], [True, False])
        self.assertEqual(
            [b.octets for b in self.journal.read(0, 10**6)], [b"a\n", b"b\n"]
        )

    def test_staleConnection(self) -> None:
        """
        A connection cannot commit once its stream was granted to a newer connection.
        """
        old = self.journal.grant("w1", STREAM, 0, 0, "x")
        new = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.assertEqual(self.journal.commit([lines(old, 0, b"a\n")]), [None])
        self.assertIsNot(self.journal.commit([lines(new, 0, b"a\n")])[0], None)

    def test_otherWorker(self) -> None:
        """The same stream id from another worker is another stream."""
        mine = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.journal.commit([lines(mine, 0, b"a\n")])
        theirs = self.journal.grant("w2", STREAM, 0, 0, "x")
        self.assertEqual(theirs.offset, 0)
        self.assertNotEqual(mine.row, theirs.row)

    def test_rowOfAnother(self) -> None:
        """
        When the row of a forgotten stream is reused for another worker's stream with
        the same number, deposits still in transit for the first stream are not
        committed there.
        """
        before = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.database.rows("DELETE FROM stream")
        mine = self.journal.grant("w2", STREAM, 0, 0, "x")
        self.assertEqual((mine.row, mine.epoch), (before.row, before.epoch))
        self.assertEqual(self.journal.commit([lines(before, 0, b"w1's\n")]), [None])
        theirs = replace(lines(mine, 0, b"a\n"), provenance=W2)
        self.assertNotEqual(self.journal.commit([theirs]), [None])
        (known,) = self.journal.known("w2")
        self.assertEqual((known.offset, known.crc), (2, crc32(b"a\n")))

    def test_gapMovesPosition(self) -> None:
        """
        A gap moves the position, restarts the checksum and is recorded in the table of
        gaps.
        """
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        gap = Deposit(PROVENANCE, grant, 2, 9, b"", reason="lag-cap")
        self.journal.commit([lines(grant, 0, b"a\n"), gap, lines(grant, 9, b"b\n")])
        (known,) = self.journal.known("w1")
        self.assertEqual((known.offset, known.base, known.crc), (11, 9, crc32(b"b\n")))
        rows = self.database.rows('SELECT start, "end", reason FROM gap')
        self.assertEqual(rows, [(2, 9, "lag-cap")])

    def test_gapsOfTwoWorkers(self) -> None:
        """A worker's gaps are bounded even if another worker's gaps come in between."""
        self.patch(gaps, "GAPS_PER_WORKER_MAX", 10)
        self.patch(gaps, "GAPS_PER_LOOK", 10)
        at = {"w1": 0, "w2": 0}
        grants = {w: self.journal.grant(w, STREAM, 0, 0, "x") for w in at}
        for number in range(200):
            name = "w2" if number % 10 == 9 else "w1"
            who = replace(PROVENANCE, worker=name)
            start, at[name] = at[name], at[name] + 1
            self.journal.commit(
                [Deposit(who, grants[name], start, at[name], b"", reason="x")]
            )
        count = self.database.value("SELECT count(*) FROM gap WHERE worker = 'w1'")
        self.assertLess(count, 20)

    def test_knownStreams(self) -> None:
        """A worker's streams are listed, with names of any octets unchanged."""
        name = os.fsdecode(b"/var/\xff/x")
        self.journal.grant("w1", STREAM, 0, 5, name)
        self.journal.grant("w2", STREAM, 0, 6, "y")
        (known,) = self.journal.known("w1")
        self.assertEqual((known.name, known.offset), (name, 5))


class BatchTests(MasterTestCase):
    """Batches are kept until every output has them."""

    def test_roundTrip(self) -> None:
        """A batch is read back as it was committed."""
        deposits = [
            lines(None, 0, b"a\n\x00\xff\n"),
            Deposit(PROVENANCE, None, 0, 0, b"x\ny", lengths=(3,)),
        ]
        committed = self.journal.commit(deposits)
        self.restart()
        self.assertEqual(self.journal.read(0, 10**6), committed)

    def test_releasedByLastOutput(self) -> None:
        """A batch is deleted once the last output has it."""
        self.journal.useOutputs(["a", "b"])
        self.journal.commit([lines(None, 0, b"1\n"), lines(None, 0, b"2\n")])
        self.journal.commit([], [Cursor("a", 2, {})])
        self.assertEqual(len(self.journal.read(0, 10**6)), 2)
        self.journal.commit([], [Cursor("b", 1, {})])
        self.assertEqual([b.octets for b in self.journal.read(0, 10**6)], [b"2\n"])
        size = storedOctets(DEPOSIT_COST + 2, PAGE_OCTETS)
        self.assertEqual(self.journal.octets, size)

    def test_newOutput(self) -> None:
        """
        A new output begins with the oldest batch; a removed one holds nothing back.
        """
        self.journal.useOutputs(["a"])
        self.journal.commit([lines(None, 0, b"1\n"), lines(None, 0, b"2\n")])
        self.journal.commit([], [Cursor("a", 1, {})])
        cursors = self.journal.useOutputs(["b"])
        self.assertEqual(cursors["b"].seq, 1)
        self.journal.commit([], [Cursor("b", 2, {})])
        self.assertEqual(self.journal.read(0, 10**6), [])

    def test_cursorFiles(self) -> None:
        """The lengths of an output's files are stored with its cursor."""
        self.journal.useOutputs(["a"])
        files = {"/x/m.log": FileLength(1, 2, 3)}
        self.journal.commit([], [Cursor("a", 0, files)])
        self.restart()
        self.assertEqual(self.journal.useOutputs(["a"])["a"].files, files)

    def test_absentOutput(self) -> None:
        """
        An output that returns continues where it was as long as nothing was deleted;
        after that, its cursor shows where it was until it saves another.
        """
        self.journal.useOutputs(["a", "b"])
        self.journal.commit([lines(None, 0, b"%d\n" % n) for n in range(5)])
        files = {"/x/m.log": FileLength(1, 2, 3, b"x", 4, "boot")}
        self.journal.commit([], [Cursor("a", 4, {}), Cursor("b", 2, files)])
        absence = Absence(2, PROVENANCE.receivedAt)
        for names in (["a"], ["a", "b"]):
            self.restart()
            cursors = self.journal.useOutputs(names)
        self.assertEqual(cursors["b"], Cursor("b", 2, files, absence))
        self.journal.useOutputs(["a"])
        self.journal.commit([], [Cursor("a", 5, {})])
        for _ in range(2):
            self.restart()
            cursors = self.journal.useOutputs(["a", "b"])
            self.assertEqual(cursors["b"], Cursor("b", 5, files, absence))
        self.journal.commit([], [cursors["b"]])
        self.assertIsNone(self.journal.useOutputs(["a", "b"])["b"].absence)

    def test_absentOutputsBounded(self) -> None:
        """
        Only a limited number of outputs that are no longer configured are remembered.
        """
        for n in range(ABSENT_MAX + 10):
            self.journal.useOutputs([f"output {n}"])
            self.journal.commit(
                [], [Cursor(f"output {n}", 0, {"/x": FileLength(1, 2, 3)})]
            )
        for table in ("absent_output", "output_file"):
            count = self.database.value(f"SELECT count(DISTINCT output) FROM {table}")
            self.assertLessEqual(count, ABSENT_MAX + 1)

    def test_sequenceSurvivesDeletion(self) -> None:
        """A sequence number is never reused; otherwise an output would skip a batch."""
        self.journal.useOutputs(["a"])
        self.journal.commit([lines(None, 0, b"1\n")])
        self.journal.commit([], [Cursor("a", 1, {})])
        self.restart()
        (batch,) = self.journal.commit([lines(None, 0, b"2\n")])
        assert batch is not None
        self.assertEqual(batch.seq, 2)
        self.assertEqual(self.journal.useOutputs(["b"])["b"].seq, 1)


class FailureTests(MasterTestCase):
    """A full disk is waited out; any other error ends the journal."""

    def test_noSpace(self) -> None:
        """Without space nothing is committed, and the next commit can succeed."""
        with self.database.full():
            grant = self.journal.grant("w1", STREAM, 0, 0, "x")
            deposit = lines(grant, 0, b"a" * 1_000_000 + b"\n")
            self.assertRaises(JournalFull, self.journal.commit, [deposit])
            self.assertEqual(self.journal.known("w1")[0].offset, 0)
        self.assertIsNot(self.journal.commit([deposit])[0], None)

    def test_brokenDatabase(self) -> None:
        """Any error other than a lack of space ends the journal."""
        self.database.rows("DROP TABLE batch")
        self.assertRaises(JournalFailed, self.journal.commit, [lines(None, 0, b"a\n")])


class OpenTests(MasterTestCase):
    """Opening a journal."""

    def test_identityIsKept(self) -> None:
        """A journal keeps its identity, and another journal has a different one."""
        identity = self.journal.identity
        self.restart()
        self.assertEqual(self.journal.identity, identity)
        other = Journal.open(self.directory / "other.db")
        self.addCleanup(other.close)
        self.assertNotEqual(other.identity, identity)

    def test_walIsCheckpointed(self) -> None:
        """
        Before a position is reported, the WAL of a killed process is checkpointed to
        disk and emptied: SQLite has read it from the page cache, and a power cut could
        revert it.
        """
        path = self.directory / "killed.db"
        code = (
            "import sys, pathlib, os\n"
            "from decnet_syslog.journal._sqlite import Journal\n"
            "journal = Journal.open(pathlib.Path(sys.argv[1]))\n"
            "journal.grant('w1', '5' * 32, 0, 17, 'x')\n"
            "os._exit(0)\n"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        wal = path.with_name("killed.db-wal")
        self.assertGreater(wal.stat().st_size, 0)
        journal = Journal.open(path)
        self.addCleanup(journal.close)
        self.assertEqual(wal.stat().st_size, 0)
        alone = self.directory / "alone.db"
        alone.write_bytes(path.read_bytes())
        alone.chmod(0o600)
        copy = Journal.open(alone)
        self.addCleanup(copy.close)
        self.assertEqual([known.offset for known in copy.known("w1")], [17])

    def test_directoryIsSynced(self) -> None:
        """The directory is synced once the files exist: SQLite does not do that."""
        synced: list[tuple[int, set[str]]] = []

        def fsync(descriptor: int) -> None:
            here = {path.name for path in self.directory.iterdir()}
            synced.append((os.fstat(descriptor).st_ino, here))

        self.patch(os, "fsync", fsync)
        journal = Journal.open(self.directory / "named.db")
        self.addCleanup(journal.close)
        inode, names = synced[-1] if synced else (0, set())
        self.assertEqual(inode, self.directory.stat().st_ino)
        self.assertLessEqual({"named.db", "named.db-wal"}, names)

    def test_onlyOwnerCanRead(self) -> None:
        """The journal's mode allows only its owner to read it."""
        mode = stat.S_IMODE((self.directory / "listener.db").stat().st_mode)
        self.assertEqual(mode, 0o600)

    def test_inUse(self) -> None:
        """A second listener gets an error that the journal is in use."""
        code = (
            "import sys, pathlib\n"
            "from decnet_syslog.journal._sqlite import Journal\n"
            "from decnet_syslog.errors import UserError\n"
            "try: Journal.open(pathlib.Path(sys.argv[1]))\n"
            "except UserError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(self.directory / "listener.db")],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertIn("another decnet-listener", done.stdout, done.stderr)

    def test_notAJournal(self) -> None:
        """
        Another file is refused, and stays as it is. Beside a journal's segments it is a damaged
        journal.
        """
        path = self.directory / "text"
        octets = b"not a database, but long enough to look" * 100
        path.write_bytes(octets)
        error = str(self.assertRaises(UserError, Journal.open, path))
        self.assertIn("give --journal another path", error)
        self.assertEqual(path.read_bytes(), octets)
        segmentsPath(path).write_bytes(b"")
        self.assertRaises(JournalFailed, Journal.open, path)

    def test_plantedLink(self) -> None:
        """A planted link is not followed."""
        path = self.directory / "link.db"
        path.symlink_to(self.directory / "elsewhere.db")
        self.assertRaises(UserError, Journal.open, path)

    def test_unknownVersion(self) -> None:
        """A journal of a newer program version is left unchanged."""
        path = self.directory / "later.db"
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()
        error = self.assertRaises(UserError, Journal.open, path)
        self.assertIn("99", str(error))
