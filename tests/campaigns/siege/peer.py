"""A peer without rules: plain TCP, or TLS as far as OpenSSL allows."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar

from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey

from decnet_syslog.trust._alpn import DELIVERY_PROTOCOL

from .papers import Papers

__all__ = ["CLOSED", "OPEN", "Peer", "TLSPeer", "context"]

T = TypeVar("T")

# The time limit for the listener's reactions, in seconds; its own longest limit is 15.
PATIENCE_S = 25.0

# A connection that is still open after this time, in seconds, counts as staying open.
LOOK_S = 0.5

CLOSED = "closed"
OPEN = "open"


class Peer:
    """A TCP connection."""

    def __init__(self, target: tuple[str, int], source: str) -> None:
        self.socket = socket.socket()
        self.socket.bind((source, 0))
        self.socket.connect(target)
        self.socket.setblocking(False)

    def push(self, octets: bytes) -> int:
        """Send as many octets as possible without waiting. Returns their number."""
        return self.socket.send(octets)

    def pull(self) -> bytes:
        """Receive the available octets; none at the end of the connection."""
        return self.socket.recv(65536)

    def _try(self, call: Callable[[], T], seconds: float) -> T:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return call()
            except (SSL.WantReadError, BlockingIOError):
                wanted = select.POLLIN
            except SSL.WantWriteError:
                wanted = select.POLLOUT
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            # poll instead of select: there may be more than 1,024 sockets.
            poll = select.poll()
            poll.register(self.socket, wanted)
            poll.poll(min(left, 0.05) * 1000)

    def send(self, octets: bytes, seconds: float = PATIENCE_S) -> None:
        """
        Send all octets.

        @raise TimeoutError: the listener does not read them.
        @raise ConnectionError: or another error of a connection that has ended.
        """
        view = memoryview(octets)
        while view:
            piece = bytes(view[: 64 * 1024])
            view = view[self._try(lambda piece=piece: self.push(piece), seconds) :]  # type: ignore[misc]

    def receive(self, seconds: float) -> bytes:
        """
        Octets that arrive within some time; none at the end of the connection.

        @raise TimeoutError: nothing arrives.
        """
        try:
            return self._try(self.pull, seconds)
        except (SSL.Error, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            return b""

    def fate(self, seconds: float = PATIENCE_S) -> str:
        """Wait for the listener to close. Returns whether it did."""
        deadline = time.monotonic() + seconds
        try:
            while self.receive(max(0.0, deadline - time.monotonic())):
                pass
        except TimeoutError:
            return OPEN
        return CLOSED

    def finish(self) -> None:
        """Close the connection in the regular way."""
        self.socket.close()

    def reset(self) -> None:
        """Close with an RST."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


def context(
    papers: Papers | None,
    versions: tuple[int, int] | None = None,
    ciphers: bytes | None = None,
    protocols: tuple[bytes, ...] = (),
) -> SSL.Context:
    """
    A context that permits everything, including options that the listener forbids.
    """
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if versions is not None:
        made.set_min_proto_version(versions[0])
        made.set_max_proto_version(versions[1])
    made.set_cipher_list(ciphers or b"ALL:@SECLEVEL=0")
    if protocols:
        made.set_alpn_protos(list(protocols))
    if papers is not None:
        made.use_certificate(X509.from_cryptography(papers.certificate))
        for one in papers.chain:
            made.add_extra_chain_cert(X509.from_cryptography(one))
        made.use_privatekey(PKey.from_cryptography_key(papers.key))
    return made


class TLSPeer(Peer):
    """
    An established TLS connection.

    @raise SSL.Error: the handshake failed.
    """

    def __init__(
        self,
        target: tuple[str, int],
        source: str,
        with_: SSL.Context,
        session: Any = None,
    ) -> None:
        super().__init__(target, source)
        self.tls = SSL.Connection(with_, self.socket)
        if session is not None:
            self.tls.set_session(session)
        self.tls.set_connect_state()
        try:
            self.handshake(PATIENCE_S)
        except BaseException:
            self.socket.close()
            raise
        self.acked = self.tls.get_alpn_proto_negotiated() == DELIVERY_PROTOCOL
        self._lines = b""

    def handshake(self, seconds: float) -> None:
        """
        Complete the handshake, also a second one.

        @raise TimeoutError: the listener does not answer.
        """
        self._try(self.tls.do_handshake, seconds)

    def push(self, octets: bytes) -> int:
        """Send as many octets as possible without waiting. Returns their number."""
        return self.tls.send(octets)

    def pull(self) -> bytes:
        """Receive the available octets; none at the end of the connection."""
        return self.tls.recv(65536)

    def line(self, verb: bytes, seconds: float = PATIENCE_S) -> bytes:
        """
        Read control lines up to one with a verb.

        @raise ConnectionError: the connection ended first.
        """
        while True:
            line, end, rest = self._lines.partition(b"\n")
            if end:
                self._lines = rest
                if line.startswith(verb):
                    return line
                continue
            octets = self.receive(seconds)
            if not octets:
                raise ConnectionError(f"no {verb.decode()}")
            self._lines += octets

    def finish(self) -> None:
        """Close in the regular way: octets sent before still arrive."""
        try:
            self.tls.shutdown()
        except SSL.Error:
            pass
        self.socket.close()
