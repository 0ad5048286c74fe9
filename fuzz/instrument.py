"""atheris, which has no types: the three calls of it that are made here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["MISSING", "fuzz", "instrumented"]

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


def fuzz(call: Callable[[bytes], None], options: Sequence[str]) -> None:
    """
    Call with one input after the other until C{call} raises or enough have been tried.

    Does not return: libFuzzer ends the process.

    @param options: of libFuzzer.
    """
    atheris = _atheris()
    atheris.Setup(["fuzz", *options], call)
    atheris.Fuzz()
