"""
Sending with the delivery extension: which octets are sent, and what an acknowledgement changes.

What must be true:

* the listener's durable position alone decides where sending continues. Our own position is a
  hint: it finds the file, and saves the time to verify octets that are already known;
* stored <= acknowledged <= sent <= read <= size of the file, always;
* nothing is kept in memory for a retry: a new connection reads the file again.

L{decnet_syslog.sending._recognition} first recognises the journal, then
L{decnet_syslog.sending._opening} opens contents there; this module sends their octets and handles
the acknowledgements.

Set aside: keeping unacknowledged octets in memory (a second queue to lose); trusting our own
offset when the listener disagrees; treating the lines of a file as delivered when the journal
that held them is lost.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel

from ..files import (
    Authority,
    Chunk,
    FollowedFiles,
    GapChunk,
    OpenContent,
)
from ..wire import (
    ACK,
    AT,
    BYE,
    HELLO,
    HISTORY,
    KNOWN,
    LIMIT,
    LISTED,
    MARK,
    RESUME,
    ControlLine,
    encodeControl,
)
from ._comparison import Comparison
from ._connection import IClock, IConnection, ListenerProtocolError
from ._counts import Counts
from ._encoding import encodeChunk
from ._opening import StreamOpener
from ._recognition import JournalRecognition, Phase
from ._slices import SlicedWork
from ._streams import OpenStream, State, StreamTable
from ._window import CHUNK_OCTETS, Answers, Window, turns

__all__ = ["AckedSender"]


class AckedSender:
    """
    The sending side of a connection.

    @ivar inFlight: octets of files that are sent and not acknowledged.
    """

    _log = Logger()

    def __init__(
        self,
        files: FollowedFiles,
        connection: IConnection,
        clock: IClock,
        counts: Counts,
        worker: str,
        resendToNewMaster: bool,
        chunkOctets: int = CHUNK_OCTETS,
    ) -> None:
        """
        @param worker: our name at the master: the one in our certificate.
        @param resendToNewMaster: whether a master with another journal gets again everything
            that the previous one acknowledged, as far as it is still on disk.
        """
        self._files = files
        self._connection = connection
        self._clock = clock
        self._counts = counts
        self._chunkOctets = chunkOctets
        self._soon: IDelayedCall | None = None
        self._answers = Answers(clock.seconds)
        self._window = Window(clock.seconds)
        self._streams = StreamTable(self._ask)
        self._comparison = Comparison(files, self._streams, counts, clock.seconds)
        self._work = SlicedWork(clock)
        self._journal = JournalRecognition(
            files,
            self._streams,
            self._comparison,
            self._work,
            worker,
            resendToNewMaster,
            self._sendControl,
            self._ask,
            self._pumpSoon,
        )
        self._opener = StreamOpener(
            files,
            self._streams,
            self._comparison,
            self._work,
            connection,
            self._journal.lookFor,
            self._pumpSoon,
        )
        self.inFlight = 0

    @property
    def isGreeted(self) -> bool:
        """Whether the listener has sent HELLO."""
        return self._journal.phase not in (Phase.GREETING, Phase.OVER)

    @property
    def authority(self) -> Authority:
        """The journal, as far as it is known, and our name in it."""
        return self._journal.authority

    @property
    def isStalled(self) -> bool:
        """Whether an answer is overdue: an acknowledgement, or a position."""
        return self._answers.areLate(self._isOwed)

    @property
    def _isOwed(self) -> bool:
        """Whether the listener owes us an answer."""
        return (
            self._journal.phase in (Phase.GREETING, Phase.COMPARING)
            or self._journal.isListing
            or self.inFlight > 0
            or self._streams.isAsking
        )

    def connectionMade(self) -> None:
        """Do nothing: the listener speaks first."""

    def connectionLost(self) -> None:
        """Return to the acknowledged positions: the next connection reads from there."""
        self._journal.connectionLost()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._work.stop()
        self._counts.limited("none", "-", self._clock.seconds())
        self.inFlight = 0
        self._files.limitMessages(None)
        self._files.reportUnopened({})
        for content in self._streams.of:
            content.rewind(content.acknowledged.offset)

    # What the listener sends

    def controlReceived(self, line: ControlLine) -> None:
        """
        A control line of the listener arrived.

        @raise ListenerProtocolError: the listener must not send it, or not at this point.
        """
        if self._journal.phase is Phase.OVER:
            return
        if self._journal.phase is Phase.GREETING and not isinstance(line, HELLO | BYE):
            raise ListenerProtocolError(f"{type(line).__name__} before HELLO")
        match line:
            case HELLO():
                self._answers.heard()
                self._journal.greeted(line)
            case HISTORY(kept):
                self._answers.heard()
                self._journal.historyTold(kept)
            case MARK(number, token):
                self._journal.marked((number, token))
            case RESUME():
                self._answers.heard()
                self._resumed(line)
            case ACK():
                self._answers.heard()
                self._acknowledged(line)
            case KNOWN():
                self._answers.heard()
                self._journal.known(line)
            case LISTED():
                self._answers.heard()
                self._journal.listed()
            case LIMIT(octets, reason, text):
                self._window.limit(octets)
                self._counts.limited(reason, text, self._clock.seconds())
            case BYE(code, text):
                # A master that stops or restarts is ordinary.
                self._log.emit(
                    LogLevel.info if code == "shutdown" else LogLevel.warn,
                    "the master closes the connection: {code}: {text!r}",
                    code=code,
                    text=text,
                )
            case _:
                raise ListenerProtocolError(
                    f"{type(line).__name__} is not a line for the forwarder"
                )
        self._pumpSoon()

    def _resumed(self, line: RESUME) -> None:
        self._opener.resumed(self._opened(line.stream, line.generation), line)

    def _acknowledged(self, line: ACK) -> None:
        stream = self._opened(line.stream, line.generation)
        if (
            not stream.sent
            or line.offset > stream.sent[-1][0]
            or line.offset < stream.acknowledged
        ):
            raise ListenerProtocolError(
                f"ACK {line.offset}, but {stream.content.position} octets were sent"
            )
        self._counts.acknowledged(line.offset - stream.acknowledged)
        self.inFlight -= line.offset - stream.acknowledged
        self._window.acknowledged(line.offset - stream.acknowledged)
        stream.acknowledged = line.offset
        reached = None
        while stream.sent and stream.sent[0][0] <= line.offset:
            reached = stream.sent.popleft()
        if reached is not None:
            stream.content.acknowledge(*reached)
            self._files.changed()

    def _opened(self, stream: str, generation: int) -> OpenStream:
        found = self._streams.opened(stream, generation)
        if found is None:
            raise ListenerProtocolError(f"unknown stream {stream} {generation}")
        return found

    # What we send

    def _pumpSoon(self) -> None:
        """
        Send once all lines that have arrived are read: a thousand files can have a thousand
        answers at once, and each single one would ask all the files for new octets.
        """
        if self._soon is None and self._journal.phase is not Phase.OVER:
            self._soon = self._clock.callLater(0, self._pumpNow)

    def _pumpNow(self) -> None:
        self._soon = None
        self.pump()

    def pump(self) -> None:
        """Send new octets, as far as the window and the transport allow."""
        if self._journal.phase is not Phase.READY:
            return
        self._streams.meet(self._files.opened, State.WAITING)
        self._opener.openAll()
        turns(self._files.opened, self._read, self._sendChunk, self._mayGoOn)

    def _mayGoOn(self, octets: int) -> bool:
        """Whether the window and the transport have room for another chunk."""
        if self.inFlight >= self._window.octets:
            self._window.filled()
            return False
        return not self._connection.paused

    def _read(self, content: OpenContent) -> Chunk | None:
        stream = self._streams.of[content]
        if stream.state is not State.SENDING:
            return None
        return content.read(self._window.room(self.inFlight, self._chunkOctets))

    def _ask(self, line: ControlLine) -> None:
        self._answers.expected(self._isOwed)
        self._sendControl(line)

    def _sendChunk(self, content: OpenContent, chunk: Chunk) -> None:
        self._answers.expected(self._isOwed)
        stream = self._streams.of[content]
        octets = chunk.end - chunk.start
        if isinstance(chunk, GapChunk):
            self._counts.skipped(octets, chunk.reason)
            stream.base, stream.crc = chunk.end, 0
        else:
            stream.crc = chunk.continued(stream.crc)
        stream.sent.append((chunk.end, stream.base, stream.crc))
        self.inFlight += octets
        self._window.sent(octets)
        self._send(encodeControl(AT(*stream.alias, chunk.start)) + encodeChunk(chunk))

    def _sendControl(self, line: ControlLine) -> None:
        self._send(encodeControl(line))

    def _send(self, octets: bytes) -> None:
        self._connection.sendOctets(octets)
