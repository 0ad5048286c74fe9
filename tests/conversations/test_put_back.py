"""
Tests for version 2 of the delivery extension: a restored journal is detected.

The tests talk to the listener's sessions over a real journal, whose file is replaced by
an older copy.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from unittest import mock
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from decnet_syslog.journal import _eras as eras
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._sqlite import JournalFull
from decnet_syslog.journal._values import Mark
from decnet_syslog.limits import Limits
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._session import Violation
from decnet_syslog.wire import (
    ACK,
    AT,
    BEAT,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LIST,
    LISTED,
    MARK,
    OPEN,
    RESUME,
    SEEN,
    ControlLine,
)
from decnet_syslog.wire._report import ForwarderReport

from ..doubles import (
    STREAM,
    KnowsOwners,
    MasterTestCase,
    RecordingLine,
    lines,
)

ports = count(1024)


class Peer:
    """
    A forwarder's end of a connection.

    @ivar mark: the newest mark received.
    """

    def __init__(self, test: PutBackTestCase, worker: str, history: bool) -> None:
        self.line = RecordingLine()
        self.session = AckedSession(
            Origin(worker, "sha-256:AA", f"192.0.2.1:{next(ports)}"),
            self.line,
            test.commits,
            test.journal,
            Limits(message=1024),
            KnowsOwners(),
            reported=test.reported,
            history=history,
        )
        self.mark: Mark | None = None
        self.told: list[ControlLine] = []
        self.session.greet()
        self.hear()

    def hear(self) -> list[ControlLine]:
        """Lines received since the previous call."""
        came = self.line.pop()
        for line in came:
            if isinstance(line, HELLO2 | MARK):
                self.mark = Mark(line.number, line.token)
        self.told += came
        return came

    def say(self, *lines: ControlLine) -> list[ControlLine]:
        """Send lines. Returns the immediate answer."""
        for line in lines:
            self.session.controlReceived(line)
        return self.hear()

    def open(self) -> list[ControlLine]:
        """Open the stream and send AT. Returns the answer to OPEN."""
        answer = self.say(OPEN(STREAM, 0, 0, "/var/log/x"))
        (offset,) = [line.offset for line in answer if isinstance(line, RESUME)]
        self.say(AT(STREAM, 0, offset))
        return answer

    def send(self, *messages: bytes) -> list[ControlLine]:
        """Send lines of the file. Returns the immediate answer."""
        self.session.framesReceived(list(messages))
        return self.hear()


class PutBackTestCase(MasterTestCase):
    """A listener's journal that is copied and restored."""

    def setUp(self) -> None:
        super().setUp()
        self.copies = 0
        self.reports: list[ForwarderReport] = []

    def reported(self, worker: str, report: ForwarderReport) -> None:
        self.reports.append(report)

    def connect(self, worker: str = "w1", history: bool = True) -> Peer:
        """A connection that has received HELLO."""
        return Peer(self, worker, history)

    def copy(self) -> Path:
        """Copy the journal while nothing is being committed."""
        self.copies += 1
        made = self.directory / f"copy-{self.copies}"
        made.mkdir()
        for path in self.directory.glob("listener.db*"):
            shutil.copy(path, made)
        return made

    def putBack(self, copy: Path) -> None:
        """Stop the listener, replace its journal with a copy, and start it."""
        self.commits.stop()
        self.journal.close()
        for path in self.directory.glob("listener.db*"):
            path.unlink()
        for path in copy.iterdir():
            shutil.copy(path, self.directory)
        self.openJournal()


class HistoryTests(PutBackTestCase):
    """The listener sends its journal's marks, and checks marks that forwarders send."""

    def test_marksInConversation(self) -> None:
        """
        HELLO contains the mark; a newer mark is sent once, before the line that it
        covers.
        """
        peer = self.connect()
        journal = self.journal.identity
        first = self.journal.mark
        hello = HELLO2(2, journal, 1024, 2048, first.number, first.token)
        self.assertEqual(peer.told, [hello])
        self.assertEqual(peer.open(), [RESUME(STREAM, 0, 0, 0, 0)])
        for at, message in ((4, b"one"), (8, b"two")):
            answer = peer.send(message)
            mark = self.journal.mark
            expected = [MARK(mark.number, mark.token), ACK(STREAM, 0, at)]
            self.assertEqual(answer, expected)
        # Other workers' lines also advance the mark; it precedes any position sent.
        other = self.connect("w2")
        other.open()
        other.send(b"x")
        later = self.connect()
        self.assertEqual(later.open(), [RESUME(STREAM, 0, 8, 0, crc32(b"one\ntwo\n"))])
        other.send(b"y")
        mark = self.journal.mark
        self.assertEqual(
            later.say(LIST()),
            [
                MARK(mark.number, mark.token),
                KNOWN(STREAM, 0, 8, 0, crc32(b"one\ntwo\n"), "/var/log/x"),
                LISTED(),
            ],
        )

    def test_markBeforeResume(self) -> None:
        """
        A position that includes lines which an older connection was still committing is
        granted with a mark that covers them.
        """
        thread = self.journalThread
        older = self.connect()
        older.open()
        thread.isHeld = True
        older.send(b"one")
        newer = self.connect()
        newer.say(OPEN(STREAM, 0, 0, "/var/log/x"))
        thread.run()
        mark = self.journal.mark
        self.assertEqual(
            newer.hear(),
            [
                MARK(mark.number, mark.token),
                RESUME(STREAM, 0, 4, 0, crc32(b"one\n")),
            ],
        )

    def test_intactHistory(self) -> None:
        """A journal that was only stopped or copied keeps its complete history."""
        peer = self.connect()
        peer.open()
        peer.send(b"one")
        marks = [peer.mark]
        self.restart()
        peer = self.connect()
        marks.append(peer.mark)
        peer.open()
        peer.send(b"two")
        marks.append(peer.mark)
        self.putBack(self.copy())
        for mark in marks:
            assert mark is not None
            answer = self.connect().say(SEEN(mark.number, mark.token))
            self.assertEqual(answer, [HISTORY(True)])

    def test_restoredJournal(self) -> None:
        """
        A restored journal reports lost marks, even after it has grown beyond its former
        end.
        """
        peer = self.connect()
        peer.open()
        peer.send(b"one")
        kept, copy = peer.mark, self.copy()
        peer.send(b"two")
        peer.send(b"three")
        lost = peer.mark
        assert kept is not None and lost is not None
        self.putBack(copy)
        for _ in range(3):
            for mark, isKept in ((kept, True), (lost, False)):
                answer = self.connect().say(SEEN(mark.number, mark.token))
                self.assertEqual(answer, [HISTORY(isKept)])
            other = self.connect("w2")
            other.open()
            for _ in range(3):
                other.send(b"x")
        self.assertGreater(self.journal.mark.number, lost.number)

    def test_unknownMarks(self) -> None:
        """A mark that was never sent counts as lost."""
        peer = self.connect()
        peer.open()
        peer.send(b"one")
        mark = self.journal.mark
        for strange in (
            SEEN(mark.number + 1, mark.token),
            SEEN(2**63 - 1, mark.token),
            SEEN(mark.number, "0" * 32),
            SEEN(0, "0" * 32),
        ):
            self.assertEqual(self.connect().say(strange), [HISTORY(False)])

    def test_historyComesFirst(self) -> None:
        """HISTORY precedes RESUME and KNOWN, however busy the journal is."""
        thread = self.journalThread
        thread.isHeld = True
        peer = self.connect()
        mark = peer.mark
        assert mark is not None
        peer.say(
            SEEN(mark.number, mark.token), OPEN(STREAM, 0, 0, "/var/log/x"), LIST()
        )
        thread.run()
        self.assertEqual(
            [type(line) for line in peer.hear()], [HISTORY, RESUME, KNOWN, LISTED]
        )

    def test_seenAgain(self) -> None:
        """SEEN may be sent only once, before any line whose answer depends on it."""
        mark = self.journal.mark
        seen = SEEN(mark.number, mark.token)
        before: tuple[ControlLine, ...] = (seen, LIST(), OPEN(STREAM, 0, 0, "x"))
        for line in before:
            peer = self.connect()
            peer.say(line)
            error = self.assertRaises(Violation, peer.say, seen)
            self.assertEqual(error.code, "order")
        # A status report does not depend on it.
        peer = self.connect()
        self.assertEqual(peer.say(BEAT(0, 0, 0), seen), [HISTORY(True)])
        self.assertEqual(len(self.reports), 1)

    def test_firstVersion(self) -> None:
        """In version 1, HELLO has no mark, no mark is sent, and SEEN is unknown."""
        peer = self.connect(history=False)
        self.assertEqual(peer.told, [HELLO(1, self.journal.identity, 1024, 2048)])
        peer.open()
        self.assertEqual(peer.send(b"one"), [ACK(STREAM, 0, 4)])
        mark = self.journal.mark
        seen = SEEN(mark.number, mark.token)
        self.assertRaises(Violation, peer.say, seen)

    def test_forTheForwarder(self) -> None:
        """Lines that only a listener may send are refused."""
        for line in (
            MARK(0, STREAM),
            HISTORY(True),
            HELLO2(2, STREAM, 5, 9, 0, STREAM),
        ):
            self.assertRaises(Violation, self.connect().say, line)

    def test_blockedJournal(self) -> None:
        """
        If the journal does not respond, the connection is closed without HISTORY, and
        the forwarder will reconnect.
        """

        def holds(mark: Mark) -> bool:
            raise JournalBlocked("it is away")

        self.patch(self.journal, "holds", holds)
        peer = self.connect()
        self.assertEqual(peer.say(SEEN(0, STREAM)), [])
        self.assertEqual([bye.code for bye in peer.line.byes], ["no-space"])
        self.assertEqual(self.failures, [])

    def test_openFromBefore(self) -> None:
        """
        The journal learns which history the sender of an OPEN knows: that of its connection's
        beginning.
        """
        peer = self.connect()
        with (
            mock.patch.object(self.journal, "turns", 3, create=True),
            mock.patch.object(self.journal, "grants", return_value=[]) as grants,
        ):
            peer.say(OPEN(STREAM, 0, 7, "/var/log/x"))
        ((request,),) = grants.call_args.args
        self.assertEqual((request.start, request.turns), (7, 0))

    def test_lostConnection(self) -> None:
        """A lost connection gets no answer, and the journal is not asked."""
        thread = self.journalThread
        thread.isHeld = True
        peer = self.connect()
        peer.say(SEEN(0, STREAM))
        self.patch(self.journal, "holds", lambda mark: 1 / 0)
        peer.session.connectionLost()
        thread.run()
        self.assertEqual(peer.hear(), [])
        self.assertEqual(self.failures, [])


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1)),
        st.tuples(st.just("send"), st.integers(0, 1)),
        st.tuples(st.just("connect"), st.integers(0, 1)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("copy"), st.just(0)),
        st.tuples(st.just("putBack"), st.integers(0, 3)),
        st.tuples(st.just("run"), st.integers(1, 4)),
    ),
    min_size=4,
    max_size=40,
)


class AnyHistoryTests(PutBackTestCase):
    """
    However often the journal is restored, no loss of acknowledged octets goes
    unnoticed.
    """

    @settings(deadline=None, derandomize=True, database=None, max_examples=100)
    @given(steps)
    def test_anyHistory(self, steps: list[tuple[str, int]]) -> None:
        """
        The journal holds a mark if and only if it still has the batches from the time
        when the mark was sent. So a forwarder that knows a lost position learns of the
        loss.
        """
        self.setUp()
        World(self).run(steps)
        self.doCleanups()


class World:
    """Two forwarders, and a journal that moves back and forth in time."""

    def __init__(self, test: PutBackTestCase) -> None:
        self.test = test
        self.thread = test.journalThread
        self.thread.isHeld = True
        self.copies: list[tuple[Path, list[int]]] = []
        # Every batch that the journal ever accepted, each with a unique number.
        self.history: list[int] = []
        self.fresh = count()
        # Every mark sent, with the batches that preceded it.
        self.told: dict[Mark, list[int]] = {}
        # For each forwarder: the newest mark, and all octets acknowledged to it.
        self.marks: dict[str, Mark] = {}
        self.delivered: dict[str, int] = {"w1": 0, "w2": 0}
        self.peers: dict[str, Peer] = {}
        self.count = 0

    def note(self, mark: Mark) -> None:
        """Record a mark that was sent."""
        while len(self.history) < self.test.journal.mark.number:
            self.history.append(next(self.fresh))
        self.told.setdefault(mark, self.history[: mark.number])

    def look(self) -> None:
        """Check that the journal has exactly the batches that it should still have."""
        for mark, history in self.told.items():
            isThere = self.history[: mark.number] == history
            self.test.assertEqual(self.test.journal.holds(mark), isThere, mark)

    def hear(self) -> None:
        self.note(self.test.journal.mark)
        for worker, peer in self.peers.items():
            for line in peer.hear():
                if isinstance(line, MARK):
                    self.marks[worker] = Mark(line.number, line.token)
                elif isinstance(line, ACK):
                    self.delivered[worker] = line.offset

    def connect(self, worker: str) -> None:
        """Connect, and ask whether all delivered octets are still stored."""
        self.thread.run()
        self.hear()
        test = self.test
        peer = self.peers[worker] = test.connect(worker)
        before = self.marks.get(worker)
        if before is not None:
            peer.session.controlReceived(SEEN(before.number, before.token))
        peer.session.controlReceived(OPEN(STREAM, 0, 0, "x"))
        self.thread.run()
        answer = peer.hear()
        (resume,) = [line for line in answer if isinstance(line, RESUME)]
        histories = [line.kept for line in answer if isinstance(line, HISTORY)]
        if resume.offset < self.delivered[worker]:
            test.assertEqual(histories, [False])
        self.hear()
        assert peer.mark is not None
        self.marks[worker] = peer.mark
        self.delivered[worker] = resume.offset
        peer.say(AT(STREAM, 0, resume.offset))

    def stop(self) -> None:
        self.thread.run()
        self.hear()
        self.peers.clear()

    def run(self, steps: list[tuple[str, int]]) -> None:
        """Run the steps, and check both forwarders at the end."""
        for step, argument in steps:
            worker = ("w1", "w2")[argument % 2]
            if step == "send":
                if worker not in self.peers:
                    self.connect(worker)
                self.count += 1
                self.peers[worker].session.framesReceived([b"%d" % self.count])
            elif step == "connect":
                self.connect(worker)
            elif step == "run":
                self.thread.run(argument)
                self.hear()
            elif step == "copy":
                self.thread.run()
                self.hear()
                self.copies.append((self.test.copy(), list(self.history)))
            elif step == "restart":
                self.stop()
                self.test.restart()
            elif self.copies:
                self.stop()
                copy, history = self.copies[argument % len(self.copies)]
                self.test.putBack(copy)
                self.history = list(history)
            self.look()
        for worker in ("w1", "w2"):
            self.connect(worker)
        self.stop()
        self.look()


class EraTests(PutBackTestCase):
    """The points of a journal's history that it stores."""

    def eras(self) -> list[tuple[int, int]]:
        """The number of each era, and the last batch before it."""
        return self.database.rows("SELECT number, first FROM era ORDER BY number")

    def take(self) -> Mark:
        """Commit a line. Returns the mark after it."""
        batches = self.journal.commit([lines(None, 0, b"x\n")])
        self.assertNotIn(None, batches)
        return self.journal.mark

    def test_eraBeginsWithCommit(self) -> None:
        """
        Each opening begins one era with its first commit; without a commit nothing is
        written.
        """
        self.assertEqual(self.eras(), [(1, 0)])
        self.take()
        self.take()
        for _ in range(3):
            self.restart()
            self.journal.commit([])
            self.journal.grant("w1", STREAM, 0, 0, "x")
        self.assertEqual(self.eras(), [(1, 0), (2, 0)])
        self.take()
        self.assertEqual(self.eras(), [(1, 0), (2, 0), (3, 2)])

    def test_oldestErasAreForgotten(self) -> None:
        """
        The oldest eras are forgotten, and their marks count as lost; the newest are
        kept.
        """
        self.patch(eras, "ERAS_MAX", 3)
        marks = []
        for _ in range(6):
            marks.append(self.take())
            self.restart()
        self.assertEqual(len(self.eras()), 3)
        held = [self.journal.holds(mark) for mark in marks]
        self.assertEqual(held, [False] * 3 + [True] * 3)

    def test_notCommitted(self) -> None:
        """
        A commit that failed for lack of space begins no era and advances no mark; the
        next one does.
        """
        before = self.journal.mark
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        much = lines(grant, 0, bytes(10**6 - 1) + b"\n")
        with self.database.full():
            self.assertRaises(JournalFull, self.journal.commit, [much])
            self.assertEqual((self.journal.mark, self.eras()), (before, [(1, 0)]))
        self.assertNotEqual(self.journal.commit([much]), [None])
        self.assertEqual(self.eras(), [(1, 0), (2, 0)])
        self.assertNotEqual(self.journal.mark.token, before.token)
        self.assertTrue(self.journal.holds(self.journal.mark))
        self.assertTrue(self.journal.holds(before))
