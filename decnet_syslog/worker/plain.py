"""
Sending to a peer without the extension: RFC 5425 as it is.

There is no acknowledgement, so nothing here can promise more than at-least-once up to a
crash of the peer's process. What must be true: the offset moves only past octets that
have left our TLS buffers and that the peer's TCP has acknowledged; after an unclean end
everything behind it is sent again.

Chosen: rounds. A round is written, then we wait until nothing of it is left on this side;
only then the offsets move and the next round begins. That costs a round trip per
C{ROUND_OCTETS}. Set aside: counting the ciphertext against TCP_INFO, which would save
that round trip and needs to know what each TLS record holds.

Under TLS 1.3 a client's handshake is done before the server has looked at its
certificate, and what it writes until the refusal arrives is lost without a word. So
nothing is written in the first C{SETTLE_S}.
"""

from __future__ import annotations

from zlib import crc32

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import PLAIN, Chunk, FollowedFiles, Gap, OpenContent
from ..wire.control import ControlLine
from .connection import IClock, IConnection
from .counts import Counts
from .encoding import encodePlain
from .window import CHUNK_OCTETS, turns

__all__ = ["PlainSender"]

# Sent again, at most, after an unclean end.
ROUND_OCTETS = 1024 * 1024

# A refusal takes one round trip, seconds.
SETTLE_S = 1.0


class PlainSender:
    """
    The sending side of one connection without the extension.

    @ivar inFlight: octets of files sent in this round.
    """

    _log = Logger()
    isStalled = False
    isGreeted = False

    def __init__(
        self,
        files: FollowedFiles,
        connection: IConnection,
        clock: IClock,
        counts: Counts,
    ) -> None:
        self._files = files
        self._connection = connection
        self._clock = clock
        self._counts = counts
        self._round: dict[OpenContent, tuple[int, int, int]] = {}
        self._isOver = False
        self._isReady = False
        self._isUnderWay = False
        self._empty = 0
        self._settling: IDelayedCall | None = None
        self.inFlight = 0

    def connectionMade(self) -> None:
        """Whatever any journal has counts as delivered: this peer cannot tell what it has."""
        authority = (PLAIN, "")
        self._files.connect(authority, resend=False, isHistoryKept=True)
        self._files.meet(authority, None)
        self._settling = self._clock.callLater(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._isReady = True
        self._connection.accepted()
        self.pump()

    def controlReceived(self, line: ControlLine) -> None:
        """A plain peer has none."""

    def connectionLost(self) -> None:
        """Go back to what has certainly arrived."""
        self._isOver = True
        self.inFlight = 0
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        for content in self._files.opened:
            content.rewind(content.acknowledged.offset)

    def pump(self) -> None:
        """Begin the next round if there is something to send and none is under way."""
        if self._isOver or not self._isReady or self._isUnderWay:
            return
        turns(
            self._files.opened,
            lambda content: content.read(CHUNK_OCTETS),
            self._send,
            lambda octets: octets < ROUND_OCTETS,
        )
        if self._round:
            self._isUnderWay = True
            self._connection.whenArrived(self._arrived)

    def _send(self, content: OpenContent, chunk: Chunk) -> None:
        there = content.acknowledged
        _, base, crc = self._round.get(content, (0, there.base, there.crc))
        octets = chunk.end - chunk.start
        if isinstance(chunk, Gap):
            # There is nobody at the other end to tell it to.
            self._counts.skipped(octets, chunk.reason)
            self._log.warn(
                "{octets} octets of {name!r}, from {start} to {end}, are not shipped: {reason}",
                octets=octets,
                name=content.name,
                start=chunk.start,
                end=chunk.end,
                reason=chunk.reason,
                event="gap",
            )
            base, crc = chunk.end, 0
        else:
            frames, empty = encodePlain(chunk.octets)
            if empty and not self._empty:
                self._log.warn(
                    "{name!r} has empty lines: RFC 5425 cannot carry them, they are left out",
                    name=content.name,
                )
            self._empty += empty
            if frames:
                self._connection.sendOctets(frames)
            crc = crc32(chunk.octets, crc)
        self._round[content] = (chunk.end, base, crc)
        self.inFlight += octets

    def _arrived(self) -> None:
        """The round has arrived."""
        if self._isOver:
            return
        self._isUnderWay = False
        for content, reached in self._round.items():
            self._counts.acknowledged(reached[0] - content.acknowledged.offset)
            content.acknowledge(*reached)
        self._round = {}
        self.inFlight = 0
        self._files.changed()
        self.pump()
