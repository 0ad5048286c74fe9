"""
The contents that one connection sends, each as a stream: its states, and what is open.

A stream's way on one connection is a table, L{TRANSITIONS}. What is not in it does not happen.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..files import ContentKey, OpenContent
from ..wire.control import (
    CLOSE,
    NAMES_OCTETS_MAX,
    OPEN,
    RESUME,
    ControlLine,
    octetsOf,
)

__all__ = ["TRANSITIONS", "Happening", "OpenStream", "State", "StreamTable"]


class State(enum.Enum):
    """Where a stream is on its way."""

    UNIDENTIFIED = "the journal may hold it under another name"
    IDENTIFYING = "its content is compared with what the journal holds"
    WAITING = "it is to be opened"
    ASKED = "OPEN was sent"
    HELD = "RESUME has come, and its file is being looked for"
    VERIFYING = "the master's checksum is compared with the file"
    SENDING = "its chunks are sent, its acknowledgements counted"
    DIVERGED = "the journal holds another content by this name, or has lost it"
    UNREADABLE = "its file cannot be read on this connection"


class Happening(enum.Enum):
    """What moves a stream from one L{State} to the next."""

    COMPARED = "the comparison with what the journal holds begins"
    NAMED = "it is known what the journal calls it"
    OPENED = "there was room for it"
    ANSWERED = "RESUME has come"
    MISSED = "RESUME has come, and there is no file to compare"
    FOUND = "its file was found, or given up"
    AGREED = "the checksums are the same"
    DISAGREED = "they are not"
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
"""A stream's way on one connection."""

# An answer is still to come, or being used.
BUSY = (State.ASKED, State.HELD, State.VERIFYING, State.IDENTIFYING)


@dataclass(eq=False)
class OpenStream:
    """
    One content on this connection. The crc is of the octets [base, position) sent.

    @ivar acknowledged: octets that the master has on this connection.
    @ivar sent: end, base and crc of the chunks that are not acknowledged.
    @ivar opened: by what name it is open, and C{nameOctets} what its path counts.
    @ivar refused: names under which the journal holds another content.
    @ivar isSure: whether the journal has lost it: nothing that it holds has this content.
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
        """What the journal calls it."""
        there = self.content.acknowledged
        return (there.stream, there.generation)

    def happened(self, what: Happening) -> None:
        """
        Go on.

        @raise KeyError: that cannot happen now: an error of ours.
        """
        self.state = TRANSITIONS[self.state, what]


class StreamTable:
    """
    All contents of a connection, and which of them are open there.

    @ivar streamsMax: how many may be open: the listener's HELLO.
    """

    def __init__(self, send: Callable[[ControlLine], None]) -> None:
        self.of: dict[OpenContent, OpenStream] = {}
        self.streamsMax = 0
        self._send = send
        self._opened: dict[ContentKey, OpenStream] = {}
        self._nameOctets = 0

    @property
    def isAsking(self) -> bool:
        """Whether an OPEN is not answered."""
        return any(s.state is State.ASKED for s in self._opened.values())

    def opened(self, stream: str, generation: int) -> OpenStream | None:
        """What is open by a name."""
        return self._opened.get((stream, generation))

    def isOpen(self, one: OpenStream) -> bool:
        """Whether another content is open by the name of this one."""
        return one.alias in self._opened

    def open(self, one: OpenStream) -> bool:
        """
        Ask for a stream.

        @return: C{False}: the listener takes no more; when one is finished.
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
        """Nothing more of it comes: the listener need not keep it open."""
        if one.opened is not None:
            del self._opened[one.opened]
            self._nameOctets -= one.nameOctets
            self._send(CLOSE(*one.opened))
            one.opened = None

    def meet(self, current: Sequence[OpenContent], state: State) -> None:
        """
        Have a stream for every content, and none for those that are finished.

        @param state: of new streams of which no journal has acknowledged anything.
        """
        for content in current:
            if content not in self.of:
                isNew = content.acknowledged.offset <= content.content.origin
                self.of[content] = OpenStream(
                    content, state if isNew else State.WAITING
                )
        self.dropEnded(current)

    def dropEnded(self, current: Sequence[OpenContent]) -> None:
        """Leave what is finished."""
        if len(self.of) <= len(current):
            return
        alive = set(current)
        for content in [one for one in self.of if one not in alive]:
            stream = self.of[content]
            # An answer that is still to come needs its stream.
            if not stream.sent and stream.state not in BUSY:
                del self.of[content]
                self.close(stream)

    def giveWay(self, one: OpenStream, names: dict[str, list[OpenContent]]) -> bool:
        """
        Close a newer content of the same path, which has to wait for this one anyway.

        @param names: as of L{decnet_syslog.worker.chunks.byName}.
        @return: whether there was one.
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
