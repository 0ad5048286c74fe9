"""Cutting deposits into pieces that each fit into a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..journal import Deposit

__all__ = ["PIECE_OCTETS", "pieces"]

# Maximum size of a message, unless one line is longer. A grant fetches the last message of its
# subject, so this is less than the server accepts. A commit costs a round trip, so it is not small.
PIECE_OCTETS = 128 * 1024


def pieces(deposit: Deposit, most: int) -> Iterator[Deposit]:
    """
    Cut a deposit into pieces of whole lines or messages.

    If only the first pieces are committed, the position is at their end, as if the rest had not
    arrived.

    @param most: maximum size of a piece in octets, unless one line is longer.
    """
    if deposit.lengths is not None:
        yield from _messagePieces(deposit, deposit.lengths, most)
        return
    octets, at = deposit.octets, 0
    while len(octets) - at > most:
        cut = octets.rfind(b"\n", at, at + most) + 1 or octets.find(b"\n", at) + 1
        if not cut or cut == len(octets):
            break
        yield _part(deposit, at, cut)
        at = cut
    yield _part(deposit, at, len(octets)) if at else deposit


def _part(deposit: Deposit, start: int, end: int) -> Deposit:
    octets = deposit.octets[start:end]
    if deposit.grant is None:
        return replace(deposit, octets=octets, lines=-1)
    first = deposit.start
    return replace(
        deposit, start=first + start, end=first + end, octets=octets, lines=-1
    )


def _messagePieces(
    deposit: Deposit, lengths: Sequence[int], most: int
) -> Iterator[Deposit]:
    # The size of a piece includes the lengths that _framed adds.
    start = end = first = weight = 0
    for index, length in enumerate(lengths):
        cost = length + len(str(length)) + 1
        if weight and weight + cost > most:
            yield replace(
                _part(deposit, start, end), lengths=tuple(lengths[first:index])
            )
            start, first, weight = end, index, 0
        end += length
        weight += cost
    rest = tuple(lengths[first:])
    yield replace(_part(deposit, start, end), lengths=rest) if first else deposit
