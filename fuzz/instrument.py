"""atheris, which has no types: the three calls of it that are made here."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["MISSING", "fuzz", "instrumented"]

# An input that is made by dice: a handful of decisions.
DICE_OCTETS_MAX = 16

# What it says where it is not installed.
MISSING = "atheris is not installed: pip install '.[fuzz]'"


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        raise SystemExit(MISSING) from None


def instrumented(package: str) -> AbstractContextManager[None]:
    """Modules of a package that are imported inside tell what of them is reached."""
    context: AbstractContextManager[None] = _atheris().instrument_imports(
        include=[package]
    )
    return context


def fuzz(call: Callable[[bytes], None], options: Sequence[str], opaque: bool) -> None:
    """
    Call with one input after the other until C{call} raises or enough have been tried.

    Does not return: libFuzzer ends the process.

    @param options: of libFuzzer.
    @param opaque: whether what matters is in a library that does not tell what is reached:
        then every other input is made by dice alone.
    """
    atheris = _atheris()

    def mutate(octets: bytes, octetsMax: int, seed: int) -> bytes:
        if seed % 2:
            mutated: bytes = atheris.Mutate(octets, octetsMax)
            return mutated
        dice = random.Random(seed)
        return dice.randbytes(min(octetsMax, dice.randint(1, DICE_OCTETS_MAX)))

    more = {"custom_mutator": mutate} if opaque else {}
    atheris.Setup(["fuzz", *options], call, **more)
    atheris.Fuzz()
