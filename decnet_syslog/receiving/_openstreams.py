"""
The streams that are open on one connection.

A stream is requested by OPEN, may be extended from its RESUME on, and is closed by CLOSE. Frames
belong to the stream of the last AT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..journal import StreamLease
from ..limits import Limits
from ..wire import AT, NAMES_OCTETS_MAX, NUMBER_MAX, OPEN, octetsOf
from ._session import Violation

if TYPE_CHECKING:
    from ._acked import AckedSession

__all__ = ["IStreamRegistry", "Key", "OpenStream", "OpenStreams"]

# The longest path of a Linux system.
NAME_OCTETS_MAX = 4096

# A stream: worker, id, generation.
Key: TypeAlias = tuple[str, str, int]


class IStreamRegistry(Protocol):
    """A registry of the connection that owns each stream."""

    def opened(self, stream: Key, session: AckedSession) -> None:
        """A connection will request the grant: close an older connection of the stream."""

    def closed(self, stream: Key, session: AckedSession) -> None:
        """A connection has released a stream."""


@dataclass
class OpenStream:
    """
    A stream that this connection may extend.

    @ivar received: the position after everything that was received.
    """

    lease: StreamLease
    name: str
    received: int

    def advance(self, octets: int) -> int:
        """
        Count octets of the stream.

        @return: the offset of the first octet.
        @raise Violation: no file can be that long.
        """
        start = self.received
        if start + octets > NUMBER_MAX:
            raise Violation("position", f"{octets} octets after {start}")
        self.received = start + octets
        return start


class OpenStreams:
    """
    A table of streams, with limits.

    @ivar current: the stream that frames belong to.
    """

    def __init__(self, limits: Limits) -> None:
        self.current: OpenStream | None = None
        self._limits = limits
        # None until the request is granted.
        self._streams: dict[tuple[str, int], OpenStream | None] = {}
        self._nameOctets = 0

    def request(self, line: OPEN) -> None:
        """
        Add a stream that is not granted yet.

        @raise Violation: it is open, or there are too many.
        """
        key = (line.stream, line.generation)
        if key in self._streams:
            raise Violation("order", "OPEN of a stream that is open")
        nameOctets = octetsOf(line.name)
        most = self._limits.filesPerConnection
        for exceeds, text in (
            (
                nameOctets > NAME_OCTETS_MAX,
                f"a name of more than {NAME_OCTETS_MAX} octets",
            ),
            (len(self._streams) >= most, f"more than {most} streams"),
            (
                self._nameOctets + nameOctets > NAMES_OCTETS_MAX,
                f"names of more than {NAMES_OCTETS_MAX} octets",
            ),
        ):
            if exceeds:
                raise Violation("limit", text)
        self._nameOctets += nameOctets
        self._streams[key] = None

    def grant(self, lease: StreamLease, name: str) -> None:
        """A requested stream may be extended."""
        stream = OpenStream(lease, name, lease.offset)
        self._streams[lease.stream, lease.generation] = stream

    def granted(self, stream: str, generation: int, verb: str) -> OpenStream:
        """
        A stream that may be extended.

        @raise Violation: there is none with this id.
        """
        found = self._streams.get((stream, generation))
        if found is None:
            raise Violation("order", f"{verb} a stream without a RESUME")
        return found

    def at(self, line: AT) -> OpenStream:
        """
        The stream of an AT.

        @raise Violation: it is not open, or is at another position.
        """
        stream = self.granted(line.stream, line.generation, "AT for")
        if stream.received != line.offset:
            raise Violation(
                "position",
                f"AT {line.offset}, expected {stream.received} of {stream.name!r}",
            )
        return stream

    def isCurrent(self, stream: str, generation: int) -> bool:
        """Whether frames belong to this stream now."""
        found = self._streams.get((stream, generation))
        return found is not None and found is self.current

    def close(self, stream: str, generation: int) -> None:
        """Remove a stream that was granted."""
        closed = self.granted(stream, generation, "CLOSE of")
        if closed is self.current:
            self.current = None
        del self._streams[stream, generation]
        self._nameOctets -= octetsOf(closed.name)
