"""
Shipment to a peer without the extension: RFC 5425 as it is.

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

from collections.abc import Callable
from zlib import crc32

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .encoding import encodePlain
from .incarnation import Gap, Incarnation, Piece
from .shipment import PIECE_OCTETS, Line, byName, nextPiece
from .tails import Tails

__all__ = ["PlainShipment"]

# Sent again, at most, after an unclean end.
ROUND_OCTETS = 1024 * 1024

# A refusal takes one round trip, seconds.
SETTLE_S = 1.0

# How soon to look whether a round has arrived, in seconds: from, doubling, to.
LOOK_S = 0.005
LOOK_MAX_S = 0.25


class PlainShipment:
    """
    The sending side of one connection without the extension.
    """

    _log = Logger()

    def __init__(
        self,
        tails: Tails,
        line: Line,
        clock: IReactorTime,
        unsent: Callable[[], int],
    ) -> None:
        """
        @param unsent: octets written and not yet acknowledged by the peer's TCP.
        """
        self._tails = tails
        self._line = line
        self._clock = clock
        self._unsent = unsent
        self._round: dict[Incarnation, tuple[int, int, int]] = {}
        self._over = False
        self._empty = 0
        self._look_s = LOOK_S
        self._timer: IDelayedCall | None = clock.callLater(SETTLE_S, self._settled)
        self._ready = False

    @property
    def inFlight(self) -> int:
        """Octets of files sent in this round."""
        return sum(
            [
                end - incarnation.bookmark.offset
                for incarnation, (end, _, _) in self._round.items()
            ]
        )

    @property
    def stalled(self) -> bool:
        """A peer's TCP that acknowledges nothing is noticed by ours."""
        return False

    def _settled(self) -> None:
        self._timer = None
        self._ready = True
        self._line.accepted()
        self.pump()

    def connectionLost(self) -> None:
        """Go back to what has certainly arrived."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for incarnation in self._tails.incarnations:
            incarnation.rewind(incarnation.bookmark.offset)

    def pump(self) -> None:
        """Begin the next round if there is something to send and none is under way."""
        if self._over or not self._ready or self._timer is not None:
            return
        room = ROUND_OCTETS
        for incarnations in byName(self._tails.incarnations).values():
            while room > 0:
                found = nextPiece(incarnations, lambda i: i.read(PIECE_OCTETS))
                if found is None:
                    break
                room -= found[1].end - found[1].start
                self._send(*found)
        if self._round:
            self._look_s = LOOK_S
            self._timer = self._clock.callLater(LOOK_S, self._look)

    def _send(self, incarnation: Incarnation, piece: Piece) -> None:
        mark = incarnation.bookmark
        _, base, crc = self._round.get(incarnation, (0, mark.base, mark.crc))
        if isinstance(piece, Gap):
            # There is nobody at the other end to say it to.
            self._tails.counts.skipped(piece.end - piece.start, piece.reason)
            self._log.warn(
                "{octets} octets of {name!r}, from {start} to {end}, are not shipped: {reason}",
                octets=piece.end - piece.start,
                name=mark.name,
                start=piece.start,
                end=piece.end,
                reason=piece.reason,
                event="gap",
            )
            base, crc = piece.end, 0
        else:
            frames, empty = encodePlain(piece.octets)
            if empty and not self._empty:
                self._log.warn(
                    "{name!r} has empty lines: RFC 5425 cannot carry them, they are left out",
                    name=mark.name,
                )
            self._empty += empty
            if frames:
                self._line.sendOctets(frames)
            crc = crc32(piece.octets, crc)
        self._round[incarnation] = (piece.end, base, crc)

    def _look(self) -> None:
        """See whether the round has arrived."""
        self._timer = None
        if self._line.paused or self._unsent():
            self._look_s = min(2 * self._look_s, LOOK_MAX_S)
            self._timer = self._clock.callLater(self._look_s, self._look)
            return
        for incarnation, reached in self._round.items():
            self._tails.counts.acknowledged(reached[0] - incarnation.bookmark.offset)
            incarnation.acknowledge(*reached)
        self._round = {}
        self._tails.changed()
        self.pump()
