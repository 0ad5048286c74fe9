"""Tests for L{decnet_syslog.receiving._session} and L{decnet_syslog.receiving._acked}."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from decnet_syslog.journal._ackschedule import ACK_OCTETS_MAX, ACK_SPACING_S
from decnet_syslog.journal._spacing import (
    CROWD_DEPOSITS,
    CROWD_SPACINGS,
    SPACED_OCTETS_MAX,
    SPACING_S,
    SPACINGS_SAVED,
)
from decnet_syslog.journal._values import Cursor
from decnet_syslog.limits import Limits
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._openstreams import NAME_OCTETS_MAX
from decnet_syslog.receiving._plain import PlainSession
from decnet_syslog.receiving._session import Violation
from decnet_syslog.wire import (
    ACK,
    AT,
    CLOSE,
    EMPTY,
    HELLO,
    KNOWN,
    LAST,
    LIST,
    LISTED,
    NAMES_OCTETS_MAX,
    OPEN,
    RESUME,
    SKIP,
)

from ..doubles import (
    STREAM,
    KnowsOwners,
    MasterTestCase,
    RecordingLine,
)

OTHER = "6" * 32


class ReceptionTestCase(MasterTestCase):
    """Connections whose octets are already decoded."""

    def setUp(self) -> None:
        super().setUp()
        self.owners = KnowsOwners()

    def connect(
        self, worker: str = "w1", limits: Limits | None = None
    ) -> tuple[AckedSession, RecordingLine]:
        """Open a connection with the extension."""
        limits = limits or Limits(message=1024)
        line = RecordingLine()
        session = AckedSession(
            Origin(worker, "sha-256:AA", "192.0.2.1:5"),
            line,
            self.commits,
            self.journal,
            limits,
            self.owners,
        )
        session.greet()
        hello = HELLO(1, self.journal.identity, 1024, limits.filesPerConnection)
        self.assertEqual(line.pop(), [hello])
        return session, line

    def open(
        self, start: int = 0, stream: str = STREAM, worker: str = "w1"
    ) -> tuple[AckedSession, RecordingLine]:
        """Open a connection with one open stream."""
        session, line = self.connect(worker)
        session.controlReceived(OPEN(stream, 0, start, "/var/log/x"))
        (resume,) = line.pop()
        assert isinstance(resume, RESUME)
        session.controlReceived(AT(stream, 0, resume.offset))
        return session, line

    def stored(self) -> bytes:
        """All octets in the journal, with gaps shown as their reasons."""
        return b"".join(
            [b.octets or f"<{b.reason}>".encode() for b in self.journal.read(0, 10**9)]
        )


class AcknowledgedTests(ReceptionTestCase):
    """Sessions with the delivery extension."""

    def test_errorInRoom(self) -> None:
        """
        An error while one connection resumes reading closes that connection, and the
        others resume.
        """
        bad, badLine = self.open(stream=OTHER)
        good, goodLine = self.open()
        self.journalThread.isHeld = True
        for session, line in ((bad, badLine), (good, goodLine)):
            session.framesReceived([b"x" * Limits.pendingPerConnection])
            self.assertTrue(line.paused)
        self.patch(badLine, "resume", lambda why: 1 / 0)
        self.journalThread.run()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([bye.code for bye in badLine.byes], ["error"])
        self.assertFalse(goodLine.paused)
        self.assertEqual(self.failures, [])

    def test_nextConnectionResumes(self) -> None:
        """
        Lines are committed and acknowledged, and the next connection resumes after
        them.
        """
        session, line = self.open()
        session.framesReceived([b"one", b"two"])
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 8)])
        self.assertEqual(self.stored(), b"one\ntwo\n")
        later, line = self.connect()
        later.controlReceived(OPEN(STREAM, 0, 0, "x"))
        self.assertEqual(line.pop(), [RESUME(STREAM, 0, 8, 0, crc32(b"one\ntwo\n"))])

    def test_closedStream(self) -> None:
        """
        Lines of a closed stream are committed, and another connection may open it.
        """
        session, line = self.open()
        session.framesReceived([b"one"])
        line.pop()
        session.controlReceived(CLOSE(STREAM, 0))
        self.assertEqual(session.opened, set())
        self.assertEqual(self.owners.of, {})
        self.assertRaises(Violation, session.controlReceived, AT(STREAM, 0, 4))
        self.assertRaises(Violation, session.controlReceived, CLOSE(STREAM, 0))
        self.assertRaises(Violation, session.framesReceived, [b"two"])
        session.controlReceived(OPEN(STREAM, 0, 0, "x"))
        self.assertEqual(line.pop(), [RESUME(STREAM, 0, 4, 0, crc32(b"one\n"))])

    def test_closedBeforeCommit(self) -> None:
        """
        Lines of a closed stream that are not yet handed over, or a gap alone, are
        committed as well.
        """
        session, line = self.open()
        thread = self.journalThread
        thread.isHeld = True
        session.framesReceived([b"one"])
        session.framesReceived([b"two"])
        session.controlReceived(LAST())
        session.framesReceived([b"three"])
        session.controlReceived(AT(STREAM, 0, 13))
        session.controlReceived(CLOSE(STREAM, 0))
        thread.run()
        self.assertEqual(self.stored(), b"one\ntwo\nthree")
        self.assertEqual(line.pop()[-1], ACK(STREAM, 0, 13))
        self.assertEqual(self.commits.pendingOctets, 0)

    def test_closeOutOfPlace(self) -> None:
        """CLOSE between LAST and its frame, or before RESUME, is refused."""
        session, _ = self.open()
        session.controlReceived(LAST())
        self.assertRaises(Violation, session.controlReceived, CLOSE(STREAM, 0))
        session, _ = self.connect()
        self.assertRaises(Violation, session.controlReceived, CLOSE(STREAM, 0))

    def test_openAndClose(self) -> None:
        """
        A connection may have a limited number of open streams, and with CLOSE may use
        any number in total.
        """
        limits = Limits(message=1024, filesPerConnection=2)
        session, line = self.connect(limits=limits)
        for number in range(5):
            for generation in range(2):
                session.controlReceived(OPEN(f"{number:032x}", generation, 0, "x"))
            self.assertRaises(
                Violation, session.controlReceived, OPEN(OTHER, 0, 0, "x")
            )
            for generation in range(2):
                session.controlReceived(CLOSE(f"{number:032x}", generation))
        self.assertEqual(len(line.pop()), 10)

    def test_longNamesHaveABudget(self) -> None:
        """The names of a connection's open streams share one budget."""
        session, _ = self.connect()
        name = "\u00e9" * (NAME_OCTETS_MAX // 2)
        most = NAMES_OCTETS_MAX // NAME_OCTETS_MAX
        for number in range(most):
            session.controlReceived(OPEN(f"{number:032x}", 0, 0, name))
        another = OPEN(OTHER, 0, 0, "x")
        self.assertRaises(Violation, session.controlReceived, another)
        session.controlReceived(CLOSE(f"{0:032x}", 0))
        session.controlReceived(another)

    def test_knownNames(self) -> None:
        """Names in a list are shortened, because they are only for human readers."""
        session, line = self.open()
        session.controlReceived(OPEN(OTHER, 0, 0, "x" * 4000))
        line.pop()
        session.controlReceived(LIST())
        known = [sent for sent in line.pop() if isinstance(sent, KNOWN)]
        self.assertEqual(sorted(len(k.name) for k in known), [10, 100])

    def test_grantsInTurn(self) -> None:
        """
        A connection that opens very many streams does not delay grants for others.
        """
        thread = self.journalThread
        thread.isHeld = True
        many, manyLine = self.connect()
        one, line = self.connect("w2")
        for number in range(1000):
            many.controlReceived(OPEN(f"{number:032x}", 0, 0, "x"))
        one.controlReceived(OPEN(STREAM, 0, 0, "x"))
        # The first transaction is in progress.
        thread.run(2)
        self.assertEqual(len(line.pop()), 1)
        thread.run()
        self.assertEqual(len(many.opened), 1000)
        resumes = [sent for sent in manyLine.pop() if isinstance(sent, RESUME)]
        self.assertEqual(len(resumes), 1000)

    def test_emptyLines(self) -> None:
        """Empty lines are sent as a count."""
        session, line = self.open()
        session.controlReceived(EMPTY(2))
        session.framesReceived([b"a"])
        session.controlReceived(EMPTY(1))
        self.assertEqual(self.stored(), b"\n\na\n\n")
        self.assertEqual(line.pop()[-1], ACK(STREAM, 0, 5))

    def test_lastLine(self) -> None:
        """The final line of a file has no LF, and the position accounts for that."""
        session, line = self.open()
        session.framesReceived([b"a"])
        session.controlReceived(LAST())
        session.framesReceived([b"end"])
        self.assertEqual(line.pop()[-1], ACK(STREAM, 0, 5))
        self.assertEqual(self.journal.known("w1")[0].crc, crc32(b"a\nend"))

    def test_behindLastLine(self) -> None:
        """
        No line may follow the final line of a file until AT, however the input is
        split.
        """
        for number, more in enumerate(([b"end", b"x"], [b"x"], EMPTY(1), SKIP(1, "x"))):
            with self.subTest(more=more):
                stream = f"{number:032x}"
                session, _ = self.open(stream=stream)
                session.controlReceived(LAST())
                if number:
                    session.framesReceived([b"end"])
                refused = (
                    session.framesReceived
                    if isinstance(more, list)
                    else session.controlReceived
                )
                self.assertRaises(Violation, refused, more)
                self.assertEqual(self.journal.known("w1")[0].offset, 3)
                later, line = self.connect()
                later.controlReceived(OPEN(stream, 0, 0, "x"))
                later.controlReceived(AT(stream, 0, 3))
                later.framesReceived([b"", b"grown"])
                self.assertEqual(line.pop()[-1], ACK(stream, 0, 10))

    def test_gapsAreAcknowledged(self) -> None:
        """A gap is committed and acknowledged like lines."""
        session, line = self.open()
        session.framesReceived([b"a"])
        session.controlReceived(SKIP(100, "lag-cap"))
        session.controlReceived(AT(STREAM, 0, 102))
        session.framesReceived([b"b"])
        self.assertEqual(line.pop()[-1], ACK(STREAM, 0, 104))
        self.assertEqual(self.stored(), b"a\n<lag-cap>b\n")

    def test_twoStreams(self) -> None:
        """Streams of one connection alternate, each with its own position."""
        session, _ = self.open()
        session.framesReceived([b"a"])
        session.controlReceived(OPEN(OTHER, 0, 0, "y"))
        session.controlReceived(AT(OTHER, 0, 0))
        session.framesReceived([b"bb"])
        session.controlReceived(AT(STREAM, 0, 2))
        session.framesReceived([b"c"])
        offsets = {k.stream: k.offset for k in self.journal.known("w1")}
        self.assertEqual(offsets, {STREAM: 4, OTHER: 3})

    def test_listOfOwnStreams(self) -> None:
        """A worker's LIST returns its own streams and no others."""
        session, _ = self.open()
        session.framesReceived([b"a"])
        other, line = self.connect("w2")
        other.controlReceived(LIST())
        self.assertEqual(line.pop(), [LISTED()])
        mine, line = self.connect("w1")
        mine.controlReceived(LIST())
        self.assertEqual(
            line.pop(), [KNOWN(STREAM, 0, 2, 0, crc32(b"a\n"), "/var/log/x"), LISTED()]
        )

    def test_ackOnlyAfterCommit(self) -> None:
        """Nothing is acknowledged before its commit has returned."""
        thread = self.journalThread
        thread.isHeld = True
        session, line = self.connect()
        session.controlReceived(OPEN(STREAM, 0, 0, "x"))
        self.assertEqual(line.pop(), [])
        thread.run()
        line.pop()
        session.controlReceived(AT(STREAM, 0, 0))
        session.framesReceived([b"a"])
        session.framesReceived([b"b"])
        self.assertEqual(line.pop(), [])
        thread.run(1)
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 2)])
        thread.run()
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 4)])

    def test_acknowledgementsGathered(self) -> None:
        """
        Acknowledgements of a trickle are gathered, those of larger commits are sent
        immediately, and all are sent before BYE.
        """
        self.openCommits(ackSpacing=ACK_SPACING_S)
        session, line = self.open()
        for message in (b"a", b"b", b"c"):
            session.framesReceived([message])
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 2)])
        self.clock.advance(ACK_SPACING_S)
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 6)])
        session.framesReceived([b"d"])
        session.framesReceived([b"e" * ACK_OCTETS_MAX])
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 9 + ACK_OCTETS_MAX)])
        session.framesReceived([b"f"])
        self.assertEqual(line.pop(), [])
        session.acknowledge()
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 11 + ACK_OCTETS_MAX)])
        self.clock.advance(ACK_SPACING_S)
        self.assertEqual(line.pop(), [])

    def test_commitSpacing(self) -> None:
        """
        A few lines are committed immediately; the commits of a trickle begin some time
        apart.
        """
        self.openCommits(spacing=SPACING_S)
        session, line = self.open()
        end = 0
        for _ in range(1 + SPACINGS_SAVED):
            session.framesReceived([b"a"])
            self.clock.advance(1e-9)
            end += 2
            self.assertEqual(line.pop(), [ACK(STREAM, 0, end)])
        session.framesReceived([b"b"])
        self.clock.advance(SPACING_S / 2)
        session.framesReceived([b"c"])
        self.assertEqual(line.pop(), [])
        self.clock.advance(SPACING_S / 2)
        self.assertEqual(line.pop(), [ACK(STREAM, 0, end + 4)])
        session.framesReceived([b"d" * SPACED_OCTETS_MAX])
        self.assertEqual(line.pop(), [ACK(STREAM, 0, end + 5 + SPACED_OCTETS_MAX)])
        # A large commit does not delay a small one afterwards.
        session.framesReceived([b"e"])
        self.clock.advance(SPACING_S)
        self.assertEqual(len(line.pop()), 1)

    def test_spacingOfFew(self) -> None:
        """
        Lines about as far apart as commits do not wait; many lines do not cause more
        commits.
        """
        self.openCommits(spacing=SPACING_S)
        session, line = self.open()
        for early in (0.2, 0.9, -0.4, 0.5, -1.1, 0.8, 0.1, -0.9) * 4:
            self.clock.advance((1 - early) * SPACING_S)
            session.framesReceived([b"a"])
            self.assertEqual(len(line.pop()), 1)
        for _ in range(100):
            self.clock.advance(SPACING_S / 10)
            session.framesReceived([b"a"])
        self.assertLessEqual(len(line.pop()), 10 + SPACINGS_SAVED + 1)

    def test_spacingOfACrowd(self) -> None:
        """
        After a commit with many workers' lines, the next commit waits for more of them.
        """
        self.openCommits(spacing=SPACING_S)
        crowd = [self.open(worker=f"w{n}") for n in range(CROWD_DEPOSITS + 1)]
        (first, firstLine), *others = crowd
        for _ in range(1 + SPACINGS_SAVED):
            first.framesReceived([b"a"])
            self.clock.advance(1e-9)
        for session, _ in others:
            session.framesReceived([b"a"])
        end = 2 * (1 + SPACINGS_SAVED)
        self.assertEqual(firstLine.pop()[-1], ACK(STREAM, 0, end))
        self.clock.advance(SPACING_S)
        self.assertEqual(
            [line.pop() for _, line in others], [[ACK(STREAM, 0, 2)]] * CROWD_DEPOSITS
        )
        first.framesReceived([b"b"])
        self.clock.advance((CROWD_SPACINGS - 0.5) * SPACING_S)
        self.assertEqual(firstLine.pop(), [])
        self.clock.advance(0.5 * SPACING_S)
        self.assertEqual(firstLine.pop(), [ACK(STREAM, 0, end + 2)])
        # Few workers again: the interval is short again.
        first.framesReceived([b"c"])
        self.clock.advance(SPACING_S)
        self.assertEqual(firstLine.pop(), [ACK(STREAM, 0, end + 4)])

    def test_spacingAndCursors(self) -> None:
        """A cursor that waits for a commit does not delay lines."""
        self.openCommits(spacing=SPACING_S, ackSpacing=ACK_SPACING_S)
        session, line = self.open()
        self.clock.advance(SPACING_S)
        self.commits.deposit(session)
        self.commits.saveCursor(Cursor("raw", 0, {}))
        session.framesReceived([b"a"])
        self.clock.advance(SPACING_S)
        self.assertEqual(line.pop(), [ACK(STREAM, 0, 2)])

    def test_supersededConnection(self) -> None:
        """
        Deposits of a superseded connection are not committed, and it is closed with
        BYE.
        """
        thread = self.journalThread
        old, oldLine = self.open()
        thread.isHeld = True
        new, newLine = self.connect()
        new.controlReceived(OPEN(STREAM, 0, 0, "x"))
        old.framesReceived([b"late"])
        thread.run()
        self.assertEqual(newLine.pop(), [RESUME(STREAM, 0, 0, 0, 0)])
        self.assertEqual([bye.code for bye in oldLine.byes], ["superseded"])
        self.assertEqual(oldLine.pop(), [])
        self.assertEqual(self.stored(), b"")

    def test_supersededInOrder(self) -> None:
        """
        Deposits of a superseded connection for one file do not overtake lines that it
        lost of another.
        """
        self.supersedes(b"older")

    def test_supersededInTransit(self) -> None:
        """
        Deposits of a superseded connection do not overtake lines of another file that
        were still in transit.
        """
        self.supersedes()

    def supersedes(self, *messages: bytes) -> None:
        """
        Supersede a connection that has messages of one stream, and then of another.
        """
        thread = self.journalThread
        old, _ = self.open()
        old.controlReceived(OPEN(OTHER, 0, 0, "y"))
        thread.isHeld = True
        old.framesReceived([b"committing"])
        for message in messages:
            old.framesReceived([message])
        old.controlReceived(AT(OTHER, 0, 0))
        old.framesReceived([b"newer"])
        new, _ = self.connect()
        self.owners.of["w1", STREAM, 0].supersede()
        new.controlReceived(OPEN(STREAM, 0, 0, "x"))
        thread.run()
        self.assertEqual(self.stored(), b"committing\n")
        self.assertEqual(self.commits.pendingOctets, 0)

    def test_lineFeedInside(self) -> None:
        """A frame with a line feed is refused; earlier frames are kept."""
        session, _ = self.open()
        with self.assertRaises(Violation) as caught:
            session.framesReceived([b"good", b"two\nlines", b"after"])
        self.assertEqual(caught.exception.code, "line-feed")
        self.assertEqual(self.stored(), b"good\n")

    def test_violationsByState(self) -> None:
        """Control lines that are not allowed in the current state are refused."""
        for steps in (
            [AT(OTHER, 0, 0)],
            [AT(STREAM, 0, 1)],
            [OPEN(STREAM, 0, 0, "x")],
            [EMPTY(0)],
            [EMPTY(10**9)],
            [SKIP(0, "x")],
            [LAST(), LAST()],
            [LAST(), SKIP(1, "x")],
            [LAST(), AT(STREAM, 0, 0)],
            [HELLO(1, STREAM, 5, 9)],
            [LISTED()],
        ):
            session, _ = self.open()
            with self.assertRaises(Violation):
                for step in steps:
                    session.controlReceived(step)

    def test_frameBeforeOpen(self) -> None:
        """A frame without an open stream is refused."""
        session, _ = self.connect()
        for message in (b"a", b"a\nb"):
            with self.assertRaises(Violation) as caught:
                session.framesReceived([message])
            self.assertEqual(caught.exception.code, "order")

    def test_uncommittedOctetsPause(self) -> None:
        """
        A connection with too many uncommitted octets is not read until they are
        committed.
        """
        thread = self.journalThread
        session, line = self.open()
        thread.isHeld = True
        session.framesReceived([b"x" * Limits.pendingPerConnection])
        self.assertTrue(line.paused)
        thread.run()
        self.assertFalse(line.paused)
        self.assertEqual(self.commits.pendingOctets, 0)

    def test_fullDisk(self) -> None:
        """
        While the disk is full nothing is acknowledged or lost, and commits resume
        without intervention.
        """
        session, line = self.open()
        big = b"x" * (Limits.pendingPerConnection - 1)
        with self.database.full():
            session.framesReceived([big])
            session.framesReceived([b"more"])
            self.assertEqual((line.pop(), line.paused), ([], True))
        self.clock.advance(1)
        self.assertEqual(line.pop()[-1], ACK(STREAM, 0, len(big) + 6))
        self.assertFalse(line.paused)
        self.assertEqual(self.stored(), big + b"\nmore\n")


class PlainTests(ReceptionTestCase):
    """Sessions of plain RFC 5425."""

    def connectPlain(self) -> PlainSession:
        return PlainSession(Origin("r1", "f", "a"), RecordingLine(), self.commits)

    def test_messagesInOrder(self) -> None:
        """Messages are committed in order, without a position."""
        plain = self.connectPlain()
        plain.framesReceived([b"a", b"b"])
        (batch,) = self.journal.read(0, 100)
        self.assertEqual(
            (batch.octets, batch.stream, batch.lengths), (b"a\nb\n", None, None)
        )

    def test_trailingLineFeed(self) -> None:
        """A single LF at the end of a message is its line end, as sent by rsyslog."""
        plain = self.connectPlain()
        plain.framesReceived([b"a\n", b"b"])
        (batch,) = self.journal.read(0, 100)
        self.assertEqual((batch.octets, batch.lengths), (b"a\nb\n", None))

    def test_lineFeedInside(self) -> None:
        """A message keeps the line feeds inside it, and its length is stored."""
        plain = self.connectPlain()
        plain.framesReceived([b"a\nb", b"", b"c\n\n"])
        (batch,) = self.journal.read(0, 100)
        self.assertEqual((batch.octets, batch.lengths), (b"a\nbc\n", (3, 0, 2)))

    @settings(deadline=None, derandomize=True, database=None, max_examples=50)
    @given(
        st.lists(
            st.binary(max_size=8).map(lambda b: b.replace(b"x", b"\n")), min_size=1
        )
    )
    def test_anyMessages(self, messages: list[bytes]) -> None:
        """Any message is stored once, without a single LF at its end."""
        before = max([b.seq for b in self.journal.read(0, 10**9)], default=0)
        self.connectPlain().framesReceived(messages)
        (batch,) = self.journal.read(before, 10**9)
        if batch.lengths is None:
            stored = batch.octets[:-1].split(b"\n")
        else:
            stored, at = [], 0
            for length in batch.lengths:
                stored.append(batch.octets[at : at + length])
                at += length
        self.assertEqual(stored, [m[:-1] if m.endswith(b"\n") else m for m in messages])
