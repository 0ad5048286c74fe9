"""Errors that the user can correct."""

from __future__ import annotations

import shlex
import sys

__all__ = ["UserError", "installCommand", "sentence", "withRemedy"]


class UserError(Exception):
    """An error that the user can correct. Its text is one line with the remedy."""


def installCommand(*names: str) -> str:
    """
    The command that installs packages where this process finds them.

    @param names: as an index knows them. Extras of our own would be no remedy: this project is
        on no index.
    """
    return shlex.join([f"{sys.prefix}/bin/pip", "install", *names])


def sentence(text: str) -> str:
    """A text as a sentence, with one mark at its end: a full stop, if it has no other."""
    if text.endswith(("?", "...")):
        return text
    return text.rstrip(".") + "."


def withRemedy(reason: str, remedy: str) -> str:
    """One line from a reason, which may end with a mark of its own, and what to do."""
    said = sentence(reason)
    if said.endswith("?"):
        return f"{said} {remedy[:1].upper()}{remedy[1:]}"
    return f"{said if said.endswith('...') else said[:-1]}; {remedy}"
