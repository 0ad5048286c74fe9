"""How a forwarder says how it is, and how a listener hears it."""

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

from decnet_syslog.master.acknowledged import Acknowledged
from decnet_syslog.master.limits import Limits
from decnet_syslog.master.reception import Violation
from decnet_syslog.wire.control import (
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
from decnet_syslog.wire.report import (
    STATES_MAX,
    TROUBLES_MAX,
    Report,
    ReportGatherer,
    TooMuch,
)
from decnet_syslog.worker.counts import DIVERGED_MAX, Counts
from decnet_syslog.worker.filestates import NOTES_MAX, FileStates
from decnet_syslog.worker.pulse import BEAT_S, Pulse

from .doubles import STREAM, KnowsOwners, MasterTestCase, RecordingLine
from .tailing import TailTestCase
from .test_forwarder import FactoryTestCase

NOW = "2026-04-18T00:00:00.000000Z"
STATE_ = STATE(STREAM, 0, 100, 42, 7)
WALL = 1_800_000_000.0


class LineTests(SynchronousTestCase):
    """The lines."""

    @given(
        st.integers(0, 2**40),
        st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable()),
    )
    def test_roundTrip(self, number: int, name: str) -> None:
        """What is encoded is parsed as it was, whatever a file is called."""
        for line in (
            STATE(STREAM, 0, number, 0, number),
            TROUBLE("stuck", f"/{name}", name),
            BEAT(1, number, number),
        ):
            encoded = encodeControl(line)
            self.assertTrue(encoded.endswith(b"\n"))
            self.assertEqual(parseControl(encoded[:-1]), line)

    def test_gathered(self) -> None:
        """STATE and TROUBLE are of the BEAT that follows."""
        gatherer = ReportGatherer()
        trouble = TROUBLE("stuck", "/x", "no")
        for line in (STATE_, trouble):
            self.assertIs(gatherer.lineReceived(line), None)
        self.assertEqual(
            gatherer.lineReceived(BEAT(2, 58, 1500)),
            Report(2, 58, 1.5, (STATE_,), (trouble,)),
        )
        self.assertEqual(gatherer.lineReceived(BEAT(2, 0, 0)), Report(2, 0, 0.0))

    def test_bounded(self) -> None:
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

    def connect(self, reports: bool) -> tuple[Acknowledged, RecordingLine]:
        """A connection, with decnet-syslog/1.1 or 1."""
        self.reported: list[tuple[str, Report]] = []
        line = RecordingLine()
        reception = Acknowledged(
            "w1",
            "sha-256:AA",
            "192.0.2.1:5",
            line,
            self.commits,
            lambda: NOW,
            self.journal,
            Limits(message=1024),
            KnowsOwners(),
            False,
            (lambda worker, report: self.reported.append((worker, report)))
            if reports
            else None,
        )
        reception.greet()
        line.pop()
        return reception, line

    def test_reported(self) -> None:
        """A report is told with the certificate's name, and is in nobody's way: also
        between AT and its messages."""
        reception, line = self.connect(True)
        reception.controlReceived(OPEN(STREAM, 0, 0, "/var/log/x"))
        reception.controlReceived(AT(STREAM, 0, 0))
        reception.controlReceived(STATE_)
        reception.controlReceived(BEAT(1, 58, 7))
        reception.framesReceived([b"one"])
        self.assertEqual(self.reported, [("w1", Report(1, 58, 0.007, (STATE_,)))])
        self.clock.advance(1)
        self.assertIn(ACK(STREAM, 0, 4), line.pop())
        self.assertEqual(self.commits.acknowledgements, 1)

    def test_notNegotiated(self) -> None:
        """Who has not said that it reports breaks the protocol."""
        reception, _ = self.connect(False)
        error = self.assertRaises(Violation, reception.controlReceived, BEAT(0, 0, 0))
        self.assertEqual(cast(Violation, error).code, "order")

    def test_tooMuch(self) -> None:
        """Nobody makes us hold a report that never ends."""
        reception, _ = self.connect(True)
        for _ in range(STATES_MAX):
            reception.controlReceived(STATE_)
        error = self.assertRaises(Violation, reception.controlReceived, STATE_)
        self.assertEqual(cast(Violation, error).code, "limit")


class PulseTests(TailTestCase):
    """The forwarder's end."""

    def start(self) -> None:
        super().start()
        self.clock = Clock()
        self.said: list[list[ControlLine]] = []
        self.hears = True
        self.counts = Counts()
        self.states = FileStates(
            self.files, self.counts, self.clock.seconds, lambda: WALL + self.now
        )
        self.pulse = Pulse(lambda: execute(self.states.look), self.clock, self.say)
        self.tick()

    def append(self, octets: bytes) -> None:
        """Write, at the test's time."""
        super().append(octets)
        os.utime(self.path, (WALL + self.now, WALL + self.now))

    def say(self, lines: Any) -> bool:
        """A master that hears, or not."""
        if self.hears:
            self.said.append(list(lines))
        return self.hears

    def tick(self, seconds: float = 1.0) -> None:
        """Look at the files and say how they are, each second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.clock.advance(1)
            self.files.poll()
            self.pulse.look()

    def ship(self, *arguments: Any, **options: Any) -> bytes:
        """As the parent; the two clocks stay together."""
        before = self.now
        found = super().ship(*arguments, **options)
        self.clock.advance(self.now - before)
        return found

    def test_idle(self) -> None:
        """Also with nothing to say something is said, every ten seconds."""
        self.tick(3 * BEAT_S)
        self.assertEqual(self.said, [[BEAT(0, 0, 0)]] * 4)

    def test_behind(self) -> None:
        """Size, position and age of what is behind; nothing once it is delivered."""
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

    def test_oldest(self) -> None:
        """The age is the oldest undelivered line's, not the file's."""
        self.append(b"one\n")
        self.tick(30)
        self.ship()
        self.tick(2)
        self.append(b"two\n")
        self.tick(5)
        self.assertLessEqual(self.pulse.age, 5)
        self.assertGreaterEqual(self.pulse.age, 3)

    def test_unfinished(self) -> None:
        """A line that is not finished is not late."""
        self.append(b"one\n")
        self.ship()
        self.append(b"half")
        self.ship()
        self.tick(20)
        self.assertEqual((self.pulse.age, self.pulse.behind), (0, 4))

    def test_steady(self) -> None:
        """However long a file grows without being shipped, little is kept, and the age is
        the oldest line's."""
        for _ in range(5 * NOTES_MAX):
            self.append(b"line\n")
            self.tick()
        (state,) = self.states._states.values()
        self.assertLessEqual(len(state._notes), NOTES_MAX)
        self.assertGreaterEqual(self.pulse.age, 5 * NOTES_MAX - 3)

    def test_stuck(self) -> None:
        """Trouble is said at the next look, and its end too."""
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
        """What could not be said is said when there is somebody."""
        self.hears = False
        self.tick(20)
        self.assertEqual(len(self.said), 1)
        self.hears = True
        self.tick()
        self.assertEqual(len(self.said), 2)
        self.pulse.connected()
        self.tick()
        self.assertEqual(len(self.said), 3)

    def test_bounded(self) -> None:
        """A report has no more lines than it may, and they fit a control line."""
        for number in range(2 * TROUBLES_MAX):
            name = f"{number}" + "ä\n" * 2000
            self.counts.divergedFrom(name, self.clock.seconds())
        self.tick(BEAT_S)
        troubles = [line for line in self.said[-1] if isinstance(line, TROUBLE)]
        self.assertEqual(len(troubles), TROUBLES_MAX)
        for line in self.said[-1]:
            self.assertEqual(parseControl(encodeControl(line)[:-1]), line)


class CountsTests(SynchronousTestCase):
    """What is counted of deliveries."""

    def test_bounded(self) -> None:
        """Names of files that have differed are not kept without end."""
        counts = Counts()
        for number in range(3 * DIVERGED_MAX):
            counts.divergedFrom(f"/{number}", float(number))
        self.assertEqual(len(counts.diverged), DIVERGED_MAX)
        self.assertIn(f"/{3 * DIVERGED_MAX - 1}", counts.diverged)


class EndsTests(FactoryTestCase):
    """Why connections have ended: one of a fixed number of words."""

    def test_attempts(self) -> None:
        """Nobody answers."""
        for error, word in (
            (ConnectionRefusedError(), "refused"),
            (DNSLookupError(), "dns"),
            (ValueError("anything"), "other"),
        ):
            self.connector.connect()
            self.endpoint.attempts[-1][1].errback(Failure(error))
            self.assertEqual(self.factory.ends[word], 1)
        self.factory.stopTrying()

    def test_connections(self) -> None:
        """A code that nobody knows is no new word."""
        cases: list[tuple[BYE | None, object, Exception, str]] = [
            (None, None, ConnectionDone(), "handshake"),
            (None, object(), ConnectionDone(), "closed"),
            (None, object(), ConnectionLost(), "lost"),
            (BYE("limit", "x"), object(), ConnectionDone(), "bye-limit"),
            (BYE("made-up", "x"), object(), ConnectionDone(), "bye-other"),
        ]
        for bye, session, error, word in cases:
            self.connector.connect()
            line, _ = self.connected()
            line.lastBye = bye
            line.session = cast(Any, session)
            self.factory.lost(line, Failure(error))
            self.assertEqual(self.factory.ends[word], 1, word)
            self.assertEqual(self.factory.why, Failure(error).getErrorMessage())
            line.session = None
            line.connectionLost(Failure(error))
            self.factory.ends["handshake"] -= 1
        self.factory.stopTrying()
