"""
Assembling deposits from the receives of a connection.

Messages are gathered as blocks of lines, one for each receive, and the blocks are joined once, when
the journal takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..journal import Deposit, StreamLease
from ..wire import Lines, Provenance

__all__ = ["Assembler", "Origin", "asLines"]


@dataclass(frozen=True)
class Origin:
    """
    The peer of a connection, for the provenance of each of its deposits.

    @ivar marks: as of L{Provenance}.
    """

    worker: str
    fingerprint: str
    address: str
    marks: bool = False


def asLines(messages: list[bytes]) -> Lines | None:
    """Messages as a block of lines; C{None} if one contains an LF."""
    # The empty message gives the last line its LF without another copy.
    octets = b"\n".join([*messages, b""])
    count = len(messages)
    return Lines(octets, count) if octets.count(b"\n") == count else None


class Assembler:
    """
    Blocks of lines, and the deposits before them.

    @ivar blocks: lines that no deposit has yet.
    @ivar deposits: they come before the blocks.
    """

    def __init__(self, who: Origin, now: Callable[[], str]) -> None:
        """
        @param now: the time of arrival, for deposits that are made before a commit.
        """
        self.blocks: list[Lines] = []
        self.deposits: list[Deposit] = []
        self._who = who
        self._now = now

    def provenance(self, log: str | None, receivedAt: str | None = None) -> Provenance:
        """
        The provenance of a deposit.

        @param log: the file's name at the worker.
        @param receivedAt: the time of arrival; C{None}: now.
        """
        who = self._who
        return Provenance(
            who.worker,
            who.fingerprint,
            who.address,
            receivedAt or self._now(),
            log,
            who.marks,
        )

    def cut(
        self,
        log: str | None,
        lease: StreamLease | None,
        end: int,
        receivedAt: str | None = None,
    ) -> None:
        """
        Make a deposit of all blocks.

        @param end: the stream's position after them; 0 without a stream.
        """
        blocks = self.blocks
        if not blocks:
            return
        self.blocks = []
        if len(blocks) == 1:
            octets, count = blocks[0]
        else:
            octets = b"".join([lines.octets for lines in blocks])
            count = sum([lines.number for lines in blocks])
        start = 0 if lease is None else end - len(octets)
        self.deposits.append(
            Deposit(
                self.provenance(log, receivedAt),
                lease,
                start,
                end,
                octets,
                None,
                None,
                count,
            )
        )

    def take(self) -> list[Deposit]:
        """Give all deposits, in order. The blocks stay."""
        deposits, self.deposits = self.deposits, []
        return deposits

    def discard(self) -> None:
        """Forget everything."""
        self.blocks = []
        self.deposits = []
