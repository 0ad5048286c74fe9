"""Slow peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .certificates import FRAME
from .controls import greeted
from .field import Attack, Row
from .peer import CLOSED, OPEN

__all__ = ["ROWS"]


def _dripping(octets: bytes, every: float) -> Callable[[Attack], str]:
    """One octet at intervals."""

    def attack(attack: Attack) -> str:
        peer = attack.tls()
        for octet in octets:
            peer.send(bytes([octet]))
            time.sleep(every)
        fate = peer.fate(0.3)
        peer.finish()
        return fate

    return attack


def _silent(attack: Attack) -> str:
    """Silence for some seconds, then a line."""
    peer = attack.tls()
    time.sleep(8.0)
    peer.send(FRAME)
    fate = peer.fate(0.3)
    peer.finish()
    return fate


def _unfinished(attack: Attack) -> str:
    """A frame that begins and never continues."""
    peer = attack.tls()
    peer.send(FRAME + b"1000 <134>1 - d s")
    return peer.fate(90.0)


def _half(attack: Attack) -> str:
    """A control line that begins and never continues."""
    peer = greeted(attack)
    peer.send(b"OPEN 0123")
    return peer.fate(90.0)


_KEPT = (FRAME[3:],)

ROWS: Sequence[Row] = [
    Row(
        "slow",
        "slow-octets",
        "a frame, one octet each 0.2 s",
        _dripping(FRAME, 0.2),
        OPEN,
        "",
        _KEPT,
    ),
    Row(
        "slow", "slow-silent", "nothing for 8 s, then a line", _silent, OPEN, "", _KEPT
    ),
    Row(
        "slow",
        "slow-frame",
        "a frame that never ends",
        _unfinished,
        CLOSED,
        "60 s",
        _KEPT,
    ),
    Row(
        "slow", "slow-control", "a control line that never ends", _half, CLOSED, "60 s"
    ),
]
