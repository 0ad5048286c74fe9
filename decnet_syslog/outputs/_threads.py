"""Threads for services that write outputs: one for each purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from ..reactors import IReactor
from ..threads import InThread

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """Threads that each run one call after the other."""

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        self._pools: list[ThreadPool] = []

    def start(self, name: str) -> InThread:
        """
        Start a thread.

        @return: a function that calls another one in the thread, in order of the calls.
        """
        pool = ThreadPool(1, 1, name)
        pool.start()
        self._pools.append(pool)

        def inThread(function: Callable[..., T], *arguments: object) -> Deferred[T]:
            return deferToThreadPool(self._reactor, pool, function, *arguments)

        return inThread

    def stop(self) -> None:
        """End all threads after their pending calls."""
        for pool in self._pools:
            pool.stop()
