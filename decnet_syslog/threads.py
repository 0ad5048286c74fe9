"""Calls in other threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["InThread"]

T = TypeVar("T")


class InThread(Protocol):
    """Call a function in a thread, in order of the calls, and fire with its result."""

    def __call__(
        self, function: Callable[..., T], *arguments: object
    ) -> Deferred[T]: ...
