"""
The streams of a connection, one for each content: their states, and which are open.

L{TRANSITIONS} is the complete table of state changes; any other change is an internal error.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..files import ContentKey, OpenContent
from ..wire import CLOSE, NAMES_OCTETS_MAX, OPEN, RESUME, ControlLine, octetsOf

__all__ = ["TRANSITIONS", "Happening", "OpenStream", "State", "StreamTable"]


class State(enum.Enum):
    """The state of a stream on this connection."""

    UNIDENTIFIED = "the journal may hold it under another name"
    IDENTIFYING = "its content is being compared with the journal's streams"
    WAITING = "OPEN is not sent yet"
    ASKED = "OPEN was sent"
    HELD = "RESUME has come, and its file is being looked for"
    VERIFYING = "the master's checksum is being compared with the file"
    SENDING = "its chunks are sent and acknowledged"
    DIVERGED = "the journal holds another content by this name, or has lost it"
    UNREADABLE = "its file cannot be read on this connection"


class Happening(enum.Enum):
    """The event that moves a stream from one L{State} to the next."""

    COMPARED = "the comparison with the journal's streams begins"
    NAMED = "its name in the journal is known"
    OPENED = "the listener had room for it"
    ANSWERED = "RESUME has come"
    MISSED = "RESUME has come, and there is no file to compare"
    FOUND = "its file was found, or the search was given up"
    AGREED = "the checksums are equal"
    DISAGREED = "the checksums differ"
    FAILED = "the file cannot be read"
    GAVE_WAY = "it was closed for an older content of the same path"


TRANSITIONS: dict[tuple[State, Happening], State] = {
    (State.UNIDENTIFIED, Happening.COMPARED): State.IDENTIFYING,
    (State.DIVERGED, Happening.COMPARED): State.IDENTIFYING,
    (State.IDENTIFYING, Happening.NAMED): State.WAITING,
    (State.IDENTIFYING, Happening.FAILED): State.UNREADABLE,
    (State.WAITING, Happening.OPENED): State.ASKED,
    (State.ASKED, Happening.ANSWERED): State.VERIFYING,
    (State.ASKED, Happening.MISSED): State.HELD,
    (State.HELD, Happening.FOUND): State.VERIFYING,
    (State.VERIFYING, Happening.AGREED): State.SENDING,
    (State.VERIFYING, Happening.DISAGREED): State.DIVERGED,
    (State.VERIFYING, Happening.FAILED): State.UNREADABLE,
    (State.SENDING, Happening.GAVE_WAY): State.WAITING,
}
"""The state changes of a stream on one connection."""

# States in which an answer is outstanding or being used.
BUSY = (State.ASKED, State.HELD, State.VERIFYING, State.IDENTIFYING)


@dataclass(eq=False)
class OpenStream:
    """
    One content on this connection. The crc is that of the octets [base, position) sent.

    @ivar acknowledged: octets that the master has acknowledged on this connection.
    @ivar sent: end, base and crc of the chunks that are not acknowledged.
    @ivar opened: the name under which it is open; C{nameOctets}: the octets its path counts for.
    @ivar refused: names under which the journal holds another content.
    @ivar isSure: whether the journal certainly does not hold this content under any name.
    """

    content: OpenContent
    state: State = State.WAITING
    base: int = 0
    crc: int = 0
    acknowledged: int = 0
    sent: deque[tuple[int, int, int]] = field(default_factory=deque)
    resume: RESUME | None = None
    opened: ContentKey | None = None
    nameOctets: int = 0
    refused: set[ContentKey] = field(default_factory=set)
    isSure: bool = False

    @property
    def alias(self) -> ContentKey:
        """Its name in the journal."""
        there = self.content.acknowledged
        return (there.stream, there.generation)

    def happened(self, what: Happening) -> None:
        """
        Change the state.

        @raise KeyError: the table has no such change: an internal error.
        """
        self.state = TRANSITIONS[self.state, what]


class StreamTable:
    """
    All streams of a connection, and those that are open.

    @ivar streamsMax: the maximum number of open streams, from the listener's HELLO.
    """

    def __init__(self, send: Callable[[ControlLine], None]) -> None:
        self.of: dict[OpenContent, OpenStream] = {}
        self.streamsMax = 0
        self._send = send
        self._opened: dict[ContentKey, OpenStream] = {}
        self._nameOctets = 0

    @property
    def isAsking(self) -> bool:
        """Whether an OPEN is unanswered."""
        return any(s.state is State.ASKED for s in self._opened.values())

    def opened(self, stream: str, generation: int) -> OpenStream | None:
        """The stream that is open under a name."""
        return self._opened.get((stream, generation))

    def isOpen(self, one: OpenStream) -> bool:
        """Whether a stream is open under this one's name."""
        return one.alias in self._opened

    def open(self, one: OpenStream) -> bool:
        """
        Send OPEN.

        @return: C{False} if the listener has no room: try again when another stream is closed.
        """
        content = one.content
        name = content.content.label or content.name
        octets = octetsOf(name)
        if (
            len(self._opened) >= self.streamsMax
            or self._nameOctets + octets > NAMES_OCTETS_MAX
        ):
            return False
        self._send(OPEN(*one.alias, content.acknowledged.offset, name))
        one.happened(Happening.OPENED)
        one.opened, one.nameOctets = one.alias, octets
        self._opened[one.alias] = one
        self._nameOctets += octets
        return True

    def close(self, one: OpenStream) -> None:
        """Send CLOSE: nothing more follows, so the listener need not keep the stream open."""
        if one.opened is not None:
            del self._opened[one.opened]
            self._nameOctets -= one.nameOctets
            self._send(CLOSE(*one.opened))
            one.opened = None

    def meet(self, current: Sequence[OpenContent], state: State) -> None:
        """
        Have a stream for every content, and drop the streams of finished contents.

        @param state: the state of a new stream without an acknowledged octet.
        """
        for content in current:
            if content not in self.of:
                isNew = content.acknowledged.offset <= content.content.origin
                self.of[content] = OpenStream(
                    content, state if isNew else State.WAITING
                )
        self.dropEnded(current)

    def dropEnded(self, current: Sequence[OpenContent]) -> None:
        """Drop the streams of finished contents."""
        if len(self.of) <= len(current):
            return
        alive = set(current)
        for content in [one for one in self.of if one not in alive]:
            stream = self.of[content]
            # A stream with an outstanding answer must stay until the answer arrives.
            if not stream.sent and stream.state not in BUSY:
                del self.of[content]
                self.close(stream)

    def giveWay(self, one: OpenStream, names: dict[str, list[OpenContent]]) -> bool:
        """
        Close a newer content of the same path: it must wait for this older one anyway.

        @param names: the result of L{decnet_syslog.sending._chunks.byName}.
        @return: whether a stream was closed.
        """
        same = names.get(one.content.name, [])
        at = same.index(one.content) if one.content in same else len(same)
        for newer in same[at + 1 :]:
            other = self.of.get(newer)
            if other is not None and other.state is State.SENDING and not other.sent:
                self.close(other)
                other.happened(Happening.GAVE_WAY)
                return True
        return False
