"""Test doubles shared by several test modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._groupcommit import GroupCommit
from decnet_syslog.journal._sqlite import Journal
from decnet_syslog.journal._values import Deposit, StreamLease
from decnet_syslog.limits import DEFAULTS, Limits
from decnet_syslog.outputs._feeds import OutputWriter
from decnet_syslog.outputs._fileoutput import FileOutput
from decnet_syslog.outputs._interfaces import Events
from decnet_syslog.outputs._paths import OutputPaths
from decnet_syslog.outputs._rendering import RAW, Format
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._flowcontrol import Pause
from decnet_syslog.receiving._openstreams import Key
from decnet_syslog.wire import BYE, ControlLine
from decnet_syslog.wire._provenance import Provenance

from .databases import Database

NOW = "2026-04-18T00:00:00.000000Z"
PROVENANCE = Provenance("w1", "sha-256:AA", "192.0.2.1:5", NOW, None, False)
STREAM = "5" * 32


def atOnce(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Stand in for a thread: make the call immediately."""
    return execute(function, *arguments)


class LaterThread:
    """
    Stand in for a thread: calls wait until L{run} makes them, in order.

    @ivar isHeld: whether calls wait; otherwise they are made immediately.
    """

    def __init__(self, isHeld: bool = True) -> None:
        self.isHeld = isHeld
        self.calls: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        if not self.isHeld:
            return execute(function, *arguments)
        done: Deferred[Any] = Deferred()
        self.calls.append((done, function, arguments))
        return done

    def run(self, count: int = 1000) -> None:
        """Make a number of the waiting calls."""
        while self.calls and count:
            count -= 1
            done, function, arguments = self.calls.pop(0)
            try:
                result = function(*arguments)
            except Exception:
                done.errback(Failure())
            else:
                done.callback(result)


class StepThread:
    """Stand in for the thread that reads files: calls wait until L{run}, in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        self.calls.append((call, arguments))

    def seconds(self) -> float:
        return self.clock.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        return self.clock.callLater(delay, self.post, callable, *args, **kw)

    def run(self, count: int = 1000) -> None:
        """Make a number of the waiting calls."""
        while self.calls and count:
            count -= 1
            call, arguments = self.calls.pop(0)
            call(*arguments)


class RecordingLine:
    """A connection double that records the calls made by a receiving session."""

    def __init__(self) -> None:
        self.sent: list[ControlLine] = []
        self.byes: list[BYE] = []
        self.paused = False
        self.isRead = True

    def sendControl(self, *lines: ControlLine) -> None:
        self.sent.extend(lines)

    def pause(self, why: Pause) -> None:
        self.paused = True

    def resume(self, why: Pause) -> None:
        self.paused = False

    def close(self, bye: BYE) -> None:
        self.byes.append(bye)

    def pop(self) -> list[ControlLine]:
        """The calls since the previous C{pop}."""
        sent, self.sent = self.sent, []
        return sent


def lines(grant: StreamLease | None, start: int, octets: bytes) -> Deposit:
    """A deposit of lines."""
    end = start + len(octets) if grant is not None else 0
    return Deposit(PROVENANCE, grant, start, end, octets)


class KnowsOwners:
    """Tracks which connection owns each stream, and never closes the previous owner."""

    def __init__(self) -> None:
        self.of: dict[Key, AckedSession] = {}

    def opened(self, stream: Key, session: AckedSession) -> None:
        self.of[stream] = session

    def closed(self, stream: Key, session: AckedSession) -> None:
        if self.of.get(stream) is session:
            del self.of[stream]


def makeOutput(
    test: SynchronousTestCase,
    path: Path | str,
    format: Format = RAW,
    events: Events = lambda name, **facts: None,
    paths: OutputPaths | None = None,
) -> FileOutput:
    """An output that is not started yet. The end of the test closes it."""
    output = FileOutput(format, str(path), events, paths)
    test.addCleanup(output.close)
    return output


class MasterTestCase(SynchronousTestCase):
    """
    A journal in its own directory, a group commit on top of it, and a clock.

    @ivar database: the journal's.
    @ivar journalThread: the journal's thread, which makes calls immediately unless
        C{isHeld} is set.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.clock = Clock()
        self.failures: list[Failure] = []
        self.journalThread = LaterThread(isHeld=False)
        self.openJournal()

    def openJournal(self) -> None:
        """Open the journal, as a starting listener does."""
        self.database = Database()
        self.journal = Journal.open(
            self.directory / "listener.db", connect=self.database
        )
        self.addCleanup(self.journal.close)
        self.openCommits()

    def openCommits(
        self,
        inThread: Callable[..., Deferred[Any]] | None = None,
        limits: Limits = DEFAULTS,
        spacing: float = 0,
        ackSpacing: float = 0,
    ) -> None:
        """Put a new group commit on top of the journal, for later connections."""
        self.commits = GroupCommit(
            self.journal,
            inThread or self.journalThread,
            self.clock,
            self.failures.append,
            limits,
            spacing=spacing,
            ackSpacing=ackSpacing,
            now=lambda: NOW,
        )

    def openOutput(self, path: Path, format: Format = RAW) -> FileOutput:
        """Start an output with the cursor that the journal has for it."""
        output = makeOutput(self, path, format)
        output.start(self.journal.useOutputs([output.name])[output.name])
        return output

    def makeWriter(self, output: FileOutput, thread: LaterThread) -> OutputWriter:
        """A writer from the journal to an output, with a thread that the test steps."""
        return OutputWriter(
            output,
            self.journal,
            self.commits,
            thread,
            self.clock,
            self.failures.append,
        )

    def restart(self) -> None:
        """Close the journal and reopen it."""
        self.commits.stop()
        self.journal.close()
        self.openJournal()
