"""Delivers log lines from machines under attack to a master exactly once, over RFC 5425."""

__all__ = ["__version__"]

__version__ = "1.0.0"
