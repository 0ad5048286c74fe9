"""
The targets, one a module.

A target raises nothing for any octets if all is well. An L{AssertionError} is a promise that
was broken, anything else an error that nobody had thought of. What a target does depends on
its octets alone.
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
    What a module here has.

    @ivar OCTETS_MAX: the longest input that is worth trying.
    @ivar OPAQUE: whether it is a library that decides what becomes of an input.
    @ivar SEEDS: inputs to begin with.
    @ivar WORDS: what inputs are made of.
    """

    OCTETS_MAX: int
    OPAQUE: bool
    SEEDS: Sequence[bytes]
    WORDS: Sequence[bytes]

    def run(self, octets: bytes) -> None:
        """Try octets."""


def load(name: str) -> Target:
    """A target by its name."""
    return cast(Target, importlib.import_module(f"{__name__}.{name}"))
