"""
The thread for all work that may wait for the worker's disk.

This one thread owns the files, the state database and the sender. It makes one call at a time, in
the order in which the calls were posted, so nothing overtakes a write that must be durable first.
The reactor's thread owns the connection, and never waits for a disk.

The queue has no bound of its own. Callers limit what they post: L{decnet_syslog.sending._session}.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..reactors import IReactor

__all__ = ["FilesThread"]


T = TypeVar("T")


@implementer(IDelayedCall)
class _Call:
    """A delayed call in the files thread; cancel it in that thread."""

    def __init__(
        self,
        at: float,
        call: Callable[..., object],
        arguments: tuple[object, ...],
        disarm: Callable[[_Call], object],
    ) -> None:
        """
        @param disarm: called on cancellation.
        """
        self._at = at
        self._disarm = disarm
        self._call: Callable[..., object] | None = call
        self._arguments = arguments

    def fire(self) -> None:
        """Make the call."""
        call, self._call = self._call, None
        if call is not None:
            call(*self._arguments)

    def cancel(self) -> None:
        """Cancel the call."""
        self._call = None
        self._disarm(self)

    def active(self) -> bool:
        """Whether the call is still to come."""
        return self._call is not None

    def getTime(self) -> float:
        """The time of the call."""
        return self._at

    def delay(self, secondsLater: float) -> None:
        """Not used here."""
        raise NotImplementedError

    def reset(self, secondsFromNow: float) -> None:
        """Not used here."""
        raise NotImplementedError


class FilesThread:
    """
    Makes calls one after another, in its own thread.
    """

    _log = Logger()

    def __init__(self, reactor: IReactor) -> None:
        self._reactor = reactor
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # The reactor's timers of delayed calls; only the reactor's thread uses them.
        self._timers: dict[_Call, IDelayedCall] = {}
        self._isStopping = False
        self._thread = threading.Thread(
            target=self._run, name="decnet-forwarder-files", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """
        End the thread after all posted calls, and wait for its end. From the reactor's thread.
        """
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._isStopping = True
        self._queue.put(None)
        self._thread.join()

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Make a call after all calls posted before. From any thread."""
        self._queue.put(lambda: call(*arguments))

    def ask(self, call: Callable[..., T], *arguments: object) -> Deferred[T]:
        """
        Make a call and fire with its result. From the reactor's thread.
        """
        done: Deferred[T] = Deferred()

        def answer() -> None:
            try:
                result = call(*arguments)
            except BaseException:
                self._reactor.callFromThread(done.errback, Failure())
            else:
                self._reactor.callFromThread(done.callback, result)

        self._queue.put(answer)
        return done

    def seconds(self) -> float:
        """The reactor's time."""
        return float(self._reactor.seconds())

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """Make a delayed call in this thread. From this thread."""
        assert not kw
        call = _Call(self.seconds() + delay, callable, args, self._cancelled)
        if delay <= 0:
            self._queue.put(call.fire)
        else:
            self._reactor.callFromThread(self._arm, delay, call)
        return call

    def _cancelled(self, call: _Call) -> None:
        self._reactor.callFromThread(self._disarm, call)

    # In the reactor's thread

    def _arm(self, delay: float, call: _Call) -> None:
        if call.active() and not self._isStopping:
            self._timers[call] = self._reactor.callLater(delay, self._isDue, call)

    def _disarm(self, call: _Call) -> None:
        timer = self._timers.pop(call, None)
        if timer is not None:
            timer.cancel()

    def _isDue(self, call: _Call) -> None:
        del self._timers[call]
        self._queue.put(call.fire)

    # In the files thread

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call()
            except Exception:
                self._log.failure(
                    "internal error in the files thread; continuing with the next call"
                )
