"""
Signals of a service that runs under twistd.

SIGHUP and SIGUSR1 are what rotation scripts send to whatever writes a log: open, or look at,
your files again. SIGUSR2 has no meaning here; it is reported. SIGTERM and SIGINT stop the
service; Twisted logs a traceback for each one that follows, here they are reported.

What must be true: none of them ends a process by default, from when the service is set up
until it has stopped. The promise would hold, but a worker or a master would be gone because
of a rotation script.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

__all__ = ["ServiceSignals"]

_AGAIN = (signal.SIGHUP, signal.SIGUSR1)
_UNUSED = (signal.SIGUSR2,)
_STOP = (signal.SIGTERM, signal.SIGINT)


class ServiceSignals:
    """The signals of one service."""

    _log = Logger()

    def __init__(self, reactor: Any, again: Callable[[], None]) -> None:
        """
        @param again: called in the reactor's thread for SIGHUP and SIGUSR1.
        """
        self._reactor = reactor
        self._again = again
        self._before: dict[int, Any] = {}
        self._isStopping = False
        self._isEnding = False

    def ignore(self) -> None:
        """Let nobody end the process until L{catch}; SIGTERM and SIGINT may."""
        for number in (*_AGAIN, *_UNUSED):
            # twistd rotates its own log on SIGUSR1 when it has one.
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, signal.SIG_IGN)

    def catch(self) -> None:
        """From now on. The reactor runs, and has its own handlers."""
        for number in (*_AGAIN, *_UNUSED, *_STOP):
            before = signal.signal(number, self._signalled)
            self._before.setdefault(number, before)

    def stopping(self) -> None:
        """The service stops: nothing is opened again."""
        self._isStopping = True

    def release(self) -> None:
        """
        The service has stopped.

        When a signal asked for that, the whole process ends, and others may still have to
        stop: the signals are kept until then.
        """
        if self._isEnding:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _signalled(self, number: int, frame: Any) -> None:
        if number in _STOP:
            # Others may come before the reactor has begun to stop.
            isFirst = not (self._isStopping or self._isEnding)
            self._isStopping = self._isEnding = True
            if not isFirst:
                self._reactor.callFromThread(self._report, number)
                return
        elif number in _UNUSED or self._isStopping:
            self._reactor.callFromThread(self._report, number)
            return
        else:
            self._reactor.callFromThread(self._again)
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)

    def _report(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._isStopping:
            self._log.info("{signal}: already stopping", signal=name)
        else:
            self._log.info(
                "{signal} has no meaning here; SIGHUP opens the files again",
                signal=name,
            )
