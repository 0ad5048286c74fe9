"""Sending: what a connection of the forwarder sends, and what an ACK changes."""

from ._acked import AckedSender
from ._connection import ISender
from ._counts import NOT_LIMITED, Counts
from ._plain import SETTLE_S, PlainSender
from ._session import Session
from ._window import CHUNK_OCTETS

__all__ = [
    "CHUNK_OCTETS",
    "NOT_LIMITED",
    "SETTLE_S",
    "AckedSender",
    "Counts",
    "ISender",
    "PlainSender",
    "Session",
]
