"""
Objects between a listener and the process of an output, through a socket pair.

Chosen: pickles, with large octets out of band (PEP 574), so these are copied into the socket and
out of it, and nowhere else. C{Connection} of L{multiprocessing} copies them twice more, and takes
them from the socket in many pieces: five times the CPU time for 200 MB.
"""

from __future__ import annotations

import pickle
import socket
import struct

from ..boundaries import Called

__all__ = ["ObjectPipe"]

# The octets of a pickle, and the number of octet strings that accompany it.
_HEADER = struct.Struct("<QQ")
_SIZE = struct.Struct("<Q")


class ObjectPipe:
    """One end."""

    def __init__(self, descriptor: int) -> None:
        """
        @param descriptor: of a socket that this end then owns.
        """
        self._socket = socket.socket(fileno=descriptor)

    def send(self, value: object) -> None:
        """
        Send an object. Blocks until the other end has read most octets.

        @raise OSError: the other end is gone.
        """
        large: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=large.append)
        beside = [buffer.raw() for buffer in large]
        sizes = b"".join([_SIZE.pack(len(octets)) for octets in beside])
        header = _HEADER.pack(len(pickled), len(beside))
        self._socket.sendall(header + sizes + pickled)
        for octets in beside:
            self._socket.sendall(octets)

    def recv(self) -> Called:
        """
        Receive an object. Blocks until it is there.

        @raise EOFError: the other end is closed.
        @raise OSError: the other end is gone.
        """
        octets, count = _HEADER.unpack(self._take(_HEADER.size))
        rest = memoryview(self._take(count * _SIZE.size + octets))
        at = count * _SIZE.size
        beside = [self._take(size) for (size,) in _SIZE.iter_unpack(rest[:at])]
        return pickle.loads(rest[at:], buffers=beside)

    def _take(self, octets: int) -> bytes:
        taken = self._socket.recv(octets, socket.MSG_WAITALL)
        # A signal can cut it short.
        while len(taken) < octets:
            more = self._socket.recv(octets - len(taken), socket.MSG_WAITALL)
            if not more:
                raise EOFError("the other end is closed")
            taken += more
        return taken

    def fileno(self) -> int:
        """The descriptor of this end."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
