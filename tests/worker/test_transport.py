"""Tests for L{decnet_syslog.worker._transport}: real TLS, over memory."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from decnet_syslog.worker._transport import (
    RECORD_OCTETS,
    ForwarderTransport,
    TLSClientEndpoint,
)

from ..certificates import SERVER, certificate, key

_KEY = key("holder")
_CERTIFICATE = certificate(["master"], usages=(SERVER,))

# The type of a record with octets of the application, and its header (RFC 8446 section 5.1).
APPLICATION_DATA = 23
HEADER_OCTETS = 5


class _Sockets(StringTransport):
    """Keeps the size of each write."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        super().write(data)


class _Collecting(Protocol):
    """Keeps what it receives, and the reason of its end."""

    def __init__(self) -> None:
        self.got = b""
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.ended = reason


def _factory(protocol: Protocol) -> Factory:
    factory = Factory()
    cast(Any, factory).buildProtocol = lambda _: protocol
    return factory


class _Tcp:
    """An endpoint whose connection is there at once."""

    def __init__(self, transport: StringTransport) -> None:
        self.made: Any = None
        self._transport = transport

    def connect(self, factory: Any) -> Deferred[Any]:
        """Make the protocol and connect it."""
        connected: Deferred[Any] = Deferred()
        self.made = factory.buildProtocol(None)
        self.made.makeConnection(self._transport)
        connected.callback(self.made)
        return connected


class _Connection(SSL.Connection):
    """
    A client's connection that can fail.

    @ivar failure: raised instead of encrypting more than C{left} records.
    """

    failure: Exception | None = None
    left = 0

    def send(self, buf: Any, flags: int = 0) -> int:
        if self.failure is not None:
            if not self.left:
                raise self.failure
            self.left -= 1
        return super().send(buf, flags)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self) -> None:
        self.made = _Connection(SSL.Context(SSL.TLS_METHOD), None)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """A connection that accepts any certificate."""
        return self.made


@implementer(IOpenSSLServerConnectionCreator)
class _Servers:
    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.use_certificate(X509.from_cryptography(_CERTIFICATE))
        self._context.use_privatekey(PKey.from_cryptography_key(_KEY))

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """A connection with the master's certificate."""
        return SSL.Connection(self._context, None)


class _Pair:
    """A forwarder's transport and Twisted's own for the server, both over memory."""

    def __init__(self) -> None:
        self.near, self.far = _Collecting(), _Collecting()
        self.sockets = [_Sockets(), _Sockets()]
        tcp = _Tcp(self.sockets[0])
        creator, self._clock = _Creator(), Clock()
        connecting = TLSClientEndpoint(creator, cast(Any, tcp), self._clock).connect(
            cast(Any, _factory(self.near))
        )
        self.connected: list[object] = []
        connecting.addCallback(self.connected.append)
        self.connection = creator.made
        self.client = tcp.made
        servers: Any = TLSMemoryBIOFactory(
            _Servers(), False, _factory(self.far), clock=self._clock
        )
        self.server = servers.buildProtocol(None)
        self.server.makeConnection(self.sockets[1])

    def write(self, octets: bytes) -> None:
        """Write, and let nothing wait for the next turn of the reactor."""
        self.client.write(octets)
        self._clock.advance(0)

    def answer(self, octets: bytes) -> None:
        """Let the server write."""
        self.server.write(octets)
        self._clock.advance(0)

    def flow(self) -> None:
        """Pass octets to and fro until there are none."""
        ends = (self.client, self.server)
        while any(sockets.value() for sockets in self.sockets):
            for sockets, other in zip(self.sockets, reversed(ends), strict=True):
                octets = sockets.value()
                sockets.clear()
                if octets:
                    other.dataReceived(octets)


class ForwarderTransportTests(SynchronousTestCase):
    """Large writes."""

    def test_endpointGivesInnerProtocol(self) -> None:
        """The endpoint fires with the factory's own protocol; its transport is ours."""
        pair = _Pair()
        self.assertEqual(pair.connected, [pair.near])
        self.assertIsInstance(pair.near.transport, ForwarderTransport)

    def test_largeWriteIsOneWriteToSocket(self) -> None:
        """However many records a write needs, the socket gets them in one piece."""
        pair = _Pair()
        pair.flow()
        pair.sockets[0].sizes.clear()
        octets = bytes(range(256)) * 1024
        pair.write(octets)
        self.assertEqual(len(pair.sockets[0].sizes), 1)
        pair.flow()
        self.assertEqual(pair.far.got, octets)

    def test_recordsAreFull(self) -> None:
        """A large write is cut into records of the largest size, so that none costs for nothing."""
        pair = _Pair()
        pair.flow()
        pair.write(b"x" * (3 * RECORD_OCTETS + 1))
        wire, records = pair.sockets[0].value(), 0
        while wire:
            self.assertEqual(wire[0], APPLICATION_DATA)
            wire = wire[HEADER_OCTETS + int.from_bytes(wire[3:5], "big") :]
            records += 1
        self.assertEqual(records, 4)

    def test_writeBeforeHandshakeWaits(self) -> None:
        """What is written before the handshake arrives after it, in order."""
        pair = _Pair()
        first, second = b"a" * (5 * RECORD_OCTETS), b"b" * (2 * RECORD_OCTETS)
        pair.write(first)
        pair.write(second)
        pair.flow()
        self.assertEqual(pair.far.got, first + second)

    @settings(max_examples=30)
    @given(
        st.lists(
            st.sampled_from([1, 2**14 - 1, 2**14, 2**14 + 1, 2**15, 2**17 + 3]),
            max_size=6,
        )
    )
    def test_peerGetsAllInOrder(self, sizes: list[int]) -> None:
        """Writes of any sizes arrive whole and in order."""
        pair = _Pair()
        pair.flow()
        written = b""
        for number, size in enumerate(sizes):
            octets = bytes([number]) * size
            pair.write(octets)
            written += octets
        pair.flow()
        self.assertEqual(pair.far.got, written)

    def test_waitsForPeer(self) -> None:
        """What OpenSSL cannot take now is sent later, once and in order."""
        pair = _Pair()
        pair.flow()
        pair.connection.failure, pair.connection.left = SSL.WantReadError(), 2
        octets = bytes(range(256)) * 512
        pair.write(octets)
        pair.flow()
        self.assertEqual(pair.far.got, octets[: 2 * RECORD_OCTETS])
        pair.connection.failure = None
        # Any receive lets Twisted try again.
        pair.answer(b"answer")
        pair.flow()
        self.assertEqual(pair.far.got, octets)

    def test_failureEndsConnection(self) -> None:
        """An error of OpenSSL in the middle of a write ends the connection with that error."""
        pair = _Pair()
        pair.flow()
        broken = SSL.Error([("SSL routines", "", "broken")])
        pair.connection.failure, pair.connection.left = broken, 1
        octets = b"x" * (4 * RECORD_OCTETS)
        pair.write(octets)
        self.assertTrue(pair.sockets[0].disconnecting)
        pair.flow()
        self.assertEqual(pair.far.got, octets[:RECORD_OCTETS])
        pair.client.connectionLost(Failure(ConnectionDone()))
        assert pair.near.ended is not None
        self.assertIs(pair.near.ended.value, broken)

    def test_nothingAfterTheEnd(self) -> None:
        """A write after the TLS connection was lost sends nothing."""
        pair = _Pair()
        pair.flow()
        pair.server.loseConnection()
        pair.flow()
        pair.sockets[0].clear()
        pair.write(b"x" * (2 * RECORD_OCTETS))
        self.assertEqual(pair.sockets[0].value(), b"")
