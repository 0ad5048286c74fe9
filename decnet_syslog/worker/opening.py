"""
Opening contents on a connection: OPEN, RESUME, and the comparison of checksums.

What must be true: before the sender sends an octet of a content, the listener's checksum of the
octets that it holds equals ours of the same octets.
"""

from __future__ import annotations

from collections.abc import Callable

from ..files import FollowedFiles, OpenContent
from ..wire.control import BYE, RESUME
from .chunks import byName
from .comparison import Comparison
from .connection import IConnection, ListenerProtocolError
from .identification import Slices
from .slices import SlicedWork
from .streams import Happening, OpenStream, State, StreamTable

__all__ = ["REFUSED_MAX", "StreamOpener"]

# Names of one content that a journal may hold other octets by. More than two cannot happen to
# an honest one, unless somebody else uses our state at this moment.
REFUSED_MAX = 8


class StreamOpener:
    """Brings the streams of one connection from WAITING to SENDING, or finds that it cannot."""

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
        @param lookFor: called when the journal has another content under our name: it looks for
            ours under the others.
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
        """Ask for every content that waits, as far as the listener takes it."""
        unopened: dict[str, str] = {}
        names: dict[str, list[OpenContent]] = {}
        for stream in list(self._streams.of.values()):
            if stream.state is State.WAITING:
                if self._streams.isOpen(stream):
                    # It was another file's before we knew better: the listener takes it
                    # again on the next connection.
                    self._connection.close(
                        BYE("error", "a stream has changed its file")
                    )
                    return
                if self._streams.open(stream):
                    continue
                names = names or byName(self._files.opened)
                if not (
                    self._streams.giveWay(stream, names) and self._streams.open(stream)
                ):
                    unopened[stream.content.name] = (
                        f"the master takes {self._streams.streamsMax} files of a connection"
                    )
            elif stream.state is State.HELD and not stream.content.isSearching:
                stream.happened(Happening.FOUND)
                self._verify(stream)
        self._files.reportUnopened(unopened)

    def resumed(self, stream: OpenStream, line: RESUME) -> None:
        """
        RESUME has come.

        @raise ListenerProtocolError: it was not asked for, or contradicts itself.
        """
        if stream.state is not State.ASKED or line.base > line.offset:
            raise ListenerProtocolError("RESUME")
        self._connection.accepted()
        stream.resume = line
        if stream.content.isSearching:
            # There is nothing to compare with until its copy is found, or given up.
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
            raise ListenerProtocolError("the journal has other octets by every name")
        self._lookFor()

    def _agreed(self, stream: OpenStream) -> None:
        line = stream.resume
        assert line is not None
        self._comparison.resume(stream)
        stream.happened(Happening.AGREED)
        stream.base, stream.crc = line.base, line.crc
        stream.acknowledged = line.offset
        self._pumpSoon()
