"""
Tests for the state database of L{decnet_syslog.files}, and for positions by journal.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.durable import StorageFailed
from decnet_syslog.errors import UserError
from decnet_syslog.files import AcknowledgedPosition, Life, StateStore
from decnet_syslog.files._contents import Content

A, B = ("a" * 32, "w1"), ("b" * 32, "w1")
STREAM = "5" * 32
FIRST = (STREAM, 0)

# The schema of the first version.
VERSION_1 = """
CREATE TABLE bookmark (
    stream TEXT NOT NULL, generation INTEGER NOT NULL, name BLOB NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    head BLOB NOT NULL, offset INTEGER NOT NULL, base INTEGER NOT NULL,
    crc INTEGER NOT NULL, anchor BLOB NOT NULL, origin INTEGER NOT NULL,
    journal TEXT NOT NULL, finished INTEGER NOT NULL,
    PRIMARY KEY (stream, generation)
) WITHOUT ROWID;
INSERT INTO bookmark VALUES
    ('5555', 0, CAST('/log' AS BLOB), 1, 2, 90, x'61', 90, 0, 7, x'', 0, 'aaaa', 1),
    ('5555', 1, CAST('/log' AS BLOB), 1, 3, 50, x'62', 40, 0, 8, x'', 0, 'aaaa', 0),
    ('6666', 0, CAST('/new' AS BLOB), 1, 4, 30, x'63', 0, 0, 0, x'', 0, '', 0);
PRAGMA user_version = 1;
"""


class StateTestCase(SynchronousTestCase):
    """A state database."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.path = directory / "forwarder.db"

    def open(self) -> StateStore:
        store = StateStore.open(self.path)
        self.addCleanup(store.close)
        return store


class StoreTests(StateTestCase):
    """Contents, positions and marks in the database."""

    def test_contentIsKept(self) -> None:
        """A content is read back as it was saved, including a name of any octets."""
        content = Content(
            STREAM, 3, "/log/\udcff", origin=1, seen=9, head=b"\0\xff", life=Life.ENDED
        )
        position = AcknowledgedPosition("c" * 32, 2**40, 9, 4, 0xFFFFFFFF)
        store = self.open()
        store.meet(A, (5, "d" * 32))
        store.save([content], [(A, content.key, position)])
        store.close()
        store = self.open()
        self.assertEqual(store.contentsOf("/log/\udcff"), [content])
        self.assertEqual(store.positions(A), {content.key: position})
        self.assertEqual(store.seen(A[0]), (5, "d" * 32))
        self.assertEqual(store.lastMet(), A)

    def test_markWithPositions(self) -> None:
        """A mark and the positions are written in one transaction, or not at all."""
        store = self.open()
        store.meet(A, (1, "1" * 32))
        content = Content(STREAM, 0, "x")
        broken = (A, FIRST, AcknowledgedPosition(STREAM, 0, offset=2**70))
        self.assertRaises(
            OverflowError, store.save, [content], [broken], (A, (2, "2" * 32))
        )
        self.assertEqual(store.seen(A[0]), (1, "1" * 32))
        store.save(
            [content], [(A, FIRST, AcknowledgedPosition(*FIRST, 7))], (A, (2, "2" * 32))
        )
        self.assertEqual(store.seen(A[0]), (2, "2" * 32))

    def test_restoredJournal(self) -> None:
        """
        When a journal was restored, positions under other certificate names are void as
        well.
        """
        store = self.open()
        other = (A[0], "w2")
        for authority in (A, other, B):
            store.meet(authority, (9, "9" * 32))
            store.save([], [(authority, FIRST, AcknowledgedPosition(*FIRST, 50))])
        store.meet(
            A, (3, "3" * 32), {FIRST: AcknowledgedPosition(*FIRST, 0)}, isPutBack=True
        )
        self.assertEqual(store.positions(A)[FIRST].offset, 0)
        self.assertEqual(store.positions(other), {})
        self.assertFalse(store.isMet(other))
        self.assertEqual(store.positions(B)[FIRST].offset, 50)
        self.assertEqual(store.seen(A[0]), (3, "3" * 32))

    def test_journalsAreBounded(self) -> None:
        """Only a limited number of journals is remembered, with their positions."""
        store = self.open()
        for number in range(100):
            authority = (f"{number:032x}", "w1")
            store.meet(authority, None)
            store.save([], [(authority, FIRST, AcknowledgedPosition(*FIRST, number))])
        self.assertFalse(store.isMet((f"{0:032x}", "w1")))
        self.assertEqual(store.positions((f"{0:032x}", "w1")), {})
        self.assertEqual(store.positions((f"{99:032x}", "w1"))[FIRST].offset, 99)

    def test_creditedOffsets(self) -> None:
        """
        The offsets that other journals have of a content are found; the caller decides
        which journals count.
        """
        store = self.open()
        for authority, offset in ((A, 10), ((A[0], "w2"), 20), (B, 30)):
            store.meet(authority, None)
            store.save([], [(authority, FIRST, AcknowledgedPosition(*FIRST, offset))])
        for every, same, found in (
            (True, True, {FIRST: 30}),
            (False, True, {FIRST: 20}),
            (True, False, {FIRST: 30}),
            (False, False, {}),
        ):
            credited = store.credited(A, everyJournal=every, sameJournal=same)
            self.assertEqual(credited, found)

    def test_legacyOffset(self) -> None:
        """
        The offset of DECNET's forwarder is returned until there is a content, and is
        left in place.
        """
        db = sqlite3.connect(self.path)
        db.execute(
            "CREATE TABLE forwarder_offset (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
        )
        db.execute("INSERT INTO forwarder_offset VALUES ('default', 42)")
        db.commit()
        db.close()
        store = self.open()
        self.assertEqual(store.legacyOffset(), 42)
        store.save([Content(STREAM, 0, "x")])
        store.close()
        self.assertEqual(self.open().legacyOffset(), None)

    def test_unknownDatabase(self) -> None:
        """A newer program's database, another file, and a link are refused."""
        db = sqlite3.connect(self.path)
        db.execute("PRAGMA user_version = 99")
        db.close()
        error = self.assertRaises(UserError, StateStore.open, self.path)
        self.assertIn("99", str(error))
        self.path.write_bytes(b"something else" * 100)
        self.assertRaises(UserError, StateStore.open, self.path)
        self.assertEqual(self.path.read_bytes(), b"something else" * 100)
        self.path.unlink()
        self.path.symlink_to("elsewhere")
        self.assertRaises(UserError, StateStore.open, self.path)

    def test_damagedPage(self) -> None:
        """A database with a damaged page is set aside, and a new one begins."""
        store = self.open()
        store.save([Content(STREAM, n, "x" * 500, head=b"h" * 900) for n in range(50)])
        store.close()
        octets = bytearray(self.path.read_bytes())
        octets[4096 : len(octets) - 4096] = b"\xff" * (len(octets) - 8192)
        self.path.write_bytes(octets)
        aside: list[Path] = []
        died: list[StorageFailed] = []
        store = StateStore.open(
            self.path, died.append, lambda path, reason: aside.append(path)
        )
        self.addCleanup(store.close)
        self.assertEqual((store.isFresh, died), (True, []))
        (path,) = aside
        self.assertEqual(path.read_bytes(), bytes(octets))

    def test_databaseInUse(self) -> None:
        """
        A second forwarder on the same database gets an error, and the first is not
        disturbed.
        """
        store = self.open()
        other = "import sys; from decnet_syslog.files import *; from pathlib import *"
        other += "; StateStore.open(Path(sys.argv[1]))"
        # Another process: within one process, SQLite's locks would not conflict.
        done = subprocess.run(
            [sys.executable, "-c", other, str(self.path)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertIn("UserError", done.stderr)
        self.assertIn("in use", done.stderr)
        store.save([Content(STREAM, 0, "x")])
        self.assertEqual(len(store.contentsOf("x")), 1)

    def test_otherFilesKeepTheirMode(self) -> None:
        """
        A file of another kind is refused, and its octets and its mode stay: a text, a cut or
        destroyed header, another program's database, and one of a later version of ours.
        """
        StateStore.open(self.path).close()
        ours = self.path.read_bytes()
        made = {
            "text": b"root:x:0:0\n",
            "destroyed": b"\0" * 16 + ours[16:],
            "foreign": self._database("CREATE TABLE theirs (a)"),
            "later": self._database(
                "CREATE TABLE content (a); PRAGMA user_version = 999"
            ),
            "different": self._database(
                "CREATE TABLE content (a); PRAGMA user_version = 1"
            ),
        }
        for name, octets in made.items():
            with self.subTest(name):
                path = self.path.with_name(name)
                path.write_bytes(octets)
                path.chmod(0o644)
                self.assertRaises(UserError, StateStore.open, path)
                self.assertEqual(path.read_bytes(), octets)
                self.assertEqual(path.stat().st_mode & 0o777, 0o644)

    def test_wideModeOfTheLog(self) -> None:
        """The write-ahead log of an older database loses the wide mode with it."""
        store = self.open()
        store.meet(A, (1, "1" * 32))
        octets = {end: Path(f"{self.path}{end}").read_bytes() for end in ("", "-wal")}
        copy = self.path.with_name("copy.db")
        for end, content in octets.items():
            Path(f"{copy}{end}").write_bytes(content)
            Path(f"{copy}{end}").chmod(0o644)
        kept = StateStore.open(copy)
        self.addCleanup(kept.close)
        self.assertEqual(kept.lastMet(), A)
        modes = [Path(f"{copy}{end}").stat().st_mode & 0o777 for end in octets]
        self.assertEqual(modes, [0o600, 0o600])

    def _database(self, script: str) -> bytes:
        path = self.path.with_name("made.db")
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as db:
            db.executescript(script)
        return path.read_bytes()

    def test_onlyOwnerCanRead(self) -> None:
        """
        Only the owner can read the database; an older one with a wider mode is
        corrected.
        """
        self.open().close()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.path.chmod(0o644)
        self.open()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)


class SyncTests(StateTestCase):
    """Logs that are brought to disk before they are shipped."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()

    def sync(self, number: int) -> None:
        error = OSError(number, os.strerror(number))
        with mock.patch("os.fdatasync", side_effect=error):
            self.store.bringToDisk(0, "/a.log")

    def test_failedSyncIsFinal(self) -> None:
        """
        A failed sync is final. EROFS is one: the kernel reports it when a file system became
        read-only after an error, and octets that we may have read are not on disk.
        """
        for number in (errno.EIO, errno.EROFS, errno.ENOSPC):
            with self.subTest(error=errno.errorcode[number]):
                failed = self.assertRaises(StorageFailed, self.sync, number)
                self.assertIn("cannot sync /a.log", str(failed))

    def test_nothingToSync(self) -> None:
        """A file that cannot be synced, as on a file system made read-only, is no failure."""
        self.sync(errno.EINVAL)


class VersionOneTests(StateTestCase):
    """A database of the first version."""

    def setUp(self) -> None:
        super().setUp()
        db = sqlite3.connect(self.path)
        db.executescript(VERSION_1)
        db.close()

    def test_upgradeKeepsPositions(self) -> None:
        """
        Contents and positions are taken over; the positions belong to the first
        certificate name that asks.
        """
        store = self.open()
        self.assertFalse(store.isFresh)
        found = [(c.generation, c.life, c.seen) for c in store.contentsOf("/log")]
        self.assertEqual(found, [(0, Life.ENDED, 90), (1, Life.LIVE, 50)])
        first, second = ("aaaa", "w1"), ("aaaa", "w2")
        self.assertTrue(store.isMet(first))
        claimed = store.claim(first)
        self.assertEqual(
            claimed,
            {
                ("5555", 0): AcknowledgedPosition("5555", 0, 90, 0, 7),
                ("5555", 1): AcknowledgedPosition("5555", 1, 40, 0, 8),
            },
        )
        self.assertEqual(store.claim(second), {})
        self.assertFalse(store.isMet(second))
        self.assertIs(store.seen("aaaa"), None)

    def test_upgradedOnce(self) -> None:
        """An upgraded database is opened unchanged."""
        store = self.open()
        before = store.contentsOf("/log")
        store.close()
        self.assertEqual(self.open().contentsOf("/log"), before)

    def test_otherTables(self) -> None:
        """
        A database that claims to be of the first version but has other tables is left
        unchanged.
        """
        db = sqlite3.connect(self.path)
        db.execute("ALTER TABLE bookmark RENAME COLUMN anchor TO colour")
        db.execute("ALTER TABLE bookmark RENAME COLUMN crc TO sum")
        db.commit()
        db.close()
        before = self.path.read_bytes()
        self.assertRaises(UserError, StateStore.open, self.path)
        self.assertEqual(self.path.read_bytes(), before)
