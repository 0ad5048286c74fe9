"""
Reception: what one connection has sent, until the journal has it.

What must be true:

* whose lines these are was settled by the handshake, before the first octet, and nothing
  in the octets changes it;
* at most L{Limits.pendingPerConnection} wait here; then the connection is not read.

L{Plain} is reception as RFC 5425 has it, L{decnet_syslog.master.acknowledged} with the
delivery extension.

Messages are gathered as blocks of lines, and the blocks are joined once when the journal
takes them. No state here knows a transport: L{Line} is what we ask of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.logger import Logger

from ..wire.control import BYE, ControlLine
from ..wire.framing import Lines, Oversize
from ..wire.record import Provenance
from .groupcommit import GroupCommit
from .values import DEPOSIT_COST, LINE_COST, Batch, Deposit

__all__ = ["OVERSIZE", "Line", "Plain", "Reception", "Violation", "asLines"]

# Why a message over the limit was not taken, as the forwarder says it of a line.
OVERSIZE = "oversize"


@dataclass
class Violation(Exception):
    """
    The peer did what the protocol does not allow.

    @ivar code: as in C{BYE}.
    @ivar text: for both ends' logs.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


def asLines(messages: list[bytes]) -> Lines | None:
    """Messages as a block of lines, if none has an LF in it."""
    # One more join instead of one more copy: the last line ends in LF, too.
    octets = b"\n".join([*messages, b""])
    count = len(messages)
    return Lines(octets, count) if octets.count(b"\n") == count else None


class Line(Protocol):
    """What a reception asks of its connection."""

    def sendControl(self, *lines: ControlLine) -> None:
        """Send control lines."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on."""

    @property
    def isRead(self) -> bool:
        """Whether the peer reads what we send."""

    def close(self, bye: BYE) -> None:
        """Say why, if the peer can hear it, and close. Nothing more is received."""


@dataclass
class _Who:
    """The peer: what every provenance of this connection has."""

    worker: str
    fingerprint: str
    address: str


class Reception(ABC):
    """What both kinds have in common: gathering, pausing."""

    _log = Logger()

    def __init__(
        self,
        worker: str,
        fingerprint: str,
        address: str,
        line: Line,
        commits: GroupCommit,
        now: Callable[[], str],
        marks: bool = False,
    ) -> None:
        """
        @param marks: as of L{Provenance}.
        """
        self.who = _Who(worker, fingerprint, address)
        self._line = line
        self._commits = commits
        self._now = now
        self._marks = marks
        self._blocks: list[Lines] = []
        # In front of the blocks.
        self._deposits: list[Deposit] = []
        self._octets = 0
        self._taken = 0
        self._paused = False
        self._over = False

    def _provenance(self, log: str | None) -> Provenance:
        who = self.who
        return Provenance(
            who.worker, who.fingerprint, who.address, self._now(), log, self._marks
        )

    @abstractmethod
    def take(self) -> Sequence[Deposit]:
        """Give everything received since the last call."""

    @abstractmethod
    def committed(self, batches: Sequence[Batch | None]) -> None:
        """What was taken is durable; C{None} for each deposit that was stale."""

    @abstractmethod
    def acknowledge(self) -> None:
        """Say what is durable and has not been said, if the peer can hear it."""

    def start(self) -> None:
        """Begin: not to be read while there is no room."""
        if self._commits.crowdedFor(self.who.worker):
            self._paused = True
            self._line.pause()
            self._commits.waitForRoom(self)

    @abstractmethod
    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages of one receive, which may have LFs in them."""

    def linesReceived(self, lines: Lines) -> None:
        """Messages of one receive that have none."""
        self._blocks.append(lines)
        # Without their LFs, which the peer has not sent.
        octets = len(lines.octets) - lines.number
        self._gather(octets + LINE_COST * lines.number)

    def _joined(self) -> Lines:
        """Take the blocks, as one."""
        blocks, self._blocks = self._blocks, []
        return Lines(
            b"".join([lines.octets for lines in blocks]),
            sum([lines.number for lines in blocks]),
        )

    def _gather(self, cost: int) -> None:
        """Count what was gathered, and stop reading when it is much."""
        self._octets += cost
        self._commits.charge(self.who.worker, cost)
        self._commits.deposit(self)
        waiting = self._octets + self._taken
        if not self._paused and (
            waiting >= self._commits.limits.pendingPerConnection
            or self._commits.crowdedFor(self.who.worker, waiting)
        ):
            self._paused = True
            self._line.pause()

    def _takeOctets(self) -> None:
        self._taken += self._octets
        self._octets = 0

    def _discard(self) -> None:
        """Forget what was gathered and not taken."""
        self._blocks = []
        self._deposits = []
        self._commits.charge(self.who.worker, -self._octets)
        self._octets = 0

    def _settled(self) -> None:
        """What was taken is committed: make room."""
        self._commits.charge(self.who.worker, -self._taken)
        self._taken = 0
        self.room()

    def peerReads(self) -> None:  # noqa: B027
        """The peer has read what was sent; nothing waits for that here."""

    def room(self) -> None:
        """Read on if there is room here and in all."""
        if not self._paused:
            return
        waiting = self._octets + self._taken
        if self._commits.crowdedFor(self.who.worker, waiting):
            self._commits.waitForRoom(self)
        elif self._octets < self._commits.limits.pendingPerConnection:
            self._paused = False
            self._line.resume()

    def _close(self, code: str, text: str) -> None:
        if not self._over:
            self._over = True
            self._line.close(BYE(code, text))

    def connectionLost(self) -> None:
        """The connection is gone. What was received is committed all the same."""
        self._over = True
        self._paused = False

    def failed(self) -> None:
        """An error of ours: this connection pays, no other."""
        self._discard()
        self._close("error", "the listener has an error of its own, see its log")


class Plain(Reception):
    """
    Reception from a peer without the extension: RFC 5425 as it is.

    One LF at the end of a message is taken as its line end, not as part of it: rsyslog's
    own RFC 5424 template sends one.
    """

    # Everything gathered, one by one, since a message came with an LF inside.
    _loose: list[bytes] | None = None

    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages of one receive."""
        octets = sum(map(len, messages))
        block = asLines(messages)
        if block is None:
            messages = [m[:-1] if m.endswith(b"\n") else m for m in messages]
            block = asLines(messages)
        if block is None or self._loose is not None:
            self._loosen().extend(messages)
        else:
            self._blocks.append(block)
        self._gather(octets + LINE_COST * len(messages))

    def linesReceived(self, lines: Lines) -> None:
        """Messages of one receive that have no LF."""
        super().linesReceived(lines)
        if self._loose is not None:
            self._loosen()

    def _loosen(self) -> list[bytes]:
        """Everything gathered, one by one."""
        blocks, self._blocks = self._blocks, []
        loose = [] if self._loose is None else self._loose
        for lines in blocks:
            loose.extend(lines.messages)
        self._loose = loose
        return loose

    def _discard(self) -> None:
        self._loose = None
        super()._discard()

    def oversizeReceived(self, frame: Oversize) -> None:
        """A message over the limit: a gap record says how long, and how it begins."""
        pending = bool(self._blocks or self._loose)
        gap = Deposit(
            self._provenance(None),
            None,
            0,
            frame.length,
            frame.first,
            reason=OVERSIZE,
        )
        self._cut()
        self._deposits.append(gap)
        self._gather((1 + pending) * DEPOSIT_COST + len(frame.first))

    def take(self) -> Sequence[Deposit]:
        """Deposits of every message received since the last call."""
        self._cut()
        taken, self._deposits = self._deposits, []
        self._takeOctets()
        return taken

    def _cut(self) -> None:
        """Make a deposit of the messages that were gathered."""
        loose, self._loose = self._loose, None
        if loose is not None:
            octets, lengths = b"".join(loose), tuple(map(len, loose))
            deposit = Deposit(self._provenance(None), None, 0, 0, octets, lengths)
        elif self._blocks:
            octets, count = self._joined()
            provenance = self._provenance(None)
            deposit = Deposit(provenance, None, 0, 0, octets, lines=count)
        else:
            return
        self._deposits.append(deposit)

    def committed(self, batches: Sequence[Batch | None]) -> None:
        """Nothing can be said to a peer without the extension."""
        self._settled()

    def acknowledge(self) -> None:
        """Nothing can be said to a peer without the extension."""
