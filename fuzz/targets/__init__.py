"""
The targets, one per module.

A target accepts any octets without raising. An L{AssertionError} means a broken
promise; any other exception is an unforeseen error. A target's behaviour depends only
on its octets.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

__all__ = ["NAMES", "Target", "load"]

NAMES = (
    "framing",
    "control",
    "rfc5424",
    "record",
    "decnet",
    "gap",
    "proxyheader",
    "names",
    "bundles",
    "rotated",
    "tail",
    "reception",
    "sender",
    "pipeline",
)


class Target(Protocol):
    """
    The interface of each target's module.

    @ivar OCTETS_MAX: the longest useful input.
    @ivar OPAQUE: whether an uninstrumented library does the parsing.
    @ivar SEEDS: the initial inputs.
    @ivar WORDS: typical parts of inputs.
    """

    OCTETS_MAX: int
    OPAQUE: bool
    SEEDS: Sequence[bytes]
    WORDS: Sequence[bytes]

    def run(self, octets: bytes) -> None:
        """Run with these octets."""


def load(name: str) -> Target:
    """A target by its name."""
    return cast(Target, importlib.import_module(f"{__name__}.{name}"))
