"""Tests for the forwarder's status reports: sending and receiving."""

from __future__ import annotations

import os
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import execute
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.limits import Limits
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._session import Violation
from decnet_syslog.sending._counts import DIVERGED_MAX, Counts
from decnet_syslog.wire import (
    ACK,
    AT,
    BEAT,
    BYE,
    OPEN,
    STATE,
    TROUBLE,
    ControlLine,
    encodeControl,
    parseControl,
)
from decnet_syslog.wire._report import (
    STATES_MAX,
    TROUBLES_MAX,
    ForwarderReport,
    ReportGatherer,
    TooMuch,
)
from decnet_syslog.worker._filestates import NOTES_MAX, FileStates
from decnet_syslog.worker._statusreporter import BEAT_S, StatusReporter

from ..doubles import STREAM, KnowsOwners, MasterTestCase, RecordingLine
from ..tailing import TailTestCase
from ..worker.test_forwarder import FactoryTestCase

STATE_ = STATE(STREAM, 0, 100, 42, 7)
WALL = 1_800_000_000.0


class LineTests(SynchronousTestCase):
    """The control lines of a report."""

    @given(
        st.integers(0, 2**40),
        st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable()),
    )
    def test_roundTrip(self, number: int, name: str) -> None:
        """An encoded report is parsed to the same values, whatever a file's name."""
        for line in (
            STATE(STREAM, 0, number, 0, number),
            TROUBLE("stuck", f"/{name}", name),
            BEAT(1, number, number),
        ):
            encoded = encodeControl(line)
            self.assertTrue(encoded.endswith(b"\n"))
            self.assertEqual(parseControl(encoded[:-1]), line)

    def test_reportEndsWithBeat(self) -> None:
        """STATE and TROUBLE belong to the BEAT that follows."""
        gatherer = ReportGatherer()
        trouble = TROUBLE("stuck", "/x", "no")
        for line in (STATE_, trouble):
            self.assertIs(gatherer.lineReceived(line), None)
        self.assertEqual(
            gatherer.lineReceived(BEAT(2, 58, 1500)),
            ForwarderReport(2, 58, 1.5, (STATE_,), (trouble,)),
        )
        self.assertEqual(
            gatherer.lineReceived(BEAT(2, 0, 0)), ForwarderReport(2, 0, 0.0)
        )

    def test_endlessReport(self) -> None:
        """A report that never ends is refused."""
        for line, most in (
            (STATE_, STATES_MAX),
            (TROUBLE("stuck", "/x", "no"), TROUBLES_MAX),
        ):
            gatherer = ReportGatherer()
            for _ in range(most):
                gatherer.lineReceived(line)
            self.assertRaises(TooMuch, gatherer.lineReceived, line)


class ReceptionTests(MasterTestCase):
    """The listener's end."""

    def connect(self, reports: bool) -> tuple[AckedSession, RecordingLine]:
        """Open a connection with decnet-syslog/1.1, or with 1."""
        self.reported: list[tuple[str, ForwarderReport]] = []
        line = RecordingLine()
        session = AckedSession(
            Origin("w1", "sha-256:AA", "192.0.2.1:5"),
            line,
            self.commits,
            self.journal,
            Limits(message=1024),
            KnowsOwners(),
            (lambda worker, report: self.reported.append((worker, report)))
            if reports
            else None,
        )
        session.greet()
        line.pop()
        return session, line

    def test_reportBetweenLines(self) -> None:
        """
        A report is passed on with the certificate's name, and may come anywhere, even
        between AT and its messages.
        """
        session, line = self.connect(True)
        session.controlReceived(OPEN(STREAM, 0, 0, "/var/log/x"))
        session.controlReceived(AT(STREAM, 0, 0))
        session.controlReceived(STATE_)
        session.controlReceived(BEAT(1, 58, 7))
        session.framesReceived([b"one"])
        self.assertEqual(
            self.reported, [("w1", ForwarderReport(1, 58, 0.007, (STATE_,)))]
        )
        self.clock.advance(1)
        self.assertIn(ACK(STREAM, 0, 4), line.pop())
        self.assertEqual(self.commits.acknowledgements, 1)

    def test_notNegotiated(self) -> None:
        """
        A report from a forwarder that did not negotiate reports is a protocol error.
        """
        session, _ = self.connect(False)
        error = self.assertRaises(Violation, session.controlReceived, BEAT(0, 0, 0))
        self.assertEqual(cast(Violation, error).code, "order")

    def test_tooMuch(self) -> None:
        """An endless report from a worker is refused and holds little memory."""
        session, _ = self.connect(True)
        for _ in range(STATES_MAX):
            session.controlReceived(STATE_)
        error = self.assertRaises(Violation, session.controlReceived, STATE_)
        self.assertEqual(cast(Violation, error).code, "limit")


class PulseTests(TailTestCase):
    """The forwarder's end."""

    def start(self) -> None:
        super().start()
        self.clock = Clock()
        self.said: list[list[ControlLine]] = []
        self.hears, self.hearsLag = True, False
        self.counts = Counts()
        self.states = FileStates(
            self.files, self.counts, self.clock.seconds, lambda: WALL + self.now
        )
        self.pulse = StatusReporter(
            lambda: execute(self.states.summarize), self.clock, self.say
        )
        self.tick()

    def append(self, octets: bytes) -> None:
        """Write at the test's time."""
        super().append(octets)
        os.utime(self.path, (WALL + self.now, WALL + self.now))

    def say(self, lines: Any, onlyLag: bool) -> bool:
        """A master that may or may not receive reports."""
        hears = self.hears and (self.hearsLag or not onlyLag)
        if hears:
            self.said.append(list(lines(self.hearsLag)))
        return hears

    def tick(self, seconds: float = 1.0) -> None:
        """Poll the files and send reports for some seconds, once a second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.clock.advance(1)
            self.files.poll()
            self.pulse.poll()

    def ship(self, *arguments: Any, **options: Any) -> bytes:
        """As in the parent class, while keeping the two clocks together."""
        before = self.now
        found = super().ship(*arguments, **options)
        self.clock.advance(self.now - before)
        return found

    def test_idleReports(self) -> None:
        """A report is sent every ten seconds even without news."""
        self.tick(3 * BEAT_S)
        self.assertEqual(self.said, [[BEAT(0, 0, 0)]] * 4)

    def test_backlogOfFile(self) -> None:
        """
        A report has the size, position and age of a file's backlog, and nothing once
        everything is delivered.
        """
        self.append(b"one\n")
        self.tick()
        self.tick(25)
        state, beat = self.said[-1]
        assert isinstance(state, STATE) and isinstance(beat, BEAT)
        self.assertEqual((state.size, state.position), (4, 0))
        self.assertEqual((beat.files, beat.behind, beat.age), (1, 4, state.age))
        self.assertGreaterEqual(state.age, 15_000)
        self.assertLessEqual(state.age, 27_000)
        self.ship()
        self.tick(BEAT_S)
        self.assertEqual(self.said[-1], [BEAT(1, 0, 0)])

    def test_ageOfOldestLine(self) -> None:
        """The age is that of the oldest undelivered line, not of the file."""
        self.append(b"one\n")
        self.tick(30)
        self.ship()
        self.tick(2)
        self.append(b"two\n")
        self.tick(5)
        self.assertLessEqual(self.pulse.age, 5)
        self.assertGreaterEqual(self.pulse.age, 3)

    def test_unfinishedLine(self) -> None:
        """An unfinished line does not count as late."""
        self.append(b"one\n")
        self.ship()
        self.append(b"half")
        self.ship()
        self.tick(20)
        self.assertEqual((self.pulse.age, self.pulse.behind), (0, 4))

    def test_growingFile(self) -> None:
        """
        However long a file grows without being shipped, little memory is used, and the
        age is the oldest line's.
        """
        for _ in range(5 * NOTES_MAX):
            self.append(b"line\n")
            self.tick()
        self.assertTrue(0 < self.states.notes <= NOTES_MAX)
        self.assertGreaterEqual(self.pulse.age, 5 * NOTES_MAX - 3)

    def test_stuckFile(self) -> None:
        """Trouble with a file is reported at the next poll, and so is its end."""
        self.append(b"one\n")
        self.ship()
        self.tick(2)
        self.path.rename(self.path.with_name("kept"))
        self.path.mkdir()
        self.said = []
        self.tick(2)
        ((trouble, beat),) = self.said
        assert isinstance(trouble, TROUBLE) and isinstance(beat, BEAT)
        self.assertEqual((trouble.kind, trouble.name), ("stuck", str(self.path)))
        self.path.rmdir()
        self.said = []
        self.tick(2)
        self.assertEqual([len(said) for said in self.said], [1])

    def test_nobodyHears(self) -> None:
        """A report that could not be sent is sent once there is a connection."""
        self.hears = False
        self.tick(20)
        self.assertEqual(len(self.said), 1)
        self.hears = True
        self.tick()
        self.assertEqual(len(self.said), 2)
        self.pulse.connected()
        self.tick()
        self.assertEqual(len(self.said), 3)

    def test_reportIsBounded(self) -> None:
        """
        A report has a limited number of lines, each within the limit of a control line.
        """
        for number in range(2 * TROUBLES_MAX):
            name = f"{number}" + "ä\n" * 2000
            self.counts.divergedFrom(name, self.clock.seconds())
        self.tick(BEAT_S)
        troubles = [line for line in self.said[-1] if isinstance(line, TROUBLE)]
        self.assertEqual(len(troubles), TROUBLES_MAX)
        for line in self.said[-1]:
            self.assertEqual(parseControl(encodeControl(line)[:-1]), line)


class CountsTests(SynchronousTestCase):
    """Counts of deliveries."""

    def test_divergedFilesAreBounded(self) -> None:
        """Only a limited number of names of diverged files is kept."""
        counts = Counts()
        for number in range(3 * DIVERGED_MAX):
            counts.divergedFrom(f"/{number}", float(number))
        self.assertEqual(len(counts.diverged), DIVERGED_MAX)
        self.assertIn(f"/{3 * DIVERGED_MAX - 1}", counts.diverged)


class EndsTests(FactoryTestCase):
    """The reasons for which connections ended, from a fixed set of words."""

    def test_failedAttempts(self) -> None:
        """A failed connection attempt is counted by its reason."""
        for error, word in (
            (ConnectionRefusedError(), "refused"),
            (DNSLookupError(), "dns"),
            (ValueError("anything"), "other"),
        ):
            self.connector.connect()
            self.endpoint.attempts[-1][1].errback(Failure(error))
            self.assertEqual(self.factory.ends[word], 1)
        self.factory.stopTrying()

    def test_endedConnections(self) -> None:
        """
        An ended connection is counted by its reason; an unknown BYE code counts as
        "other".
        """
        cases: list[tuple[BYE | None, object, Exception, str]] = [
            (None, None, ConnectionDone(), "handshake"),
            (None, object(), ConnectionDone(), "closed"),
            (None, object(), ConnectionLost(), "lost"),
            (BYE("limit", "x"), object(), ConnectionDone(), "bye-limit"),
            (BYE("made-up", "x"), object(), ConnectionDone(), "bye-other"),
        ]
        for bye, session, error, word in cases:
            self.connector.connect()
            connection, _ = self.connected()
            connection.lastBye = bye
            connection.session = cast(Any, session)
            self.factory.lost(connection, Failure(error))
            self.assertEqual(self.factory.ends[word], 1, word)
            self.assertEqual(
                self.factory.why, Failure(error).getErrorMessage().rstrip(".")
            )
            connection.session = None
            connection.connectionLost(Failure(error))
            self.factory.ends["handshake"] -= 1
        self.factory.stopTrying()
