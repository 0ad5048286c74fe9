"""
Tests for hostile workers with a valid certificate: the resources that they can occupy
are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from zlib import crc32

from twisted.internet.defer import Deferred, fail

from decnet_syslog.journal import _gaps as gaps
from decnet_syslog.journal import _grantqueue as grantqueue
from decnet_syslog.journal._sqlite import Journal, JournalFull
from decnet_syslog.journal._values import Batch, Cursor, Deposit
from decnet_syslog.limits import Limits
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._openstreams import NAME_OCTETS_MAX
from decnet_syslog.receiving._plain import PlainSession
from decnet_syslog.receiving._session import Violation
from decnet_syslog.wire import (
    ACK,
    AT,
    BYE,
    EMPTY,
    EMPTY_LINES_MAX,
    LAST,
    LIST,
    NUMBER_MAX,
    OPEN,
    SKIP,
    encodeControl,
)
from decnet_syslog.wire._protocol import OctetCountedReceiver

from ..doubles import PROVENANCE, STREAM, LaterThread, RecordingLine
from .test_reception import OTHER, ReceptionTestCase


class PositionTests(ReceptionTestCase):
    """A position that no file can have never reaches the journal."""

    def test_positionOverflow(self) -> None:
        """No control line or frame moves a position past the largest number."""
        moves: list[Callable[[Any], object]] = [
            lambda r: r.framesReceived([b"a"]),
            lambda r: r.controlReceived(SKIP(2, "x")),
            lambda r: r.controlReceived(EMPTY(2)),
            lambda r: (r.controlReceived(LAST()), r.framesReceived([b"ab"])),
        ]
        for number, move in enumerate(moves):
            with self.subTest(number=number):
                stream = f"{number:032x}"
                session, _ = self.open(NUMBER_MAX - 1, stream)
                self.assertRaises(Violation, move, session)
        self.assertEqual(self.failures, [])

    def test_sumOverflows(self) -> None:
        """A gap and a line that together pass the largest number are refused."""
        session, _ = self.open()
        session.controlReceived(SKIP(NUMBER_MAX, "x"))
        self.assertRaises(Violation, session.framesReceived, [b"a"])
        self.assertEqual(self.failures, [])

    def test_lastIsEmpty(self) -> None:
        """LAST followed by EMPTY is refused: the final line has octets."""
        session, _ = self.open()
        session.controlReceived(LAST())
        self.assertRaises(Violation, session.controlReceived, EMPTY(1))
        self.assertEqual(self.stored(), b"")


class CostTests(ReceptionTestCase):
    """Few octets on the wire must not become much memory or disk."""

    def busy(self) -> LaterThread:
        """Keep the journal from committing anything from here on."""
        self.journalThread.isHeld = True
        return self.journalThread

    def pausedAfter(self, step: Callable[[int], int], line: RecordingLine) -> int:
        """The number of octets on the wire until the connection is paused."""
        octets = number = 0
        while not line.paused:
            octets += step(number)
            number += 1
            self.assertLess(octets, 4 * Limits.pendingPerConnection)
        return octets

    def test_gapsCount(self) -> None:
        """Gaps count towards the budget, although they carry no octets."""
        session, line = self.open()
        self.busy()

        def step(number: int) -> int:
            skip = SKIP(1, "ab"[number % 2])
            session.controlReceived(skip)
            return len(encodeControl(skip))

        self.assertLess(self.pausedAfter(step, line), Limits.pendingPerConnection // 20)

    def test_gapsJoined(self) -> None:
        """Consecutive gaps with the same reason are joined."""
        session, _ = self.open()
        thread = self.busy()
        for _ in range(1000):
            session.controlReceived(SKIP(2, "oversize"))
        thread.run()
        gaps = [(b.start, b.end) for b in self.journal.read(0, 10**9)]
        self.assertEqual(gaps, [(0, 2), (2, 2000)])

    def test_emptyLines(self) -> None:
        """Empty lines count towards the budget, although no frame carries them."""
        session, line = self.open()
        self.busy()

        def step(number: int) -> int:
            empty = EMPTY(EMPTY_LINES_MAX)
            session.controlReceived(empty)
            return len(encodeControl(empty))

        self.assertLess(self.pausedAfter(step, line), 1000)
        self.assertRaises(
            Violation, session.controlReceived, EMPTY(EMPTY_LINES_MAX + 1)
        )

    def test_switchingFiles(self) -> None:
        """Alternating between two files counts one deposit per switch."""
        session, line = self.open()
        session.controlReceived(OPEN(OTHER, 0, 0, "y"))
        self.busy()

        def step(number: int) -> int:
            at = AT((STREAM, OTHER)[number % 2], 0, 2 * (number // 2))
            session.controlReceived(at)
            session.framesReceived([b"a"])
            return len(encodeControl(at)) + 3

        self.assertLess(self.pausedAfter(step, line), Limits.pendingPerConnection // 4)

    def test_listOnce(self) -> None:
        """LIST is answered once per connection, because the answer is long."""
        session, _ = self.open()
        session.controlReceived(LIST())
        self.assertRaises(Violation, session.controlReceived, LIST())

    def test_nothingAfterBye(self) -> None:
        """Nothing may follow BYE."""
        session, _ = self.open()
        session.controlReceived(BYE("shutdown", "x"))
        self.assertRaises(Violation, session.controlReceived, BYE("shutdown", "x"))

    def test_longName(self) -> None:
        """
        A name too long for a path is refused; the longest valid name fits in every
        answer.
        """
        session, line = self.connect()
        self.assertRaises(
            Violation,
            session.controlReceived,
            OPEN(STREAM, 0, 0, "a" * (NAME_OCTETS_MAX + 1)),
        )
        session.controlReceived(OPEN(STREAM, 0, 2**62, "%" * NAME_OCTETS_MAX))
        session.controlReceived(LIST())
        self.assertEqual(len([encodeControl(sent) for sent in line.pop()]), 3)

    def reopen(self, streamsMax: int) -> None:
        """Reopen the journal with a limit on streams, as for --max-files-per-worker."""
        self.journal.close()
        self.journal = Journal.open(
            self.journal.path, streamsMax, connect=self.database
        )
        self.addCleanup(self.journal.close)

    def test_oldestStreamsAreForgotten(self) -> None:
        """
        The streams that advanced least recently are forgotten, with or without gaps.
        """
        self.reopen(10)
        self.journal.useOutputs(["raw"])
        first = self.journal.grant("w1", STREAM, 0, 0, "x")
        for number in range(30):
            grant = self.journal.grant("w1", f"{number:032x}", 0, 0, "x")
            gap = Deposit(PROVENANCE, grant, 0, 1, b"", reason="x")
            more = Deposit(PROVENANCE, first, number, number + 1, b"\n")
            batches = self.journal.commit([gap, more])
            self.assertNotIn(None, batches)
            if number < 20:
                last = cast(Batch, batches[-1]).seq
                self.journal.commit([], [Cursor("raw", last, {})])
        known = {k.stream for k in self.journal.known("w1")}
        # Batches not yet written to the output are kept, however many there are.
        waiting = {f"{number:032x}" for number in range(20, 30)}
        self.assertEqual(known, {STREAM, *waiting})
        self.journal.commit([], [Cursor("raw", 10**6, {})])
        self.journal.grant("w1", "e" * 32, 0, 0, "x")
        self.assertEqual(len(self.journal.known("w1")), 10)

    def test_rowOfAnother(self) -> None:
        """
        When the row of a forgotten stream is reused for another worker's stream, a
        holder of the old grant cannot move the new stream or record a gap for it.
        """
        self.reopen(2)
        self.journal.useOutputs(["raw"])
        grants = [self.journal.grant("w1", f"{n:032x}", 0, 0, "x") for n in range(2)]
        first = Deposit(PROVENANCE, grants[0], 0, 1, b"\n")
        (batch,) = self.journal.commit([first])
        assert batch is not None
        self.journal.commit([], [Cursor("raw", batch.seq, {})])
        # The second stream is forgotten, then the third: the row is free, and reused
        # for w2.
        self.journal.grant("w1", "e" * 32, 0, 0, "x")
        self.database.rows(f"DELETE FROM stream WHERE stream = '{'e' * 32}'")
        victim = self.journal.grant("w2", STREAM, 0, 0, "x")
        self.assertEqual((victim.row, victim.epoch), (grants[1].row, grants[1].epoch))
        for stolen in (
            Deposit(PROVENANCE, grants[1], 0, 9, b"", reason="x"),
            Deposit(PROVENANCE, grants[1], 0, 2, b"a\n"),
        ):
            self.assertEqual(self.journal.commit([stolen]), [None])
        (known,) = self.journal.known("w2")
        self.assertEqual((known.offset, known.base, known.crc), (0, 0, 0))
        self.assertEqual(self.database.value("SELECT count(*) FROM gap"), 0)
        # The state kept in memory for the old grant does not affect it either.
        who = replace(PROVENANCE, worker="w2")
        mine = [Deposit(who, victim, at, at + 2, b"b\n") for at in (0, 2)]
        self.assertNotIn(None, self.journal.commit(mine))
        (known,) = self.journal.known("w2")
        self.assertEqual((known.offset, known.crc), (4, crc32(b"b\nb\n")))

    def test_streamsAfterRestart(self) -> None:
        """
        A stream with a batch that the output lacks is not forgotten after a restart
        either.
        """
        self.reopen(2)
        self.journal.useOutputs(["raw"])
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.journal.commit([Deposit(PROVENANCE, grant, 0, 2, b"a\n")])
        self.reopen(2)
        for number in range(5):
            self.journal.grant("w1", f"{number:032x}", 0, 0, "x")
        self.assertIn(STREAM, {k.stream for k in self.journal.known("w1")})

    def test_gapRows(self) -> None:
        """A worker's oldest gaps are forgotten when there are very many."""
        self.patch(gaps, "GAPS_PER_WORKER_MAX", 20)
        self.patch(gaps, "GAPS_PER_LOOK", 5)
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        for number in range(100):
            self.journal.commit(
                [Deposit(PROVENANCE, grant, number, number + 1, b"", reason="x")]
            )
        self.assertLess(self.database.value("SELECT count(*) FROM gap"), 26)


class ReconnectTests(ReceptionTestCase):
    """Reconnecting does not evade a budget."""

    def plain(self) -> tuple[PlainSession, RecordingLine]:
        line = RecordingLine()
        return PlainSession(Origin("w1", "f", "a"), line, self.commits), line

    def test_journalFull(self) -> None:
        """While the journal is full, no connection is read."""
        self.openCommits(limits=Limits(journal=100_000))
        session, _ = self.plain()
        session.framesReceived([b"x" * 99_000] * 2)
        other, line = self.plain()
        other.start()
        self.assertTrue(line.paused)

    def test_diskFull(self) -> None:
        """
        Lines of a closed connection do not wait for disk space: the worker sends them
        again.
        """
        sessions = [self.open(stream=f"{number:032x}")[0] for number in range(100)]
        with self.database.full():
            sessions[0].framesReceived([b"x" * 250_000])
            self.assertTrue(self.commits.full)
            waiting = self.commits.pendingOctets
            for session in sessions[1:]:
                session.framesReceived([b"x" * 250_000])
                self.assertGreater(self.commits.pendingOctets, waiting + 250_000)
                session.connectionLost()
                self.assertEqual(self.commits.pendingOctets, waiting)

    def test_orderBehindRetry(self) -> None:
        """A commit that waits for space stays ahead of a newer connection's commit."""
        full = [False]

        def thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            if full[0] and function == self.journal.commit:
                return fail(JournalFull("no space"))
            return self.journalThread(function, *arguments)

        self.openCommits(thread)
        old, _ = self.connect()
        old.controlReceived(OPEN(STREAM, 0, 0, "app.log"))
        old.controlReceived(OPEN(STREAM, 1, 0, "app.log"))
        # Both wait for a commit that is in progress when the disk becomes full.
        self.journalThread.isHeld = True
        other, _ = self.plain()
        other.framesReceived([b"first"])
        old.controlReceived(AT(STREAM, 0, 0))
        old.framesReceived([b"older"])
        old.controlReceived(AT(STREAM, 1, 0))
        old.framesReceived([b"newer"])
        full[0] = True
        self.journalThread.run()
        self.journalThread.isHeld = False
        self.assertTrue(self.commits.full)
        new, line = self.connect()
        new.controlReceived(OPEN(STREAM, 0, 0, "app.log"))
        self.assertEqual(line.pop(), [])
        full[0] = False
        self.clock.advance(1)
        (resume,) = line.pop()
        self.assertEqual(getattr(resume, "offset", None), 6)
        self.assertEqual(self.stored(), b"first\nolder\nnewer\n")

    def test_abandonedGrants(self) -> None:
        """Grants whose connection is gone are not made, however many were requested."""
        thread = self.journalThread
        thread.isHeld = True
        for number in range(20):
            session, line = self.connect()
            for second in range(200):
                session.controlReceived(OPEN(f"{number:016x}{second:016x}", 0, 0, "x"))
            if number < 19:
                session.connectionLost()
        thread.run()
        known = self.journal.known("w1")
        # One had begun when the first connection was lost.
        self.assertEqual(len(known), 1 + 200)
        self.assertEqual(len(line.pop()), 200)

    def test_commitBetweenGrants(self) -> None:
        """A worker that opens very many streams does not delay other workers' lines."""
        thread = self.journalThread
        thread.isHeld = True
        good, line = self.connect("good")
        good.controlReceived(OPEN(STREAM, 0, 0, "x"))
        thread.run()
        line.pop()
        evil, evilLine = self.connect("evil")
        for number in range(256):
            evil.controlReceived(OPEN(f"{number:032x}", 0, 0, "x"))
        good.controlReceived(AT(STREAM, 0, 0))
        good.framesReceived([b"a"])
        thread.run(2)
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 2)])
        self.assertEqual(len(evilLine.pop()), 1)
        good.framesReceived([b"b"])
        thread.run(2)
        self.assertEqual(len(evilLine.pop()), grantqueue.GRANTS_AT_ONCE)
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 4)])
        thread.run()
        self.assertEqual(len(evilLine.pop()), 255 - grantqueue.GRANTS_AT_ONCE)

    def test_lostConnection(self) -> None:
        """
        When a connection is lost, lines gathered from a newer file do not overtake an
        older file's lines, which are sent again.
        """
        thread = self.journalThread
        thread.isHeld = True
        old, _ = self.connect()
        old.controlReceived(OPEN(STREAM, 0, 0, "x"))
        old.controlReceived(OPEN(OTHER, 0, 0, "x"))
        thread.run()
        # A commit is in progress.
        busy, _ = self.connect("w2")
        busy.controlReceived(OPEN(STREAM, 0, 0, "y"))
        thread.run()
        busy.controlReceived(AT(STREAM, 0, 0))
        busy.framesReceived([b"busy"])
        for stream, message in ((STREAM, b"older"), (OTHER, b"newer")):
            old.controlReceived(AT(stream, 0, 0))
            old.framesReceived([message])
        old.connectionLost()
        new, line = self.connect()
        # Its second OPEN arrives late.
        for stream, message in ((STREAM, b"older"), (OTHER, b"newer")):
            new.controlReceived(OPEN(stream, 0, 0, "x"))
            thread.run()
            (resume,) = line.pop()
            self.assertEqual(getattr(resume, "offset", None), 0)
            new.controlReceived(AT(stream, 0, 0))
            new.framesReceived([message])
            thread.run()
            line.pop()
        self.assertEqual(self.stored(), b"busy\nolder\nnewer\n")

    def test_stopWhileFull(self) -> None:
        """Stopping does not wait for free disk space."""

        def thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return fail(JournalFull("no space"))

        self.openCommits(thread)
        session, _ = self.plain()
        session.framesReceived([b"x"])
        done = self.commits.flush()
        self.assertIs(self.successResultOf(done), False)


class ErrorTests(ReceptionTestCase):
    """An internal error closes one connection and does not stop the listener."""

    def test_errorInTake(self) -> None:
        """
        An internal error while taking frames closes only the connection concerned.
        """
        bad, badLine = self.open()
        self.patch(bad, "take", lambda at: 1 // 0)
        bad.framesReceived([b"a"])
        good, _ = self.open(stream=OTHER)
        good.framesReceived([b"b"])
        self.assertEqual([bye.code for bye in badLine.byes], ["error"])
        self.assertEqual(self.stored(), b"b\n")
        self.assertEqual(self.failures, [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class HaltingReceiver(OctetCountedReceiver):
    """A receiver that halts after a number of control lines."""

    control = True

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def controlReceived(self, line: Any) -> None:
        self.seen.append(line)
        if len(self.seen) % 10 == 0:
            self.halt()

    def framesReceived(self, messages: list[bytes]) -> None:
        self.seen.extend(messages)


class HaltTests(ReceptionTestCase):
    """A halted receiver gets no more of the received octets."""

    def test_haltedOctetsWait(self) -> None:
        """The remaining octets wait in order, and later ones queue."""
        receiver = HaltingReceiver()
        receiver.dataReceived(b"EMPTY 1\n" * 25 + b"3 ab")
        self.assertEqual(len(receiver.seen), 10)
        receiver.dataReceived(b"c1 d")
        self.assertEqual(len(receiver.seen), 10)
        receiver.proceed()
        self.assertEqual(len(receiver.seen), 20)
        receiver.proceed()
        self.assertEqual(receiver.seen[20:], [EMPTY(1)] * 5 + [b"abc", b"d"])
        self.assertEqual(receiver.unfinished, 0)
