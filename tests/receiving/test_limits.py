"""Tests for the limits: one worker's resources are bounded, and others get theirs."""

from __future__ import annotations

import socket
from dataclasses import asdict
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal import _groupcommit as groupcommit
from decnet_syslog.journal._backpressure import PENDING_ALWAYS
from decnet_syslog.journal._sqlite import PAGE_OCTETS
from decnet_syslog.journal._stored import storedOctets
from decnet_syslog.journal._values import DEPOSIT_COST, LINE_COST, Cursor
from decnet_syslog.limits import LIMIT_PARAMETERS, RATE_MIN, Limits
from decnet_syslog.master.tap import Options
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._connectionlimits import ConnectionLimit
from decnet_syslog.receiving._factory import ListenerFactory
from decnet_syslog.receiving._keepalive import setTimeouts
from decnet_syslog.receiving._plain import PlainSession
from decnet_syslog.receiving._ratelimits import BURST_OCTETS, RateLimiter
from decnet_syslog.trust._contexts import ForwarderContext
from decnet_syslog.wire import AT, LAST, OPEN, encodeControl

from ..certificates import worker
from ..doubles import STREAM, LaterThread, MasterTestCase, RecordingLine
from ..trust.test_contexts import Client, TLSTestCase

# More than the budget of a connection.
FLOOD = [b"x" * 60_000] * (Limits.pendingPerConnection // 60_000 + 1)


class FairnessTests(MasterTestCase):
    """A flooding worker waits; one that sends occasional lines does not."""

    def setUp(self) -> None:
        super().setUp()
        self.thread = LaterThread()
        self.limit(Limits.journal)

    def limit(self, journalOctetsMax: int) -> None:
        """Commit in a thread that the test steps."""
        self.openCommits(self.thread, Limits(journal=journalOctetsMax))

    def connect(self, name: str) -> tuple[PlainSession, RecordingLine]:
        line = RecordingLine()
        session = PlainSession(Origin(name, "f", "192.0.2.1:5"), line, self.commits)
        session.start()
        return session, line

    def flood(self, session: PlainSession, line: RecordingLine) -> None:
        """Send as much as the listener reads."""
        for message in FLOOD:
            if line.paused:
                break
            session.framesReceived([message])

    def owners(self) -> list[str]:
        """The workers whose batches were committed since the last call."""
        batches = self.journal.read(self.seen, 10**12)
        self.seen = batches[-1].seq if batches else self.seen
        return [batch.provenance.worker for batch in batches]

    seen = 0

    def test_nextGroup(self) -> None:
        """
        Despite endless senders, another worker's line is in the next commit, every
        time.
        """
        flooders = [self.connect(f"evil{n % 5}") for n in range(80)]
        trickle, line = self.connect("good")
        for _ in range(5):
            # A commit is in progress, and every worker has sent as much as it may.
            for flooder in flooders:
                self.flood(*flooder)
            self.assertGreaterEqual(self.commits.pendingOctets, Limits.pending)
            self.assertFalse(line.paused)
            trickle.framesReceived([b"a line"])
            self.assertFalse(line.paused)
            self.thread.run(1)
            self.owners()
            for flooder in flooders:
                self.flood(*flooder)
            self.thread.run(1)
            self.assertIn("good", self.owners())

    def test_memoryPerWorker(self) -> None:
        """
        The connections of one name share a memory budget, and others have their own.
        """
        flooders = [self.connect("evil") for _ in range(16)]
        for flooder in flooders:
            self.flood(*flooder)
        self.assertTrue(all(line.paused for _, line in flooders))
        most = Limits.pendingPerWorker + 17 * (PENDING_ALWAYS + 60_000 + LINE_COST)
        self.assertLess(self.commits.pendingOctets, most)
        busy, line = self.connect("busy")
        busy.framesReceived([b"x" * 1_000_000])
        self.assertFalse(line.paused)
        self.thread.run()
        self.assertFalse(any(line.paused for _, line in flooders))
        self.assertEqual(self.commits.pendingOctets, 0)

    def test_journalShare(self) -> None:
        """One worker can fill only half of the journal, and continues later."""
        self.limit(1_000_000)
        self.journal.useOutputs(["raw"])
        evil, evilLine = self.connect("evil")
        while not evilLine.paused:
            evil.framesReceived([b"x" * 10_000])
            self.thread.run()
        half = 500_000 + 2 * storedOctets(DEPOSIT_COST + 10_000, PAGE_OCTETS)
        self.assertLess(self.journal.octets, half)
        _, line = self.connect("evil")
        self.assertTrue(line.paused)
        good, line = self.connect("good")
        good.framesReceived([b"y" * 100_000])
        self.thread.run()
        self.assertFalse(line.paused)
        self.assertEqual(sum(self.journal.octetsOf.values()), self.journal.octets)
        (last,) = [b.seq for b in self.journal.read(0, 10**9)][-1:]
        self.commits.saveCursor(Cursor("raw", last, {}))
        self.clock.advance(groupcommit.CURSOR_DELAY_S)
        self.thread.run()
        self.assertEqual((self.journal.octets, self.journal.octetsOf), (0, {}))
        self.assertFalse(evilLine.paused)

    def test_journalAfterRestart(self) -> None:
        """The workers' shares of the journal are known after a restart."""
        self.journal.useOutputs(["raw"])
        for name in ("a", "b", "a"):
            self.connect(name)[0].framesReceived([b"x" * 1000])
            self.thread.run()
        before = dict(self.journal.octetsOf)
        self.assertEqual(before["a"], 2 * before["b"])
        self.restart()
        self.assertEqual(self.journal.octetsOf, before)
        self.assertEqual(self.journal.octets, sum(before.values()))


class PacingTests(SynchronousTestCase):
    """The token bucket of a worker's name."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.paid: list[str] = []
        self.pacing = RateLimiter(self.clock, RATE_MIN, self.paid.append)

    def test_rateOverTime(self) -> None:
        """
        Over any period, at most a burst plus the rate is accepted, within one receive.
        """
        sent = 0
        while self.clock.seconds() < 100:
            while not self.pacing.isThrottled("w"):
                sent += 60_000
                self.pacing.spend("w", 60_000)
            self.clock.advance(0.5)
        most = BURST_OCTETS + 101 * RATE_MIN + 60_000
        self.assertTrue(most - 2 * 60_000 < sent <= most, sent)

    def test_bucketPerName(self) -> None:
        """Each name has its own bucket."""
        self.assertTrue(self.pacing.spend("w", BURST_OCTETS + 1))
        self.assertFalse(self.pacing.spend("v", BURST_OCTETS))

    def test_reconnectKeepsDebt(self) -> None:
        """Reconnecting does not clear a debt."""
        self.pacing.spend("w", BURST_OCTETS + RATE_MIN)
        self.pacing.forget("w")
        self.assertTrue(self.pacing.isThrottled("w"))
        self.clock.advance(1)
        self.assertEqual((self.paid, self.pacing.isThrottled("w")), (["w"], False))
        self.pacing.forget("w")
        self.assertTrue(self.pacing.spend("w", 1))

    def test_noRateNoLimit(self) -> None:
        """Without a rate nothing is counted."""
        pacing = RateLimiter(self.clock, 0, self.paid.append)
        self.assertFalse(pacing.spend("w", 10**12))

    def test_stopLeavesNoTimer(self) -> None:
        """Stopping leaves no timer."""
        self.pacing.spend("w", 10**9)
        self.pacing.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitedTestCase(TLSTestCase):
    """A listener with limits, whose events are recorded unformatted."""

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        super().setUp()

    def hear(self, event: Any) -> None:
        if "event" in event:
            self.events.append(event)
        super().hear(event)

    def limit(self, policy: str = "tag", **limits: Any) -> None:
        """Start another listener with these limits."""
        self.listener = ListenerFactory(
            self.commits,
            self.journal,
            self.clock,
            Limits(**limits),
            onHostnameMismatch=policy,
        )
        self.addCleanup(self.listener.stop)

    def plain(self, octets: bytes = b"", name: str = "w1") -> Client:
        return self.connect(
            ForwarderContext(worker(name), "decnet-master", False), octets
        )

    def acknowledged(self, name: str = "w1") -> Client:
        """A connection with an open stream."""
        context = ForwarderContext(worker(name), "decnet-master", True)
        client = self.connect(context, b"")
        control = encodeControl(OPEN(STREAM, 0, 0, "x")) + encodeControl(
            AT(STREAM, 0, 0)
        )
        self.send(client, control)
        return client

    def send(self, client: Any, octets: bytes) -> None:
        client.transport.write(octets)
        self.flush()

    def flush(self) -> None:
        for _ in range(4):
            self.pump.flush()

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


class RateTests(LimitedTestCase):
    """The C{--max-rate} option."""

    def test_excessWaits(self) -> None:
        """
        Octets over the rate wait, on every connection of the name, and are then
        accepted.
        """
        self.limit(rate=RATE_MIN)
        lines = b"1000 " + b"x" * 1000
        first = self.plain(b"5 hello")
        pumps = [self.pump]
        self.plain(lines * (2 * BURST_OCTETS // 1000))
        pumps.append(self.pump)
        before = self.octets("w1")
        self.assertLess(before, BURST_OCTETS + 128 * 1024)
        transport: Any = first.transport
        transport.write(b"5 hello")
        pumps[0].flush()
        # A new connection does not evade the limit.
        self.plain(b"4 late")
        pumps.append(self.pump)
        self.assertEqual(self.octets("w1"), before)
        self.plain(b"5 hello", "w2")
        self.assertEqual(self.octets("w2"), 6)
        for _ in range(BURST_OCTETS // RATE_MIN + 8):
            self.clock.advance(1)
            for pump in pumps:
                pump.flush()
        sent = 6 + 6 + 5 + 1001 * (2 * BURST_OCTETS // 1000)
        self.assertEqual(self.octets("w1"), sent)
        self.assertEqual(self.kinds(), [])

    def octets(self, name: str) -> int:
        batches = self.journal.read(0, 10**9)
        return sum(len(b.octets) for b in batches if b.provenance.worker == name)

    def test_unfinishedFrame(self) -> None:
        """
        A frame that is incomplete because the listener paused the connection does not
        time out.
        """
        self.limit(rate=RATE_MIN)
        self.listener.rateLimiter.spend("w1", BURST_OCTETS - 10)
        client = self.plain(b"5 hello5 he")
        self.listener.rateLimiter.spend("w1", int(1.9 * Limits.frameSeconds) * RATE_MIN)
        for _ in range(8):
            self.clock.advance(Limits.frameSeconds / 4)
            self.flush()
        self.assertFalse(self.listener.rateLimiter.isThrottled("w1"))
        self.assertIsNone(client.lost)
        self.send(client, b"llo")
        self.assertEqual(self.stored(), [("w1", b"hello\n")] * 2)


class TimeTests(LimitedTestCase):
    """The options C{--handshake-timeout}, C{--frame-timeout} and C{--peer-timeout}."""

    def test_handshakeTimeout(self) -> None:
        """A handshake may take as long as configured."""
        self.limit(handshakeSeconds=2.5)
        line: Any = self.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        line.makeConnection(StringTransport())
        self.clock.advance(2.4)
        self.assertEqual(self.kinds(), [])
        self.clock.advance(0.2)
        self.assertEqual(self.kinds(), ["refused"])
        self.assertEqual(self.events[0]["reason"], "no handshake in 2.5 s")

    def test_frameTimeout(self) -> None:
        """A frame may take as long as configured."""
        self.limit(frameSeconds=4)
        client = self.plain(b"5 hello5 he")
        for _ in range(3):
            self.clock.advance(1)
        self.assertEqual(self.kinds(), [])
        for _ in range(2):
            self.clock.advance(1)
        self.flush()
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.events[0]["reason"], "a frame that has not ended in 4 s")
        self.assertEqual(self.stored(), [("w1", b"hello\n")])

    def test_peerTimeout(self) -> None:
        """TCP probes a silent peer, and gives up, within the configured time."""
        for seconds in (120, 10, 1, 0.5):
            with socket.socket() as handle:
                setTimeouts(handle, seconds)
                idle, interval, count, most = (
                    handle.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (
                        socket.TCP_KEEPIDLE,
                        socket.TCP_KEEPINTVL,
                        socket.TCP_KEEPCNT,
                        socket.TCP_USER_TIMEOUT,
                    )
                )
            self.assertEqual(most, seconds * 1000)
            # TCP's minimum for each value is a second.
            self.assertLessEqual(idle + interval * count, max(seconds, 5))


class SilenceTests(LimitedTestCase):
    """The C{--max-silence} option."""

    def test_silentPeerIsClosed(self) -> None:
        """A peer that has not sent one octet in time is closed, with a reason."""
        self.limit(silenceSeconds=60)
        quiet = self.plain(b"5 hello", "w2")
        silent = self.plain()
        for _ in range(10):
            self.clock.advance(Limits.frameSeconds / 4)
        self.flush()
        self.assertIsNotNone(silent.lost)
        self.assertIsNone(quiet.lost)
        self.assertEqual(self.kinds(), ["limit"])
        self.assertEqual(self.events[0]["reason"], "not one octet in 60 s")

    def test_unlimitedByDefault(self) -> None:
        """By default a peer may stay silent: it may have nothing to send."""
        self.limit()
        silent = self.plain()
        for _ in range(1000):
            self.clock.advance(Limits.frameSeconds / 4)
        self.assertIsNone(silent.lost)


class HandshakeTests(SynchronousTestCase):
    """Peers without a verified certificate cannot occupy every connection."""

    def test_handshakesLeaveConnections(self) -> None:
        """Unfinished handshakes, from any addresses, do not occupy every connection."""
        limit = ConnectionLimit(
            Factory.forProtocol(Protocol), Limits(connections=5, handshakes=2)
        )
        for number in range(2):
            limit.handshakes.begun(IPv4Address("TCP", f"192.0.2.{number}", 1))
        self.assertIs(limit.buildProtocol(IPv4Address("TCP", "203.0.113.1", 1)), None)
        limit.handshakes.over(IPv4Address("TCP", "192.0.2.1", 1))
        self.assertIsNot(
            limit.buildProtocol(IPv4Address("TCP", "203.0.113.1", 1)), None
        )

    def test_perAddress(self) -> None:
        """
        The addresses of a flood are refused, IPv6 ones by network; all others are
        accepted.
        """
        limit = ConnectionLimit(
            Factory.forProtocol(Protocol), Limits(handshakesPerAddress=3)
        )
        for number in range(3):
            limit.handshakes.begun(IPv4Address("TCP", "192.0.2.1", number))
            limit.handshakes.begun(IPv6Address("TCP", f"2001:db8::{number}", 1))
            limit.handshakes.begun(IPv6Address("TCP", f"::ffff:192.0.2.{number}", 1))

        def refused(address: Any) -> bool:
            return limit.buildProtocol(address) is None

        self.assertTrue(refused(IPv4Address("TCP", "192.0.2.1", 99)))
        self.assertTrue(refused(IPv6Address("TCP", "::ffff:192.0.2.1", 99)))
        self.assertTrue(refused(IPv6Address("TCP", "2001:db8::ffff", 99)))
        self.assertFalse(refused(IPv6Address("TCP", "2001:db8:0:1::1", 99)))
        self.assertFalse(refused(IPv4Address("TCP", "192.0.2.2", 99)))
        limit.handshakes.over(IPv4Address("TCP", "192.0.2.1", 0))
        limit.handshakes.over(IPv4Address("TCP", "192.0.2.1", 1))
        self.assertFalse(refused(IPv4Address("TCP", "192.0.2.1", 99)))


class CollisionTests(LimitedTestCase):
    """The same name, or the same stream, from two addresses."""

    def setUp(self) -> None:
        super().setUp()
        self.limit()

    def from_(self, host: str) -> None:
        """Make the next connections come from an address."""
        from decnet_syslog.receiving import _authenticated as listeners

        self.patch(listeners, "showAddress", lambda peer: f"{host}:1000")

    def test_sameNameTwoAddresses(self) -> None:
        """
        The same name from a second address is reported, and the newest connection is
        served.
        """
        self.from_("192.0.2.1")
        self.plain(b"3 one")
        self.plain(b"3 two")
        self.assertEqual(self.kinds(), [])
        self.from_("192.0.2.2")
        self.plain(b"5 three")
        self.plain(b"4 four", "w2")
        (event,) = self.events
        self.assertEqual(
            [event[key] for key in ("event", "worker", "address", "other")],
            ["collision", "w1", "192.0.2.2:1000", "192.0.2.1:1000"],
        )
        self.assertEqual(len(self.stored()), 4)

    def test_sameStreamTwoAddresses(self) -> None:
        """
        The newest connection gets the stream; the older one is notified, and lines are
        not interleaved.
        """
        self.from_("192.0.2.1")
        older = self.acknowledged()
        olderPump = self.pump
        self.send(older, b"3 one")
        self.from_("192.0.2.2")
        context = ForwarderContext(worker("w1"), "decnet-master", True)
        newer: Any = self.connect(context, b"")
        self.send(newer, encodeControl(OPEN(STREAM, 0, 0, "x")))
        self.assertIn(f"RESUME {STREAM} 0 4 ".encode(), newer.received)
        self.send(newer, encodeControl(AT(STREAM, 0, 4)) + b"3 two")
        transport: Any = older.transport
        transport.write(b"6 forked")
        olderPump.flush()
        self.assertEqual([octets for _, octets in self.stored()], [b"one\n", b"two\n"])
        self.assertIn(b"BYE superseded", older.received)
        self.assertEqual(self.kinds(), ["collision", "collision", "superseded"])
        _, stream, _ = self.events
        self.assertEqual(stream["stream"], STREAM)
        self.assertEqual(stream["other"], "192.0.2.1:1000")

    def test_sameHost(self) -> None:
        """
        A forwarder that reconnects before its dead connection is gone causes no report.
        """
        self.from_("192.0.2.1")
        self.acknowledged()
        self.acknowledged()
        self.assertEqual(self.kinds(), ["superseded"])


class HostnameTests(LimitedTestCase):
    """The C{--on-hostname-mismatch} option."""

    GOOD = b"<1>1 - w1 a - - - good"
    BAD = b"<1>1 - web\x1b[2J a - - - bad"

    def frames(self, *messages: bytes) -> bytes:
        return b"".join(b"%d %b" % (len(m), m) for m in messages)

    def marks(self) -> list[bool]:
        return [b.provenance.flagHostnameMismatch for b in self.journal.read(0, 10**6)]

    def test_tagAndAccept(self) -> None:
        """Tagging is the default; neither it nor accepting logs each message."""
        for policy, marks in ("tag", True), ("accept", False):
            self.limit(policy)
            self.plain(self.frames(self.GOOD, self.BAD, self.GOOD))
            self.assertEqual(self.marks()[-1], marks)
        self.assertEqual(self.kinds(), [])

    def test_rejectClosesConnection(self) -> None:
        """
        With reject, messages before the mismatch are kept, the connection is closed
        with BYE, and the mismatching message is not acknowledged.
        """
        self.limit("reject")
        client = self.acknowledged()
        self.send(client, self.frames(self.GOOD, self.GOOD, self.BAD, self.GOOD))
        self.assertEqual(self.stored(), [("w1", (self.GOOD + b"\n") * 2)])
        self.assertIn(b"BYE hostname ", client.received)
        acknowledged = 2 * (len(self.GOOD) + 1)
        self.assertIn(
            b"ACK %b 0 %d\n" % (STREAM.encode(), acknowledged), client.received
        )
        (event,) = self.events
        self.assertEqual((event["event"], event["worker"]), ("refused", "w1"))
        self.assertNotIn("\x1b", event["reason"])

    def test_rejectFinalLine(self) -> None:
        """With reject, a mismatching final line without LF is not accepted either."""
        self.limit("reject")
        client = self.acknowledged()
        self.send(client, encodeControl(LAST()) + self.frames(self.BAD))
        self.assertEqual(self.stored(), [])
        self.assertIn(b"BYE hostname ", client.received)


class OptionTests(MasterTestCase):
    """Options for the limits."""

    def parse(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions([f"--log-path={self.directory}/master.log", *arguments])
        return options

    def test_defaultsAreGenerous(self) -> None:
        """By default nothing is limited that a normal fleet would notice."""
        options = self.parse()
        self.assertEqual(options["max-rate"], 0)
        self.assertEqual(options["max-silence"], 0)
        self.assertEqual(options["on-hostname-mismatch"], "tag")

    def test_optionForEachLimit(self) -> None:
        """Each limit has an option that sets exactly that limit."""
        defaults = asdict(Limits())
        for field, (name, _, default, _, _) in zip(
            defaults, LIMIT_PARAMETERS, strict=True
        ):
            self.assertEqual(default, defaults[field], name)
            # Related limits are far enough away.
            other = (
                7_654_321 if default == 1024**2 else int(cast(float, default)) + 65_536
            )
            options = self.parse("--max-files-per-worker=999999", f"--{name}={other}")
            self.assertEqual(getattr(options.limits, field), other)

    def test_impossibleLimits(self) -> None:
        """
        Limits with which nothing could be received, or open streams would be forgotten,
        are refused with the reason.
        """
        for given, why in (
            (["--max-message=2047"], "RFC 5425"),
            (["--max-rate=1"], "--max-rate must be 0 or"),
            (
                ["--max-unfinished=1m", "--max-message=2m"],
                "must be at least --max-message",
            ),
            (["--max-pending=0"], "at least 65536"),
            (["--max-pending-per-worker=1k"], "at least 65536"),
            (["--max-pending-per-connection=1k"], "at least 65536"),
            (["--max-files=2049"], "at least twice --max-files"),
            (["--max-handshakes=0"], "at least 1"),
            (["--frame-timeout=0"], "not a time"),
        ):
            error = self.assertRaises(UsageError, self.parse, *given)
            self.assertIn(why, str(error))

    def test_valuesWithUnits(self) -> None:
        """Options accept values with their units."""
        options = self.parse(
            "--max-rate=2m",
            "--max-silence=0",
            "--on-hostname-mismatch=reject",
            "--max-handshakes-per-address=7",
        )
        self.assertEqual(options["max-rate"], 2 * 1024 * 1024)
        self.assertEqual(options["max-silence"], 0)
        self.assertEqual(options["on-hostname-mismatch"], "reject")
        self.assertEqual(options["max-handshakes-per-address"], 7)

    def test_invalidValues(self) -> None:
        """An invalid value is refused, and the error lists the valid ones."""
        for argument, word in (
            ("--max-rate=1k", str(RATE_MIN)),
            ("--max-rate=fast", "64k"),
            ("--max-silence=-1", "seconds"),
            ("--on-hostname-mismatch=drop", "tag, accept, reject"),
            ("--max-handshakes-per-address=0", "at least 1"),
        ):
            error = self.assertRaises(UsageError, self.parse, argument)
            self.assertIn(word, str(error))
