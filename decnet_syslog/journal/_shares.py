"""
The division of a disk's room, and everything that follows from it.

The sizes follow from the disk: a journal on 24 MiB works, with a smaller WAL, smaller
transactions and a smaller reserve than one on 24 GiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..limits import PENDING_OCTETS_MIN, Limits
from ._values import Deposit

__all__ = ["MIB", "DiskShares", "fitting", "pieces"]

MIB = 1024 * 1024


@dataclass(frozen=True)
class DiskShares:
    """
    The division of a disk's room, in octets.

    @ivar reserve: room for everything that a checkpoint may add to the database, and for a few
        commits of cursors.
    @ivar wal: checkpoint when the WAL has this size. With 64 MiB most of its pages have been
        rewritten for other batches by then and are copied once; with 16 MiB checkpoints take a
        fifth of the time.
    @ivar piece: the most that one transaction commits, unless a single deposit is larger.
    """

    reserve: int
    wal: int
    piece: int

    @classmethod
    def of(cls, octets: int) -> DiskShares:
        """@param octets: the free room plus the sizes of the journal's own files."""
        return cls(
            reserve=_between(MIB, octets // 6, 32 * MIB),
            wal=_between(MIB // 2, octets // 8, 64 * MIB),
            piece=_between(PENDING_OCTETS_MIN, octets // 24, 8 * MIB),
        )

    @property
    def growth(self) -> int:
        """Checkpoint when the database is about to grow by this: the reserve covers it."""
        return max(self.reserve // 4, self.reserve - self.piece - self.wal // 16 - MIB)


def _between(least: int, octets: int, most: int) -> int:
    return max(least, min(octets, most))


def fitting(limits: Limits, octets: int) -> Limits:
    """The limits, lowered so that everything waiting in memory fits a small disk."""
    piece = DiskShares.of(octets).piece
    return replace(
        limits,
        pending=min(limits.pending, 4 * piece),
        pendingPerWorker=min(limits.pendingPerWorker, piece),
        pendingPerConnection=min(limits.pendingPerConnection, piece),
    )


def pieces(deposits: Iterable[Deposit], most: int) -> Iterator[list[Deposit]]:
    """Deposits in order, cut into transactions."""
    piece: list[Deposit] = []
    octets = 0
    for deposit in deposits:
        if piece and octets + len(deposit.octets) > most:
            yield piece
            piece, octets = [], 0
        piece.append(deposit)
        octets += len(deposit.octets)
    if piece:
        yield piece
