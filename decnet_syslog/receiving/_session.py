"""
A session: the octets that one connection has sent, until the journal has them.

Requirements:

* the handshake decides whose lines these are, before the first octet, and no octet changes
  that;
* at most L{Limits.pendingPerConnection} octets wait here; then the connection is not read.

L{decnet_syslog.receiving._plain} is the session of RFC 5425, L{decnet_syslog.receiving._acked} that
of the delivery extension. No state here depends on a transport: L{IConnection} is the interface to
one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.logger import Logger

from ..journal import LINE_COST, Batch, Deposit, GroupCommit
from ..wire import BYE, ControlLine, Lines
from ._assembler import Assembler, Origin
from ._flowcontrol import Pause

__all__ = ["IConnection", "ReceiverSession", "Violation"]


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


class IConnection(Protocol):
    """The connection, as a session uses it."""

    def sendControl(self, *lines: ControlLine) -> None:
        """Send control lines."""

    def pause(self, why: Pause) -> None:
        """Stop reading."""

    def resume(self, why: Pause) -> None:
        """A reason is gone: read on, unless there is another one."""

    @property
    def isRead(self) -> bool:
        """Whether the peer reads our octets."""

    def close(self, bye: BYE) -> None:
        """Send the reason, if the peer understands it, and close. Nothing more is received."""


class ReceiverSession(ABC):
    """
    The common part of both kinds: it gathers lines for the next commit, and pauses.

    @ivar who: the peer.
    """

    _log = Logger()

    def __init__(
        self, who: Origin, connection: IConnection, commits: GroupCommit
    ) -> None:
        self.who = who
        self._connection = connection
        self._commits = commits
        self._backpressure = commits.backpressure
        self._assembler = Assembler(who, commits.now)
        # The cost of what waits here, and of what a commit has taken.
        self._waiting = 0
        self._taken = 0
        self._paused = False
        self._over = False

    @abstractmethod
    def take(self, receivedAt: str) -> Sequence[Deposit]:
        """Give everything received since the last call; see L{Depositor.take}."""

    @abstractmethod
    def committed(self, batches: Sequence[Batch | None], now: float) -> None:
        """The taken deposits are durable; see L{Depositor.committed}."""

    @abstractmethod
    def acknowledge(self) -> None:
        """Send the acknowledgements that are due, if the peer understands them."""

    def start(self) -> None:
        """Begin. The connection is not read while there is no room."""
        if self._backpressure.shouldPause(self.who.worker):
            self._paused = True
            self._connection.pause(Pause.ROOM)
            self._commits.waitForRoom(self)

    @abstractmethod
    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages from one receive, which may contain LFs."""

    def linesReceived(self, lines: Lines) -> None:
        """Messages from one receive that contain no LF."""
        self._assembler.blocks.append(lines)
        # The LFs do not count: the peer has not sent them.
        self._gather(len(lines.octets) + (LINE_COST - 1) * lines.number)

    def _gather(self, cost: int) -> None:
        """Count gathered octets, and stop reading when a limit is reached."""
        self._waiting += cost
        mustPause = self._backpressure.gathered(
            self.who.worker, cost, self._waiting + self._taken
        )
        self._commits.deposit(self)
        if mustPause and not self._paused:
            self._paused = True
            self._connection.pause(Pause.ROOM)

    def _handOver(self) -> None:
        """Everything that waits goes to a commit."""
        self._taken += self._waiting
        self._waiting = 0

    def _discard(self) -> None:
        """Forget everything that was gathered and not taken."""
        self._assembler.discard()
        self._backpressure.settled(self.who.worker, self._waiting)
        self._waiting = 0

    def _settled(self) -> None:
        """Everything taken is committed: make room."""
        taken, self._taken = self._taken, 0
        self._backpressure.settled(self.who.worker, taken)
        if self._paused:
            self.resumeReading()

    def peerReads(self) -> None:  # noqa: B027
        """The peer reads again; nothing waits for that here."""

    def resumeReading(self) -> None:
        """Read on if this connection and the listener have room."""
        if not self._paused:
            return
        pressure = self._backpressure
        if pressure.shouldPause(self.who.worker, self._waiting + self._taken):
            self._commits.waitForRoom(self)
        elif self._waiting < pressure.limits.pendingPerConnection:
            self._paused = False
            self._connection.resume(Pause.ROOM)

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
