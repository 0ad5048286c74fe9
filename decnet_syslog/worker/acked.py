"""
Sending with the delivery extension: what is sent, from where, and what is done with it.

What must be true:

* the listener's durable position is the only authority on where to go on. Ours is a
  hint: it finds the file and saves the time to verify what is already known;
* before an octet of a content is sent on a connection, the listener's checksum of what it
  holds of that content equals ours of the same octets;
* stored <= acknowledged <= sent <= read <= size of the file, always;
* nothing is kept for a retry: on a new connection the file is read again;
* nothing is opened before it is known what the journal is: whether it was met, whether it
  still has what it acknowledged (HISTORY), and, of one that was never met, which contents it
  holds (LIST). A journal counts as met only when these are compared: whoever dies before
  that asks again.

A connection's way:

    GREETING    until HELLO
    COMPARING   SEEN was sent, until HISTORY
    LISTING     LIST was sent, and every content is compared with what was listed
    READY       contents are opened and sent; each on a way of its own (L{streams})

Set aside: remembering unacknowledged octets in memory (a second queue to lose); trusting
our own offset when the listener disagrees; taking the lines of a file whose journal was lost
for delivered.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import replace
from zlib import crc32

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import Chunk, FinalLine, FollowedFiles, Gap, LineChunk, OpenContent
from ..wire.control import (
    ACK,
    AT,
    BYE,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LIST,
    LISTED,
    MARK,
    RESUME,
    SEEN,
    SKIP,
    ControlLine,
    encodeControl,
)
from .chunks import byName
from .comparison import Comparison
from .connection import IClock, IConnection, ListenerProtocolError
from .counts import Counts
from .encoding import encodeLast, encodeLines
from .identification import Slices
from .streams import Happening, OpenStream, State, StreamTable
from .window import CHUNK_OCTETS, WINDOW_OCTETS, Answers, turns

__all__ = ["KNOWN_MAX", "AckedSender", "Phase"]

# Streams that a listener may list. Ours has 4096 of a worker, and those that its
# outputs do not have yet; a list without an end would fill the memory.
KNOWN_MAX = 65536


# Names of one content that a journal may hold other octets by. More than two cannot happen to
# an honest one, unless somebody else uses our state at this moment.
REFUSED_MAX = 8


class Phase(enum.Enum):
    """How far a connection is."""

    GREETING = "HELLO has not come"
    COMPARING = "SEEN was sent"
    LISTING = "contents are compared with what the journal holds"
    READY = "contents are sent"
    OVER = "the connection is gone"


class AckedSender:
    """
    The sending side of one connection.

    @ivar inFlight: octets of files sent and not acknowledged.
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
        @param worker: our name there: the certificate's.
        @param resendToNewMaster: whether a master with another journal gets again what
            the one before has acknowledged, as far as it is on disk.
        """
        self._files = files
        self._connection = connection
        self._clock = clock
        self._counts = counts
        self._worker = worker
        self._resend = resendToNewMaster
        self._chunkOctets = chunkOctets
        self._phase = Phase.GREETING
        self._mark: tuple[int, str] | None = None
        self._seen: tuple[int, str] | None = None
        self._isListing = False
        self._jobs: deque[Slices[None]] = deque()
        self._turn: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None
        self._answers = Answers(clock.seconds)
        self._streams = StreamTable(self._ask)
        self._comparison = Comparison(files, self._streams, counts, clock.seconds)
        self.authority = ("", worker)
        self.inFlight = 0

    @property
    def isGreeted(self) -> bool:
        """Whether the listener has said HELLO."""
        return self._phase not in (Phase.GREETING, Phase.OVER)

    @property
    def isStalled(self) -> bool:
        """Whether an answer is overdue: an acknowledgement, or where to go on."""
        return self._answers.areLate(self._isOwed)

    @property
    def _isOwed(self) -> bool:
        """Whether the listener owes us an answer."""
        return (
            self._phase in (Phase.GREETING, Phase.COMPARING)
            or self._isListing
            or self.inFlight > 0
            or self._streams.isAsking
        )

    def connectionMade(self) -> None:
        """The listener speaks first."""

    def connectionLost(self) -> None:
        """Go back to what is acknowledged: the next connection reads from there."""
        self._phase = Phase.OVER
        for call in (self._soon, self._turn):
            if call is not None:
                call.cancel()
        self._soon = self._turn = None
        for job in self._jobs:
            job.close()
        self._jobs.clear()
        self.inFlight = 0
        self._files.limitMessages(None)
        self._files.reportUnopened({})
        for content in self._streams.of:
            content.rewind(content.acknowledged.offset)

    # What the listener sends

    def controlReceived(self, line: ControlLine) -> None:
        """
        A control line of the listener.

        @raise ListenerProtocolError: it is not one for us, or not now.
        """
        if self._phase is Phase.OVER:
            return
        if self._phase is Phase.GREETING and not isinstance(line, HELLO | BYE):
            raise ListenerProtocolError(f"{type(line).__name__} before HELLO")
        match line:
            case HELLO():
                self._greeted(line)
            case HISTORY(kept):
                self._historyTold(kept)
            case MARK(number, token):
                self._marked((number, token))
            case RESUME():
                self._answers.heard()
                self._resumed(line)
            case ACK():
                self._answers.heard()
                self._acknowledged(line)
            case KNOWN():
                self._answers.heard()
                self._known(line)
            case LISTED():
                if not self._isListing:
                    raise ListenerProtocolError("LISTED without LIST")
                self._answers.heard()
                self._isListing = False
                self._listed()
            case BYE(code, text):
                self._log.warn(
                    "the master closes: {code}: {text!r}", code=code, text=text
                )
            case _:
                raise ListenerProtocolError(
                    f"{type(line).__name__} is not for the forwarder"
                )
        self._pumpSoon()

    def _greeted(self, line: HELLO) -> None:
        if self._phase is not Phase.GREETING:
            raise ListenerProtocolError("a second HELLO")
        self._answers.heard()
        self._streams.streamsMax = line.streamsMax
        self._files.limitMessages(line.messageOctetsMax)
        self.authority = (line.journal, self._worker)
        if isinstance(line, HELLO2):
            self._mark = (line.number, line.token)
            self._seen = self._files.markOf(line.journal)
        self._phase = Phase.COMPARING
        if self._seen is None:
            self._connect(False)
        else:
            self._send(encodeControl(SEEN(*self._seen)))

    def _historyTold(self, kept: bool) -> None:
        if self._phase is not Phase.COMPARING:
            raise ListenerProtocolError("HISTORY without SEEN")
        assert self._mark is not None and self._seen is not None
        self._answers.heard()
        # A journal that is behind a point does not have it, whatever it says.
        isKept = kept and self._mark[0] >= self._seen[0]
        if not isKept:
            self._log.warn(
                "the master's journal was put back: everything that is on disk is offered to"
                " it again, and it takes what it lacks",
                event="went-back",
            )
        self._connect(isKept)

    def _connect(self, isHistoryKept: bool) -> None:
        """It is known what the journal is: its positions count from now on."""
        isMet = self._files.isMet(self.authority)
        self._files.connect(
            self.authority,
            resend=self._resend,
            isHistoryKept=isHistoryKept,
            mark=self._mark,
        )
        self._comparison.connected()
        self._phase = Phase.READY
        if not isMet:
            self._phase = Phase.LISTING
            self._askForList()

    def _marked(self, mark: tuple[int, str]) -> None:
        if self._mark is None or mark[0] < self._mark[0]:
            raise ListenerProtocolError("MARK")
        self._mark = mark
        if self._phase is Phase.READY:
            self._files.remember(mark)

    def _known(self, line: KNOWN) -> None:
        if not self._isListing:
            raise ListenerProtocolError("KNOWN without LIST")
        if len(self._comparison.listed) >= KNOWN_MAX:
            raise ListenerProtocolError(f"more than {KNOWN_MAX} KNOWN")
        # What it is called there may be long, and tells nothing here.
        self._comparison.listed.append(replace(line, name=""))

    # What the journal holds

    def _askForList(self) -> None:
        self._answers.expected(self._isOwed)
        self._isListing = True
        self._comparison.isListed = True
        self._send(encodeControl(LIST()))

    def _listed(self) -> None:
        if self._phase is Phase.LISTING:
            self._meetContents(State.UNIDENTIFIED)
        self._begin(self._identify())

    def _identify(self) -> Slices[None]:
        """Find the contents that have no place yet among the streams the journal has."""
        yield from self._comparison.identifyAll()
        if self._phase is Phase.LISTING:
            yield from self._comparison.identifyPast()
            # Every content has its place: a later connection need not ask.
            self._files.meet(self.authority, self._mark)
            self._phase = Phase.READY
        self._pumpSoon()

    def _begin(self, job: Slices[None]) -> None:
        self._jobs.append(job)
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._goOn)

    def _goOn(self) -> None:
        """Do one slice of what takes long; others come between."""
        self._turn = None
        job = self._jobs[0]
        try:
            next(job)
        except StopIteration:
            self._jobs.remove(job)
        if self._jobs and self._turn is None:
            self._turn = self._clock.callLater(0, self._goOn)

    def _resumed(self, line: RESUME) -> None:
        stream = self._opened(line.stream, line.generation)
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
            self._begin(self._compare(stream))

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
        if not self._comparison.isListed:
            self._askForList()
        elif not self._isListing:
            self._begin(self._identify())

    def _agreed(self, stream: OpenStream) -> None:
        line = stream.resume
        assert line is not None
        self._comparison.resume(stream)
        stream.happened(Happening.AGREED)
        stream.base, stream.crc = line.base, line.crc
        stream.acknowledged = line.offset
        self._pumpSoon()

    def _acknowledged(self, line: ACK) -> None:
        stream = self._opened(line.stream, line.generation)
        if (
            not stream.sent
            or line.offset > stream.sent[-1][0]
            or line.offset < stream.acknowledged
        ):
            raise ListenerProtocolError(
                f"ACK {line.offset}, sent {stream.content.position}"
            )
        self._counts.acknowledged(line.offset - stream.acknowledged)
        self.inFlight -= line.offset - stream.acknowledged
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
        Send what there is, when all that has come is read: of a thousand files there can be
        a thousand answers at once, and each time all of them would be asked for octets.
        """
        if self._soon is None and self._phase is not Phase.OVER:
            self._soon = self._clock.callLater(0, self._pumpNow)

    def _pumpNow(self) -> None:
        self._soon = None
        self.pump()

    def pump(self) -> None:
        """Send what there is, as far as window and transport allow."""
        if self._phase is not Phase.READY:
            return
        self._meetContents(State.WAITING)
        self._openStreams()
        room = WINDOW_OCTETS - self.inFlight
        turns(
            self._files.opened,
            self._read,
            self._sendChunk,
            lambda octets: octets < room and not self._connection.paused,
        )

    def _read(self, content: OpenContent) -> Chunk | None:
        stream = self._streams.of[content]
        if stream.state is not State.SENDING:
            return None
        return content.read(self._chunkOctets)

    def _meetContents(self, state: State) -> None:
        """Have a stream for every content, and none for those that are finished."""
        current = self._files.opened
        for content in current:
            if content not in self._streams.of:
                isNew = content.acknowledged.offset <= content.content.origin
                self._streams.of[content] = OpenStream(
                    content, state if isNew else State.WAITING
                )
        self._streams.dropEnded(current)

    def _openStreams(self) -> None:
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

    def _ask(self, line: ControlLine) -> None:
        self._answers.expected(self._isOwed)
        self._send(encodeControl(line))

    def _sendChunk(self, content: OpenContent, chunk: Chunk) -> None:
        self._answers.expected(self._isOwed)
        stream = self._streams.of[content]
        octets = chunk.end - chunk.start
        match chunk:
            case LineChunk():
                encoded = encodeLines(chunk.octets)
            case FinalLine():
                encoded = encodeLast(chunk.octets)
            case Gap():
                encoded = encodeControl(SKIP(octets, chunk.reason))
                self._counts.skipped(octets, chunk.reason)
        if isinstance(chunk, Gap):
            stream.base, stream.crc = chunk.end, 0
        else:
            stream.crc = crc32(chunk.octets, stream.crc)
        stream.sent.append((chunk.end, stream.base, stream.crc))
        self.inFlight += octets
        self._send(encodeControl(AT(*stream.alias, chunk.start)) + encoded)

    def _send(self, octets: bytes) -> None:
        self._connection.sendOctets(octets)
