"""
The lines that a fleet's connection ships: made as needed instead of read from a file.

L{Trickle} speaks the delivery extension as the forwarder's sender does (OPEN, RESUME,
AT, frames, ACK); L{PlainTrickle} sends plain RFC 5425. The forwarder's own protocol
carries either.
"""

from __future__ import annotations

import time
from typing import Protocol

from decnet_syslog.sending._encoding import encodeLines
from decnet_syslog.wire import (
    ACK,
    AT,
    BYE,
    HELLO,
    OPEN,
    RESUME,
    ControlLine,
    encodeControl,
)
from decnet_syslog.worker._protocol import ForwarderProtocol

from .lines import stamped

__all__ = ["Crew", "PlainTrickle", "Trickle"]


class Crew(Protocol):
    """The owner of a connection."""

    number: int
    stream: str

    def joined(self, sender: Trickle | PlainTrickle) -> None:
        """The connection can send lines."""

    def ready(self) -> None:
        """The first line is acknowledged (plain: sent)."""

    def gone(self) -> None:
        """The connection is lost."""

    def dismissed(self, code: str) -> None:
        """The listener has sent BYE."""


class Trickle:
    """The sending side of a connection with the extension."""

    def __init__(self, member: Crew, connection: ForwarderProtocol) -> None:
        self._member = member
        self._line = connection
        self._offset = 0
        self.isGreeted = False
        # Never checked here.
        self.inFlight = 0

    @property
    def stalled(self) -> bool:
        """Never true: no timeout is needed here."""
        return False

    def controlReceived(self, line: ControlLine) -> None:
        """Open the stream; once it is granted, send a first line."""
        match line:
            case HELLO():
                self.isGreeted = True
                opening = OPEN(self._member.stream, 0, 0, "/var/log/decnet.log")
                self._line.writeOctets(encodeControl(opening))
            case RESUME(stream, generation, offset):
                self._line.accepted()
                self._offset = offset
                self._line.writeOctets(encodeControl(AT(stream, generation, offset)))
                self._member.joined(self)
                self.send(stamped(self._member.number, time.monotonic_ns()))
            case ACK():
                self._member.ready()
            case BYE(code):
                self._member.dismissed(code)

    def send(self, octets: bytes) -> None:
        """Send lines."""
        self._offset += len(octets)
        self._line.writeOctets(encodeLines(octets))

    def pump(self) -> None:
        """Do nothing: lines are sent when they are made."""

    def connectionLost(self) -> None:
        """The connection is no longer ready."""
        self._member.gone()


class PlainTrickle:
    """The sending side of a plain connection."""

    def __init__(self, member: Crew, connection: ForwarderProtocol) -> None:
        self._member = member
        self._line = connection
        member.joined(self)
        self.send(stamped(member.number, time.monotonic_ns()))
        member.ready()

    # Never checked here.
    inFlight = 0
    isGreeted = stalled = False

    def controlReceived(self, line: ControlLine) -> None:
        """Ignore: a plain listener sends no lines."""

    def send(self, octets: bytes) -> None:
        """Send lines."""
        self._line.writeOctets(encodeLines(octets))

    def pump(self) -> None:
        """Do nothing: lines are sent when they are made."""

    def connectionLost(self) -> None:
        """The connection is no longer ready."""
        self._member.gone()
