"""Tests for L{decnet_syslog.receiving._transport}: real TLS, over memory."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport

from decnet_syslog.limits import DEFAULTS
from decnet_syslog.receiving._connectionlimits import ConnectionLimit
from decnet_syslog.receiving._transport import FLOOD_OCTETS, RECEIVED_OCTETS
from decnet_syslog.trust._contexts import ForwarderContext

from ..certificates import worker
from ..trust.test_contexts import TLSTestCase


class ReceiveSizeTests(TLSTestCase):
    """How much one receive takes from a socket."""

    def setUp(self) -> None:
        super().setUp()
        # A peer without the extension sends plain frames.
        self.client: Any = self.connect(
            ForwarderContext(worker("w1"), "decnet-master", False), b""
        )
        self.socket: Any = self.pump.serverIO

    def send(self, lines: int) -> None:
        """Send lines of a KiB, so that one receive brings them all."""
        self.client.transport.write((b"1024 " + b"x" * 1024) * lines)
        self.clock.advance(0)
        self.pump.flush()

    def size(self) -> int:
        """How much the next receive takes; Twisted's own sockets begin with 64 KiB."""
        return getattr(self.socket, "bufferSize", RECEIVED_OCTETS)

    def test_fullReceiveMakesNextLarger(self) -> None:
        """A peer that fills a receive gets larger ones, until a receive is small again."""
        self.send(1)
        self.assertEqual(self.size(), RECEIVED_OCTETS)
        self.send(RECEIVED_OCTETS // 1024 + 1)
        self.assertEqual(self.size(), FLOOD_OCTETS)
        self.send(FLOOD_OCTETS // 1024)
        self.assertEqual(self.size(), FLOOD_OCTETS)
        self.send(1)
        self.assertEqual(self.size(), RECEIVED_OCTETS)

    def test_limitOnConnectionsIsBetween(self) -> None:
        """The socket gets larger receives, however many wrappers are above it."""
        server: Any = self.pump.server
        for _ in range(2):
            wrapper: Any = ConnectionLimit(Factory(), DEFAULTS).protocol(
                mock.Mock(), server
            )
            wrapper.transport, server.transport = server.transport, wrapper
        self.send(RECEIVED_OCTETS // 1024 + 1)
        self.assertEqual(self.size(), FLOOD_OCTETS)

    def test_pausedPeerGetsNoLargerReceive(self) -> None:
        """A peer that has to wait holds no more than one receive of the usual size."""
        self.send(RECEIVED_OCTETS // 1024 + 1)
        server: Any = self.pump.server
        server.pauseProducing()
        self.assertEqual(self.size(), RECEIVED_OCTETS)
        server.resumeProducing()
        self.send(RECEIVED_OCTETS // 1024 + 1)
        self.assertEqual(self.size(), FLOOD_OCTETS)

    def test_largeReceivesLoseNothing(self) -> None:
        """Every octet of large receives is in the journal."""
        counts = [1, 100, 300, 5, 400]
        for count in counts:
            self.send(count)
        self.clock.advance(60)
        self.assertEqual(
            b"".join([octets for _, octets in self.stored()]),
            (b"x" * 1024 + b"\n") * sum(counts),
        )


class StrangerTests(TLSTestCase):
    """Peers before the end of their handshake."""

    def test_strangerGetsNoLargerReceives(self) -> None:
        """Nobody gets larger receives before the handshake is over."""
        self.connect(ForwarderContext(worker("w1"), "decnet-master", False), b"")
        server: Any = self.pump.server
        fresh: Any = server.factory.buildProtocol(None)
        socket: Any = StringTransport()
        fresh.makeConnection(socket)
        fresh.dataReceived(b"x" * (2 * RECEIVED_OCTETS))
        self.assertFalse(hasattr(socket, "bufferSize"))
