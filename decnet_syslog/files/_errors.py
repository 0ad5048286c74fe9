"""Why a compressed file could not be decoded."""

from __future__ import annotations

__all__ = ["BadOctets", "CannotDecode"]


class BadOctets(ValueError):
    """The octets are damaged, or no such format."""


class CannotDecode(Exception):
    """
    The octets may be sound, but decoding them needs more than there is, or than we allow.

    The message says why and what to do.
    """
