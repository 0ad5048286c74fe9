"""Control lines that open streams, close them and list them."""

from __future__ import annotations

from ..values import value
from ._fields import ControlLine, Crc, Id, Name, Number

__all__ = ["CLOSE", "KNOWN", "LIST", "LISTED", "OPEN", "RESUME"]


@value
class OPEN(ControlLine):
    """
    The forwarder asks for the position of a stream; C{start} is where an unknown stream begins.
    """

    stream: Id
    generation: Number
    start: Number
    name: Name


@value
class RESUME(ControlLine):
    """The octets that the listener holds durably, with the CRC-32 of [base, offset)."""

    stream: Id
    generation: Number
    offset: Number
    base: Number
    crc: Crc


@value
class CLOSE(ControlLine):
    """The forwarder ends a stream on this connection; it may be opened again."""

    stream: Id
    generation: Number


@value
class LIST(ControlLine):
    """The forwarder asks for the streams of this worker that the listener holds."""


@value
class KNOWN(ControlLine):
    """One stream of this worker that the listener holds."""

    stream: Id
    generation: Number
    offset: Number
    base: Number
    crc: Crc
    name: Name


@value
class LISTED(ControlLine):
    """The end of the KNOWN lines."""
