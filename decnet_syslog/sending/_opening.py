"""
Opening contents on a connection: OPEN, RESUME, and the comparison of checksums.

What must be true: before the sender sends an octet of a content, the listener's checksum of the
octets that it holds equals our checksum of the same octets.
"""

from __future__ import annotations

from collections.abc import Callable

from ..files import FollowedFiles, OpenContent
from ..wire import BYE, RESUME
from ._chunks import byName
from ._comparison import Comparison
from ._connection import IConnection, ListenerProtocolError
from ._identification import Slices
from ._slices import SlicedWork
from ._streams import Happening, OpenStream, State, StreamTable

__all__ = ["REFUSED_MAX", "StreamOpener"]

# The names under which a journal may hold other octets than ours, for one content. An honest
# journal has two at most, unless another process uses our state at the same moment.
REFUSED_MAX = 8


class StreamOpener:
    """Brings a connection's streams from WAITING to SENDING, or finds that it cannot."""

    def __init__(
        self,
        files: FollowedFiles,
        streams: StreamTable,
        comparison: Comparison,
        work: SlicedWork,
        connection: IConnection,
        lookFor: Callable[[], None],
        pumpSoon: Callable[[], None],
    ) -> None:
        """
        @param lookFor: called when the journal holds another content under our name: it searches
            the journal's other streams for ours.
        @param pumpSoon: called when new octets may be ready to send.
        """
        self._files = files
        self._streams = streams
        self._comparison = comparison
        self._work = work
        self._connection = connection
        self._lookFor = lookFor
        self._pumpSoon = pumpSoon

    def openAll(self) -> None:
        """Open every waiting content, as far as the listener has room."""
        unopened: dict[str, str] = {}
        names: dict[str, list[OpenContent]] = {}
        for stream in list(self._streams.of.values()):
            if stream.state is State.WAITING:
                if self._streams.isOpen(stream):
                    # The name belonged to another file before we knew better: the listener
                    # accepts it again on the next connection.
                    self._connection.close(
                        BYE("error", "a stream now belongs to another file")
                    )
                    return
                if self._streams.open(stream):
                    continue
                names = names or byName(self._files.opened)
                if not (
                    self._streams.giveWay(stream, names) and self._streams.open(stream)
                ):
                    unopened[stream.content.name] = (
                        f"the master accepts at most {self._streams.streamsMax} files on a"
                        " connection"
                    )
            elif stream.state is State.HELD and not stream.content.isSearching:
                stream.happened(Happening.FOUND)
                self._verify(stream)
        self._files.reportUnopened(unopened)

    def resumed(self, stream: OpenStream, line: RESUME) -> None:
        """
        RESUME arrived.

        @raise ListenerProtocolError: it answers no OPEN, or contradicts itself.
        """
        if stream.state is not State.ASKED or line.base > line.offset:
            raise ListenerProtocolError("RESUME")
        self._connection.accepted()
        stream.resume = line
        if stream.content.isSearching:
            # Nothing can be compared until the copy is found or the search is given up.
            stream.happened(Happening.MISSED)
            return
        stream.happened(Happening.ANSWERED)
        self._verify(stream)

    def _verify(self, stream: OpenStream) -> None:
        if self._comparison.isKnown(stream):
            self._agreed(stream)
        else:
            self._work.begin(self._compare(stream))

    def _compare(self, stream: OpenStream) -> Slices[None]:
        state = yield from self._comparison.compare(stream)
        if state is Happening.AGREED:
            self._agreed(stream)
            return
        stream.happened(state)
        self._streams.close(stream)
        if state is Happening.FAILED:
            return
        if len(stream.refused) > REFUSED_MAX:
            raise ListenerProtocolError("the journal has other octets under every name")
        self._lookFor()

    def _agreed(self, stream: OpenStream) -> None:
        line = stream.resume
        assert line is not None
        self._comparison.resume(stream)
        stream.happened(Happening.AGREED)
        stream.base, stream.crc = line.base, line.crc
        stream.acknowledged = line.offset
        self._pumpSoon()
