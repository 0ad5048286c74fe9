"""
Where the outputs continue in the present stream: after the newer one of this host's cursor and the
one in the bucket, as far as the stream is unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from twisted.logger import Logger

from ..journal import Cursor
from ._bucket import Value
from ._history import StreamHistory

__all__ = ["Plan", "planOf"]

_log = Logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Where the outputs continue.

    @ivar cursors: the cursor of each output.
    @ivar at: after a rollback, the last message that is unchanged; otherwise C{None}.
    """

    cursors: dict[str, Cursor]
    at: int | None


def planOf(
    local: Mapping[str, Cursor],
    mine: StreamHistory | None,
    value: Value,
    now: StreamHistory,
    isTrusted: bool,
) -> Plan:
    """
    Compare this host's cursors and those in the bucket with the stream, and log the differences.

    @param local: the cursor of each output on this host.
    @param mine: their history.
    @param value: the value in the bucket, with the cursors of the last holder.
    @param now: the stream's present history.
    @param isTrusted: whether to use cursors that have no history.
    """
    theirs = value.history

    def still(seq: int, known: StreamHistory | None) -> int:
        if known is None:
            return min(seq, now.last) if isTrusted else 0
        return min(seq, known.upTo(seq).common(now))

    cursors: dict[str, Cursor] = {}
    lost: list[int] = []
    for name, cursor in local.items():
        said = value.cursors.get(name, value.released)
        here, there = still(cursor.seq, mine), still(said, theirs)
        # Our own cursor can be too old to compare. Then the bucket's newer one is enough.
        isKnown = there == said and (here == cursor.seq or cursor.seq <= said)
        if not isKnown:
            lost.append(max(here, there))
            _log.error(
                "{output}: the stream went back behind the output. The output has messages up"
                " to {seq}, but only those up to {at} are unchanged; continuing after {at}."
                " Lines of plain senders after message {at} may be repeated",
                event="went-back",
                output=name,
                at=max(here, there),
                seq=max(cursor.seq, said),
                reason="restored from a copy, recreated, or its end was lost",
            )
        elif name in value.cursors and here < there:
            # Meanwhile another host has written into its own files.
            _log.warn(
                "{output} continues after batch {seq}: the batches before are in the files"
                " of {place}",
                event="diverged",
                output=name,
                seq=said,
                place=value.place or "another host",
                reason=f"the files here have everything up to batch {cursor.seq}",
            )
        cursors[name] = replace(cursor, seq=max(here, there))
    return Plan(cursors, min(lost) if lost else None)
