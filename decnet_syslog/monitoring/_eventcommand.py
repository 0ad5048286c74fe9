"""
A command for each event, C{--on-event}: to page an operator, or to post the event to a service.

What must be true: however many events there are, few processes run at a time, each for a bounded
time, and each gets a bounded input. Each kind of event has its own budget, so a kind that a
stranger can cause by the thousand does not keep the others from being reported.

The command is started without a shell. It gets the event as one line of JSON on its standard
input, and nothing of the event in its arguments.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import Counter, deque

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import UserError
from ..reactors import IReactor
from ._events import Event

__all__ = ["EventCommand", "NoProgram", "commandLine"]

# Commands that run at once. A command that pages an operator takes about a second.
RUNNING_MAX = 4

# Events that wait for a running command to end. Further events are left out and counted.
WAITING_MAX = 64

# The budget of each kind of event: this many at once, and one more after each REFILL_S seconds.
BURST = 10
REFILL_S = 10.0

# A command that runs longer is killed, in seconds.
RUN_S = 30.0

# The part of its output that is logged when it fails, in octets.
OUTPUT_OCTETS_MAX = 500


class NoProgram(UserError):
    """This machine has no such program."""


def commandLine(text: str) -> list[str]:
    """
    The words of a command line, the program's absolute path first.

    @raise UserError: the text is no command line.
    @raise NoProgram: this machine has no such program.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(
            f"--on-event: cannot read the command {text!r}: {error}"
        ) from None
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise NoProgram(
            f"--on-event: there is no executable program {(words or [text])[0]!r}: give the path of"
            " one"
        )
    return [os.path.abspath(program), *words[1:]]


class _Run(ProcessProtocol):
    """One run of the command."""

    transport: IProcessTransport

    def __init__(self, command: EventCommand, octets: bytes) -> None:
        self._command = command
        self._octets = octets
        self._said = b""
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.transport.write(self._octets)
        self.transport.closeStdin()
        self._timer = self._command.clock.callLater(RUN_S, self._late)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._said = (self._said + data)[:OUTPUT_OCTETS_MAX]

    def _late(self) -> None:
        self._timer = None
        self._said = f"killed after {RUN_S:.0f} s".encode()
        self.stop()

    def stop(self) -> None:
        """Kill the command."""
        try:
            self.transport.signalProcess("KILL")
        except Exception:
            # The process has just ended.
            pass

    def processEnded(self, reason: Failure) -> None:
        if self._timer is not None:
            self._timer.cancel()
        ended = reason.value
        assert isinstance(ended, (ProcessDone, ProcessTerminated))
        self._command.ended(self, ended.exitCode, self._said)


class EventCommand:
    """
    Runs a command for each event.

    @ivar leftOut: events that were not passed to the command because the budget was used up, by
        kind.
    """

    _log = Logger()

    def __init__(self, reactor: IReactor, words: list[str]) -> None:
        self.clock = reactor
        self.leftOut: Counter[str] = Counter()
        self._words = words
        self._running: set[_Run] = set()
        self._waiting: deque[bytes] = deque()
        self._budget: dict[str, tuple[float, float]] = {}

    def __call__(self, event: Event) -> None:
        """Run the command for an event, now or when another run ends."""
        if len(self._waiting) >= WAITING_MAX or not self._afford(event.kind):
            self.leftOut[event.kind] += 1
            return
        record = {**event.asRecord(), "left_out": self.leftOut.pop(event.kind, 0)}
        self._waiting.append(json.dumps(record).encode("ascii") + b"\n")
        self._next()

    def _afford(self, kind: str) -> bool:
        now = self.clock.seconds()
        left, since = self._budget.get(kind, (float(BURST), now))
        left = min(float(BURST), left + (now - since) / REFILL_S)
        enough: bool = left >= 1
        self._budget[kind] = (left - 1 if enough else left, now)
        return enough

    def _next(self) -> None:
        while self._waiting and len(self._running) < RUNNING_MAX:
            run = _Run(self, self._waiting.popleft())
            self._running.add(run)
            try:
                self.clock.spawnProcess(run, self._words[0], self._words, None)
            except OSError as error:
                self._running.discard(run)
                self._fail(error.strerror or str(error))

    def ended(self, run: _Run, status: int | None, said: bytes) -> None:
        """A run ended."""
        self._running.discard(run)
        if status != 0:
            self._fail(f"status {status}: {said.decode('utf-8', 'replace')!a}")
        self._next()

    def _fail(self, reason: str) -> None:
        self._log.warn(
            "the --on-event command {command} failed: {reason}. Run it by hand with an event"
            " on its standard input",
            command=self._words[0],
            reason=reason,
        )

    def stop(self) -> None:
        """Stop all runs and drop the waiting events."""
        self._waiting.clear()
        for run in list(self._running):
            run.stop()
