"""
Control lines over TLS on a blocking socket, with deadlines: the doctor has no reactor.
"""

from __future__ import annotations

import select
import socket
import time

from OpenSSL import SSL

from ..trust import ForwarderContext
from ..wire import ControlError, ControlLine, encodeControl, parseControl

__all__ = ["ControlConnection"]

# A control line has at most 12,544 octets: a peer that sends more is not our listener.
LINE_OCTETS_MAX = 128 * 1024

RECEIVE_OCTETS = 65536


class _Bare:
    """
    The part of a TLS protocol that Twisted needs to make a connection: a factory that may know
    ALPN protocols. This one does not.
    """

    wrappedFactory = None

    def __init__(self) -> None:
        self.factory = self


class ControlConnection:
    """A TLS connection on a blocking socket, with deadlines."""

    def __init__(self, plain: socket.socket, context: ForwarderContext) -> None:
        self._plain = plain
        self.tls = context.clientConnectionForTLS(_Bare())
        self.tls.set_connect_state()
        self.held = b""

    def flush(self) -> None:
        """Write what TLS has to send."""
        while True:
            try:
                octets = self.tls.bio_read(RECEIVE_OCTETS)
            except SSL.WantReadError:
                return
            self._plain.sendall(octets)

    def _fill(self, deadline: float) -> bool:
        """Receive more octets. False: the peer has closed."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._plain], [], [], left)[0]:
            raise TimeoutError
        octets = self._plain.recv(RECEIVE_OCTETS)
        if octets:
            self.tls.bio_write(octets)
        return bool(octets)

    def handshake(self, patience: float) -> None:
        """
        Complete the handshake.

        @raise SSL.Error: a certificate was refused.
        @raise TimeoutError: no answer came.
        @raise EOFError: the peer closed.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self.flush()
                if not self._fill(deadline):
                    raise EOFError from None
            except SSL.Error:
                self.flush()
                raise
            else:
                self.flush()
                return

    def send(self, line: ControlLine) -> None:
        """Send a control line."""
        self.tls.send(encodeControl(line))
        self.flush()

    def receive(self, patience: float) -> ControlLine:
        """
        The next control line.

        @raise SSL.Error: the peer refuses our certificate.
        @raise TimeoutError: no line came.
        @raise EOFError: the peer closed.
        @raise ControlError: the octets are not a control line.
        """
        deadline = time.monotonic() + patience
        while b"\n" not in self.held:
            if len(self.held) > LINE_OCTETS_MAX:
                raise ControlError("a line without an end", self.held[:80])
            try:
                self.held += self.tls.recv(RECEIVE_OCTETS)
            except SSL.WantReadError:
                if not self._fill(deadline):
                    raise EOFError from None
            except SSL.ZeroReturnError:
                raise EOFError from None
        line, self.held = self.held.split(b"\n", 1)
        return parseControl(line)
