"""TCP keepalive: a peer whose host is gone without a word is detected by the kernel."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ISystemHandle

from ..transports import ITLSConnection

__all__ = ["keepAlive", "setTimeouts"]

# The number of TCP probes to a peer that has been silent for half of Limits.peerSeconds.
KEEPALIVE_PROBES = 4


def keepAlive(transport: ITLSConnection, seconds: float) -> None:
    """
    Let TCP detect that a peer's host is gone.

    @param seconds: the time without an answer after which TCP gives up.
    """
    # TLS wraps the TCP transport.
    tcp = transport.transport
    # Tests in memory have no socket.
    hasSocket: bool = ISystemHandle.providedBy(tcp)
    if hasSocket:
        tcp.setTcpKeepAlive(True)
        setTimeouts(tcp.getHandle(), seconds)


def setTimeouts(handle: socket.socket, seconds: float) -> None:
    """See L{keepAlive}; options that the system lacks are left out."""
    idle = max(1, int(seconds / 2))
    for name, value in (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", max(1, idle // KEEPALIVE_PROBES)),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", int(seconds * 1000)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)
