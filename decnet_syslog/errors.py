"""Errors that the user can correct."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(Exception):
    """An error that the user can correct. Its text is one line with the remedy."""
