"""What services that write outputs share: a thread for each thing, and signals."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["ReopenSignals", "Threads"]


class Threads:
    """Threads that each do one thing after the other."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pools: list[ThreadPool] = []

    def start(self, name: str) -> Callable[..., Deferred[Any]]:
        """
        Start one.

        @return: call a function there, in order of the calls.
        """
        pool = ThreadPool(1, 1, name)
        pool.start()
        self._pools.append(pool)
        return lambda f, *arguments: deferToThreadPool(
            self._reactor, pool, f, *arguments
        )

    def stop(self) -> None:
        """End them all, when what they do is done."""
        for pool in self._pools:
            pool.stop()


class ReopenSignals:
    """SIGHUP and SIGUSR1: the output files have been renamed."""

    def __init__(self, reactor: Any, reopen: Callable[[], None]) -> None:
        self._reactor = reactor
        self._reopen = reopen
        self._before: dict[int, Any] = {}

    def catch(self) -> None:
        """From now on."""
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self._before[number] = signal.signal(number, self._signalled)

    def release(self) -> None:
        """No more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _signalled(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self._reopen)
        # twistd rotates its own log on SIGUSR1 when it has one.
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)
