"""Tests for several masters: L{decnet_syslog.worker._masterselector}, failback and srv."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as reactorModule
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.task import Clock
from twisted.names import dns, server
from twisted.names.authority import FileAuthority
from twisted.names.client import Resolver
from twisted.names.error import DNSServerError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from decnet_syslog.sending._plain import SETTLE_S
from decnet_syslog.testing import Process, freePort
from decnet_syslog.wire import ACK, BYE, HELLO, encodeControl
from decnet_syslog.worker import _srv as srv
from decnet_syslog.worker._failback import PROBE_S, RETURN_S, Failback
from decnet_syslog.worker._masterselector import (
    DELAY_MAX_S,
    DELAY_MIN_S,
    FAILOVER_S,
    Address,
    MasterSelector,
)
from decnet_syslog.worker._srv import FRESH_MIN_S, RETRY_S, Directory, inOrder

from ..peers import PairTestCase
from .test_forwarder import FactoryTestCase, TLSTransport

reactor: Any = reactorModule

A, B, C = (Address(name, 6514) for name in "abc")


class AddressTests(SynchronousTestCase):
    """A master's address as people write it."""

    def test_addressForms(self) -> None:
        """
        Addresses are accepted with or without a port, IPv6 with or without brackets,
        and shown as written.
        """
        for text, host, port, shown in (
            ("m", "m", 6514, "m:6514"),
            (" m.example.org:1 ", "m.example.org", 1, "m.example.org:1"),
            ("192.0.2.1:65535", "192.0.2.1", 65535, "192.0.2.1:65535"),
            ("::1", "::1", 6514, "[::1]:6514"),
            ("[::1]", "::1", 6514, "[::1]:6514"),
            ("[fe80::1%eth0]:7", "fe80::1%eth0", 7, "[fe80::1%eth0]:7"),
        ):
            address = Address.parse(text, 6514)
            self.assertEqual((address.host, address.port), (host, port))
            self.assertEqual(str(address), shown)
            self.assertEqual(Address.parse(shown, 1), address)

    def test_invalidAddresses(self) -> None:
        """An invalid address gives an error with the accepted forms."""
        for text in ("", "m:", "m:0", "m:65536", "[::1", "a b", "m/x", "[m]x"):
            error = self.assertRaises(ValueError, Address.parse, text, 6514)
            self.assertIn("write host, host:port", str(error))


class MastersTests(SynchronousTestCase):
    """The choice of the next master, and the delay until then."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.dice = 0.0

    def masters(self, *addresses: Address) -> MasterSelector:
        return MasterSelector(addresses, self.clock, lambda: self.dice)

    def fail(self, masters: MasterSelector) -> tuple[Address, float]:  # type: ignore[override]
        """Let an attempt fail. Returns the next master and the delay until then."""
        wait = masters.failed()
        self.clock.advance(wait)
        return masters.current, wait

    def test_singleMaster(self) -> None:
        """
        With a single master, the delay doubles from 1 s to 30 s and restarts after
        acceptance.
        """
        masters = self.masters(A)
        waits = [self.fail(masters) for _ in range(7)]
        self.assertEqual(
            waits, [(A, s) for s in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)]
        )
        masters.accepted()
        self.dice = 1.0
        self.assertEqual(self.fail(masters), (A, 0.5))

    def test_failoverToNext(self) -> None:
        """
        The next master is tried at once, with a random delay; the forwarder stays with
        a master that has accepted it.
        """
        masters = self.masters(A, B, C)
        self.dice = 0.5
        self.assertEqual(self.fail(masters), (B, FAILOVER_S / 2))
        masters.accepted()
        # B fails; A's delay has passed by then, and A is preferred.
        self.clock.advance(10)
        self.assertEqual(self.fail(masters), (A, FAILOVER_S / 2))
        self.assertEqual(self.fail(masters), (C, FAILOVER_S / 2))
        self.assertEqual(masters.preferred, (A, B))

    def test_allAway(self) -> None:
        """Each master has its own delays; together they are not tried more often."""
        masters = self.masters(A, B)
        begun = self.clock.seconds()
        tries: dict[Address, list[float]] = {A: [begun], B: []}
        while self.clock.seconds() < begun + 300:
            address, _ = self.fail(masters)
            tries[address].append(self.clock.seconds())
        for times in tries.values():
            gaps = [b - a for a, b in pairwise(times)]
            for gap, least in zip(gaps, (1, 2, 4, 8, 16, *[30] * 20), strict=False):
                self.assertGreaterEqual(gap, least)
            self.assertLess(max(gaps), DELAY_MAX_S + 1)
            self.assertGreater(len(times), 10)

    @given(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=5),
        st.lists(st.tuples(st.sampled_from("ftmu"), st.floats(0, 60), st.floats(0, 1))),
    )
    def test_anyHistory(
        self, names: list[str], steps: list[tuple[str, float, float]]
    ) -> None:
        """
        In any history, delays are between zero and the maximum, and the current master
        is one of the configured ones.
        """
        masters = self.masters(*[Address(name, 1) for name in names])
        for step, passed, self.dice in steps:
            self.clock.advance(passed)
            if step == "t":
                masters.accepted()
            elif step == "m":
                masters.moveTo(masters.addresses[-1])
            elif step == "u":
                masters.use(masters.addresses[::-1] if passed < 30 else [C])
            else:
                wait = masters.failed()
                self.assertLessEqual(0, wait)
                self.assertLessEqual(wait, DELAY_MAX_S)
                self.assertIn(masters.current, masters.addresses)

    def test_plannedMove(self) -> None:
        """A planned move happens immediately and does not count as a failure."""
        masters = self.masters(A, B)
        self.fail(masters)
        masters.accepted()
        masters.moveTo(A)
        self.assertEqual(self.fail(masters), (A, 0.0))
        self.assertEqual(masters.preferred, ())
        # The move did not start B's delays.
        self.assertEqual(self.fail(masters), (B, 0.0))

    def test_movedAway(self) -> None:
        """A move to a master that is no longer configured is not made."""
        masters = self.masters(A, B)
        masters.moveTo(A)
        masters.use([C])
        self.assertEqual(self.fail(masters), (C, 0.0))

    def test_newListOfMasters(self) -> None:
        """
        With a new list of masters, a remaining master keeps its delays, and an open
        connection stays until it ends.
        """
        masters = self.masters(A, B)
        self.fail(masters)
        masters.use([C, B])
        self.assertEqual((masters.current, masters.preferred), (B, (C,)))
        masters.use([C])
        self.assertEqual((masters.current, masters.preferred), (B, (C,)))
        self.assertEqual(self.fail(masters), (C, 0.0))
        masters.use([A])
        # A is new again: its earlier delays are forgotten.
        self.assertEqual(self.fail(masters)[0], A)
        self.assertEqual(self.fail(masters), (A, DELAY_MIN_S))


class HomingTests(FactoryTestCase):
    """Return to the preferred master when it is back."""

    def setUp(self) -> None:
        super().setUp()
        self.masters.use([A, B])
        self.masters.restart()
        self.probes: list[tuple[Address, Any, Deferred[Any]]] = []
        self.homing = Failback(
            self.clock, self.masters, self.factory, self.probeOf, lambda: 0.0
        )
        self.homing.start()
        self.connector.connect()
        self.endpoint.attempts[-1][1].errback(Failure(ConnectionRefusedError()))
        self.clock.advance(1)
        self.line, self.transport = self.connected()

    def probeOf(self, address: Address) -> Any:
        test = self

        class Endpoint:
            def connect(self, factory: Any) -> Deferred[Any]:
                done: Deferred[Any] = Deferred()
                test.probes.append((address, factory, done))
                return done

        return Endpoint()

    def looked(self) -> tuple[Any, Deferred[Any]]:
        """Advance to the next probe."""
        count = len(self.probes)
        self.clock.advance(RETURN_S)
        ((address, factory, done),) = self.probes[count:]
        self.assertEqual(address, A)
        return factory, done

    def answered(
        self,
        protocol: bytes | None = b"decnet-syslog/1",
        says: bytes = encodeControl(HELLO(1, "0" * 32, 2048, 64)),
    ) -> TLSTransport:
        """A probe whose handshake succeeds, followed by some octets from the master."""
        factory, done = self.looked()
        probe = factory.buildProtocol(None)
        transport = TLSTransport()
        transport.negotiatedProtocol = protocol
        probe.makeConnection(transport)
        done.callback(probe)
        probe.handshakeCompleted()
        self.assertFalse(transport.disconnecting)
        if protocol is None:
            self.clock.advance(SETTLE_S)
        else:
            probe.dataReceived(says)
        probe.connectionLost(Failure(ConnectionDone()))
        return transport

    def test_refusedProbe(self) -> None:
        """
        A master that does not accept the probe does not count as back, even after a
        complete handshake.
        """
        self.line.accepted()
        for says in (
            encodeControl(BYE("revoked", "it was revoked")),
            encodeControl(ACK("0" * 32, 0, 0)),
        ):
            self.answered(says=says)
            self.assertFalse(self.transport.disconnecting)
        factory, done = self.looked()
        probe, transport = factory.buildProtocol(None), TLSTransport()
        probe.makeConnection(transport)
        done.callback(probe)
        probe.handshakeCompleted()
        # As when an alert arrives after our side of the handshake.
        probe.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(SETTLE_S)
        self.assertFalse(self.transport.disconnecting)

    def test_returnsToPreferred(self) -> None:
        """
        When the preferred master is found to be back, the forwarder moves there without
        delay.
        """
        self.assertEqual(self.masters.current, B)
        self.line.accepted()
        transport = self.answered()
        self.assertTrue(transport.disconnecting)
        self.assertIn(b"BYE shutdown", transport.value())
        self.assertTrue(self.transport.disconnecting)
        self.line.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(0.01)
        self.assertEqual(self.masters.current, A)
        self.assertEqual(len(self.endpoint.attempts), 3)
        # At the preferred master no probes are made.
        connection, _ = self.connected()
        connection.accepted()
        self.clock.advance(10 * RETURN_S)
        self.assertEqual(len(self.probes), 1)

    def test_plainMasterIsNotProbed(self) -> None:
        """A probe sends nothing to a master that speaks only plain RFC 5425."""
        self.line.accepted()
        self.assertEqual(self.answered(None).value(), b"")
        self.assertTrue(self.transport.disconnecting)

    def test_settlesFirst(self) -> None:
        """Unacknowledged octets in transit are not sent twice because of a return."""
        self.line.accepted()
        self.line.session = mock.Mock(inFlight=1, stalled=False)
        self.transport.registerProducer(self.line, True)
        self.answered()
        self.assertFalse(self.transport.disconnecting)
        self.line.session.inFlight = 0
        self.answered()
        self.assertTrue(self.transport.disconnecting)

    def test_preferredStaysAway(self) -> None:
        """
        While the preferred master is unreachable, fails TLS, or does not answer,
        nothing changes.
        """
        self.line.accepted()
        factory, done = self.looked()
        done.errback(Failure(ConnectionRefusedError()))
        factory, done = self.looked()
        probe = factory.buildProtocol(None)
        probe.makeConnection(TLSTransport())
        done.callback(probe)
        probe.connectionLost(Failure(ConnectionLost()))
        factory, done = self.looked()
        probe = factory.buildProtocol(None)
        silent = TLSTransport()
        probe.makeConnection(silent)
        done.callback(probe)
        self.clock.advance(PROBE_S)
        self.assertTrue(silent.aborted)
        probe.connectionLost(Failure(ConnectionLost()))
        self.looked()
        self.assertFalse(self.transport.disconnecting)

    def test_noProbeWithoutMaster(self) -> None:
        """
        A forwarder that no master has accepted does not probe, and a probe's result is
        ignored once the connection is lost.
        """
        self.clock.advance(RETURN_S)
        self.assertEqual(self.probes, [])
        self.line.accepted()
        factory, done = self.looked()
        self.line.connectionLost(Failure(ConnectionLost()))
        probe = factory.buildProtocol(None)
        transport = TLSTransport()
        probe.makeConnection(transport)
        done.callback(probe)
        probe.handshakeCompleted()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.homing.stop()


class FailoverTests(PairTestCase):
    """Real listeners, each with its own journal."""

    def test_eachHasAll(self) -> None:
        """
        When the forwarder moves to another master, that master receives everything the
        first one has, once.
        """
        pair = self.pair()
        other = "127.9.8.7"
        port = freePort(other)
        worker = pair.enroll("w1", [f"--master-host={other}:{port}"])
        directory = self.directory / "other"
        directory.mkdir()
        second = Process(
            [
                "decnet-listener",
                f"--host={other}",
                f"--port={port}",
                f"--ca-dir={pair.caDirectory}",
                f"--journal={directory}/listener.db",
                f"--log-path={directory}/master.log",
            ],
            directory / "listener.out",
        )
        self.addCleanup(second.kill)
        lines = [b"<134>1 - d s - e - line %d\n" % n for n in range(90)]
        pair.startListener()
        second.start()
        worker.forwarder.start()
        worker.append(b"".join(lines[:30]))
        self.waitForFile(pair, pair.logPath, 30)
        pair.listener.kill()
        worker.append(b"".join(lines[30:60]))
        self.waitForFile(pair, directory / "master.log", 60)
        pair.startListener()
        second.kill()
        worker.append(b"".join(lines[60:]))
        wanted = b"".join(lines)
        self.assertEqual(self.waitForFile(pair, pair.logPath, 90), wanted)
        pair.listener.kill()
        second.start()
        octets = self.waitForFile(pair, directory / "master.log", 90)
        self.assertEqual(octets, wanted)
        self.assertEqual(pair.logPath.read_bytes(), wanted)


class OrderTests(SynchronousTestCase):
    """The order of SRV records by RFC 2782."""

    def test_priorityAndWeight(self) -> None:
        """
        Records are sorted by priority, then chosen at random by weight, using all of
        them; "." is skipped.
        """
        records = [
            dns.Record_SRV(20, 0, 6514, b"far.example.org"),
            dns.Record_SRV(10, 1, 6514, b"small.example.org"),
            dns.Record_SRV(10, 3, 6515, b"big.example.org"),
            dns.Record_SRV(10, 0, 6514, b"."),
        ]
        small = Address("small.example.org", 6514)
        big = Address("big.example.org", 6515)
        far = Address("far.example.org", 6514)
        self.assertEqual(inOrder(records, lambda _: 0.5), [big, small, far])
        unlucky = inOrder(records, lambda a: 0.01 if a == big else 0.5)
        self.assertEqual(unlucky, [small, big, far])
        dice = random.Random(1)
        firsts = [inOrder(records, lambda _: 1 - dice.random())[0] for _ in range(1000)]
        self.assertTrue(200 <= firsts.count(small) <= 300, firsts.count(small))


class _Zone(FileAuthority):
    """A DNS zone made of records."""

    def __init__(self, records: dict[bytes, list[Any]]) -> None:
        self._given: Any = records
        super().__init__("zone")

    def loadFile(self, filename: str) -> None:
        """There is no file to load."""
        ours: Any = self
        ours.soa = (b"example.org", self._given[b"example.org"][0])
        ours.records = self._given


class DirectoryTests(TestCase):
    """Lookups with a real DNS server over UDP."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used: list[list[Address]] = []

    def ask(self, records: list[Any]) -> Deferred[None]:
        """Ask a server with these records."""
        zone = _Zone(
            {
                b"_syslog-tls._tcp.example.org": records,
                b"example.org": [
                    dns.Record_SOA(
                        b"ns.example.org", b"admin.example.org", 1, 1, 1, 1, 1
                    )
                ],
            }
        )
        factory = server.DNSServerFactory(authorities=[zone])
        port = reactor.listenUDP(0, dns.DNSDatagramProtocol(factory), "127.0.0.1")
        self.addCleanup(port.stopListening)
        resolver = Resolver(servers=[("127.0.0.1", port.getHost().port)])
        self.directory = Directory(
            self.clock, resolver, "example.org", lambda a: self.used.append(list(a))
        )
        self.addCleanup(self.directory.stop)
        return self.directory.ask()

    @inlineCallbacks
    def test_answerIsUsed(self) -> Any:
        """The records are used, and looked up again when they expire."""
        yield self.ask(
            [
                dns.Record_SRV(20, 0, 6514, b"two.example.org", ttl=5),
                dns.Record_SRV(10, 0, 6515, b"one.example.org", ttl=900),
            ]
        )
        wanted = [Address("one.example.org", 6515), Address("two.example.org", 6514)]
        self.assertEqual(self.used, [wanted])
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), FRESH_MIN_S)

    def test_equalRecords(self) -> None:
        """
        Records with equal priority get an order of this forwarder's own that no later
        answer changes; other forwarders have other orders, so that a fleet spreads.
        """
        records = [
            dns.Record_SRV(10, 1, 6514, b"m%d.example.org" % n, ttl=60)
            for n in range(6)
        ]
        # The DNS reverses its answers; then it has one record less.
        answers = iter([records, records[::-1], records[:3] + records[4:]])

        class Answering:
            """A resolver that answers at once."""

            def lookupService(self, name: str, timeout: object) -> Deferred[Any]:
                """The next answer."""
                found = next(answers)
                return succeed(
                    ([dns.RRHeader(type=dns.SRV, payload=r) for r in found], [], [])
                )

        directory = Directory(
            self.clock,
            Answering(),
            "example.org",
            lambda a: self.used.append(list(a)),
        )
        self.addCleanup(directory.stop)
        directory.ask()
        self.clock.advance(60)
        self.clock.advance(60)
        first = self.used[0]
        gone = Address("m3.example.org", 6514)
        fewer = [a for a in first if a != gone]
        self.assertEqual(self.used, [first, first, fewer])
        orders = set()
        for seed in range(20):
            another = Directory(self.clock, None, "example.org", lambda _: None, seed)
            orders.add(tuple(srv.inOrder(records, another.chance)))
        self.assertGreater(len(orders), 10)

    @inlineCallbacks
    def test_noRecords(self) -> Any:
        """Without records nothing changes, and the lookup is repeated."""
        yield self.ask([dns.Record_TXT(b"x", ttl=900)])
        self.assertEqual(self.used, [])
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), RETRY_S)

    def test_serverFails(self) -> None:
        """
        If the server fails or does not answer, nothing changes, and the lookup is
        repeated.
        """
        asked: list[Deferred[Any]] = []

        class Dumb:
            def lookupService(self, name: str, timeout: Any) -> Deferred[Any]:
                asked.append(Deferred())
                return asked[-1]

        directory = Directory(self.clock, Dumb(), "example.org", self.used.append)  # type: ignore[arg-type]
        done = directory.ask()
        asked[0].errback(DNSServerError())
        self.successResultOf(done)
        self.clock.advance(srv.RETRY_S)
        self.assertEqual(len(asked), 2)
        # Stopped during a lookup: no further lookup.
        directory.stop()
        asked[1].errback(DNSServerError())
        self.assertEqual((self.used, self.clock.getDelayedCalls()), ([], []))

    def test_lookupRaises(self) -> None:
        """If the resolver raises an error instead of giving an answer, the lookup is repeated."""
        asked: list[str] = []

        class Broken:
            def lookupService(self, name: str, timeout: Any) -> Deferred[Any]:
                asked.append(name)
                raise UnicodeError("label empty or too long")

        directory = Directory(self.clock, Broken(), "example.org", self.used.append)  # type: ignore[arg-type]
        self.successResultOf(directory.ask())
        self.clock.advance(srv.RETRY_S)
        self.assertEqual(len(asked), 2)
        directory.stop()
        self.assertEqual((self.used, self.clock.getDelayedCalls()), ([], []))
