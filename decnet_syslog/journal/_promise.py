"""
The journal's interface, as receiving sessions, group commit and writers use it.

There are two implementations: L{decnet_syslog.journal._sqlite}, a file of one listener, and
L{decnet_syslog.nats._journal}, a cluster that many listeners share.
C{tests/contracts/test_journal.py} runs the same tests for both.

Every method blocks, and all calls come from one thread, one after the other. The reactor's
thread reads only the attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ._values import (
    Batch,
    Cursor,
    Deposit,
    Mark,
    OpenRequest,
    StreamLease,
    StreamPosition,
)

__all__ = ["IJournal", "ISharedJournal", "JournalBlocked"]


class JournalBlocked(Exception):
    """
    The journal cannot do this now. The text gives the reason.

    Nothing is lost and nothing is promised: call again later with the same arguments. Until
    then no part of it may be reported as committed.
    """


class IJournal(Protocol):
    """
    Positions of streams, and batches that wait for outputs.

    Every journal guarantees:

    * I{One step.} The octets of a deposit and the position after them become durable
      together, or neither does;
    * I{The position decides.} A deposit is accepted only if its stream is still at the start
      of the deposit, and no newer grant of the stream is known. So octets that are sent again,
      late or by two connections are committed once;
    * I{In order.} The deposits of a connection are committed in the order of their arrival.
      If one is stale, the later ones of that connection are, too;
    * I{Answers stay true.} A granted position and a returned commit survive a restart, as
      long as the journal itself does;
    * I{Kept until written.} A batch is kept until every output's cursor has passed it;
    * I{A history.} A journal that was put back to an older copy does not hold the marks of
      lost commits, however far it grows again.

    @ivar identity: 32 hex digits, made with the journal; forwarders recognize it by them.
    @ivar octets: the size of all batches that are not released yet, as far as is known here.
    @ivar octetsOf: the same for each worker.
    @ivar keptOctets: the size of positions, gaps and names, on the same disk.
    @ivar turns: number of times, since the journal was opened, that it was found to have gone
        back. Then all grants are void, and the forwarders have to offer their files again.
    @ivar refusals: by worker and address, the reason why a deposit was not committed, unless
        another connection has taken over: a code for C{BYE} and a text. Bounded.
    @ivar capacity: the octets that it can hold where it is, as far as is known. It refuses more.
    @ivar hasSpare: whether L{giveBack} should be called soon.
    @ivar mark: the durable point: it comes after every position and batch that a call here has
        returned.
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

    def grants(self, requests: Sequence[OpenRequest]) -> list[StreamLease]:
        """
        Give a connection the right to extend a stream, and the stream's position; for each
        request, in order. The newest grant of a stream makes the others stale.

        An unknown stream begins at the position in its request.

        @raise JournalBlocked: none was granted.
        """

    def known(self, worker: str) -> list[StreamPosition]:
        """A bounded list of a worker's streams that have a position, the newest first."""

    def holds(self, mark: Mark) -> bool:
        """
        Whether the journal's history has this point: it has lost no earlier batch since.

        A mark that is not remembered any more counts as lost. That is safe: the forwarder
        then compares everything it has with the positions here.

        @raise JournalBlocked: not now.
        """

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """
        Commit deposits, and the cursors of outputs.

        @return: for each deposit its batch; C{None} if it was stale, or followed a stale one
            of the same connection.
        @raise JournalBlocked: call again, with the same deposits in the same order before
            any other. Deposits that are committed already are not committed again.
        """

    def read(self, after: int, costMax: int) -> list[Batch]:
        """
        The unreleased batches with a C{seq} greater than C{after}, in order of C{seq}; at least
        one if there is one.

        @param costMax: stop when their total cost reaches about this value.
        """

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """
        Set the outputs: batches wait for these and for no others.

        @return: the cursor of each. A new one begins at the oldest batch that is kept.
        """

    def giveBack(self) -> bool:
        """
        Return a little unused space to the disk, and measure the free room.

        @return: whether there is more to return: call again after the waiting commits.
        """

    def close(self) -> None:
        """Close it. Committed batches stay."""


@runtime_checkable
class ISharedJournal(Protocol):
    """A journal that other processes use, and operators can restore, while it is open here."""

    def checkHistory(self) -> None:
        """
        Check whether the journal went back, and whether its settings are safe.

        @raise JournalBlocked: try again later.
        """

    def onWentBack(self, heard: Callable[[], None]) -> None:
        """Call C{heard}, in any thread, whenever the journal is found to have gone back."""
