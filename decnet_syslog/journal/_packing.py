"""How names and lengths are kept in the journal's columns."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

__all__ = ["octetsOf", "packLengths", "textOf", "unpackLengths"]


def textOf(name: bytes) -> str:
    """A name of any octets."""
    return name.decode("utf-8", "surrogateescape")


def octetsOf(name: str) -> bytes:
    """The octets of a name, as they were."""
    return name.encode("utf-8", "surrogateescape")


def packLengths(lengths: Sequence[int] | None) -> bytes | None:
    """32 bits each, little-endian."""
    if lengths is None:
        return None
    packed = array("I", lengths)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpackLengths(blob: bytes | None) -> tuple[int, ...] | None:
    """What L{packLengths} has packed."""
    if blob is None:
        return None
    packed = array("I", blob)
    if sys.byteorder == "big":
        packed.byteswap()
    return tuple(packed)
