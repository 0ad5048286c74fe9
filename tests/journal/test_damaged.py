"""
Tests for starts on a damaged database: it is refused with a one-line remedy, or is
complete.

Every page of a journal with rows in every table is damaged in every way known from
disks: zeros, ones, noise, another page in its place, half of it outdated. The file is
also truncated, or its header claims another length.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.durable import EXIT_STORAGE
from decnet_syslog.errors import UserError
from decnet_syslog.files import StateStore
from decnet_syslog.files._contents import Content
from decnet_syslog.files._objects import FileId
from decnet_syslog.journal._sqlite import Journal, JournalFailed
from decnet_syslog.journal._values import Cursor, Deposit, FileLength
from decnet_syslog.master._service import ListenerService
from decnet_syslog.master._settings import ListenerSettings

from ..doubles import PROVENANCE, STREAM, lines
from ..peers import PairTestCase

Damage = Callable[[bytes, bytes, random.Random], bytes]

# Each damage: a page, another page, and dice.
DAMAGES: dict[str, Damage] = {
    "zeros": lambda page, other, dice: bytes(len(page)),
    "ones": lambda page, other, dice: b"\xff" * len(page),
    "noise": lambda page, other, dice: dice.randbytes(len(page)),
    "another page": lambda page, other, dice: other,
    "its second half": lambda page, other, dice: (
        page[: len(page) // 2] + other[len(page) // 2 :]
    ),
    "a few octets": lambda page, other, dice: _flipped(page, dice),
}


# A page cannot reveal this damage, but it must do no harm.
SUBTLE = {"its second half", "a few octets"}

OUTPUTS = ["raw", "json"]


def _flipped(page: bytes, dice: random.Random) -> bytes:
    """A page with sixteen changed octets in its header, where its structure is."""
    octets = bytearray(page)
    for _ in range(16):
        octets[dice.randrange(min(512, len(octets)))] ^= 1 << dice.randrange(8)
    return bytes(octets)


def fill(path: Path) -> None:
    """A journal with rows in every table, and pages of every kind."""
    journal = Journal.open(path)
    journal.useOutputs(["raw", "json"])
    grant = journal.grant("w1", STREAM, 0, 0, "/var/log/" + "x" * 3000)
    journal.commit([lines(grant, 0, b"line\n" * 20000)])
    journal.commit([Deposit(PROVENANCE, grant, 100000, 100009, b"", reason="lag-cap")])
    for number in range(40):
        journal.grant("w2", STREAM, number, 0, f"/var/log/{number}{'y' * 1000}")
        journal.commit([Deposit(PROVENANCE, None, 0, 0, b"line\n" * 300)])
    journal.commit([Deposit(PROVENANCE, None, 0, 0, b"a\nb", lengths=(3,))])
    files = {"/x/master.log": FileLength(1, 2, 3, b"anchor")}
    journal.commit([], [Cursor("raw", 3, files), Cursor("json", 2, {})])
    journal.close()


def told(path: Path) -> list[object]:
    """
    Everything that the journal reports to its users, except the octets of lines and
    names: a page cannot reveal a change of those.
    """
    journal = Journal.open(path)
    try:
        return [
            journal.identity,
            {name: cursor.seq for name, cursor in journal.useOutputs(OUTPUTS).items()},
            [(k.generation, k.offset, k.base) for k in journal.known("w1")],
            [(k.generation, k.offset, k.base) for k in journal.known("w2")],
            [(b.seq, len(b.octets), b.start, b.end) for b in journal.read(0, 10**9)],
        ]
    finally:
        journal.close()


class JournalTests(SynchronousTestCase):
    """The listener's database."""

    def setUp(self) -> None:
        # Hundreds of journals are opened, each with several syncs.
        where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(dir=where)).resolve()
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "listener.db"
        fill(self.path)
        self.octets = self.path.read_bytes()
        with closing(sqlite3.connect(self.path)) as db:
            (self.pageOctets,) = db.execute("PRAGMA page_size").fetchone()
        self.whole = told(self.path)

    def opened(self, octets: bytes) -> list[object] | None:
        """
        Open a journal with this content.

        @return: its report; C{None} if it was refused with a one-line reason.
        """
        path = self.directory / "damaged.db"
        for end in ("-wal", "-journal"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        path.write_bytes(octets)
        path.chmod(0o600)
        try:
            return told(path)
        except (JournalFailed, UserError) as error:
            said = str(error)
            self.assertIn(str(path), said)
            self.assertEqual(len(said.splitlines()), 1, said)
            if isinstance(error, JournalFailed):
                self.assertIn("move it away", said)
            return None

    def damaged(self) -> Iterator[tuple[str, int, bytes]]:
        """Every damage to every page."""
        size = self.pageOctets
        count = len(self.octets) // size
        for number in range(count):
            begin, end = number * size, (number + 1) * size
            other = ((number + count // 2) % count) * size
            for what, damage in DAMAGES.items():
                page = damage(
                    self.octets[begin:end],
                    self.octets[other : other + size],
                    random.Random(f"{what} {number}"),
                )
                yield what, number, self.octets[:begin] + page + self.octets[end:]

    def test_eachPageDamaged(self) -> None:
        """
        A journal with any damaged page either is refused with one line, or reports
        exactly the same as before. It never raises another exception or reports
        anything else.
        """
        refused: dict[str, set[int]] = {what: set() for what in DAMAGES}
        for what, number, octets in self.damaged():
            with self.subTest(damage=what, page=number):
                said = self.opened(octets)
                if said is None:
                    refused[what].add(number)
                elif what not in SUBTLE:
                    self.assertEqual(said, self.whole)
        for what in DAMAGES.keys() - SUBTLE:
            self.assertIn(0, refused[what], what)
            self.assertGreater(
                len(refused[what]), len(self.octets) // self.pageOctets // 2
            )

    def test_truncatedFile(self) -> None:
        """A journal truncated between two pages or within one is refused."""
        size = self.pageOctets
        for end in range(size, len(self.octets), size):
            self.assertIsNone(self.opened(self.octets[:end]), end)
            self.assertIsNone(self.opened(self.octets[: end + 100]), end)

    def test_impossibleRows(self) -> None:
        """
        Rows in intact pages that this program could never have written are refused with
        one line or tolerated, without a traceback.
        """
        strange = (
            "DELETE FROM meta",
            "DELETE FROM era",
            "UPDATE batch SET lengths = x'010203', octets = NULL WHERE 0; UPDATE batch SET"
            " lengths = x'010203'",
            "UPDATE batch SET seq = 'x' || seq WHERE 0; UPDATE batch SET worker = x'ff'",
            "UPDATE stream SET offset = 'many', turn = 'x'",
            "UPDATE cursor SET seq = 'x'",
            "UPDATE sqlite_sequence SET seq = 'x'",
            "UPDATE name SET name = 5",
        )
        for script in strange:
            with self.subTest(rows=script):
                path = self.directory / "strange.db"
                path.write_bytes(self.octets)
                with closing(sqlite3.connect(path)) as db:
                    db.executescript(script)
                octets = path.read_bytes()
                path.unlink()
                # The result does not matter: no traceback.
                self.opened(octets)


class StateTests(SynchronousTestCase):
    """The forwarder's database."""

    def test_eachPageDamaged(self) -> None:
        """
        A state database with any damaged page either keeps its contents or is set aside
        for a new one, because the master has the positions.
        """
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        path = directory / "forwarder.db"
        contents = [
            Content("a" * 32, n, f"/x/{n}", FileId(1, n, 1), head=b"x" * 1000)
            for n in range(60)
        ]
        state = StateStore.open(path)
        state.save(contents)
        state.close()
        whole = path.read_bytes()
        with closing(sqlite3.connect(path)) as db:
            (size,) = db.execute("PRAGMA page_size").fetchone()
        aside: list[Path] = []
        for number in range(len(whole) // size):
            for what in ("zeros", "ones", "noise"):
                begin, end = number * size, (number + 1) * size
                page = DAMAGES[what](whole[begin:end], b"", random.Random(number))
                path.write_bytes(whole[:begin] + page + whole[end:])
                before = len(aside)
                try:
                    state = StateStore.open(
                        path, setAside=lambda where, reason: aside.append(where)
                    )
                except UserError as error:
                    # Without its first page the file cannot be identified as ours.
                    self.assertEqual(number, 0, error)
                    self.assertIn("of another kind", str(error))
                    path.unlink()
                    continue
                held = 0 if len(aside) > before else len(contents)
                self.assertEqual(len(state.names()), held)
                state.close()
                path.unlink()
        self.assertGreater(len(aside), 3)
        self.assertTrue(all(where.exists() for where in aside))


class ProcessTests(PairTestCase):
    """A listener process that starts on a damaged journal."""

    def test_damagedJournalEndsStart(self) -> None:
        """
        The listener exits immediately with one line and status 74; connections are
        impossible.
        """
        pair = self.pair([f"--journal={self.directory}/j.db"])
        journal = self.directory / "j.db"
        fill(journal)
        octets = bytearray(journal.read_bytes())
        # A table's page: the bytes after the header and the pointer map.
        octets[3 * 32768 : 4 * 32768] = b"\xff" * 32768
        journal.write_bytes(octets)
        pair.listener.start()
        assert pair.listener.running is not None
        self.assertEqual(pair.listener.running.wait(60), EXIT_STORAGE)
        said = pair.listener.output()
        self.assertNotIn("Traceback", said)
        self.assertIn("move it away", said)
        self.assertNotIn("listening on", said)
        lines = [line for line in said.splitlines() if "j.db" in line]
        self.assertEqual(len(lines), 1, said)

    def test_noConnectionsBeforeJournal(self) -> None:
        """
        While the journal is being opened, the listener holds its port but accepts no
        connections.
        """
        seen: list[int] = []
        threads = set(threading.enumerate())

        def openJournal() -> Journal:
            with socket.socket() as other:
                seen.append(other.connect_ex(("127.0.0.1", port)))
            self.assertEqual(set(threading.enumerate()), threads)
            raise UserError("the journal cannot be opened")

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        clock: Any = Clock()
        context: Any = None
        settings = ListenerSettings("127.0.0.1", port, "j")
        service = ListenerService(clock, context, settings, openJournal, [])
        service.privilegedStartService()
        with socket.socket() as other:
            self.assertRaises(OSError, other.bind, ("127.0.0.1", port))
        self.assertRaises(SystemExit, service.startService)
        self.assertEqual(seen, [errno.ECONNREFUSED])
