"""
Committing deposits: one message for each piece, as the successor of the last one.

L{decnet_syslog.nats._journal} has the theory. Each step of a deposit is safe to repeat, because the
whole group is tried again when one of its deposits is blocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from uuid import uuid4

from twisted.logger import Logger

from ..journal import Batch, Deposit, JournalBlocked, batchOf
from ._appending import Appender, Stale, messageOctets
from ._bus import Bus
from ._chronicle import Chronicle
from ._messages import HEADERS_OCTETS_MAX, encode, subjectOf
from ._packing import Pack
from ._pieces import PIECE_OCTETS, pieces
from ._positions import NOWHERE, Positions
from ._room import Room
from ._stream import JournalStream

__all__ = ["Committer", "committedSubject"]

# Maximum number of connections whose refusal is remembered.
REFUSALS_MAX = 1024


def committedSubject(name: str) -> str:
    """The subject of notices about new messages. It does not belong to the stream."""
    return f"decnet-committed.{name}"


@dataclass(slots=True)
class _Progress:
    """
    A deposit that is being committed.

    @ivar turns: the journal's count of rollbacks at the beginning.
    @ivar pieces: all pieces, each with its attempt.
    @ivar left: pieces that are not committed.
    @ivar isCut: whether a piece was divided after an attempt to publish it.
    """

    deposit: Deposit
    turns: int
    pieces: tuple[tuple[Deposit, str], ...]
    left: list[tuple[Deposit, str]]
    batch: Batch | None = None
    stale: bool = False
    isCut: bool = False


class Committer:
    """
    Commits deposits. All coroutines run in the bus's thread.

    @ivar refusals: by worker and address, the reason why a deposit was not committed: a code
        for C{BYE} and a text.
    """

    _log = Logger()

    def __init__(
        self,
        bus: Bus,
        stream: JournalStream,
        chronicle: Chronicle,
        positions: Positions,
        pack: Pack,
        room: Room,
    ) -> None:
        """
        @param room: the room that is left for lines.
        """
        self._bus = bus
        self._stream = stream
        self._chronicle = chronicle
        self._positions = positions
        self._pack = pack
        self._appender = Appender(stream, chronicle, positions, room)
        self._progress: list[_Progress] = []
        self.refusals: dict[tuple[str, str], tuple[str, str]] = {}

    async def commit(self, deposits: Sequence[Deposit]) -> list[Batch | None]:
        """As L{decnet_syslog.journal._promise.IJournal.commit}, without cursors."""
        if not (
            len(self._progress) == len(deposits)
            and all(map(is_, deposits, [p.deposit for p in self._progress]))
        ):
            self._progress = [self._started(deposit) for deposit in deposits]
        progress = self._progress
        if progress:
            await self._commit(progress)
        self._progress = []
        return [p.batch for p in progress]

    def _started(self, deposit: Deposit) -> _Progress:
        left = [(piece, uuid4().hex) for piece in pieces(deposit, self._pieceOctets)]
        return _Progress(deposit, self._chronicle.turns, tuple(left), left)

    @property
    def _pieceOctets(self) -> int:
        """Maximum size of a piece, unless one line is longer."""
        return max(1, min(PIECE_OCTETS, self._bus.payloadMax - HEADERS_OCTETS_MAX))

    async def _commit(self, progress: Sequence[_Progress]) -> None:
        chains: dict[tuple[str, str], list[_Progress]] = {}
        for one in progress:
            who = one.deposit.provenance
            chains.setdefault((who.worker, who.address), []).append(one)
        # Wait for all chains: no publish may be under way when we report a result.
        results = await asyncio.gather(
            *map(self._chain, chains.values()), return_exceptions=True
        )
        failed = [error for error in results if isinstance(error, BaseException)]
        if not failed and not all(map(self._isOfNow, progress)):
            # Some commits may be lost: try the group again.
            failed = [JournalBlocked("the stream went back in the middle")]
        if any(p.batch is not None for p in progress):
            await self._bus.tell(committedSubject(self._stream.name))
        if failed:
            raise next(
                (e for e in failed if not isinstance(e, JournalBlocked)), failed[0]
            )

    def _isOfNow(self, one: _Progress) -> bool:
        return one.turns == self._chronicle.turns

    async def _chain(self, chain: Sequence[_Progress]) -> None:
        """Commit what one connection has sent, one after the other."""
        await self._chronicle.sure()
        stale = False
        for one in chain:
            if not self._isOfNow(one):
                # Its commits may be lost. Workers send their lines again. Lines of plain peers are
                # published again with the same ids, so the server drops those that it has.
                one.turns, one.batch = self._chronicle.turns, None
                one.stale = one.deposit.grant is not None
                one.left = list(one.pieces)
            if stale and one.deposit.grant is not None:
                # The peer sends it again, after the stale one.
                one.stale = True
            elif one.batch is None and not one.stale:
                try:
                    await self._deposit(one)
                except Stale as error:
                    one.stale = True
                    if error.code is not None:
                        self._refuse(one.deposit, error.code, error.text)
            stale = stale or one.stale

    async def _deposit(self, one: _Progress) -> None:
        """
        Commit the remaining pieces of a deposit.

        @raise Stale: that is impossible, and the connection must be closed.
        """
        deposit, held = one.deposit, None
        if deposit.grant is not None:
            held = self._positions.held(deposit.grant)
            if held is None:
                raise Stale
        subject = subjectOf(self._stream.name, deposit.provenance.worker, deposit.grant)
        seq = 0
        while one.left:
            piece, attempt = one.left[0]
            position = NOWHERE
            if held is not None:
                if held.position.offset != piece.start:
                    raise Stale
                position = held.position.behind(piece)
            headers, body = encode(piece, position, attempt, self._pack)
            if messageOctets(headers, body) > self._bus.payloadMax:
                self._cut(one)
                continue
            async with self._positions.gate:
                try:
                    seq = await self._appender.append(
                        subject, headers, body, held, one.turns
                    )
                except Stale as error:
                    # Our position is wrong, whatever the reason: ask again at the next grant.
                    self._positions.forget(subject)
                    if error.code is None and one.isCut:
                        raise Stale(
                            "no-space", "the NATS servers take shorter messages now"
                        ) from None
                    raise
            self._chronicle.noted(seq)
            if held is not None:
                held.seq, held.position = seq, position
            del one.left[0]
        if seq:
            one.batch = batchOf(seq, deposit)

    def _cut(self, one: _Progress) -> None:
        """
        Divide a piece that is too long since the server's max_payload became smaller.

        @raise Stale: it is a single line. Its worker has to wait; other workers continue.
        """
        piece, _ = one.left[0]
        smaller = list(pieces(piece, self._pieceOctets))
        if len(smaller) > 1:
            one.left[:1] = [(part, uuid4().hex) for part in smaller]
            one.isCut = True
            return
        most = self._bus.payloadMax
        why = (
            f"{len(piece.octets)} octets are too long for the NATS servers' max_payload"
        )
        self._log.error(
            "{worker}: a line of {octets} octets is too long for the NATS server, which accepts"
            " messages of at most {most} octets now; the line {what}, raise max_payload",
            event="limit",
            worker=piece.provenance.worker,
            octets=len(piece.octets),
            most=most,
            what="waits" if piece.grant is not None else "is lost",
            reason="max_payload",
        )
        if piece.grant is not None:
            raise Stale("no-space", why)
        # A plain peer does not send it again, and must not stop the other peers.
        del one.left[0]

    def _refuse(self, deposit: Deposit, code: str, text: str) -> None:
        who = deposit.provenance
        self.refusals.pop((who.worker, who.address), None)
        self.refusals[who.worker, who.address] = code, text
        while len(self.refusals) > REFUSALS_MAX:
            del self.refusals[next(iter(self.refusals))]
