"""Reasons why a compressed file cannot be decoded."""

from __future__ import annotations

__all__ = ["BadOctets", "CannotDecode"]


class BadOctets(ValueError):
    """The octets are damaged, or have some other format."""


class CannotDecode(Exception):
    """
    The octets may be valid, but decoding them needs a missing library or too much memory.

    The message gives the reason and the remedy.
    """
