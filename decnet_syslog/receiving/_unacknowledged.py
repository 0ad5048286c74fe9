"""The committed positions of a connection that its peer does not know yet."""

from __future__ import annotations

from collections.abc import Sequence

from ..journal import ACK_OCTETS_MAX, Batch
from ..wire import ACK

__all__ = ["Unacknowledged"]


class Unacknowledged:
    """The committed end of each stream that is not acknowledged yet."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], int] = {}
        self._octets = 0
        self._sentAt = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._ends)

    def add(self, batch: Batch) -> None:
        """A batch is committed."""
        if batch.stream is not None:
            self._ends[batch.stream, batch.generation] = batch.end
            self._octets += len(batch.octets)

    def isDue(self, now: float, spacing: float) -> bool:
        """
        Whether to acknowledge at once.

        @param spacing: the time between two acknowledgements, in seconds.
        """
        return bool(self._ends) and (
            now - self._sentAt >= spacing or self._octets >= ACK_OCTETS_MAX
        )

    def take(self, now: float) -> Sequence[ACK]:
        """The acknowledgements to send now."""
        ends, self._ends = self._ends, {}
        self._octets = 0
        self._sentAt = now
        return [ACK(*stream, end) for stream, end in ends.items()]

    def discard(self) -> None:
        """Acknowledge nothing: the commits may be lost."""
        self._ends = {}
