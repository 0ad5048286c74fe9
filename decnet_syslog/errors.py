"""Errors that the user can correct."""

from __future__ import annotations

import shlex
import sys

__all__ = ["UserError", "installCommand"]


class UserError(Exception):
    """An error that the user can correct. Its text is one line with the remedy."""


def installCommand(*names: str) -> str:
    """
    The command that installs packages where this process finds them.

    @param names: as an index knows them. Extras of our own would be no remedy: this project is
        on no index.
    """
    return shlex.join([f"{sys.prefix}/bin/pip", "install", *names])
