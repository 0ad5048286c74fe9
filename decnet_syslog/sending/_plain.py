"""
Sending to a peer without the extension: plain RFC 5425.

There are no acknowledgements, so this can promise only at-least-once, and only until the peer's
process crashes. What must be true: the offset moves only past octets that have left our TLS
buffers and that the peer's TCP has acknowledged; after an unclean end everything after the
offset is sent again.

Chosen: rounds. The sender writes a round, then waits until this side holds none of its octets;
only then the offsets move and the next round begins. That costs one round trip per
C{ROUND_OCTETS}. Set aside: comparing the count of encrypted octets with TCP_INFO, which would
save that round trip but needs to know what each TLS record holds.

Under TLS 1.3 the client's handshake is complete before the server has checked the client's
certificate. Octets written before the refusal arrives are lost without a notice. So nothing is
written in the first C{SETTLE_S}.
"""

from __future__ import annotations

from zlib import crc32

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..files import PLAIN, Chunk, FollowedFiles, GapChunk, OpenContent
from ..wire import ControlLine
from ._connection import IClock, IConnection
from ._counts import Counts
from ._encoding import encodePlain
from ._window import CHUNK_OCTETS, turns

__all__ = ["PlainSender"]

# The most that is sent again after an unclean end.
ROUND_OCTETS = 1024 * 1024

# Longer than the round trip that a refusal takes, in seconds.
SETTLE_S = 1.0


class PlainSender:
    """
    The sending side of a connection without the extension.

    @ivar inFlight: octets of files that are sent in this round.
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
        """
        Start waiting for a refusal.

        Everything that any journal holds counts as delivered, because this peer cannot report its
        own position.
        """
        authority = (PLAIN, "")
        self._files.journal.connect(authority, resend=False, isHistoryKept=True)
        self._files.journal.meet(authority, None)
        self._settling = self._clock.callLater(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._isReady = True
        self._connection.accepted()
        self.pump()

    def controlReceived(self, line: ControlLine) -> None:
        """A plain peer sends no control lines."""

    def connectionLost(self) -> None:
        """Return to the positions that have certainly arrived."""
        self._isOver = True
        self.inFlight = 0
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        for content in self._files.opened:
            content.rewind(content.acknowledged.offset)

    def pump(self) -> None:
        """Begin the next round if there are new octets and no round is under way."""
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
        if isinstance(chunk, GapChunk):
            # A plain peer cannot receive a gap record, so the gap is only logged.
            self._counts.skipped(octets, chunk.reason)
            self._log.warn(
                "not sending {octets} octets of {name!r}, from {start} to {end}: {reason}. A"
                " plain receiver cannot get a gap record",
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
                    "{name!r} has empty lines, which RFC 5425 cannot carry: leaving them out",
                    name=content.name,
                )
            self._empty += empty
            if frames:
                self._connection.sendOctets(frames)
            crc = crc32(chunk.octets, crc)
        self._round[content] = (chunk.end, base, crc)
        self.inFlight += octets

    def _arrived(self) -> None:
        """The peer's TCP has acknowledged the round."""
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
