"""
The room for lines in the stream.

What must be true: lines leave a reserve. When the stream is full, the outputs still need room to
publish positions and eras, after which they can remove written messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ._bucket import releasedOf
from ._chronicle import Chronicle
from ._stream import JournalStream, StreamFull

__all__ = ["Room"]

# Space in the stream that is reserved for positions and eras: this fraction of its size, up to a
# maximum in octets.
RESERVE_PART = 16
RESERVE_OCTETS_MAX = 4 * 1024 * 1024


class Room:
    """The room for lines. All coroutines run in the bus's thread."""

    def __init__(
        self,
        stream: JournalStream,
        chronicle: Chronicle,
        isAllWritten: Callable[[int], Awaitable[bool]],
    ) -> None:
        """
        @param isAllWritten: whether no lines follow a sequence.
        """
        self._stream = stream
        self._chronicle = chronicle
        self._isAllWritten = isAllWritten

    async def take(self, octets: int) -> None:
        """
        Take room for a message with lines.

        @raise StreamFull: there is none.
        @raise JournalBlocked: try again later.
        """
        if self._isFull(octets):
            # The outputs may have made room since.
            await self._chronicle.check()
            if self._isFull(octets):
                raise StreamFull(await self._whyFull())
        self._stream.octets += octets

    @property
    def _reserve(self) -> int:
        return min(RESERVE_OCTETS_MAX, self._stream.octetsMax // RESERVE_PART)

    def _isFull(self, octets: int) -> bool:
        """Whether the stream has no room for lines, according to our last check."""
        stream = self._stream
        return stream.octets + octets > stream.octetsMax - self._reserve

    async def _whyFull(self) -> str:
        """Explain to the operator why the stream has no room."""
        stream = self._stream
        said = (
            f"the stream {stream.name} is full: {stream.octets} of its maximum bytes,"
            f" {stream.octetsMax}, less {self._reserve} for positions"
        )
        written = await releasedOf(stream.bus, stream.name)
        if not await self._isAllWritten(written):
            last = self._chronicle.known.last
            return (
                f"{said}; the outputs have all up to message {written} of {last}: see that"
                " decnet-outputs runs and can write"
            )
        return (
            f"{said}; all lines are written, only positions of streams are left:"
            " decnet-outputs shortens them within a minute; otherwise raise max_bytes"
        )
