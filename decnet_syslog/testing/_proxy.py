"""A TCP proxy that cuts and stalls connections."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading

__all__ = ["Proxy"]


class Proxy:
    """
    Forwards connections to a port, and interrupts them on demand.

    @ivar port: the port where it listens, on the same address.
    """

    def __init__(self, host: str, target: int) -> None:
        self._target = (host, target)
        self._listening = socket.create_server((host, 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._stalled = False
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self, reset: bool) -> int:
        """
        Cut every connection.

        @param reset: with RST, otherwise with FIN.
        @return: the number of connections.
        """
        with self._lock:
            cut = len(self._pairs) // 2
            for one in list(self._pairs):
                self._close(one, reset)
        return cut

    def stall(self, stalled: bool) -> None:
        """Forward nothing, or forward again."""
        self._stalled = stalled

    def close(self) -> None:
        """Stop the proxy."""
        self._over = True
        self._thread.join()
        self.cut(True)
        self._listening.close()

    def _close(self, one: socket.socket, reset: bool) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for end in (one, other):
            if reset:
                with contextlib.suppress(OSError):
                    end.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            end.close()

    def _run(self) -> None:
        while not self._over:
            with self._lock:
                watched = [] if self._stalled else list(self._pairs)
            try:
                ready, _, _ = select.select([self._listening, *watched], [], [], 0.02)
            except (OSError, ValueError):
                continue
            for one in ready:
                if one is self._listening:
                    self._accept()
                else:
                    with self._lock:
                        self._forward(one)

    def _accept(self) -> None:
        here, _ = self._listening.accept()
        there = socket.socket()
        # If the listener is down, this fails at once: it is on loopback.
        try:
            there.connect(self._target)
        except OSError:
            there.close()
            here.close()
            return
        with self._lock:
            self._pairs[here], self._pairs[there] = there, here

    def _forward(self, one: socket.socket) -> None:
        other = self._pairs.get(one)
        if other is None:
            return
        try:
            octets = one.recv(65536)
            if octets:
                other.sendall(octets)
                return
        except OSError:
            pass
        self._close(one, False)
