"""The answer to a LIST on one connection, in pieces (L{decnet_syslog.journal._listing})."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.python.failure import Failure

from ..journal import IJournal, StreamPosition, cutName
from ..wire import KNOWN, LISTED, ControlLine
from ._session import IConnection

__all__ = ["KnownStreams"]


class KnownStreams:
    """
    Sends a worker's streams to its connection.

    @ivar isOver: whether the connection is closing, or gone.
    """

    def __init__(
        self,
        worker: str,
        connection: IConnection,
        journal: IJournal,
        before: Callable[[], Sequence[ControlLine]],
        failed: Callable[[Failure], None],
        refused: Callable[[], None],
    ) -> None:
        """
        @param before: lines to send before positions.
        @param failed: called if the journal is blocked.
        @param refused: called if other answers need the room.
        """
        self.isOver = False
        self._worker = worker
        self._connection = connection
        self._journal = journal
        self._before = before
        self.listingFailed = failed
        self.listingRefused = refused

    def ask(self) -> list[StreamPosition]:
        """Read the worker's streams; called in the journal's thread."""
        return [] if self.isOver else self._journal.known(self._worker)

    def reads(self) -> bool:
        """Whether the peer reads our octets."""
        return self._connection.isRead

    def sendKnown(self, known: list[StreamPosition], isLast: bool) -> None:
        """Send a piece of the answer."""
        if self.isOver:
            return
        lines = [
            KNOWN(k.stream, k.generation, k.offset, k.base, k.crc, cutName(k.name))
            for k in known
        ]
        end = (LISTED(),) if isLast else ()
        self._connection.sendControl(*self._before(), *lines, *end)
