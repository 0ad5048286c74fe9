"""
The journal as a promise: what reception, group commit and feeds ask of one.

Two keep it: L{decnet_syslog.master.journal}, a file of one listener, and
L{decnet_syslog.nats.journal}, a cluster that many listeners share.
C{tests/test_journal_contract.py} holds both to the same words.

Every call blocks, and all come from one thread, one after the other. What a listener reads
from the reactor's thread are the attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from .values import Batch, Cursor, Deposit, Grant, Known, Mark, Wish

__all__ = ["JournalBlocked", "JournalPromise", "SharedJournal"]


class JournalBlocked(Exception):
    """
    The journal cannot take it now. Its text says why.

    Nothing is lost and nothing is promised: call again with the same arguments, later.
    Until then nobody may be told that anything of it is committed.
    """


class JournalPromise(Protocol):
    """
    Positions of streams, and batches that wait for outputs.

    What every journal keeps:

    * I{One step.} The octets of a deposit and the position behind them become durable
      together, or neither does;
    * I{The position decides.} A deposit is taken only if its stream still is where the
      deposit starts, and no newer grant of the stream is known. So what is sent again, late
      or by two connections is committed once;
    * I{In order.} What one connection hands over is committed in that order. Where a deposit
      is stale, what the same connection sent behind it is, too;
    * I{What was said stays.} A position that was granted and a commit that returned are
      there after a restart, as durable as the journal is;
    * I{Kept until written.} A batch is there until every output's cursor is behind it;
    * I{A history.} A journal that was put back to an older copy does not hold the marks of
      what it lost, however far it grows again.

    @ivar identity: 32 hex digits, made with the journal; a forwarder knows it by that.
    @ivar octets: of all batches that are not released yet, as far as is known here.
    @ivar octetsOf: of these, each worker's.
    @ivar keptOctets: beside them, of positions, gaps and names, on the same disk.
    @ivar turns: number of times, since the journal was opened, that it was found to have gone
        back. Then all grants are void, and the forwarders have to offer their files again.
    @ivar refusals: by worker and address, the reason why a deposit was not committed, unless
        another connection has taken over: a code for C{BYE} and a text. Bounded.
    @ivar capacity: what it can hold where it is, as far as is known; more is refused.
    @ivar hasSpare: whether L{giveBack} is to be called soon.
    @ivar mark: the point that is durable: whatever a call here has returned of a position or
        a batch is before it.
    """

    @property
    def identity(self) -> str: ...

    @property
    def octets(self) -> int: ...

    @property
    def capacity(self) -> int: ...

    @property
    def hasSpare(self) -> bool: ...

    @property
    def mark(self) -> Mark: ...

    @property
    def turns(self) -> int: ...

    @property
    def refusals(self) -> Mapping[tuple[str, str], tuple[str, str]]: ...

    @property
    def octetsOf(self) -> Mapping[str, int]: ...

    @property
    def keptOctets(self) -> int: ...

    def grants(self, wishes: Sequence[Wish]) -> list[Grant]:
        """
        Give a connection the right to extend a stream, and its position; for each wish, in
        order. Of two grants of one stream the older is stale.

        A stream that is not known begins where its wish says.

        @raise JournalBlocked: none was granted.
        """

    def known(self, worker: str) -> list[Known]:
        """Every stream of a worker that has a position, bounded, the newest first."""

    def holds(self, mark: Mark) -> bool:
        """
        Whether the journal's history has this point: nothing before it was lost since.

        A mark that is not remembered any more counts as lost. That is safe: the forwarder
        then compares everything it has with the positions here.

        @raise JournalBlocked: not now.
        """

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """
        Commit deposits, and what the outputs have on disk.

        @return: for each deposit the batch it has become; C{None} if it was stale, or
            behind one of the same connection that was.
        @raise JournalBlocked: call again, with the same deposits in the same order before
            any other. What is committed of them already is not committed again.
        """

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The batches behind C{after} that are not released, in order of C{seq}; at least one
        if there is one.

        @param costMax: stop about where they cost so much.
        """

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """
        Say which outputs there are: batches wait for these and for no others.

        @return: the cursor of each. A new one begins at the oldest batch still here.
        """

    def giveBack(self) -> bool:
        """
        Give the disk a little of what is not needed any more, and find out what there is
        room for.

        @return: whether there is more of it: call again, when whatever waits is committed.
        """

    def close(self) -> None:
        """Close it. What is committed stays."""


@runtime_checkable
class SharedJournal(Protocol):
    """A journal that other processes use, and operators can restore, while it is open here."""

    def look(self) -> None:
        """
        Check whether the journal went back, and whether its settings are safe.

        @raise JournalBlocked: try again later.
        """

    def onWentBack(self, heard: Callable[[], None]) -> None:
        """Call C{heard}, in any thread, whenever the journal is found to have gone back."""
