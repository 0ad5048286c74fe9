"""Tests for L{decnet_syslog.worker.bookmarks}."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.durable import StorageFailed
from decnet_syslog.errors import UserError
from decnet_syslog.worker.bookmarks import FINISHED_MAX, Bookmark, Bookmarks


class BookmarkTests(SynchronousTestCase):
    """The database."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.path = directory / "forwarder.db"

    def open(self) -> Bookmarks:
        bookmarks = Bookmarks.open(self.path)
        self.addCleanup(bookmarks.close)
        return bookmarks

    def test_roundTrip(self) -> None:
        """A bookmark is read as it was saved, names of any octets too."""
        name = os.fsdecode(b"/x/\xff.log")
        mark = Bookmark(
            "a" * 32, 3, name, 1, 2, 9, b"head", 8, 4, 5, b"an", 1, "j", True
        )
        bookmarks = self.open()
        bookmarks.save([mark])
        bookmarks.close()
        again = self.open()
        self.assertEqual((again.of(name), again.fresh), ([mark], False))

    def test_replaced(self) -> None:
        """A bookmark that gets another identity takes the old one's place."""
        bookmarks = self.open()
        mark = Bookmark("a" * 32, 0, "x", 1, 2)
        bookmarks.save([mark])
        bookmarks.save([Bookmark("b" * 32, 0, "x", 1, 2)], mark)
        self.assertEqual([m.stream for m in bookmarks.all()], ["b" * 32])

    def test_bounded(self) -> None:
        """Finished bookmarks do not pile up."""
        bookmarks = self.open()
        bookmarks.save(
            [Bookmark("a" * 32, n, "x", 1, 2, finished=True) for n in range(200)]
        )
        bookmarks.forget("x")
        self.assertEqual(len(bookmarks.all()), FINISHED_MAX)
        self.assertEqual(bookmarks.of("x")[-1].generation, 199)

    def test_legacy(self) -> None:
        """The offset of DECNET's forwarder is given until there is a bookmark, and left."""
        db = sqlite3.connect(self.path)
        db.execute(
            "CREATE TABLE forwarder_offset (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
        )
        db.execute("INSERT INTO forwarder_offset VALUES ('default', 42)")
        db.commit()
        db.close()
        bookmarks = self.open()
        self.assertEqual(bookmarks.legacyOffset(), 42)
        bookmarks.save([Bookmark("a" * 32, 0, "x", 1, 2)])
        bookmarks.close()
        self.assertEqual(self.open().legacyOffset(), None)

    def test_unknown(self) -> None:
        """A later program's database, another file, a link: refused."""
        db = sqlite3.connect(self.path)
        db.execute("PRAGMA user_version = 99")
        db.close()
        self.assertIn(
            "99", str(self.assertRaises(UserError, Bookmarks.open, self.path))
        )
        self.path.write_bytes(b"something else" * 100)
        self.assertRaises(StorageFailed, Bookmarks.open, self.path)
        self.path.unlink()
        self.path.symlink_to("elsewhere")
        self.assertRaises(UserError, Bookmarks.open, self.path)

    def test_inUse(self) -> None:
        """A second forwarder on the same database is told so; the first is not disturbed."""
        bookmarks = self.open()
        other = "import sys; from decnet_syslog.worker.bookmarks import *; from pathlib import *"
        other += "; Bookmarks.open(Path(sys.argv[1]))"
        # Another process: within one, SQLite's locks would be our own.
        done = subprocess.run(
            [sys.executable, "-c", other, str(self.path)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertIn("UserError", done.stderr)
        self.assertIn("in use", done.stderr)
        bookmarks.save([Bookmark("a" * 32, 0, "x", 1, 2)])
        self.assertEqual(len(bookmarks.all()), 1)

    def test_private(self) -> None:
        """The database is the user's own, an older one that was not is made so."""
        self.open().close()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.path.chmod(0o644)
        self.open()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
