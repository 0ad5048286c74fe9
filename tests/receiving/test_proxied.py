"""Tests for L{decnet_syslog.wire._proxyheader} and L{decnet_syslog.receiving._proxied}."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.limits import Limits
from decnet_syslog.master.tap import Options
from decnet_syslog.receiving._connectionlimits import ConnectionLimit
from decnet_syslog.receiving._proxied import HEADER_S, ProxiedFactory, parseNetworks
from decnet_syslog.trust._contexts import ForwarderContext
from decnet_syslog.wire._proxyheader import (
    HEADER_OCTETS_MAX,
    SIGNATURE,
    ProxyError,
    ProxyHeader,
    parseProxyHeader,
)

from ..certificates import worker
from ..trust.test_contexts import Client, TLSTestCase

BALANCER = IPv4Address("TCP", "192.0.2.9", 4000)


def header(
    source: str | None = "203.0.113.5",
    port: int = 5000,
    more: bytes = b"",
    command: int = 0x21,
    family: int | None = None,
) -> bytes:
    """A header as HAProxy sends it; without an address for C{None}."""
    body = b""
    if source is not None:
        packed = ip_address(source).packed
        body = packed + packed[::-1] + struct.pack("!HH", port, 6514)
        family = family or {4: 0x11, 16: 0x21}[len(packed)]
    body += more
    return (
        SIGNATURE + bytes([command, family or 0]) + struct.pack("!H", len(body)) + body
    )


class HeaderTests(SynchronousTestCase):
    """Parsing of the header."""

    def test_addressFamilies(self) -> None:
        """Addresses of both families are read, and additional fields are skipped."""
        for source in ("203.0.113.5", "2001:db8::5"):
            for more in (b"", b"\x05\x00\x04name"):
                octets = header(source, 5000, more)
                self.assertEqual(
                    parseProxyHeader(octets + b"\x16\x03\x01"),
                    ProxyHeader((source, 5000), len(octets)),
                )

    def test_sameAsTwisted(self) -> None:
        """Twisted's parser finds the same values in the same octets."""
        for source in ("203.0.113.5", "2001:db8::5"):
            theirs: Any = V2Parser.parse(header(source, 5000)).source
            found = parseProxyHeader(header(source, 5000))
            assert found is not None and found.source is not None
            self.assertEqual(
                (ip_address(theirs.host), theirs.port),
                (ip_address(found.source[0]), found.source[1]),
            )

    def test_noAddress(self) -> None:
        """
        A header from the balancer itself, or with an unknown address, has no address
        whatever follows.
        """
        for octets in (
            header(None, command=0x20),
            header("203.0.113.5", command=0x20),
            header(None, command=0x20, family=0x31),
            header(None, more=b"\x01\x02", command=0x21),
        ):
            self.assertEqual(parseProxyHeader(octets), ProxyHeader(None, len(octets)))

    def test_invalidHeaders(self) -> None:
        """Other input, or a header for something other than TCP, is refused."""
        for octets, word in (
            (b"PROXY TCP4 203.0.113.5 192.0.2.9 5000 6514\r\n", "version 2"),
            (b"\x16\x03\x01\x02\x00", "version 2"),
            (header(command=0x11), "0x11"),
            (header(command=0x22), "0x22"),
            (header(family=0x12), "0x12"),
            (header(None, more=b"x" * 216, family=0x31), "0x31"),
            (header(None, more=b"x" * 11, family=0x11), "no room"),
            (header("2001:db8::5", family=0x11)[:15] + b"\x00", "no room"),
            (header(more=b"x" * HEADER_OCTETS_MAX), "octets"),
        ):
            error = self.assertRaises(ProxyError, parseProxyHeader, octets)
            self.assertIn(word, str(error))

    def test_refusedAtOnce(self) -> None:
        """Input that cannot be a header is refused without waiting for more."""
        self.assertRaises(ProxyError, parseProxyHeader, b"\r\n\r\n\x00\r\nX")
        long = header(more=b"x" * HEADER_OCTETS_MAX)
        self.assertRaises(ProxyError, parseProxyHeader, long[:16])

    @given(
        st.sampled_from(["203.0.113.5", "2001:db8::5", None]), st.binary(max_size=99)
    )
    def test_everyPrefixIsIncomplete(self, source: str | None, more: bytes) -> None:
        """
        Every prefix of a header is incomplete, and later octets do not change the
        result.
        """
        octets = header(source, more=more)
        for end in range(len(octets)):
            self.assertIsNone(parseProxyHeader(octets[:end]))
        found = parseProxyHeader(octets)
        self.assertEqual(parseProxyHeader(octets + more), found)

    @given(st.binary(max_size=64))
    def test_anyOctets(self, octets: bytes) -> None:
        """Any octets give a header, nothing yet, or an error."""
        for data in (octets, SIGNATURE + octets):
            try:
                found = parseProxyHeader(data)
            except ProxyError:
                continue
            self.assertTrue(found is None or found.octets <= len(data))


class Behind(Protocol):
    """A double for TLS that records the octets it receives."""

    def __init__(self, all_: list[Behind]) -> None:
        self.received = b""
        self.lost = False
        all_.append(self)

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.peer: IAddress = transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Transport(StringTransport):
    """The transport of a balancer's connection."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class DoorTestCase(SynchronousTestCase):
    """A factory for balancers in 192.0.2.0/24 and at 2001:db8::9."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.behind: list[Behind] = []
        self.limit = ConnectionLimit(
            Factory.forProtocol(lambda: Behind(self.behind)), Limits(connections=3)
        )
        self.door = ProxiedFactory(
            self.limit, parseNetworks("192.0.2.0/24, 2001:db8::9"), self.clock
        )
        self.events: list[dict[str, Any]] = []
        observer: Any = self.hear
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        # No timer may outlive its connection.
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def hear(self, event: dict[str, Any]) -> None:
        if "event" in event:
            self.events.append(event)

    def connect(self, address: IAddress = BALANCER) -> tuple[Any, Transport]:
        protocol = self.door.buildProtocol(address)
        assert protocol is not None
        transport = Transport(peerAddress=address)
        protocol.makeConnection(transport)
        return protocol, transport

    def lose(self, *protocols: Any) -> None:
        for protocol in protocols:
            protocol.connectionLost(Failure(ConnectionDone()))

    def said(self) -> list[tuple[str, str]]:
        found = [(event["event"], event["reason"]) for event in self.events]
        self.events.clear()
        return found


class DoorTests(DoorTestCase):
    """
    Which peers may connect, under which address, and how long their header may take.
    """

    def test_octetByOctet(self) -> None:
        """
        A header may arrive in pieces; octets after it are passed on once it is
        complete, and none is lost.
        """
        protocol, _ = self.connect()
        for octet in header("2001:db8::5", 5000) + b"hello":
            self.assertEqual(len(self.behind), int(protocol not in self.door.waiting))
            protocol.dataReceived(bytes([octet]))
        (behind,) = self.behind
        self.assertEqual(behind.peer, IPv6Address("TCP", "2001:db8::5", 5000))
        self.assertEqual(behind.received, b"hello")
        self.lose(protocol)
        self.assertTrue(behind.lost)
        self.assertEqual(self.limit.protocols, {})
        self.assertEqual(self.said(), [])

    def test_headerWithClientHello(self) -> None:
        """The header and a ClientHello may arrive together."""
        protocol, _ = self.connect(IPv6Address("TCP", "2001:db8::9", 1))
        protocol.dataReceived(header() + b"hello")
        (behind,) = self.behind
        self.assertEqual(behind.peer, IPv4Address("TCP", "203.0.113.5", 5000))
        self.assertEqual(behind.received, b"hello")
        self.lose(protocol)

    def test_strangersAreRefused(self) -> None:
        """
        Other addresses are refused; IPv4-mapped addresses are treated like IPv4 ones.
        """
        for host in ("203.0.113.5", "192.0.3.1"):
            stranger = IPv4Address("TCP", host, 5000)
            self.assertIs(self.door.buildProtocol(stranger), None)
            self.assertEqual(
                self.said(),
                [("refused", "it is not a balancer named by --proxy-protocol")],
            )
        for host in ("2001:db8::8", "::ffff:203.0.113.5", "fe80::1%eth0"):
            self.assertIs(self.door.buildProtocol(IPv6Address("TCP", host, 1)), None)
        self.assertTrue(self.door.trusts(IPv6Address("TCP", "::ffff:192.0.2.9", 1)))
        self.assertFalse(self.door.trusts(None))

    def test_noHeader(self) -> None:
        """A balancer that sends no header is refused, and TLS receives nothing."""
        for octets in (b"\x16\x03\x01hello", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"):
            protocol, transport = self.connect()
            protocol.dataReceived(octets)
            self.assertTrue(transport.aborted)
            protocol.dataReceived(header() + b"hello")
            self.lose(protocol)
            ((kind, reason),) = self.said()
            self.assertEqual(kind, "refused")
            self.assertIn("not a header of the PROXY protocol", reason)
        self.assertEqual(self.behind, [])

    def test_slowHeader(self) -> None:
        """
        A header must be complete within the time limit, even if octets keep arriving.
        """
        protocol, transport = self.connect()
        octets = header()
        for at in range(5):
            self.clock.advance(HEADER_S / 5 - 0.01)
            protocol.dataReceived(octets[at : at + 1])
        self.assertFalse(transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(transport.aborted)
        self.lose(protocol)
        self.assertEqual(self.said(), [("refused", "no PROXY header in 5 s")])

    def test_connectionEndsInHeader(self) -> None:
        """A connection that ends within a header is reported."""
        protocol, _ = self.connect()
        protocol.dataReceived(header()[:20])
        self.lose(protocol)
        ((kind, reason),) = self.said()
        self.assertIn("in the middle", reason)
        self.assertEqual(kind, "refused")

    def test_healthChecks(self) -> None:
        """A health check is not logged, and its connection is closed."""
        silent, _ = self.connect()
        self.lose(silent)
        local, _ = self.connect()
        local.dataReceived(header(None, command=0x20))
        self.lose(local)
        staying, transport = self.connect()
        staying.dataReceived(header(None, command=0x20))
        self.clock.advance(HEADER_S)
        self.assertTrue(transport.aborted)
        self.lose(staying)
        self.assertEqual((self.behind, self.said()), ([], []))

    def test_balancerItself(self) -> None:
        """A balancer that connects for itself appears under its own address."""
        protocol, _ = self.connect()
        protocol.dataReceived(header(None, command=0x20))
        protocol.dataReceived(b"hello")
        (behind,) = self.behind
        self.assertEqual((behind.peer, behind.received), (BALANCER, b"hello"))
        self.lose(protocol)

    def test_connectionLimits(self) -> None:
        """
        Connections that wait for a header count towards the limit, and the worker's
        address counts for its own limit.
        """
        waiting = [self.connect()[0] for _ in range(3)]
        self.assertIs(self.door.buildProtocol(BALANCER), None)
        self.assertEqual(self.said(), [("limit", "3 connections are open")])
        waiting[0].dataReceived(header())
        self.assertIs(self.door.buildProtocol(BALANCER), None)
        self.lose(*waiting)
        self.events.clear()
        # The limit on handshakes applies to the worker's address, not to the
        # balancer's.
        full = IPv4Address("TCP", "203.0.113.7", 1)
        for _ in range(self.limit.limits.handshakesPerAddress):
            self.limit.handshakes.begun(full)
        refused, transport = self.connect()
        refused.dataReceived(header("203.0.113.7"))
        self.assertTrue(transport.aborted)
        self.assertEqual(self.events[-1]["address"], "203.0.113.7:5000")
        other, transport = self.connect()
        other.dataReceived(header("203.0.113.8"))
        self.assertFalse(transport.aborted)
        self.lose(refused, other)

    def test_stopClosesWaiting(self) -> None:
        """A stopping listener does not wait for headers."""
        protocol, transport = self.connect()
        self.door.stop()
        self.assertTrue(transport.aborted)
        self.lose(protocol)

    def test_networkOption(self) -> None:
        """The option accepts addresses and networks, and names an invalid one."""
        options = Options()
        networks = ("--proxy-protocol=192.0.2.9,2001:db8::/64", "--proxy-protocol=::1")
        options.parseOptions(["--log-path=", *networks])
        self.assertEqual(
            [str(network) for network in options.proxies],
            ["192.0.2.9/32", "2001:db8::/64", "::1/128"],
        )
        for wrong in ("balancer", "192.0.2.9/24", ""):
            error = self.assertRaises(
                UsageError, Options().parseOptions, [f"--proxy-protocol={wrong}"]
            )
            self.assertIn("give an address or a network", str(error))


class TLSTests(TLSTestCase):
    """A worker behind a balancer: TLS begins after the header."""

    def test_recordHasWorkersAddress(self) -> None:
        """
        The record has the worker's address, and the certificate is checked as usual.
        """
        door = ProxiedFactory(
            ConnectionLimit(
                TLSMemoryBIOFactory(self.context, False, self.listener, self.clock),
                Limits(),
            ),
            parseNetworks("192.0.2.0/24"),
            self.clock,
        )
        client = Client(b"5 hello")
        creator = ForwarderContext(worker(), "decnet-master", False)
        wrapped: Any = TLSMemoryBIOFactory(
            creator, True, Factory.forProtocol(lambda: client), self.clock
        ).buildProtocol(None)
        begin = wrapped.makeConnection

        def makeConnection(transport: Any) -> None:
            transport.write(header("203.0.113.5", 5000))
            begin(transport)

        wrapped.makeConnection = makeConnection
        _, _, pump = connectedServerAndClient(
            lambda: door.buildProtocol(BALANCER), lambda: wrapped, clock=self.clock
        )
        for _ in range(4):
            pump.flush()
        (batch,) = self.journal.read(0, 10**6)
        self.assertEqual(
            (batch.provenance.worker, batch.provenance.address, batch.octets),
            ("w1", "203.0.113.5:5000", b"hello\n"),
        )
        transport: Any = client.transport
        transport.loseConnection()
        for _ in range(4):
            pump.flush()
        self.assertEqual((self.listener.connections, door.waiting), (set(), set()))
