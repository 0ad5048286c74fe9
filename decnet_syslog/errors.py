"""Errors that are the user's to mend."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(Exception):
    """Something that the user can put right. Its text is one line that says how."""
