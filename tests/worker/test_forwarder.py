"""
Tests for L{decnet_syslog.worker._forwarder} and the modules plain, encoding and
connector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import current_thread
from typing import Any, cast
from unittest import mock
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from decnet_syslog.files import FollowedFiles, OpenContent, StateStore
from decnet_syslog.sending import _recognition as recognition
from decnet_syslog.sending._acked import AckedSender
from decnet_syslog.sending._connection import ListenerProtocolError
from decnet_syslog.sending._counts import Counts
from decnet_syslog.sending._encoding import encodeLast, encodeLines, encodePlain
from decnet_syslog.sending._plain import SETTLE_S, PlainSender
from decnet_syslog.sending._session import (
    AHEAD_OCTETS,
    ARRIVAL_POLL_S,
    UNREAD_LINES,
    Session,
)
from decnet_syslog.sending._window import ACK_TIMEOUT_S
from decnet_syslog.wire import (
    ACK,
    BYE,
    EMPTY,
    HELLO,
    KNOWN,
    LAST,
    LIST,
    LISTED,
    MARK,
    RESUME,
    ControlLine,
    encodeControl,
    parseControl,
)
from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import encodeFrames
from decnet_syslog.wire._protocol import OctetCountedReceiver
from decnet_syslog.worker._connector import EndpointConnector
from decnet_syslog.worker._filesthread import FilesThread
from decnet_syslog.worker._forwarder import DELAY_SUPERSEDED_S, ForwarderFactory
from decnet_syslog.worker._masterselector import Address, MasterSelector
from decnet_syslog.worker._protocol import CLOSE_S, HANDSHAKE_S, ForwarderProtocol

from ..doubles import StepThread


class Endpoint:
    """An endpoint whose connection attempts wait for the test."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []
        self.cancelled = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred(self.cancel)
        self.attempts.append((factory, done))
        return done

    def cancel(self, done: Deferred[Any]) -> None:
        self.cancelled += 1


class TLSTransport(StringTransport):
    """A transport that resembles TLS's as far as the forwarder uses it."""

    negotiatedProtocol: bytes | None = None
    aborted = False
    # StringTransport refuses a second producer; so does TLS.

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpKeepAlive(self, on: bool) -> None:
        """As in TCP's transport."""

    def setTcpNoDelay(self, on: bool) -> None:
        """As in TCP's transport."""


class FactoryTestCase(SynchronousTestCase):
    """
    A factory with a fake clock, a fake endpoint and predictable randomness.

    @ivar chance: the next random numbers, from 0 to 1.
    @ivar refusal: why our TLS has refused the master; C{None}: it has not.
    @ivar welcome: the connections that a master has accepted.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.session: Any = None
        self.chance = 0.0
        self.refusal: str | None = None
        self.welcome: list[ForwarderProtocol] = []
        self.masters = MasterSelector(
            [Address("one", 6514)], self.clock, lambda: self.chance
        )
        self.factory = ForwarderFactory(
            self.clock,
            lambda connection: self.session,
            lambda: self.refusal,
            self.masters,
            self.welcome.append,
        )
        connector = EndpointConnector(lambda: self.endpoint, self.factory)  # type: ignore[arg-type,return-value]
        self.factory.connector = connector
        self.connector = connector

    def connected(self) -> tuple[ForwarderProtocol, TLSTransport]:
        """Make the last attempt succeed."""
        factory, done = self.endpoint.attempts[-1]
        protocol = factory.buildProtocol(None)
        transport = TLSTransport()
        protocol.makeConnection(transport)
        done.callback(protocol)
        return protocol, transport

    def delayOfNext(self) -> float:
        """The delay before the next attempt."""
        count = len(self.endpoint.attempts)
        begun = self.clock.seconds()
        while len(self.endpoint.attempts) == count:
            self.assertLess(self.clock.seconds() - begun, 200)
            self.clock.advance(0.25)
        return self.clock.seconds() - begun


class BackoffTests(FactoryTestCase):
    """The forwarder reconnects without hammering the master."""

    def test_delaysDouble(self) -> None:
        """
        After refusals the delay doubles from 1 s to 30 s, and attempts never stop.
        """
        self.connector.connect()
        delays = []
        for _ in range(8):
            self.endpoint.attempts[-1][1].errback(Failure(ConnectionRefusedError()))
            delays.append(self.delayOfNext())
        self.assertEqual(delays, [1, 2, 4, 8, 16, 30, 30, 30])

    def test_delaysAreJittered(self) -> None:
        """
        Each delay is shortened at random, by at most half, and never exceeds 30 s.
        """
        self.chance = 1.0
        self.connector.connect()
        delays = []
        for _ in range(7):
            self.endpoint.attempts[-1][1].errback(Failure(ConnectionRefusedError()))
            delays.append(self.delayOfNext())
        self.assertEqual(delays, [0.5, 1, 2, 4, 8, 15, 15])

    def test_connectedIsNotAccepted(self) -> None:
        """A master that accepts TCP but refuses TLS does not reset the delays."""
        self.connector.connect()
        delays = []
        for _ in range(4):
            protocol, _ = self.connected()
            protocol.connectionLost(Failure(ConnectionLost()))
            delays.append(self.delayOfNext())
        self.assertEqual(delays, [1, 2, 4, 8])

    def test_acceptanceResetsDelays(self) -> None:
        """A master that has accepted the forwarder resets the delays."""
        self.connector.connect()
        for _ in range(4):
            protocol, _ = self.connected()
            protocol.accepted()
            protocol.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.delayOfNext(), 1)

    def test_waitsWhenSuperseded(self) -> None:
        """
        When another connection has taken over the stream, the forwarder waits before it
        reconnects.
        """
        self.assertDelayed("superseded")

    def test_waitsAfterHostnameRefusal(self) -> None:
        """A master that refuses the worker's HOSTNAME is not hammered."""
        self.assertDelayed("hostname")

    def assertDelayed(self, code: str) -> None:
        """Check that the forwarder waits longer after this BYE."""
        self.connector.connect()
        protocol, _ = self.connected()
        protocol.lastBye = BYE(code, "x")
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.delayOfNext(), 1 + DELAY_SUPERSEDED_S)

    def test_nothingAfterStopTrying(self) -> None:
        """After stopTrying no connection is attempted, even after a late acceptance."""
        self.connector.connect()
        protocol, _ = self.connected()
        self.factory.stopTrying()
        protocol.accepted()
        protocol.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(100)
        self.assertEqual(len(self.endpoint.attempts), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopConnecting(self) -> None:
        """A pending attempt can be cancelled."""
        self.connector.connect()
        self.factory.stopTrying()
        self.connector.stopConnecting()
        self.assertEqual(self.endpoint.cancelled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_endpointFails(self) -> None:
        """An endpoint that fails immediately counts as a failed attempt."""
        self.endpoint.connect = lambda factory: fail(ValueError("no such name"))  # type: ignore[method-assign]
        self.connector.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class ProtocolTests(FactoryTestCase):
    """Deadlines, and closing the connection."""

    def test_noHandshake(self) -> None:
        """A master that never finishes the handshake is disconnected."""
        self.connector.connect()
        _, transport = self.connected()
        self.clock.advance(HANDSHAKE_S)
        self.assertTrue(transport.aborted)

    def test_noHello(self) -> None:
        """A master that never sends HELLO is disconnected."""
        self.session = mock.Mock(stalled=False, inFlight=0)
        self.connector.connect()
        protocol, transport = self.connected()
        protocol.handshakeCompleted()
        self.clock.pump([5] * 4)
        self.assertFalse(transport.aborted)
        self.session.stalled = True
        self.clock.advance(5)
        self.assertTrue(transport.aborted)

    def test_closeSendsBye(self) -> None:
        """Closing sends BYE, unregisters the producer, and has a deadline."""
        self.session = mock.Mock(stalled=False, inFlight=0)
        self.connector.connect()
        protocol, transport = self.connected()
        transport.negotiatedProtocol = b"decnet-syslog/1"
        protocol.handshakeCompleted()
        protocol.close(BYE("shutdown", "x"))
        self.assertEqual(transport.value(), b"BYE shutdown x\n")
        self.assertIs(transport.producer, None)
        self.assertTrue(transport.disconnecting)
        self.clock.advance(CLOSE_S)
        self.assertTrue(transport.aborted)

    def test_refusesPlainMaster(self) -> None:
        """If no sender fits the master's protocol, the connection is closed."""
        self.connector.connect()
        protocol, transport = self.connected()
        protocol.handshakeCompleted()
        self.assertTrue(transport.disconnecting)

    def test_messageFromMaster(self) -> None:
        """A message from the listener is a protocol error."""
        self.session = mock.Mock(stalled=False, inFlight=0)
        self.connector.connect()
        protocol, transport = self.connected()
        protocol.handshakeCompleted()
        protocol.dataReceived(b"5 hello")
        self.assertTrue(transport.disconnecting)


class RecordingConnection:
    """A double for a sender's connection."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.paused = False
        self.octets = b""
        self.acceptedTimes = 0
        self.byes: list[BYE] = []
        self.unsent = 0

    def sendOctets(self, octets: bytes) -> None:
        self.octets += octets

    def accepted(self) -> None:
        self.acceptedTimes += 1

    def whenArrived(self, call: Callable[[], None]) -> None:
        self.clock.callLater(ARRIVAL_POLL_S, self.look, call)

    def look(self, call: Callable[[], None]) -> None:
        if self.unsent:
            self.whenArrived(call)
        else:
            call()

    def close(self, bye: BYE) -> None:
        self.byes.append(bye)

    def verbs(self) -> list[bytes]:
        """The control lines that were sent, without frames."""
        return [line for line in self.octets.split(b"\n") if line[:1].isupper()]


class SenderTestCase(SynchronousTestCase):
    """A log file, the tails that follow it, and a state database."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.clock = Clock()
        self.log = self.directory / "app.log"
        self.start()
        self.addCleanup(lambda: self.stop())
        self.connection = RecordingConnection(self.clock)

    def start(self) -> None:
        self.store = StateStore.open(self.directory / "forwarder.db")
        self.files = FollowedFiles(
            [str(self.log)],
            self.store,
            self.clock.seconds,
            messageOctetsMax=2048,
            lagOctetsMax=None,
            events=lambda name, **facts: None,
        )

    def stop(self) -> None:
        self.files.close()
        self.store.close()

    def append(self, octets: bytes) -> None:
        with open(self.log, "ab") as file:
            file.write(octets)
        self.files.poll()

    def content(self) -> OpenContent:
        (content,) = self.files.opened
        return content

    def acknowledged(self) -> int:
        return self.content().acknowledged.offset


class PlainTests(SenderTestCase):
    """Plain RFC 5425: the offset advances once the peer's TCP has the octets."""

    def ship(self) -> PlainSender:
        self.connection.unsent = 0
        sender = PlainSender(self.files, self.connection, self.clock, Counts())
        sender.connectionMade()
        return sender

    def test_waitsForRefusal(self) -> None:
        """Nothing is sent until a refusal would have arrived."""
        self.append(b"a\n")
        sender = self.ship()
        sender.pump()
        self.clock.advance(SETTLE_S / 2)
        self.assertEqual(
            (self.connection.octets, self.connection.acceptedTimes), (b"", 0)
        )
        self.clock.advance(SETTLE_S)
        self.assertEqual(
            (self.connection.octets, self.connection.acceptedTimes), (b"1 a", 1)
        )
        sender.connectionLost()

    def test_offsetAdvancesWhenRoundIsSent(self) -> None:
        """The offset advances only when no octet of the round remains on this side."""
        self.append(b"a\nb\n")
        sender = self.ship()
        self.clock.advance(SETTLE_S)
        self.connection.unsent = 3
        self.clock.advance(ARRIVAL_POLL_S)
        self.assertEqual((self.acknowledged(), sender.inFlight), (0, 4))
        self.append(b"c\n")
        sender.pump()
        self.assertEqual(self.connection.octets, b"1 a1 b")
        self.connection.unsent = 0
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(
            (self.connection.octets, self.acknowledged()), (b"1 a1 b1 c", 6)
        )
        sender.connectionLost()

    def test_unsentLinesAreRepeated(self) -> None:
        """After an unclean end, every line that may not have arrived is sent again."""
        self.append(b"a\n")
        sender = self.ship()
        self.clock.advance(SETTLE_S)
        self.connection.unsent = 3
        self.clock.advance(1)
        sender.connectionLost()
        # A late answer is ignored.
        self.connection.unsent = 0
        self.clock.advance(1)
        self.assertEqual(self.acknowledged(), 0)
        again = self.ship()
        self.clock.advance(SETTLE_S)
        self.assertEqual(self.connection.octets, b"1 a1 a")
        again.connectionLost()

    def test_emptyLines(self) -> None:
        """Empty lines cannot be framed: they are skipped, and the offset advances."""
        self.append(b"\na\n\n\nb\n")
        sender = self.ship()
        self.clock.advance(SETTLE_S)
        self.clock.advance(1)
        self.assertEqual((self.connection.octets, self.acknowledged()), (b"1 a1 b", 7))
        sender.connectionLost()


class AckedTestCase(SenderTestCase):
    """A sender with the extension."""

    def ship(self, worker: str = "w1", resend: bool = True) -> AckedSender:
        self.connection = RecordingConnection(self.clock)
        return AckedSender(
            self.files, self.connection, self.clock, Counts(), worker, resend
        )

    def tell(self, sender: AckedSender, line: ControlLine) -> None:
        """Pass a line from the listener to the sender, and send the response."""
        sender.controlReceived(line)
        self.clock.advance(0)


class SenderTests(AckedTestCase):
    """
    The sender with the extension (see also L{tests.campaigns.test_pipeline} and
    L{tests.conversations.test_journals}).
    """

    def test_nothingBeforeHello(self) -> None:
        """No octet is sent before the listener's HELLO."""
        self.append(b"a\n")
        sender = self.ship()
        sender.pump()
        self.assertEqual(self.connection.octets, b"")

    def test_missingAnswerIsStalled(self) -> None:
        """The sender is stalled if an answer is overdue, and only then."""
        sender = self.ship()
        self.clock.advance(ACK_TIMEOUT_S + 1)
        self.assertTrue(sender.isStalled)
        self.tell(sender, HELLO(1, "a" * 32, 4096, 256))
        self.assertFalse(sender.isStalled)

    def test_stalledBeforeLines(self) -> None:
        """The sender is stalled if LIST or OPEN is not answered."""
        self.append(b"a\n")
        sender = self.ship()
        self.clock.advance(ACK_TIMEOUT_S - 1)
        self.tell(sender, HELLO(1, "a" * 32, 4096, 256))
        for answer in (LISTED(), None):
            self.clock.advance(ACK_TIMEOUT_S - 1)
            self.assertFalse(sender.isStalled)
            self.clock.advance(2)
            self.assertTrue(sender.isStalled)
            if answer is not None:
                self.tell(sender, answer)
        self.tell(sender, RESUME(*self.content().key, 0, 0, 0))
        self.assertFalse(sender.isStalled)

    def test_messageLimit(self) -> None:
        """A line over the listener's message limit is not sent."""
        sender = self.ship()
        self.tell(sender, HELLO(1, "a" * 32, 100, 256))
        self.append(b"x" * 200 + b"\n")
        piece = self.content().read(1000)
        self.assertEqual(getattr(piece, "reason", None), "oversize")

    def test_listedOnce(self) -> None:
        """LISTED is valid only as the end of the answer to LIST."""
        sender = self.ship()
        self.tell(sender, HELLO(1, "a" * 32, 4096, 256))
        self.assertEqual(self.connection.octets, encodeControl(LIST()))
        self.tell(sender, LISTED())
        self.assertRaises(ListenerProtocolError, sender.controlReceived, LISTED())

    def test_staleList(self) -> None:
        """
        If a stream's position differs from the list, the list is requested again, once.
        """
        self.append(b"a\nb\n")
        sender = self.ship()
        self.tell(sender, HELLO(1, "a" * 32, 4096, 256))
        self.tell(sender, KNOWN("b" * 32, 0, 2, 0, crc32(b"a\n"), "x"))
        self.tell(sender, LISTED())
        # Another worker with a copy of our state has advanced the stream.
        self.tell(sender, RESUME("b" * 32, 0, 4, 0, crc32(b"a\nZ\n")))
        opened = [
            o.split()[1] for o in self.connection.octets.splitlines() if b"OPEN" in o
        ]
        self.assertEqual(opened[0], b"b" * 32)
        self.assertEqual(len(opened), 2)
        self.assertNotEqual(opened[1], b"b" * 32)
        self.assertIn(b"CLOSE " + b"b" * 32 + b" 0\n", self.connection.octets)

    def test_endlessList(self) -> None:
        """An endless list is not stored."""
        sender = self.ship()
        self.tell(sender, HELLO(1, "a" * 32, 4096, 256))
        with mock.patch.object(recognition, "KNOWN_MAX", 8):
            for number in range(8):
                self.tell(sender, KNOWN("b" * 32, number, 0, 0, 0, "x"))
            more = KNOWN("b" * 32, 8, 0, 0, 0, "x")
            self.assertRaises(ListenerProtocolError, sender.controlReceived, more)

    def test_positionBeyondFile(self) -> None:
        """
        A position beyond the file's end does not match the file, even if there are no
        octets to compare.
        """
        self.append(b"a\n")
        sender = self.ship()
        self.tell(sender, HELLO(1, "a" * 32, 4096, 256))
        self.tell(sender, LISTED())
        stream = self.content().key[0]
        self.tell(sender, RESUME(stream, 0, 9, 9, 0))
        self.assertEqual(self.acknowledged(), 0)
        # The file continues as a new stream.
        opened = self.connection.octets.splitlines()[-1].decode("ascii")
        self.assertEqual(opened.split()[0], "OPEN")
        self.assertNotEqual(opened.split()[1], stream)
        self.assertEqual(self.connection.octets.count(b"OPEN"), 2)

    def test_byeIsEscapedInLog(self) -> None:
        """
        A master's BYE text is escaped in the log, so that it cannot control a terminal.
        """
        texts: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            texts.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        sender = self.ship()
        self.tell(sender, BYE("error", "x\n\x1b[2J"))
        (text,) = [text for text in texts if "the master closes" in text]
        self.assertTrue(text.isprintable(), text)


class Wire:
    """A double for a session's connection in the reactor's thread."""

    def __init__(self) -> None:
        self.paused = False
        self.octets = b""
        self.byes: list[BYE] = []
        self.acceptedTimes = 0
        self.isHalted = False
        self.toArrive = 0

    def writeOctets(self, octets: bytes) -> None:
        self.octets += octets

    def close(self, bye: BYE) -> None:
        self.byes.append(bye)

    def accepted(self) -> None:
        self.acceptedTimes += 1

    def unsent(self) -> int:
        return self.toArrive

    def haltReading(self) -> None:
        self.isHalted = True

    def resumeReading(self) -> None:
        self.isHalted = False


class ChattySender:
    """A sender that records its calls, and sends as long as it is allowed."""

    inFlight = 0
    isGreeted = isStalled = False

    def __init__(self, session: Session) -> None:
        self.session = session
        self.asked: list[object] = []
        self.left = 0

    def connectionMade(self) -> None:
        self.asked.append("made")

    def controlReceived(self, line: ControlLine) -> None:
        self.asked.append(line)
        if isinstance(line, LIST):
            raise ListenerProtocolError("LIST")
        if isinstance(line, LISTED):
            raise OSError("the disk")

    def pump(self) -> None:
        self.asked.append("pump")
        while self.left and not self.session.paused:
            self.left -= 1
            self.session.sendOctets(b"x" * 65536)

    def connectionLost(self) -> None:
        self.asked.append("lost")


class SessionTests(SynchronousTestCase):
    """The bridge between the reactor's thread and the files' thread."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.thread = StepThread(self.clock)
        self.toReactor: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.wire = Wire()
        self.session = Session(
            cast(Any, self.clock),
            self.thread,
            self.wire,
            lambda call, *arguments: self.toReactor.append((call, arguments)),
        )
        self.sender = ChattySender(self.session)
        self.session.begin(self.sender)

    def run_(self) -> None:
        """Run the calls that wait for the reactor's thread."""
        calls, self.toReactor[:] = list(self.toReactor), []
        for call, arguments in calls:
            call(*arguments)

    def test_overtakenPieces(self) -> None:
        """
        While the transport is full, whole pieces wait, where a report can overtake them; they
        are written in order when there is room, and none is lost.
        """
        self.wire.paused = True
        for piece in (b"a" * 70_000, b"b", b"c"):
            self.session.sendOctets(piece)
        self.run_()
        self.assertEqual(self.wire.octets, b"")
        self.wire.paused = False
        self.session.resumed()
        self.assertEqual(self.wire.octets, b"a" * 70_000 + b"bc")

    def test_callsRunInFilesThread(self) -> None:
        """Nothing is done in the reactor's thread, and everything in order."""
        self.session.controlReceived(RESUME("5" * 32, 0, 0, 0, 0))
        self.session.pump()
        self.session.pump()
        self.session.connectionLost()
        self.assertEqual(self.sender.asked, [])
        self.thread.run()
        # Work for a lost connection is skipped.
        self.assertEqual(self.sender.asked, ["lost"])

    def test_lastAcknowledgements(self) -> None:
        """Acknowledgements that arrive right before the connection is lost count."""
        lines = [
            MARK(7, "a" * 32),
            ACK("5" * 32, 0, 1),
            BYE("shutdown", "the listener is stopping"),
        ]
        for line in lines:
            self.session.controlReceived(line)
        self.session.connectionLost()
        self.thread.run()
        self.assertEqual(self.sender.asked, [*lines, "lost"])

    def test_pumpOnce(self) -> None:
        """Several requests to send cause one pump."""
        for _ in range(5):
            self.session.pump()
        self.thread.run()
        self.assertEqual(self.sender.asked, ["made", "pump"])

    def test_aheadIsBounded(self) -> None:
        """
        A sender is at most a fixed amount ahead of the connection, and continues when
        allowed.
        """
        self.sender.left = 1000
        self.session.pump()
        self.thread.run()
        handed = 1000 - self.sender.left
        self.assertLessEqual(handed * 65536, AHEAD_OCTETS + 65536)
        self.assertEqual(self.wire.octets, b"")
        while self.sender.left:
            before = self.sender.left
            self.run_()
            self.thread.run()
            self.assertLess(self.sender.left, before)
            self.assertLessEqual(
                (before - self.sender.left) * 65536, AHEAD_OCTETS + 65536
            )
        self.run_()
        self.assertEqual(len(self.wire.octets), 1000 * 65536)

    def test_pausedTransport(self) -> None:
        """
        A transport that has paused the session is not written to until it resumes.
        """
        self.sender.left = 100
        self.wire.paused = True
        self.session.pump()
        self.thread.run()
        self.assertEqual(self.sender.left, 100)
        self.wire.paused = False
        self.session.pump()
        self.thread.run()
        self.wire.paused = True
        self.run_()
        self.thread.run()
        left = self.sender.left
        self.assertLess(left, 100)
        self.run_()
        self.thread.run()
        self.assertEqual(self.sender.left, left)

    def test_unreadIsBounded(self) -> None:
        """
        A session stops reading while too many of the master's lines are unprocessed.
        """
        for number in range(UNREAD_LINES):
            self.assertFalse(self.wire.isHalted)
            self.session.controlReceived(ACK("5" * 32, 0, number))
        self.assertTrue(self.wire.isHalted)
        self.assertFalse(self.session.stalled)
        self.thread.run()
        self.run_()
        self.assertFalse(self.wire.isHalted)

    def test_errorsCloseConnection(self) -> None:
        """
        A protocol violation by the master or an internal error closes the connection.
        """
        for line, code in ((LIST(), "protocol"), (LISTED(), "error")):
            self.session.controlReceived(line)
            self.thread.run()
            self.run_()
            self.assertEqual(self.wire.byes.pop().code, code)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_closeComesLast(self) -> None:
        """Octets handed over before a BYE are written first."""
        self.session.sendOctets(b"last words")
        self.session.close(BYE("error", "x"))
        self.run_()
        self.assertEqual((self.wire.octets, len(self.wire.byes)), (b"last words", 1))

    def test_arrivedWhenNothingIsUnsent(self) -> None:
        """Octets count as arrived only once none of them remains on this side."""
        arrived: list[bool] = []
        self.session.sendOctets(b"x")
        self.session.whenArrived(lambda: arrived.append(True))
        self.wire.toArrive = 1
        self.run_()
        for _ in range(4):
            self.clock.advance(1)
            self.thread.run()
        self.assertEqual(arrived, [])
        self.wire.toArrive = 0
        self.clock.advance(1)
        self.thread.run()
        self.assertEqual(arrived, [True])

    def test_lostWhileWaiting(self) -> None:
        """After the connection is lost, pending waits are dropped."""
        self.session.whenArrived(
            lambda: self.fail("whenArrived called back although the octets are unsent")
        )
        self.wire.toArrive = 1
        self.run_()
        self.session.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FilesThreadTests(SynchronousTestCase):
    """The thread that reads files."""

    def setUp(self) -> None:
        self.reactor = Clock()
        self.fromThread: SimpleQueue[Callable[[], object]] = SimpleQueue()
        reactor: Any = self.reactor
        reactor.callFromThread = lambda call, *arguments: self.fromThread.put(
            lambda: call(*arguments)
        )
        self.thread = FilesThread(reactor)
        self.thread.start()

    def test_callsRunInOrder(self) -> None:
        """
        Calls run one at a time, in order, in that thread; an exception stops nothing.
        """
        done: list[object] = []
        self.thread.post(lambda: 1 / 0)
        for number in range(5):
            self.thread.post(lambda number=number: done.append(number))
        self.thread.post(lambda: done.append(current_thread()))
        answer = self.thread.ask(lambda: "answer")
        failure = self.thread.ask(lambda: 1 / 0)
        self.thread.stop()
        self.assertEqual(done[:5], [0, 1, 2, 3, 4])
        self.assertIsNot(done[5], current_thread())
        self.assertNoResult(answer)
        while not self.fromThread.empty():
            self.fromThread.get()()
        self.assertEqual(self.successResultOf(answer), "answer")
        self.failureResultOf(failure, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_delayedCalls(self) -> None:
        """A delayed call runs in that thread; a cancelled one does not run."""
        done: list[object] = []
        soon = self.thread.callLater(0, done.append, "soon")
        late = self.thread.callLater(5, done.append, "late")
        never = self.thread.callLater(5, done.append, "never")
        self.fromThread.get()()
        self.fromThread.get()()
        never.cancel()
        self.fromThread.get()()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(5)
        self.thread.callLater(5, done.append, "too late")
        self.fromThread.get()()
        self.thread.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(done, ["soon", "late"])
        self.assertEqual([call.active() for call in (soon, late, never)], [False] * 3)


class EncodingTests(SynchronousTestCase):
    """Encoding of lines."""

    @settings(deadline=None, derandomize=True, database=None)
    @given(
        st.lists(st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"")), min_size=1)
    )
    def test_anyLines(self, lines: list[bytes]) -> None:
        """Frames and EMPTY decode to the same lines."""
        octets = b"".join([line + b"\n" for line in lines])
        decoder = FrameDecoder(control=True)
        got: list[bytes] = []
        data = encodeLines(octets)
        while (line := decoder.decode(data, got)) is not None:
            assert isinstance(line, bytes)
            empty = parseControl(line)
            assert isinstance(empty, EMPTY)
            got.extend([b""] * empty.count)
            data = b""
        self.assertEqual(got, lines)
        frames, left = encodePlain(octets)
        kept = [line for line in lines if line]
        self.assertEqual((frames, left), (encodeFrames(kept), len(lines) - len(kept)))

    def test_finalLine(self) -> None:
        """The final line without LF is preceded by LAST."""
        self.assertEqual(encodeLast(b"end"), encodeControl(LAST()) + b"3 end")

    def test_manyEmpty(self) -> None:
        """A run of empty lines longer than EMPTY's limit is split."""
        self.assertEqual(encodeLines(b"\n" * 1025), b"EMPTY 1024\nEMPTY 1\n")


class ReceiverTests(SynchronousTestCase):
    """The framing protocol, an API like Int32StringReceiver's."""

    def receiver(self) -> tuple[Any, StringTransport]:
        receiver: Any = OctetCountedReceiver()
        receiver.got = []
        receiver.exceeded = []
        receiver.stringReceived = receiver.got.append
        receiver.lengthLimitExceeded = receiver.exceeded.append
        receiver.MAX_LENGTH = 100
        transport = StringTransport()
        receiver.makeConnection(transport)
        return receiver, transport

    def test_stringReceivedAndSendString(self) -> None:
        """Each frame calls stringReceived, and sendString sends one."""
        receiver, transport = self.receiver()
        receiver.dataReceived(b"3 one3 tw")
        receiver.dataReceived(b"o5 three")
        self.assertEqual(receiver.got, [b"one", b"two", b"three"])
        receiver.sendString(b"hello")
        self.assertEqual(transport.value(), b"5 hello")
        self.assertRaises(ValueError, receiver.sendString, b"")
        self.assertRaises(ValueError, receiver.sendString, b"x" * 101)

    def test_lengthLimitExceeded(self) -> None:
        """
        A frame over the limit calls lengthLimitExceeded and closes the connection.
        """
        receiver, transport = self.receiver()
        receiver.dataReceived(b"2 ok101 ")
        self.assertEqual((receiver.got, receiver.exceeded), ([b"ok"], [101]))
        self.assertTrue(transport.disconnecting)
        # TLS still delivers octets that it has read.
        receiver.dataReceived(b"2 no")
        self.assertEqual(receiver.got, [b"ok"])
