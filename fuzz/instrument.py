"""The three calls of atheris used here, with types, which atheris lacks."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["MISSING", "fuzz", "instrumented"]

# The length of a randomly generated input: a handful of decisions.
DICE_OCTETS_MAX = 16

# The error if atheris is not installed.
MISSING = "atheris is not installed: pip install '.[fuzz]'"


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        raise SystemExit(MISSING) from None


def instrumented(package: str) -> AbstractContextManager[None]:
    """Instrument the modules of a package that are imported inside this context."""
    context: AbstractContextManager[None] = _atheris().instrument_imports(
        include=[package]
    )
    return context


def fuzz(call: Callable[[bytes], None], options: Sequence[str], opaque: bool) -> None:
    """
    Call with one input after another until C{call} raises or the given number was
    tried.

    Does not return: libFuzzer ends the process.

    @param options: libFuzzer's options.
    @param opaque: whether the decisive code is in a library that cannot be
        instrumented: then every other input is generated at random.
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
