"""
Tests for a HOSTNAME that differs from the worker's name: detection, and treatment of
the message.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._schema import journalSchema
from decnet_syslog.journal._values import Deposit
from decnet_syslog.outputs._interfaces import Events
from decnet_syslog.outputs._rendering import RECORDS
from decnet_syslog.wire._hostname import contradicts, firstContradiction
from decnet_syslog.wire._record import MISMATCH

from ..doubles import PROVENANCE, MasterTestCase, makeOutput
from ..records import record

LINE = b"<134>1 2026-04-18T00:00:00Z %s ssh - auth - hello"
MARKING = replace(PROVENANCE, flagHostnameMismatch=True)


class NameTests(SynchronousTestCase):
    """Names that mean the same machine."""

    def test_sameMachine(self) -> None:
        """
        Names agree if they are equal except for case, or one is the short form of the
        other; a missing HOSTNAME contradicts nothing.
        """
        for hostname in ("decky-01", "DECKY-01", "decky-01.example.org", "-"):
            self.assertFalse(contradicts(hostname, "decky-01"), hostname)
        for hostname in ("decky-01", "Decky-01.Example.org"):
            self.assertFalse(contradicts(hostname, "decky-01.example.org"), hostname)

    def test_otherMachine(self) -> None:
        """Another name, another domain, or a part of the name is a contradiction."""
        for hostname in ("web", "decky-0", "decky-011", "decky-02.example.org", ""):
            self.assertTrue(contradicts(hostname, "decky-01"), hostname)
        self.assertTrue(contradicts("decky-01.example.com", "decky-01.example.org"))

    def test_firstContradiction(self) -> None:
        """
        The first message that names another machine is found; text without a header
        names none.
        """
        same = [LINE % b"w1", LINE % b"-", b"", b"no header", b"<134>1 "]
        self.assertIsNone(firstContradiction(same, "w1"))
        found = firstContradiction([*same, LINE % b"\xff\x1b[2J", LINE % b"x"], "w1")
        self.assertEqual(found, (5, "\ufffd\x1b[2J"))


class RecordTests(SynchronousTestCase):
    """The mismatch mark in a record."""

    def test_markedOnlyIfDifferent(self) -> None:
        """The mark is present only for a mismatch, after DECNET's members."""
        made = record(LINE % b"web", MARKING, 0)
        self.assertIs(made[MISMATCH], True)
        self.assertEqual(list(made)[-1], MISMATCH)
        for hostname in (b"w1", b"W1.example.org", b"-"):
            self.assertNotIn(MISMATCH, record(LINE % hostname, MARKING, 0))
        self.assertNotIn(MISMATCH, record(b"what is this", MARKING, 0))

    def test_notMarked(self) -> None:
        """Without the option there is no mark."""
        self.assertNotIn(MISMATCH, record(LINE % b"web", PROVENANCE, 0))


class RestartTests(MasterTestCase):
    """The configuration may change between a crash and the next start."""

    def deposit(self, marks: bool) -> None:
        who = MARKING if marks else PROVENANCE
        self.journal.commit([Deposit(who, None, 0, 0, LINE % b"web" + b"\n")])

    def write(self, path: Path, events: Events) -> None:
        """Write every batch that the output lacks."""
        output = makeOutput(self, path, RECORDS, events)
        output.start(self.journal.useOutputs([output.name])[output.name])
        batches = self.journal.read(output.seq, 10**6)
        while (barrier := output.apply(batches)) is not None:
            self.journal.commit([], [barrier])

    def test_renderedAgain(self) -> None:
        """
        A batch is rendered again with its original setting, so that a partial write is
        completed.
        """
        said: list[str] = []
        path = self.directory / "master.json"
        write = partial(self.write, path, lambda name, **facts: said.append(name))
        self.openOutput(path, RECORDS).close()
        self.deposit(True)
        self.deposit(False)
        write()
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        self.restart()
        write()
        self.assertEqual((path.read_bytes(), said), (whole, []))
        marked = [MISMATCH in json.loads(line) for line in whole.splitlines()]
        self.assertEqual(marked, [True, False])

    def test_olderJournal(self) -> None:
        """
        A journal without marks is upgraded; its existing batches stay without marks.
        """
        self.deposit(False)
        (before,) = self.journal.read(0, 10**6)
        self.commits.stop()
        self.journal.close()
        path = self.directory / "listener.db"
        db = sqlite3.connect(path)
        db.execute("ALTER TABLE batch DROP COLUMN marks")
        db.execute("PRAGMA user_version = 1")
        db.commit()
        db.close()
        self.openJournal()
        self.deposit(True)
        old, new = self.journal.read(0, 10**6)
        self.assertEqual(old, before)
        self.assertEqual(
            (old.provenance.flagHostnameMismatch, new.provenance.flagHostnameMismatch),
            (False, True),
        )
        version = self.database.value("PRAGMA user_version")
        self.assertEqual(version, journalSchema().version)
