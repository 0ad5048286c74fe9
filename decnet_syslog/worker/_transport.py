"""
The TLS transport of the forwarder's connections: Twisted's, with less work for a large write.

Twisted gives OpenSSL a write in records of 16 KiB, and takes the encrypted octets out after each
record. Here they are taken out once for a write. Small writes, handshakes and closing are left to
Twisted.
"""

from __future__ import annotations

from typing import cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..boundaries import Foreign

__all__ = ["ForwarderTransport", "TLSClientEndpoint"]

# The most that one record holds (RFC 8446 section 5.1), and what it needs besides.
RECORD_OCTETS = 2**14
RECORD_COST = 256


class ForwarderTransport(BufferingTLSTransport):
    """A TLS transport that encrypts a large write in one go."""

    def _write(self, bytes: bytes) -> None:
        """Encrypt octets, and send what OpenSSL makes of them."""
        if len(bytes) <= RECORD_OCTETS or not self._handshakeDone:
            super()._write(bytes)  # type: ignore[no-untyped-call]
            return
        if self._lostTLSConnection:
            return
        connection = self._tlsConnection
        at, failure = 0, None
        with memoryview(bytes) as view:
            try:
                while at < len(view):
                    with view[at : at + RECORD_OCTETS] as record:
                        at += connection.send(record)
            except SSL.WantReadError:
                # OpenSSL must hear from the peer first; Twisted sends the rest then.
                pass
            except SSL.Error:
                failure = Failure()
        self._flushRecords(at)
        if failure is not None:
            self._tlsShutdownFinished(failure)  # type: ignore[no-untyped-call]
        elif at < len(bytes):
            self._bufferedWrite(bytes[at:])  # type: ignore[no-untyped-call]

    def _flushRecords(self, octets: int) -> None:
        """Send all encrypted octets: those of a write of C{octets}, and any earlier ones."""
        room = octets + (octets // RECORD_OCTETS + 2) * RECORD_COST
        try:
            while True:
                encrypted = self._tlsConnection.bio_read(room)
                cast(ITransport, self.transport).write(encrypted)
                if len(encrypted) < room:
                    return
        except SSL.WantReadError:
            # Nothing is left.
            return


class _TLSFactory(TLSMemoryBIOFactory):
    protocol = ForwarderTransport


@implementer(IStreamClientEndpoint)
class TLSClientEndpoint:
    """An endpoint that adds TLS to another one, as Twisted's C{wrapClientTLS} does."""

    def __init__(
        self,
        context: IOpenSSLClientConnectionCreator,
        tcp: IStreamClientEndpoint,
        clock: IReactorTime,
    ) -> None:
        """
        @param context: makes the TLS connections.
        @param tcp: the endpoint below.
        @param clock: small writes of one turn are sent together.
        """
        self._context = context
        self._tcp = tcp
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Foreign]:
        """
        Connect a factory.

        @return: the factory's protocol.
        """
        factory = cast(Foreign, _TLSFactory)(
            self._context, True, protocolFactory, self._clock
        )
        connecting: Deferred[Foreign] = self._tcp.connect(factory)
        return connecting.addCallback(lambda transport: transport.wrappedProtocol)
