"""
Signals of a service that runs under twistd.

Rotation scripts send SIGHUP or SIGUSR1: the listener opens its outputs again, the forwarder
looks at its files. SIGUSR2 has no meaning here, and is only logged. SIGTERM and SIGINT stop
the service. Twisted would log a traceback for each further one; here each is logged in one line.

Requirement: from the moment when twistd has found the command until the service has stopped, none
of these may end the process by default. The promise would hold, but a rotation script would stop a
worker or a master. SIGTERM and SIGINT end a process that is still starting.

Until there are handlers, the signals are blocked and wait (L{holdSignals}): imports and the
recovery of a journal take seconds. Set aside: ignoring them that early. twistd rotates its own
log on SIGUSR1, but only if nothing else was decided for that signal before.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

from twisted.application.service import IService, ServiceMaker
from twisted.logger import Logger
from twisted.python import usage

from .reactors import IReactor

__all__ = ["ServiceSignals", "SignalSafeServiceMaker", "holdSignals", "importing"]

_AGAIN = (signal.SIGHUP, signal.SIGUSR1)
_UNUSED = (signal.SIGUSR2,)
_STOP = (signal.SIGTERM, signal.SIGINT)


def holdSignals() -> None:
    """
    Block the signals of rotation scripts until L{ServiceSignals.catch}, and let SIGINT end the
    process without a traceback until the reactor starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, (*_AGAIN, *_UNUSED))


@contextmanager
def importing() -> Iterator[None]:
    """
    Import a service's modules without the garbage collector: they create objects that live as long
    as the process, and it would examine them again and again, a tenth of the time to start.
    """
    wasEnabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wasEnabled:
            gc.enable()


def _holdStop() -> None:
    """Block the signals that stop the service until L{ServiceSignals.catch}."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # The reactor installs its own handler only over this one.
        signal.signal(signal.SIGINT, signal.default_int_handler)


_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None


class SignalSafeServiceMaker(ServiceMaker):
    """A twistd command that holds signals before its service is imported."""

    @property
    def options(self) -> type[usage.Options]:
        """The class of the command's options: the first thing that twistd asks for."""
        holdSignals()
        with importing():
            options: type[usage.Options] = super().options
        gc.freeze()
        return options

    @property
    def makeService(self) -> Callable[[usage.Options], IService]:
        """Makes the service. What exists then is never examined for garbage: it stays."""
        make: Callable[[usage.Options], IService] = super().makeService

        def makeAndFreeze(options: usage.Options) -> IService:
            service = make(options)
            # A full collection of these objects takes 20 ms, in which nothing is sent or accepted.
            gc.freeze()
            return service

        return makeAndFreeze


class ServiceSignals:
    """Handlers for the signals of a service."""

    _log = Logger()

    def __init__(self, reactor: IReactor, again: Callable[[], None]) -> None:
        """
        @param again: called in the reactor's thread for SIGHUP and SIGUSR1.
        """
        self._reactor = reactor
        self._again = again
        self._before: dict[int, _Handler] = {}
        self._isStopping = False
        self._isEnding = False

    def ignore(self) -> None:
        """Until L{catch}, ignore signals that would end the process, except the stop signals."""
        for number in (*_AGAIN, *_UNUSED):
            # twistd rotates its own log on SIGUSR1 when it has one.
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, signal.SIG_IGN)

    def catchWhenRunning(self) -> None:
        """
        Call L{catch} when the reactor runs.

        Twisted logs a traceback for a second SIGTERM between the installation of the reactor's
        handlers and ours: so signals that stop the service wait for that moment, too.
        """
        if not self._reactor.running:
            self._reactor.addSystemEventTrigger("before", "startup", _holdStop)
        self._reactor.callWhenRunning(self.catch)

    def catch(self) -> None:
        """Handle the signals from now on. The reactor has installed its own handlers."""
        every = (*_AGAIN, *_UNUSED, *_STOP)
        for number in every:
            before = signal.signal(number, self._signalled)
            self._before.setdefault(number, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, every)

    def stopping(self) -> None:
        """Ignore SIGHUP and SIGUSR1 from now on: the service stops."""
        self._isStopping = True

    def release(self) -> None:
        """
        Restore the handlers: the service has stopped.

        After a stop signal the whole process ends, and other services may still have to stop: then
        the handlers stay.
        """
        if self._isEnding:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number in _STOP:
            if self._before.get(number) is signal.SIG_IGN:
                # A shell starts programs in the background like this. If it counted as the
                # first stop signal, no SIGTERM would stop the service any more.
                return
            # Further ones may come before the reactor begins to stop.
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
            self._log.info(
                "{signal} received: the service is already stopping", signal=name
            )
        else:
            self._log.info(
                "{signal} has no meaning here and is ignored; SIGHUP opens the files again",
                signal=name,
            )
