"""
Types for Twisted's transports and wrapping factories.

Each interface of Twisted describes one ability of a transport.

A protocol declares the type of its C{transport}, so that mypy checks the calls.
"""

from __future__ import annotations

from typing import TypeVar

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    INegotiated,
    IProtocolFactory,
    IPushProducer,
)
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import Attribute

from .boundaries import Foreign

__all__ = ["ITLSConnection", "RefusingFactory"]

Wrapper = TypeVar("Wrapper", bound=ProtocolWrapper)


class ITLSConnection(INegotiated, IPushProducer, IConsumer):
    """The transport of a protocol in TLS: L{twisted.protocols.tls.TLSMemoryBIOProtocol}."""

    connected: bool = Attribute("Whether the connection is open.")
    transport: Foreign = Attribute("The TCP transport.")

    def getHandle() -> SSL.Connection:
        """The connection of OpenSSL."""

    def getPeerCertificate() -> X509:
        """The peer's certificate, after the handshake."""


class RefusingFactory(WrappingFactory[Wrapper]):
    """Refuses some connections. (Twisted's types do not know that a factory may do so.)"""

    def __init__(self, wrapped: IProtocolFactory) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]

    def accepts(self, addr: IAddress | None) -> bool:
        """Whether to accept a connection from this address."""
        raise NotImplementedError

    def wrap(self, addr: IAddress | None) -> Wrapper:
        """Make the protocol of an accepted connection."""
        return super().buildProtocol(addr)

    def buildProtocol(self, addr: IAddress | None) -> Wrapper | None:  # type: ignore[override]
        """Make a protocol, or C{None}, which closes the connection."""
        return self.wrap(addr) if self.accepts(addr) else None
