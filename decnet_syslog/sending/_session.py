"""
The bridge between a connection, in the reactor's thread, and its sender, in the files thread.

What must be true:

* both directions keep their order;
* an acknowledgement that arrives before the connection is lost counts, even if the files' thread
  reads it later: the next connection can be to another journal, which gets the rest only;
* memory is bounded, in both directions: octets that the sender has passed on and the connection
  has not written yet, and control lines that have arrived and the sender has not read yet. Too
  many of the first stop the sender from reading, too many of the second stop the connection from
  decoding;
* a sender that fails costs its own connection and nothing else.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..reactors import IReactor
from ..wire import ACK, BYE, MARK, ControlLine
from ._connection import IClock, ISender, ListenerProtocolError

__all__ = ["IFilesThread", "IWire", "Session"]

# How far the sender may run ahead of the connection, in octets: a few writes, so that neither
# thread waits for the other to be scheduled.
AHEAD_OCTETS = 256 * 1024

# Octets of one write. The transport's buffer holds this and a write more.
PIECE_OCTETS = 64 * 1024

# Control lines that have arrived and the sender has not read yet.
UNREAD_LINES = 256

# How soon to check whether everything has arrived, in seconds: the first delay doubles up to the
# second.
ARRIVAL_POLL_S = 0.005
ARRIVAL_POLL_MAX_S = 0.25


class IFilesThread(IClock, Protocol):
    """The thread of the sender."""

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Make a call in that thread."""


class IWire(Protocol):
    """The services that a session needs of its protocol, in the reactor's thread."""

    @property
    def paused(self) -> bool:
        """Whether the transport's buffer is full."""

    def writeOctets(self, octets: bytes) -> None:
        """Write, unless the connection is closing."""

    def close(self, bye: BYE) -> None:
        """Send the reason and close."""

    def accepted(self) -> None:
        """The listener accepted us."""

    def unsent(self) -> int:
        """Octets written that the peer's TCP has not acknowledged."""

    def haltReading(self) -> None:
        """Stop decoding for now."""

    def resumeReading(self) -> None:
        """Decode again."""


class Session:
    """
    The sender of a connection, between two threads. The sender calls the methods of
    L{IConnection} and L{IClock} in the files thread; the protocol calls the rest in the reactor's.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        thread: IFilesThread,
        wire: IWire,
        inReactor: Callable[..., object] | None = None,
    ) -> None:
        """
        @param inReactor: makes a call in the reactor's thread.
        """
        self._reactor = reactor
        self._thread = thread
        self._wire = wire
        self._inReactor = inReactor or reactor.callFromThread
        self._sender: ISender | None = None
        self._lock = threading.Lock()
        self._handed: list[bytes] = []
        self._handedOctets = 0
        self._unread = 0
        self._isHalted = self._isPumpPosted = self._isLost = False
        self._look: IDelayedCall | None = None
        self._arrivalPoll_s = ARRIVAL_POLL_S

    # For the protocol

    def begin(self, sender: ISender) -> None:
        """
        The connection is up.

        @param sender: a sender that has this session as its connection.
        """
        self._sender = sender
        self._thread.post(self._do, sender.connectionMade)

    @property
    def inFlight(self) -> int:
        """Octets of files that are sent and not acknowledged."""
        return 0 if self._sender is None else self._sender.inFlight

    @property
    def isGreeted(self) -> bool:
        """Whether the listener has accepted this connection."""
        return self._sender is not None and self._sender.isGreeted

    @property
    def stalled(self) -> bool:
        """Whether an answer is overdue. An answer that the sender has not read yet is not."""
        sender = self._sender
        return sender is not None and not self._unread and sender.isStalled

    def controlReceived(self, line: ControlLine) -> None:
        """A control line of the listener arrived."""
        assert self._sender is not None
        self._unread += 1
        if self._unread >= UNREAD_LINES and not self._isHalted:
            self._isHalted = True
            self._wire.haltReading()
        self._thread.post(self._control, line)

    def pump(self) -> None:
        """Send new octets."""
        if self._sender is not None and not self._isPumpPosted and not self._isLost:
            self._isPumpPosted = True
            self._thread.post(self._pump)

    def connectionLost(self) -> None:
        """The connection is gone."""
        self._isLost = True
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._sender is not None:
            self._thread.post(self._sender.connectionLost)

    def resumed(self) -> None:
        """The transport has room again: write what waits, then send new octets."""
        if self._handed:
            self._written()
        self.pump()

    def _written(self) -> None:
        """
        Write what the sender has passed on, while the transport has room.

        What is not written yet is overtaken by the reports that the protocol writes itself.
        """
        wasAhead = self._handedOctets >= AHEAD_OCTETS
        while self._handed and not self._isLost and not self._wire.paused:
            self._wire.writeOctets(self._nextPiece())
        if wasAhead and not self._wire.paused and not self._isLost:
            self.pump()

    def _nextPiece(self) -> bytes:
        """Take about C{PIECE_OCTETS} of what the sender has passed on: whole pieces."""
        with self._lock:
            octets = count = 0
            for piece in self._handed:
                count += 1
                octets += len(piece)
                if octets >= PIECE_OCTETS:
                    break
            pieces, self._handed = self._handed[:count], self._handed[count:]
            self._handedOctets -= octets
        return pieces[0] if count == 1 else b"".join(pieces)

    def _wereRead(self) -> None:
        self._unread -= 1
        if self._isHalted and self._unread < UNREAD_LINES // 2:
            self._isHalted = False
            if not self._isLost:
                self._wire.resumeReading()

    def _lookForArrival(self, call: Callable[[], None]) -> None:
        self._look = None
        if self._isLost:
            return
        if self._handedOctets or self._wire.paused or self._wire.unsent():
            self._arrivalPoll_s = min(2 * self._arrivalPoll_s, ARRIVAL_POLL_MAX_S)
            self._lookLater(call)
            return
        self._thread.post(self._do, call)

    def _lookLater(self, call: Callable[[], None]) -> None:
        if not self._isLost:
            self._look = self._reactor.callLater(
                self._arrivalPoll_s, self._lookForArrival, call
            )

    def _closeWire(self, bye: BYE) -> None:
        if not self._isLost:
            self._wire.close(bye)

    # In the files thread

    def _control(self, line: ControlLine) -> None:
        assert self._sender is not None
        try:
            if not self._isLost or isinstance(line, ACK | MARK | BYE):
                self._attempt(self._sender.controlReceived, line)
        finally:
            self._inReactor(self._wereRead)

    def _pump(self) -> None:
        assert self._sender is not None
        self._isPumpPosted = False
        self._do(self._sender.pump)

    def _do(self, call: Callable[..., object], *arguments: object) -> None:
        if not self._isLost:
            self._attempt(call, *arguments)

    def _attempt(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except ListenerProtocolError as error:
            self._log.error(
                "the master broke the protocol ({error}): closing the connection and trying"
                " again. If it repeats, check the versions at both ends",
                error=str(error),
            )
            self.close(BYE("protocol", str(error)))
        except sqlite3.DatabaseError as error:
            # A disk that has failed ends the process elsewhere; this disk is full.
            self._log.warn(
                "cannot save the state ({error}): closing the connection and trying again."
                " Free space on the disk of --state-db",
                error=str(error),
            )
            self.close(BYE("no-space", "the forwarder cannot save its state"))
        except Exception:
            self._log.failure(
                "internal error while sending: closing the connection and trying again"
            )
            self.close(BYE("error", "the forwarder cannot read its files or its state"))

    def seconds(self) -> float:
        """Seconds of a clock that never goes back."""
        return self._thread.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """Make a delayed call for the sender: if it fails, that costs only the connection."""
        return self._thread.callLater(delay, self._do, callable, *args, **kw)

    @property
    def paused(self) -> bool:
        """Whether enough is waiting to be written."""
        return self._handedOctets >= AHEAD_OCTETS or self._wire.paused

    def sendOctets(self, octets: bytes) -> None:
        """Send octets, in order."""
        with self._lock:
            self._handed.append(octets)
            self._handedOctets += len(octets)
            isFirst = len(self._handed) == 1
        if isFirst:
            self._inReactor(self._written)

    def close(self, bye: BYE) -> None:
        """Send the reason and close, after everything sent before."""
        self._inReactor(self._closeWire, bye)

    def accepted(self) -> None:
        """The listener accepted us: the next failure begins a new series of delays."""
        self._inReactor(self._wire.accepted)

    def whenArrived(self, call: Callable[[], None]) -> None:
        """Call when the peer's TCP has acknowledged everything sent until now."""
        self._arrivalPoll_s = ARRIVAL_POLL_S
        self._inReactor(self._lookLater, call)
