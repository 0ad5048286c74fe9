"""
Sessions of the receiving side: the octets that one connection has sent, until the journal has them.

Requirements:

* the handshake decides whose lines these are, before the first octet, and no octet changes
  that;
* at most L{Limits.pendingPerConnection} octets wait here; then the connection is not read.

L{PlainSession} is the session of RFC 5425, L{decnet_syslog.receiving._acked} that of the
delivery extension.

Messages are gathered as blocks of lines, and the blocks are joined once when the journal
takes them. No state here depends on a transport: L{IConnection} is the interface to one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.logger import Logger

from ..journal import DEPOSIT_COST, LINE_COST, Batch, Deposit, GroupCommit
from ..wire import BYE, ControlLine, Lines, Oversize, Provenance

__all__ = [
    "OVERSIZE",
    "IConnection",
    "PlainSession",
    "ReceiverSession",
    "Violation",
    "asLines",
]

# The reason of a gap for a message over the limit; the forwarder uses the same for a line.
OVERSIZE = "oversize"


@dataclass
class Violation(Exception):
    """
    The peer violated the protocol.

    @ivar code: the code for C{BYE}.
    @ivar text: for the logs of both ends.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


def asLines(messages: list[bytes]) -> Lines | None:
    """Messages as a block of lines; C{None} if one contains an LF."""
    # The empty message gives the last line its LF without another copy.
    octets = b"\n".join([*messages, b""])
    count = len(messages)
    return Lines(octets, count) if octets.count(b"\n") == count else None


class IConnection(Protocol):
    """The connection, as a session uses it."""

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
        """Send the reason, if the peer understands it, and close. Nothing more is received."""


@dataclass
class _Who:
    """The peer, for the provenance of every deposit of this connection."""

    worker: str
    fingerprint: str
    address: str


class ReceiverSession(ABC):
    """The common part of both kinds: gathering and pausing."""

    _log = Logger()

    def __init__(
        self,
        worker: str,
        fingerprint: str,
        address: str,
        connection: IConnection,
        commits: GroupCommit,
        now: Callable[[], str],
        flagHostnameMismatch: bool = False,
    ) -> None:
        """
        @param flagHostnameMismatch: as of L{Provenance}.
        """
        self.who = _Who(worker, fingerprint, address)
        self._connection = connection
        self._commits = commits
        self._now = now
        self._flagHostnameMismatch = flagHostnameMismatch
        self._blocks: list[Lines] = []
        # These come before the blocks.
        self._deposits: list[Deposit] = []
        self._octets = 0
        self._taken = 0
        self._paused = False
        self._over = False

    def _provenance(self, log: str | None) -> Provenance:
        who = self.who
        return Provenance(
            who.worker,
            who.fingerprint,
            who.address,
            self._now(),
            log,
            self._flagHostnameMismatch,
        )

    @abstractmethod
    def take(self) -> Sequence[Deposit]:
        """Give everything received since the last call."""

    @abstractmethod
    def committed(self, batches: Sequence[Batch | None]) -> None:
        """The taken deposits are durable; C{None} for each that was stale."""

    @abstractmethod
    def acknowledge(self) -> None:
        """Send the acknowledgements that are due, if the peer understands them."""

    def start(self) -> None:
        """Begin. The connection is not read while there is no room."""
        if self._commits.shouldPause(self.who.worker):
            self._paused = True
            self._connection.pause()
            self._commits.waitForRoom(self)

    @abstractmethod
    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages from one receive, which may contain LFs."""

    def linesReceived(self, lines: Lines) -> None:
        """Messages from one receive that contain no LF."""
        self._blocks.append(lines)
        # The LFs do not count: the peer has not sent them.
        octets = len(lines.octets) - lines.number
        self._gather(octets + LINE_COST * lines.number)

    def _joined(self) -> Lines:
        """Take all blocks, joined."""
        blocks, self._blocks = self._blocks, []
        return Lines(
            b"".join([lines.octets for lines in blocks]),
            sum([lines.number for lines in blocks]),
        )

    def _gather(self, cost: int) -> None:
        """Count gathered octets, and stop reading when a limit is reached."""
        self._octets += cost
        self._commits.accountPending(self.who.worker, cost)
        self._commits.deposit(self)
        waiting = self._octets + self._taken
        if not self._paused and (
            waiting >= self._commits.limits.pendingPerConnection
            or self._commits.shouldPause(self.who.worker, waiting)
        ):
            self._paused = True
            self._connection.pause()

    def _takeOctets(self) -> None:
        self._taken += self._octets
        self._octets = 0

    def _discard(self) -> None:
        """Forget everything that was gathered and not taken."""
        self._blocks = []
        self._deposits = []
        self._commits.accountPending(self.who.worker, -self._octets)
        self._octets = 0

    def _settled(self) -> None:
        """Everything taken is committed: make room."""
        self._commits.accountPending(self.who.worker, -self._taken)
        self._taken = 0
        self.resumeReading()

    def peerReads(self) -> None:  # noqa: B027
        """The peer reads again; nothing waits for that here."""

    def resumeReading(self) -> None:
        """Read on if this connection and the listener have room."""
        if not self._paused:
            return
        waiting = self._octets + self._taken
        if self._commits.shouldPause(self.who.worker, waiting):
            self._commits.waitForRoom(self)
        elif self._octets < self._commits.limits.pendingPerConnection:
            self._paused = False
            self._connection.resume()

    def _close(self, code: str, text: str) -> None:
        if not self._over:
            self._over = True
            self._connection.close(BYE(code, text))

    def connectionLost(self) -> None:
        """The connection is gone. Received octets are still committed."""
        self._over = True
        self._paused = False

    def failed(self) -> None:
        """Internal error: close only this connection."""
        self._discard()
        self._close("error", "internal error of the listener; its log has the details")


class PlainSession(ReceiverSession):
    """
    A session from a peer without the extension: plain RFC 5425.

    One LF at the end of a message counts as its line end, not as a part of it: rsyslog's own
    RFC 5424 template sends one.
    """

    # All gathered messages one by one, from the first message with an LF inside on.
    _loose: list[bytes] | None = None

    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages from one receive."""
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
        """Messages from one receive that contain no LF."""
        super().linesReceived(lines)
        if self._loose is not None:
            self._loosen()

    def _loosen(self) -> list[bytes]:
        """All gathered messages, one by one."""
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
        """Make a gap record of a message over the limit, with its length and first octets."""
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
        """Make room; a peer without the extension gets no acknowledgement."""
        self._settled()

    def acknowledge(self) -> None:
        """Do nothing: a peer without the extension gets no acknowledgement."""
