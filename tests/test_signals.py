"""
Tests for L{decnet_syslog.signals}: the signals that rotation scripts and operators
send.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.signals import ServiceSignals, holdSignals
from decnet_syslog.testing import Process

from .peers import PairTestCase

ROTATION = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class FakeReactor:
    """A startable reactor, as far as signal handlers need one."""

    def __init__(self) -> None:
        self.running = False
        self._before: list[Callable[[], object]] = []
        self._after: list[Callable[[], object]] = []
        self.calls: list[Callable[[], object]] = []

    def addSystemEventTrigger(
        self, phase: str, event: str, call: Callable[..., object], *arguments: object
    ) -> None:
        assert (phase, event) == ("before", "startup")
        self._before.append(lambda: call(*arguments))

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        self._after.append(call)

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self.calls.append(lambda: call(*arguments))

    def start(self, between: Callable[[], object]) -> None:
        """Start, and run a call after each step."""
        for call in self._before:
            call()
        self.running = True
        between()
        for call in self._after:
            call()


class StartTests(SynchronousTestCase):
    """
    Signals that arrive while a service starts. They are raised in this thread: trial's other
    threads do not block them, and would let the process end.
    """

    def setUp(self) -> None:
        every = (*ROTATION, signal.SIGTERM, signal.SIGINT)
        for number in every:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)

    def blocked(self) -> set[int]:
        return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    def test_beforeTheImport(self) -> None:
        """
        Each command blocks the signals before it imports its service, and collects no garbage
        meanwhile.
        """
        self.addCleanup(gc.unfreeze)
        makers = [
            maker
            for maker in getPlugins(IServiceMaker)
            if maker.tapname.startswith("decnet-")
        ]
        self.assertEqual(len(makers), 3)
        for maker in makers:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ROTATION)
            seen: list[set[int]] = []

            def imported(name: str, seen: list[set[int]] = seen) -> Any:
                seen.append(self.blocked())
                self.assertFalse(gc.isenabled())
                return mock.Mock()

            with mock.patch("twisted.application.service.namedAny", imported):
                self.assertIsNotNone(maker.options)
            (held,) = seen
            self.assertEqual(set(ROTATION) - held, set(), maker.tapname)
            self.assertNotIn(signal.SIGTERM, held)
            self.assertTrue(gc.isenabled())

    def test_startIsFrozen(self) -> None:
        """What a service consists of is never examined for garbage."""
        self.addCleanup(gc.unfreeze)
        for maker in getPlugins(IServiceMaker):
            if maker.tapname.startswith("decnet-"):
                gc.unfreeze()
                made = mock.Mock()
                with mock.patch(
                    "twisted.application.service.namedAny", lambda _, made=made: made
                ):
                    options = object()
                    service = maker.makeService(options)
                made.makeService.assert_called_once_with(options)
                self.assertIs(service, made.makeService.return_value)
                self.assertGreater(gc.get_freeze_count(), 0, maker.tapname)

    def test_ignoredInterrupt(self) -> None:
        """
        SIGINT has no effect if whoever started the service has ignored it, as shells do in the
        background; SIGTERM still stops the service.
        """
        stops: list[int] = []
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
        reactor: Any = FakeReactor()
        signals = ServiceSignals(reactor, lambda: None)
        reactor.running = True
        signals.catch()
        self.addCleanup(signals.release)
        signal.raise_signal(signal.SIGINT)
        self.assertEqual((stops, reactor.calls), ([], []))
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(stops, [signal.SIGTERM])

    def test_earlySignals(self) -> None:
        """
        Signals that arrive before the handlers are installed are handled afterwards,
        and cause only one stop.
        """
        again: list[str] = []
        stops: list[int] = []
        reactor: Any = FakeReactor()
        signals = ServiceSignals(reactor, lambda: again.append("again"))
        signal.pthread_sigmask(signal.SIG_BLOCK, ROTATION)
        for number in ROTATION:
            signal.signal(number, signal.SIG_DFL)
        signals.catchWhenRunning()

        def sent() -> None:
            # The reactor's own handlers.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: stops.append(number))
            for number in (*ROTATION, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            self.assertEqual(stops, [])

        reactor.start(sent)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        for call in reactor.calls:
            call()
        self.assertEqual(len(stops), 1)
        self.assertEqual(self.blocked() & {*ROTATION, signal.SIGTERM}, set())

    def test_interruptedBeforeReactor(self) -> None:
        """
        SIGINT causes no traceback until the reactor starts, which then handles it.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        holdSignals()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_DFL)
        reactor: Any = FakeReactor()
        ServiceSignals(reactor, lambda: None).catchWhenRunning()
        # Twisted replaces only Python's own handler.
        reactor.start(
            lambda: self.assertIs(
                signal.getsignal(signal.SIGINT), signal.default_int_handler
            )
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        holdSignals()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)

    def test_earlyReopen(self) -> None:
        """An early signal to reopen files is not lost."""
        again: list[str] = []
        reactor: Any = FakeReactor()
        signals = ServiceSignals(reactor, lambda: again.append("again"))
        signal.pthread_sigmask(signal.SIG_BLOCK, ROTATION)
        signals.catchWhenRunning()
        signal.raise_signal(signal.SIGHUP)
        reactor.start(lambda: None)
        for call in reactor.calls:
            call()
        self.assertEqual(again, ["again"])


class ProcessTests(PairTestCase):
    """Both ends as real processes."""

    def untilHeld(self, process: Process) -> None:
        """Wait until the process has blocked the signals."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.alive:
            held = int(_field(process.pid, "SigBlk"), 16)
            if all(held >> (number - 1) & 1 for number in ROTATION):
                break
        else:
            self.fail(f"the signals were never held: {process.output()}")

    def hurry(self, process: Process) -> None:
        """Send every signal as soon as the process has blocked them."""
        self.untilHeld(process)
        for number in ROTATION:
            process.signal(number)

    def test_interruptedStart(self) -> None:
        """Ctrl-C ends a starting process without a traceback."""
        pair = self.pair()
        worker = pair.enroll("w1")
        worker.append(b"line\n")
        for process in pair.processes:
            process.start()
            self.untilHeld(process)
            process.signal(signal.SIGINT)
            assert process.running is not None
            self.assertEqual(process.running.wait(30), -signal.SIGINT)
            self.assertNotIn("Traceback", process.output())

    def test_signalsDuringStart(self) -> None:
        """No signal ends a process that has not yet imported its modules."""
        pair = self.pair()
        worker = pair.enroll("w1")
        worker.append(b"line\n")
        for process in pair.processes:
            process.start()
            self.hurry(process)
        self.waitForLines(pair, 1)
        for process in pair.processes:
            self.assertTrue(process.alive, process.output())

    def test_signalsEndNothing(self) -> None:
        """
        No signal from a rotation script ends either process, and lines keep arriving.
        """
        pair = self.pair()
        worker = pair.enroll("w1")
        pair.startListener()
        worker.forwarder.start()
        count = 0
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) * 2:
            worker.append(b"line %d\n" % count)
            count += 1
            self.waitForLines(pair, count)
            for process in pair.processes:
                process.signal(number)
        worker.append(b"the last one\n")
        self.waitForLines(pair, count + 1)
        for process in pair.processes:
            self.assertTrue(process.alive, process.output())
            self.assertIn("SIGUSR2 has no meaning here", process.output())
        for process in pair.processes:
            # Several signals at once, and during the stop.
            for number in (signal.SIGTERM,) * 4 + (signal.SIGINT, signal.SIGHUP):
                process.signal(number)
            self.assertIn(process.stop(), (-signal.SIGTERM, -signal.SIGINT))
            self.assertNotIn("Traceback", process.output())
            self.assertNotIn("Unhandled", process.output())
        self.assertEqual(pair.logPath.read_bytes().count(b"\n"), count + 1)


def _field(process: int, name: str) -> str:
    """A field of a process's status; see proc(5)."""
    for line in Path(f"/proc/{process}/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise AssertionError(name)
