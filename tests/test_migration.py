"""
Tests for L{decnet_syslog.migration}: every schema that a journal ever had is upgraded,
or left unchanged.

C{tests/data/schemas} has each past C{journal.sql}; the number in its name is its
version.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.files import StateStore
from decnet_syslog.files._contents import Content
from decnet_syslog.journal import _sqlite as journals
from decnet_syslog.journal._schema import journalSchema
from decnet_syslog.journal._sqlite import Journal
from decnet_syslog.journal._values import FileLength
from decnet_syslog.migration import Schema, Step, bringUp

from .databases import Database
from .doubles import PROVENANCE, STREAM, lines

SCHEMAS = Path(__file__).parent / "data" / "schemas"
PAST = sorted(SCHEMAS.glob("journal-*.sql"))

IDENTITY = "0123456789abcdef" * 2
OCTETS = b"one\ntwo\n"

# The values of a table's row, by its possible columns.
ROWS: dict[str, dict[str, object]] = {
    "meta": {"key": "identity", "value": IDENTITY},
    "name": {
        "id": 1,
        "worker": PROVENANCE.worker,
        "digest": None,
        "name": b"/var/log/\xff",
    },
    "stream": {
        "id": 1,
        "worker": PROVENANCE.worker,
        "stream": STREAM,
        "generation": 3,
        "name": b"/var/log/\xff",
        "name_id": 1,
        "offset": 17,
        "base": 9,
        "crc": crc32(OCTETS),
        "epoch": 4,
        "turn": 1,
    },
    "batch": {
        "seq": 8,
        "worker": PROVENANCE.worker,
        "fingerprint": PROVENANCE.fingerprint,
        "address": PROVENANCE.address,
        "received_at": PROVENANCE.receivedAt,
        "name": b"/var/log/\xff",
        "marks": 0,
        "stream_id": 1,
        "start": 9,
        "end": 17,
        "octets": OCTETS,
    },
    "gap": {
        "stream_id": 1,
        "worker": PROVENANCE.worker,
        "stream": STREAM,
        "generation": 3,
        "name": b"/var/log/\xff",
        "name_id": 1,
        "start": 2,
        "end": 9,
        "reason": "lag-cap",
        "received_at": PROVENANCE.receivedAt,
    },
    "cursor": {"output": "raw", "seq": 7},
    "output_file": {
        "output": "raw",
        "path": b"/x/master.log",
        "device": 1,
        "inode": 2,
        "length": 30,
        "anchor": b"",
        "ahead": 0,
        "boot": "",
    },
}

# Changes that produce a schema which this program never had.
STRANGE = {
    "a column": "ALTER TABLE stream ADD COLUMN colour TEXT",
    "a table": "CREATE TABLE colour (name TEXT)",
    "a view": "CREATE VIEW colour AS SELECT worker FROM batch",
    "a trigger": "CREATE TRIGGER colour AFTER DELETE ON batch BEGIN SELECT 1; END",
    "no table": "DROP TABLE cursor",
    "no column": "ALTER TABLE batch RENAME COLUMN address TO peer",
    "another key": "CREATE UNIQUE INDEX colour ON stream (worker, crc)",
    "a later version": "PRAGMA user_version = 99",
    "no version": "PRAGMA user_version = 0",
}


def versionOf(path: Path) -> int:
    """The version of a past schema."""
    return int(re.sub(r"\D", "", path.stem))


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def make(path: Path, schema: Path) -> None:
    """A journal as a past program left it after a clean stop."""
    with writing(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(schema.read_text("utf-8"))
        for table, row in ROWS.items():
            has = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            columns = [column for column in has if column in row]
            if not has:
                continue
            names = ", ".join(f'"{column}"' for column in columns)
            marks = ", ".join("?" * len(columns))
            db.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",
                [row[column] for column in columns],
            )
        db.execute(f"PRAGMA user_version = {versionOf(schema)}")
    path.chmod(0o600)


def using(schema: Schema) -> AbstractContextManager[object]:
    """A program whose newest schema is this one."""
    return mock.patch.object(journals, "journalSchema", lambda: schema)


def smallDisk(
    *arguments: Any, connect: Any = sqlite3.connect, **named: Any
) -> sqlite3.Connection:
    """A database on a disk that has no room for growth."""
    db: sqlite3.Connection = connect(*arguments, **named)
    db.execute("PRAGMA max_page_count = 1")
    return db


class PastTests(SynchronousTestCase):
    """Journals of every past version."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)

    def journals(self, why: str) -> Iterator[tuple[str, Path]]:
        """A journal for each past schema."""
        for schema in PAST:
            path = self.directory / f"{why.replace(' ', '-')}-{schema.stem}.db"
            make(path, schema)
            yield schema.stem, path

    def test_everyVersionIsCovered(self) -> None:
        """There is a past schema for each version before the newest."""
        versions = set(map(versionOf, PAST))
        newest = journalSchema().version
        self.assertEqual(
            set(range(1, newest)) - versions,
            set(),
            "copy the journal.sql that bore it into tests/data/schemas",
        )

    def test_upgradeKeepsContent(self) -> None:
        """An upgraded journal has everything, and accepts lines."""
        for name, path in self.journals("up"):
            with self.subTest(schema=name):
                self.look(path)

    def test_halfUpgradedJournal(self) -> None:
        """
        A journal of version 1 that a program of version 2 altered and then refused is
        upgraded.
        """
        for schema in [path for path in PAST if versionOf(path) == 1]:
            with self.subTest(schema=schema.stem):
                path = self.directory / f"{schema.stem}.db"
                make(path, schema)
                with writing(path) as db:
                    db.execute(
                        "ALTER TABLE batch ADD COLUMN marks INTEGER NOT NULL DEFAULT 0"
                    )
                    db.execute("PRAGMA user_version = 2")
                self.look(path)

    def look(self, path: Path) -> None:
        for _ in range(2):
            # At the second opening it is the newest version already.
            database = Database()
            journal = Journal.open(path, connect=database)
            try:
                self.assertEqual(journal.identity, IDENTITY)
                (known,) = journal.known(PROVENANCE.worker)
                self.assertEqual(
                    (known.stream, known.generation, known.offset, known.base),
                    (STREAM, 3, 17, 9),
                )
                self.assertEqual(known.crc, crc32(OCTETS))
                (batch,) = journal.read(0, 10**6)
                self.assertEqual((batch.seq, batch.octets, batch.start), (8, OCTETS, 9))
                cursor = journal.useOutputs(["raw"])["raw"]
                self.assertEqual(
                    (cursor.seq, cursor.files["/x/master.log"]),
                    (7, FileLength(1, 2, 30)),
                )
                gap = database.rows('SELECT worker, stream, start, "end" FROM gap')
                self.assertEqual(gap, [(PROVENANCE.worker, STREAM, 2, 9)])
            finally:
                journal.close()
        journal = Journal.open(path)
        try:
            grant = journal.grant(PROVENANCE.worker, STREAM, 3, 0, "x")
            (added,) = journal.commit([lines(grant, 17, b"three\n")])
            assert added is not None
            self.assertEqual((grant.epoch, added.seq), (5, 9))
        finally:
            journal.close()

    def test_unknownSchemaIsUntouched(self) -> None:
        """
        A journal with a schema that cannot be upgraded is refused, and no octet of it
        changes.
        """
        for what, statement in STRANGE.items():
            for name, path in self.journals(what):
                with self.subTest(strange=what, schema=name):
                    with writing(path) as db:
                        db.execute(statement)
                    self.refused(path)

    def refused(self, path: Path) -> None:
        before = path.read_bytes()
        error = self.assertRaises(UserError, Journal.open, path)
        self.assertIn(str(path), str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(path.read_bytes(), before)
        # Neither its WAL mode nor the files next to it changed.
        self.assertEqual(
            [p.name for p in self.directory.glob(f"{path.name}*")], [path.name]
        )

    def test_noWAL(self) -> None:
        """Another program's database is not switched to a write-ahead log."""
        path = self.directory / "other.db"
        with writing(path) as db:
            db.execute("CREATE TABLE stream (id INTEGER)")
        path.chmod(0o600)
        self.refused(path)

    def test_rowsLost(self) -> None:
        """Steps that lose a row, or break a reference, are rolled back."""
        schema = journalSchema()
        lossy = {
            "a row": "DELETE FROM gap",
            "what a row refers to": "DELETE FROM stream",
            "a table": "DROP TABLE output_file",
        }
        for what, statement in lossy.items():
            for name, path in self.journals(what):
                with self.subTest(lost=what, schema=name):
                    step = Step(99, "colour", (statement,))
                    worse = replace(schema, steps=(*schema.steps, step))
                    with using(worse):
                        self.refused(path)

    def test_noSpaceForUpgrade(self) -> None:
        """
        Without space for the upgrade a journal stays unchanged, and is upgraded later.
        """
        schema = journalSchema()
        fill = "INSERT INTO meta VALUES ('x', zeroblob(1000000))", "DELETE FROM meta"
        for name, path in self.journals("full"):
            with self.subTest(schema=name):
                before = path.read_bytes()
                step = Step(99, "colour", fill)
                larger = replace(schema, steps=(*schema.steps, step))

                with (
                    using(larger),
                    mock.patch.object(sqlite3, "connect", smallDisk),
                ):
                    error = self.assertRaises(UserError, Journal.open, path)
                self.assertIn("free space", str(error))
                self.assertEqual(path.read_bytes(), before)
                self.look(path)


class StepTests(SynchronousTestCase):
    """Steps that remove something an earlier step added."""

    def test_stepIsNotRepeated(self) -> None:
        """A step is not repeated if a later one has removed its addition."""
        first = Step(2, "a.old", ("ALTER TABLE a ADD COLUMN old TEXT",))
        second = Step(
            3,
            "a.new",
            (
                "ALTER TABLE a ADD COLUMN new TEXT",
                "UPDATE a SET new = old",
                "ALTER TABLE a DROP COLUMN old",
            ),
            removes=("a.old",),
        )
        schema = Schema("CREATE TABLE a (id INTEGER, new TEXT)", (first, second))
        self.assertEqual(schema.version, 3)
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            db.execute("CREATE TABLE a (id INTEGER)")
            db.execute("INSERT INTO a VALUES (1)")
            db.execute("PRAGMA user_version = 1")
            for _ in range(2):
                bringUp(db, schema, lambda: None)
                self.assertEqual(db.execute("SELECT * FROM a").fetchall(), [(1, None)])
                self.assertEqual(
                    db.execute("PRAGMA user_version").fetchone(), (schema.version,)
                )


class StateTests(SynchronousTestCase):
    """The forwarder's state database."""

    def test_unknownSchemaIsUntouched(self) -> None:
        """
        A state database with an unknown schema is refused, and no octet of it changes.
        """
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        strange = {
            "a column": "ALTER TABLE content ADD COLUMN colour TEXT",
            "no column": "ALTER TABLE content RENAME COLUMN seen TO colour",
            "a later version": "PRAGMA user_version = 99",
            "another's": "DROP TABLE content; DROP TABLE position;"
            " DROP TABLE journal; CREATE TABLE colour (name TEXT);"
            " PRAGMA user_version = 0",
        }
        for what, script in strange.items():
            with self.subTest(strange=what):
                path = directory / f"{what}.db"
                state = StateStore.open(path)
                state.save([Content("a" * 32, 0, "x")])
                state.close()
                with writing(path) as db:
                    db.executescript(script)
                before = path.read_bytes()
                error = self.assertRaises(UserError, StateStore.open, path)
                self.assertNotIn("\n", str(error))
                self.assertEqual(path.read_bytes(), before)
