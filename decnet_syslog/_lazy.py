"""Packages whose names are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from sys import modules

__all__ = ["lazily"]


def lazily(package: str, **names: str) -> Callable[[str], object]:
    """
    A package's C{__getattr__} (PEP 562). A module of the package is imported when one of
    its names is first used, so a process loads only the modules that it needs.

    @param package: C{__name__} of the package.
    @param names: for each module, the names that it has, separated by blanks.
    """
    moduleOf = {name: module for module, all in names.items() for name in all.split()}

    def get(name: str) -> object:
        """
        Import a name.

        @raise AttributeError: the package does not offer it.
        """
        if name not in moduleOf:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{moduleOf[name]}"), name)
        setattr(modules[package], name, value)
        return value

    return get
