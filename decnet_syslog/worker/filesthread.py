"""
The thread in which everything happens that may wait for the worker's disk.

One thread has the files, the state database and the sender, and does one call at a time, in
the order in which they were posted: so nothing that must be durable before something else is
overtaken. The reactor's thread has the connection, and is never kept waiting by a disk.

Whoever posts bounds what is posted: L{decnet_syslog.worker.session}.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["FilesThread"]


@implementer(IDelayedCall)
class _Call:
    """A call that is made later in the files' thread, unless it is cancelled there before."""

    def __init__(
        self,
        at: float,
        call: Callable[..., object],
        arguments: tuple[object, ...],
        disarm: Callable[[_Call], object],
    ) -> None:
        """
        @param disarm: told when it is cancelled.
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
        """Do not make it."""
        self._call = None
        self._disarm(self)

    def active(self) -> bool:
        """Whether it is still to be made."""
        return self._call is not None

    def getTime(self) -> float:
        """When it is to be made."""
        return self._at

    def delay(self, secondsLater: float) -> None:
        """Not used here."""
        raise NotImplementedError

    def reset(self, secondsFromNow: float) -> None:
        """Not used here."""
        raise NotImplementedError


class FilesThread:
    """
    Makes calls one after another, in a thread of its own.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # The reactor's timers of calls that are made later: the reactor's thread has them.
        self._timers: dict[_Call, IDelayedCall] = {}
        self._isStopping = False
        self._thread = threading.Thread(
            target=self._run, name="decnet-forwarder-files", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """
        End when everything that was posted is done; wait for that. From the reactor's thread.
        """
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._isStopping = True
        self._queue.put(None)
        self._thread.join()

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Make a call, after those that were posted before. From any thread."""
        self._queue.put(lambda: call(*arguments))

    def ask(self, call: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        """
        Make a call, and fire with its result. From the reactor's thread.
        """
        done: Deferred[Any] = Deferred()

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
        """Make a call later, in this thread. From this thread."""
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

    # In the files' thread

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call()
            except Exception:
                self._log.failure("an error in the files' thread")
