"""
The TLS transport of the listener's connections: Twisted's, with less work for a small receive.

Twisted asks OpenSSL after each receive whether more plaintext is there, and whether OpenSSL wants
to send something. For a line that travels alone both answers are known to be no: its record is
complete, it was returned, and there is no other (L{decnet_syslog.trust._gathering}). Everything
else, handshakes and closing included, is left to Twisted.

A peer that fills a receive gets larger ones, so that a flood costs fewer turns. A peer that
has to wait gets none: each of the many that wait may hold one receive beyond the limits.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory

from ..boundaries import Foreign
from ..trust import GatheringConnection

__all__ = ["ListenerTLSFactory", "ListenerTransport"]


# The most that one receive takes from a socket: usually as much as Twisted's, and more from a peer
# that sends faster than we read.
RECEIVED_OCTETS = 2**16
FLOOD_OCTETS = 2**18


def _socketBelow(transport: object) -> object:
    """Twisted's transport of the socket: the limit on connections, for one, wraps it."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


class ListenerTransport(BufferingTLSTransport):
    """A TLS transport that asks OpenSSL only when octets can be there."""

    _isFlooded = False

    def dataReceived(self, data: bytes) -> None:
        """Decrypt received octets, and pass the plaintext on."""
        connection = self._tlsConnection
        if (
            not self._handshakeDone
            or self._appSendBuffer
            or self._lostTLSConnection
            or not isinstance(connection, GatheringConnection)
        ):
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        self._useLargeReceives(len(data) >= RECEIVED_OCTETS)
        plain = connection.receive(data)
        if plain and not self._aborted:
            self.wrappedProtocol.dataReceived(plain)
        if not connection.isQuiet:
            self._flushReceiveBIO()  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        """Read no more for now. The next receive is a small one."""
        self._useLargeReceives(False)
        cast(IPushProducer, self.transport).pauseProducing()

    def _useLargeReceives(self, isFlooded: bool) -> None:
        if isFlooded is not self._isFlooded:
            self._isFlooded = isFlooded
            octets = FLOOD_OCTETS if isFlooded else RECEIVED_OCTETS
            cast(Foreign, _socketBelow(self.transport)).bufferSize = octets


class ListenerTLSFactory(TLSMemoryBIOFactory):
    """Makes the TLS transports of the listener's connections."""

    protocol = ListenerTransport
