"""
Shipment with the delivery extension: what is sent, from where, and what is done with it.

What must be true:

* the listener's durable position is the only authority on where to go on. Ours is a
  hint: it finds the file and saves the time to verify what is already known;
* before an octet of a file is sent on a connection, the listener's checksum of what it
  holds of that file equals ours of the same octets;
* stored <= acknowledged <= sent <= read <= size of the file, always;
* nothing is kept for a retry: on a new connection the file is read again.

A file's way on one connection (L{_Way}) is a table:

    waiting  --OPEN sent-->      asked
    asked    --RESUME-->         verifying, or finished if the file was meanwhile
    verifying --its checksum-->  checked or diverged
    checked                      its pieces are sent, its acknowledgements counted;
                                 CLOSE when it is finished and all is acknowledged
    diverged --CLOSE, LIST, LISTED-->   waiting, as a stream the listener knows by content
                                 waiting, as a new stream, if it knows none

Set aside: remembering unacknowledged octets in memory (a second queue to lose); trusting
our own offset when the listener disagrees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import uuid4
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire.control import (
    ACK,
    AT,
    BYE,
    CLOSE,
    HELLO,
    KNOWN,
    LIST,
    LISTED,
    NAMES_OCTETS_MAX,
    OPEN,
    RESUME,
    SKIP,
    ControlLine,
    encodeControl,
    octetsOf,
)
from .encoding import encodeLast, encodeLines
from .incarnation import Changed, Gap, Incarnation, LastLine, Lines, Piece, Vanished
from .tails import Tails

__all__ = ["Line", "Misbehaviour", "Shipment", "byName", "nextPiece"]

# One read of a file and one write to the connection: large enough that the cost of each
# is small against its octets; small enough that its copies stay in the processor's cache,
# and in memory that malloc does not give back to the kernel each time (measured: twice as
# fast as 256 KiB).
PIECE_OCTETS = 64 * 1024

# Sent and not yet acknowledged, all files together. More than a fast disk commits in the
# time of a round trip; what a lost connection makes us read again.
WINDOW_OCTETS = 8 * 1024 * 1024

# So many files are all asked whether they have grown since the last look. Of more only those in
# which it has found something: else the asking is most of the work.
ASKED_MAX = 64

# Streams that a listener may say it holds of us. Ours has 4096 of a worker, and those that its
# outputs do not have yet; a list without an end would fill the memory.
KNOWN_MAX = 65536

# In flight, and no acknowledgement for so long: the connection is of no use, in seconds.
ACK_TIMEOUT_S = 60.0


@dataclass
class Misbehaviour(Exception):
    """The listener said what it must not say here."""

    text: str

    def __str__(self) -> str:
        return self.text


class Line(Protocol):
    """What a shipment asks of its connection."""

    @property
    def paused(self) -> bool:
        """Whether the transport has enough for now."""

    def sendOctets(self, octets: bytes) -> None:
        """Send."""

    def pump(self) -> None:
        """Call L{Shipment.pump}, unless the connection is closing."""

    def close(self, bye: BYE) -> None:
        """Say why and close."""

    def accepted(self) -> None:
        """The listener has taken us: the next failure is a new one."""


@dataclass(eq=False)
class _Way:
    """
    One file on this connection. The crc is of the octets [base, position) sent.

    @ivar opened: the stream that is open for it, and C{nameOctets} what its name counts.
    @ivar refused: streams that hold another content, whatever was listed.
    """

    incarnation: Incarnation
    state: str = "waiting"
    base: int = 0
    crc: int = 0
    acknowledged: int = 0
    sent: deque[tuple[int, int, int]] = field(default_factory=deque)
    resume: RESUME | None = None
    opened: tuple[str, int] | None = None
    nameOctets: int = 0
    refused: set[tuple[str, int]] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, int]:
        return (self.incarnation.stream, self.incarnation.generation)


class Shipment:
    """
    The sending side of one connection.

    @ivar greeted: whether the listener has said HELLO.
    @ivar inFlight: octets of files sent and not acknowledged.
    """

    _log = Logger()

    def __init__(
        self,
        tails: Tails,
        line: Line,
        clock: IReactorTime,
        inThread: Callable[..., Deferred[Any]],
        resendToNewMaster: bool,
        pieceOctets: int = PIECE_OCTETS,
    ) -> None:
        """
        @param inThread: call a blocking function beside the reactor.
        @param resendToNewMaster: whether a master with another journal gets again what
            the one before has acknowledged, as far as it is on disk.
        """
        self._tails = tails
        self._line = line
        self._clock = clock
        self._inThread = inThread
        self._resend = resendToNewMaster
        self._pieceOctets = pieceOctets
        self._ways: dict[Incarnation, _Way] = {}
        self._journal = ""
        self._listed: list[KNOWN] | None = None
        self._listing = False
        self._heard = clock.seconds()
        self._over = False
        self._soon: IDelayedCall | None = None
        # What is open there.
        self._opened: dict[tuple[str, int], _Way] = {}
        self._nameOctets = 0
        self._streamsMax = 0
        # Those of which it is not said yet where to go on.
        self._asked: set[_Way] = set()
        self.inFlight = 0
        self.greeted = False

    @property
    def stalled(self) -> bool:
        """Whether an answer is overdue: an acknowledgement, or where to go on."""
        return self._owed and self._clock.seconds() - self._heard > ACK_TIMEOUT_S

    @property
    def _owed(self) -> bool:
        """Whether the listener owes us an answer."""
        return (
            not self.greeted or self._listing or self.inFlight > 0 or bool(self._asked)
        )

    def _expect(self) -> None:
        """We are about to ask: from now on it counts how long an answer takes."""
        if not self._owed:
            self._heard = self._clock.seconds()

    def connectionLost(self) -> None:
        """Go back to what is acknowledged: the next connection reads from there."""
        self._over = True
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self.inFlight = 0
        self._tails.tellUnopened({})
        for way in self._ways.values():
            way.incarnation.rewind(way.incarnation.bookmark.offset)

    def controlReceived(self, line: ControlLine) -> None:
        """
        A control line of the listener.

        @raise Misbehaviour: it is not one for us, or not now.
        """
        if not self.greeted and not isinstance(line, HELLO | BYE):
            raise Misbehaviour(f"{type(line).__name__} before HELLO")
        match line:
            case HELLO(version, journal, messageOctetsMax, streamsMax):
                if self.greeted or version != 1:
                    raise Misbehaviour(f"HELLO {version}")
                self.greeted = True
                self._journal = journal
                self._tails.limitMessages(messageOctetsMax)
                self._streamsMax = streamsMax
                if self._tails.fresh:
                    self._ask()
            case RESUME():
                self._heard = self._clock.seconds()
                self._resumed(line)
            case ACK():
                self._acknowledged(line)
            case KNOWN():
                if self._listed is None or not self._listing:
                    raise Misbehaviour("KNOWN without LIST")
                if len(self._listed) >= KNOWN_MAX:
                    raise Misbehaviour(f"more than {KNOWN_MAX} KNOWN")
                self._heard = self._clock.seconds()
                # What it is called there may be long, and says nothing here.
                self._listed.append(replace(line, name=""))
            case LISTED():
                if not self._listing:
                    raise Misbehaviour("LISTED without LIST")
                self._listing = False
                self._identify()
            case BYE(code, text):
                self._log.warn(
                    "the master closes: {code}: {text!r}", code=code, text=text
                )
            case _:
                raise Misbehaviour(f"{type(line).__name__} is not for the forwarder")
        self._pumpSoon()

    def _pumpSoon(self) -> None:
        """
        Send what there is, when all that has come is read: of a thousand files there can be
        a thousand answers at once, and each time all of them would be asked for octets.
        """
        if self._soon is None and not self._over:
            self._soon = self._clock.callLater(0, self._pumpNow)

    def _pumpNow(self) -> None:
        self._soon = None
        self._line.pump()

    def pump(self) -> None:
        """Send what there is, as far as window and transport allow."""
        if not self.greeted or self._over or self._listing:
            return
        self._meet()
        room = WINDOW_OCTETS - self.inFlight
        incarnations = self._tails.incarnations
        names = list(byName(incarnations).values())
        if len(incarnations) > ASKED_MAX:
            names = [name for name in names if any(i.waiting for i in name)]
        turns = deque(names)
        while turns and room > 0 and not self._line.paused:
            found = nextPiece(turns[0], self._read)
            if found is None:
                turns.popleft()
                continue
            turns.rotate(-1)
            incarnation, piece = found
            room -= piece.end - piece.start
            self._send(self._ways[incarnation], piece)

    def _read(self, incarnation: Incarnation) -> Piece | None:
        way = self._ways[incarnation]
        return incarnation.read(self._pieceOctets) if way.state == "checked" else None

    def _meet(self) -> None:
        """Open what is new; leave what is finished."""
        current = self._tails.incarnations
        for incarnation in current:
            if incarnation not in self._ways:
                self._ways[incarnation] = _Way(incarnation)
        if len(self._ways) > len(current):
            alive = set(current)
            for incarnation in [i for i in self._ways if i not in alive]:
                # An answer that is still to come needs somebody to take it.
                way = self._ways[incarnation]
                if not way.sent and way.state not in ("asked", "verifying"):
                    del self._ways[incarnation]
                    self._shut(way)
        unopened: dict[str, str] = {}
        names: dict[str, list[Incarnation]] = {}
        for way in list(self._ways.values()):
            if way.state == "waiting":
                if self._open(way):
                    continue
                names = names or byName(current)
                if not (self._giveWay(way, names) and self._open(way)):
                    unopened[way.incarnation.name] = (
                        f"the master takes {len(self._opened)} files of a connection"
                    )
            elif way.state == "seeking" and not way.incarnation.seeking:
                assert way.resume is not None
                way.state = "asked"
                self._resumed(way.resume)
        self._tails.tellUnopened(unopened)

    def _open(self, way: _Way) -> bool:
        """Ask for a stream. C{False}: the listener takes no more; when one is finished."""
        bookmark = way.incarnation.bookmark
        start = bookmark.offset
        if self._resend and bookmark.journal not in ("", self._journal):
            start = bookmark.origin
        if way.key in self._opened:
            # It was another file's before we knew better: the listener takes it again on
            # the next connection.
            self._line.close(BYE("error", "a stream has changed its file"))
            return True
        name = bookmark.name
        octets = octetsOf(name)
        if (
            len(self._opened) >= self._streamsMax
            or self._nameOctets + octets > NAMES_OCTETS_MAX
        ):
            return False
        way.opened, way.nameOctets = way.key, octets
        self._opened[way.key] = way
        self._nameOctets += octets
        self._expect()
        way.state = "asked"
        self._asked.add(way)
        self._write(
            encodeControl(OPEN(bookmark.stream, bookmark.generation, start, name))
        )
        return True

    def _giveWay(self, way: _Way, names: dict[str, list[Incarnation]]) -> bool:
        """
        Close a newer content of the same file, which has to wait for this one anyway.

        @param names: as of L{byName}.
        @return: whether there was one.
        """
        same = names.get(way.incarnation.name, [])
        at = same.index(way.incarnation) if way.incarnation in same else len(same)
        for newer in same[at + 1 :]:
            other = self._ways.get(newer)
            if other is not None and other.state == "checked" and not other.sent:
                self._shut(other)
                other.state = "waiting"
                return True
        return False

    def _shut(self, way: _Way) -> None:
        """Nothing more of it comes: the listener need not keep it open."""
        if way.opened is not None:
            del self._opened[way.opened]
            self._nameOctets -= way.nameOctets
            self._write(encodeControl(CLOSE(*way.opened)))
            way.opened = None

    def _way(self, stream: str, generation: int) -> _Way:
        way = self._opened.get((stream, generation))
        if way is None:
            raise Misbehaviour(f"unknown stream {stream} {generation}")
        return way

    def _resumed(self, line: RESUME) -> None:
        way = self._way(line.stream, line.generation)
        if way.state != "asked" or line.base > line.offset:
            raise Misbehaviour("RESUME")
        self._asked.discard(way)
        self._line.accepted()
        incarnation = way.incarnation
        if incarnation.seeking:
            # There is nothing to compare with until its copy is found, or given up.
            way.state, way.resume = "seeking", line
            return
        way.state = "verifying"
        if incarnation.bookmark.finished:
            way.state = "finished"
            return
        mark = incarnation.bookmark
        if (mark.offset, mark.base, mark.crc) == (line.offset, line.base, line.crc):
            self._checked(line.crc, way, line)
            return
        if incarnation.lost is not None and mark.offset <= line.offset:
            # There is nothing to compare; what is left of it, if anything, is a gap anyway.
            # We may have shipped more of it than the bookmark says, and were killed.
            self._checked(line.crc, way, line)
            return
        copied = incarnation.source is not None and incarnation.replacedAt is not None
        if copied and mark.offset <= line.offset:
            incarnation.look()
            if incarnation.size < line.offset:
                # logrotate made the copy before the last octets came. We shipped them from
                # the file, and were killed before the bookmark was saved.
                incarnation.lose("truncated")
                self._checked(line.crc, way, line)
                return
        if line.base == mark.base and line.offset >= mark.offset:
            start, crc = mark.offset, mark.crc
        else:
            start, crc = line.base, 0
        if line.offset < mark.offset and mark.journal == self._journal:
            self._log.warn(
                "the master holds {held} octets of {name!r}, it had acknowledged {offset}: it"
                " has lost some, they are sent again",
                held=line.offset,
                name=mark.name,
                offset=mark.offset,
            )
        done = self._inThread(incarnation.checksum, start, line.offset, crc)
        done.addCallbacks(
            self._checked,
            self._unreadable,
            callbackArgs=(way, line),
            errbackArgs=(way, line),
        )
        done.addErrback(self._broken)

    def _checked(self, crc: int, way: _Way, line: RESUME) -> None:
        """Our octets, and the listener's checksum of them."""
        if self._over:
            return
        if crc != line.crc:
            self._diverged(way, line, "other octets than this file")
            return
        incarnation = way.incarnation
        incarnation.adopt(
            line.stream,
            line.generation,
            line.offset,
            line.base,
            line.crc,
            self._journal,
        )
        way.base, way.crc = line.base, line.crc
        way.acknowledged = line.offset
        way.state = "checked"
        self._pumpSoon()

    def _unreadable(self, failure: Failure, way: _Way, line: RESUME) -> None:
        failure.trap(Changed, Vanished)
        if not self._over:
            self._diverged(way, line, "more octets than this file")

    def _diverged(self, way: _Way, line: RESUME, what: str) -> None:
        """
        The listener holds another content under this name than we have.

        Our state or the worker's disk was restored from a copy, or copied to another
        machine. What the listener holds is found by content if we have it at all.
        """
        self._tails.counts.divergedFrom(way.incarnation.name, self._clock.seconds())
        self._log.error(
            "the master holds {reason} for {name!r} (stream {stream}, {offset} octets)",
            event="diverged",
            reason=what,
            name=way.incarnation.name,
            stream=line.stream,
            offset=line.offset,
        )
        way.state = "diverged"
        way.refused.add((line.stream, line.generation))
        self._shut(way)
        if self._listed is None:
            self._ask()
        elif not self._listing:
            self._identify()

    def _ask(self) -> None:
        self._expect()
        self._listed = []
        self._listing = True
        self._write(encodeControl(LIST()))

    def _identify(self) -> None:
        """Find the files that have no place yet among the streams the listener has."""
        self._meetForIdentification()
        for way in list(self._ways.values()):
            if way.state not in ("diverged", "unidentified"):
                continue
            candidates = [k for k in self._listed or () if not self._taken(k, way)]
            diverged = way.state == "diverged"
            way.state = "identifying"
            done = self._inThread(identify, way.incarnation, candidates)
            done.addCallback(self._identified, way, diverged)
            done.addErrback(self._broken)

    def _taken(self, known: KNOWN, way: _Way) -> bool:
        """Whether a stream of the listener's is another file's, or was found not to be this."""
        key = (known.stream, known.generation)
        return key in way.refused or any(
            other.key == key for other in self._ways.values() if other is not way
        )

    def _meetForIdentification(self) -> None:
        for incarnation in self._tails.incarnations:
            if incarnation not in self._ways:
                mark = incarnation.bookmark
                state = "waiting" if mark.journal or mark.offset else "unidentified"
                self._ways[incarnation] = _Way(incarnation, state)

    def _identified(self, known: KNOWN | None, way: _Way, diverged: bool) -> None:
        if self._over:
            return
        incarnation = way.incarnation
        mark = incarnation.bookmark
        if known is not None and not self._taken(known, way):
            self._log.info(
                "{name!r} is stream {stream} of the master, which holds {offset} octets of it",
                name=mark.name,
                stream=known.stream,
                offset=known.offset,
            )
            incarnation.adopt(
                known.stream,
                known.generation,
                known.offset,
                known.base,
                known.crc,
                self._journal,
            )
        elif diverged:
            # What we had acknowledged is our own file's content, so it is delivered.
            self._log.warn("{name!r} goes on as a new stream", name=mark.name)
            incarnation.adopt(
                uuid4().hex, mark.generation, mark.offset, mark.offset, 0, ""
            )
        way.state = "waiting"
        if all(
            w.state not in ("identifying", "unidentified") for w in self._ways.values()
        ):
            # Every file has its place: a later connection need not ask.
            self._tails.fresh = False
        self._pumpSoon()

    def _acknowledged(self, line: ACK) -> None:
        self._heard = self._clock.seconds()
        way = self._way(line.stream, line.generation)
        if (
            not way.sent
            or line.offset > way.sent[-1][0]
            or line.offset < way.acknowledged
        ):
            raise Misbehaviour(f"ACK {line.offset}, sent {way.incarnation.position}")
        self._tails.counts.acknowledged(line.offset - way.acknowledged)
        self.inFlight -= line.offset - way.acknowledged
        way.acknowledged = line.offset
        reached = None
        while way.sent and way.sent[0][0] <= line.offset:
            reached = way.sent.popleft()
        if reached is not None:
            way.incarnation.acknowledge(*reached)
            self._tails.changed()

    def _send(self, way: _Way, piece: Piece) -> None:
        self._expect()
        incarnation = way.incarnation
        at = AT(incarnation.stream, incarnation.generation, piece.start)
        match piece:
            case Lines():
                octets = encodeLines(piece.octets)
            case LastLine():
                octets = encodeLast(piece.octets)
            case Gap():
                octets = encodeControl(SKIP(piece.end - piece.start, piece.reason))
                self._tails.counts.skipped(piece.end - piece.start, piece.reason)
        if isinstance(piece, Gap):
            way.base, way.crc = piece.end, 0
        else:
            way.crc = crc32(piece.octets, way.crc)
        way.sent.append((piece.end, way.base, way.crc))
        self.inFlight += piece.end - piece.start
        self._write(encodeControl(at) + octets)

    def _write(self, octets: bytes) -> None:
        self._line.sendOctets(octets)

    def _broken(self, failure: Failure) -> None:
        """A file cannot be read, or worse: the next connection tries again."""
        self._log.failure("cannot compare a file with the master's position", failure)
        if not self._over:
            self._line.close(BYE("error", "the forwarder cannot read a file"))


def byName(incarnations: Iterable[Incarnation]) -> dict[str, list[Incarnation]]:
    """The incarnations of each file, oldest first."""
    names: dict[str, list[Incarnation]] = {}
    for incarnation in incarnations:
        names.setdefault(incarnation.name, []).append(incarnation)
    return names


def nextPiece(
    incarnations: Sequence[Incarnation], read: Callable[[Incarnation], Piece | None]
) -> tuple[Incarnation, Piece] | None:
    """
    The next piece of a file, its oldest incarnation first: nothing of a newer one is sent
    before everything of an older one, a last line that is still being written included.
    """
    for incarnation in incarnations:
        piece = read(incarnation)
        if piece is not None:
            return incarnation, piece
        if incarnation.waiting:
            return None
    return None


def identify(incarnation: Incarnation, candidates: Sequence[KNOWN]) -> KNOWN | None:
    """
    Which of the listener's streams a file is, by its content: the longest that fits.

    Blocks: reads the file once for each base among the candidates.
    """
    best: KNOWN | None = None
    for base in {known.base for known in candidates}:
        ours = [
            k
            for k in candidates
            if k.base == base and base < k.offset <= incarnation.size
        ]
        at, crc = base, 0
        for known in sorted(ours, key=lambda k: k.offset):
            try:
                crc = incarnation.checksum(at, known.offset, crc)
            except (Changed, Vanished):
                break
            at = known.offset
            if crc == known.crc and (best is None or known.offset > best.offset):
                best = known
    return best
