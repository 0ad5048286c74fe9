"""
The whole pipeline in memory: the real worker and the real master, joined by a lossy
link.

A L{World} has a worker (files, state database, sender) and a master (reception, group
commit, journal, outputs) whose octets pass through two FIFOs. Time is a number. The
journal's thread is stepped by hand, so that a crash can fall between a commit and its
answer. A crash copies the SQLite files as they are at that moment and continues with
the copy; log and output files stay in place, as they do when a process is killed.

There can be a second master with its own journal and outputs, to which the worker fails
over and from which it returns. A master can also be restored from a snapshot, journal
and outputs together.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from benchmarks.report import saveLines
from decnet_syslog.files import (
    Changed,
    FollowedFiles,
    StateStore,
    Vanished,
)
from decnet_syslog.journal._depositor import Depositor
from decnet_syslog.journal._groupcommit import GroupCommit
from decnet_syslog.journal._places import SegmentSizes
from decnet_syslog.journal._sqlite import Journal
from decnet_syslog.journal._values import Batch, Cursor, Deposit
from decnet_syslog.limits import Limits
from decnet_syslog.outputs._feeds import OutputWriter
from decnet_syslog.outputs._fileoutput import FileOutput
from decnet_syslog.outputs._rendering import RAW, RECORDS
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._flowcontrol import Pause
from decnet_syslog.receiving._openstreams import IStreamRegistry
from decnet_syslog.receiving._registry import ConnectionRegistry
from decnet_syslog.receiving._session import Violation
from decnet_syslog.sending._acked import AckedSender
from decnet_syslog.sending._connection import ListenerProtocolError
from decnet_syslog.sending._counts import Counts
from decnet_syslog.wire import BYE, ControlError, ControlLine, encodeControl
from decnet_syslog.wire._framing import FramingError
from decnet_syslog.wire._protocol import OctetCountedReceiver

from ..databases import Database
from ..doubles import KnowsOwners, LaterThread, atOnce


class End(OctetCountedReceiver):
    """One end of a link: outgoing octets to a FIFO, incoming octets to a session."""

    control = True
    isRead = True

    def __init__(self, room: Any) -> None:
        self.room = room
        self.out = bytearray()
        self.paused = False
        self.closed = False

    def framesReceived(self, messages: list[bytes]) -> None:
        self._tell(self.room.framesReceived, messages)

    def controlReceived(self, line: ControlLine) -> None:
        self._tell(self.room.controlReceived, line)

    def _tell(self, method: Callable[[Any], None], what: Any) -> None:
        try:
            method(what)
        except (Violation, ListenerProtocolError) as error:
            self.close(BYE("protocol", str(error)))

    def frameError(self, error: FramingError | ControlError) -> None:
        raise AssertionError(f"our own ends broke the framing: {error}")

    def sendControl(self, *lines: ControlLine) -> None:
        self.out += b"".join([encodeControl(line) for line in lines])

    def sendOctets(self, octets: bytes) -> None:
        self.out += octets

    def close(self, bye: BYE) -> None:
        assert bye.code in ("superseded", "no-space"), bye
        self.refuse()
        self.closed = True

    def pause(self, why: Pause) -> None:
        self.paused = True

    def resume(self, why: Pause) -> None:
        self.paused = False

    def accepted(self) -> None:
        """The listener has accepted this forwarder."""

    def whenArrived(self, call: Callable[[], None]) -> None:
        """Refuse: the pipeline never asks for this notification."""


class Link:
    """A connection: two ends and the octets in transit."""

    def __init__(self, worker: End, master: End) -> None:
        self.worker = worker
        self.master = master

    def deliver(self, octets: int, down: bool) -> None:
        """Let some octets arrive."""
        here, there = (self.master, self.worker) if down else (self.worker, self.master)
        if there.paused and not down:
            return
        octets_ = bytes(here.out[:octets])
        del here.out[:octets]
        if octets_ and not there.closed:
            there.dataReceived(octets_)


class Commits(GroupCommit):
    """
    A group commit that raises an internal error instead of closing a connection: the
    error is the verdict.
    """

    @contextmanager
    def _blaming(self, depositor: Depositor) -> Iterator[None]:
        yield


# Most commits have this many octets, and histories fill several segments again and again.
SIZES = SegmentSizes(segment=300, commitMin=60)


class Master:
    """The master's process."""

    def __init__(self, world: World, journalPath: Path, tag: str = "") -> None:
        """@param tag: a suffix for the names of its outputs."""
        self.world = world
        self.path = journalPath
        self.tag = tag
        self.rawPath = world.directory / f"master{tag}.log"
        self.jsonPath = world.directory / f"master{tag}.json"
        self.database = Database()
        self.journal = Journal.open(journalPath, sizes=SIZES, connect=self.database)
        self.thread = LaterThread()
        self.commits = Commits(self.journal, self.thread, world.clock, world.failed)
        self.roster: IStreamRegistry = (
            ConnectionRegistry(16) if world.hasRoster else KnowsOwners()
        )
        self.accepted = 0
        self._watchCursors()
        outputs = [
            FileOutput(RAW, str(self.rawPath), world.event),
            FileOutput(RECORDS, str(self.jsonPath), world.event),
        ]
        cursors = self.journal.useOutputs([output.name for output in outputs])
        self.writers = []
        for output in outputs:
            output.start(cursors[output.name])
            writer = OutputWriter(
                output, self.journal, self.commits, atOnce, world.clock, world.failed
            )
            self.writers.append(writer)
            writer.start()

    def _watchCursors(self) -> None:
        """
        Check that octets counted by a cursor were synced first: applied <= on disk.
        """
        commit = self.journal.commit

        def committed(
            deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
        ) -> list[Batch | None]:
            cursors = list(cursors)
            for cursor in cursors:
                for path, file in cursor.files.items():
                    there = self.world.synced.get((file.device, file.inode), 0)
                    assert there >= file.length, (
                        f"the cursor counts {file.length} octets of {path}, {there} are"
                        " on disk"
                    )
            return commit(deposits, cursors)

        self.journal.commit = committed  # type: ignore[method-assign]

    def accept(self) -> tuple[End, AckedSession]:
        """Accept a new connection."""
        end = End(None)
        self.accepted += 1
        session = AckedSession(
            Origin(self.world.worker, "f", f"192.0.2.1:{self.accepted}"),
            end,
            self.commits,
            self.journal,
            self.world.limits,
            self.roster,
            history=self.world.history,
        )
        end.room = session
        session.greet()
        return end, session

    def die(self) -> None:
        """Die without closing anything. The files stay as they are."""
        self.commits.stop()
        for writer in self.writers:
            writer.halt()
            writer.output.close()
        self.thread.calls.clear()
        self.journal.close()


class World:
    """Both sides, the link and the clock."""

    def __init__(
        self,
        directory: Path,
        lagOctetsMax: int | None = None,
        serial: int = 0,
        patterns: Sequence[str] = ("app.log",),
        filesPerConnection: int = 256,
        history: bool = True,
        worker: str = "w1",
        hasRoster: bool = True,
    ) -> None:
        """
        @param patterns: of the logs, all in one directory.
        @param history: whether both ends speak version 2, with marks of the journal.
        @param worker: the name in the worker's certificate.
        @param hasRoster: whether the master closes the old connection of a stream that
            a new connection opens. The journal must be safe without that.
        """
        self.history = history
        self.worker = worker
        self.hasRoster = hasRoster
        # The on-disk state of each file: device and inode, and its length when last
        # synced.
        self.synced: dict[tuple[int, int], int] = {}
        self._watch = mock.patch("os.fdatasync", self._fdatasync)
        self._watch.start()
        self.limits = Limits(message=2048, filesPerConnection=filesPerConnection)
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.log = self.logs / "app.log"
        self.patterns = [str(self.logs / pattern) for pattern in patterns]
        self.log.touch()
        self.clock = Clock()
        self.failures: list[Failure] = []
        self.events: list[str] = []
        self.counts = Counts()
        self.serial = serial
        self.crashes = 0
        self.seen: dict[str, bytes] = {}
        self.lagOctetsMax = lagOctetsMax
        self.link: Link | None = None
        self.session: AckedSession | None = None
        self.dying: list[Link] = []
        self.statePath = directory / "forwarder-0.db"
        self.startWorker()
        self.master = Master(self, directory / "listener-0.db")
        # The other master, which is not in use.
        self.other: Master | None = None
        self.snapshot: tuple[Path, dict[Path, int]] | None = None
        self.putBack = 0

    @property
    def rawPath(self) -> Path:
        return self.master.rawPath

    @property
    def jsonPath(self) -> Path:
        return self.master.jsonPath

    def _fdatasync(
        self, descriptor: int, fdatasync: Callable[[int], None] = os.fdatasync
    ) -> None:
        fdatasync(descriptor)
        status = os.fstat(descriptor)
        self.synced[status.st_dev, status.st_ino] = status.st_size

    def event(self, name: str, **facts: Any) -> None:
        self.events.append(name)

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)

    # The worker

    def startWorker(self) -> None:
        self.store = StateStore.open(self.statePath)
        self.files = FollowedFiles(
            self.patterns,
            self.store,
            self.clock.seconds,
            messageOctetsMax=2048,
            lagOctetsMax=self.lagOctetsMax,
            events=self.event,
        )
        self.sender: AckedSender | None = None
        self.files.poll()

    def stopWorker(self) -> None:
        self.files.close()
        self.store.close()

    def connect(self) -> None:
        """Open a new connection; any old one closes later."""
        if self.link is not None:
            self.dying.append(self.link)
            self.senderLost()
        self.files.poll()
        worker = End(None)
        master, self.session = self.master.accept()
        self.link = Link(worker, master)
        self.sender = AckedSender(
            self.files,
            worker,
            self.clock,
            self.counts,
            self.worker,
            True,
            chunkOctets=64,
        )
        self.sender.connectionMade()
        worker.room = self.sender

    def warmUp(self) -> None:
        """Complete the introductions, so that a history begins while lines flow."""
        self.line()
        for _ in range(5):
            perform(self, ("all",))

    def senderLost(self) -> None:
        if self.sender is not None:
            self.sender.connectionLost()
            self.sender = None
        self.link = None

    def cut(self) -> None:
        """Drop the connection; octets in transit are lost."""
        if self.link is not None:
            if self.session is not None:
                self.session.connectionLost()
            self.senderLost()

    def poll(self) -> None:
        """The worker checks its files and sends."""
        self.clock.advance(0.1)
        self.files.poll()
        for content in self.files.opened:
            content.invariants()
        if self.sender is not None:
            self.sender.pump()

    def deliver(self, octets: int, down: bool) -> None:
        if self.link is not None:
            self.link.deliver(octets, down)
            self.clock.advance(0)
            if self.link.worker.closed or self.link.master.closed:
                self.cut()

    def deliverLate(self, octets: int) -> None:
        """
        Let octets that are still in transit on an old connection reach the master.
        """
        if self.dying:
            link = self.dying[0]
            link.deliver(octets, False)
            if not link.worker.out:
                self.dying.pop(0)

    def step(self, calls: int) -> None:
        """Let the journal's thread make some of its calls."""
        self.master.thread.run(calls)

    # Crashes

    def copyDatabase(self, path: Path) -> Path:
        self.crashes += 1
        stem = path.name.rpartition("-")[0]
        fresh = path.with_name(f"{stem}-{self.crashes}.db")
        for suffix in ("", "-wal", "-segments"):
            if Path(f"{path}{suffix}").exists():
                shutil.copyfile(f"{path}{suffix}", f"{fresh}{suffix}")
        held = Path(f"{path}.held")
        if held.exists():
            held.rename(f"{fresh}.held")
        return fresh

    def crashMaster(self, committed: bool = False) -> None:
        """
        Kill the master.

        @param committed: right after a commit, before its result is reported to anyone.
        """
        if committed and self.master.thread.calls:
            _, function, arguments = self.master.thread.calls.pop(0)
            function(*arguments)
        fresh = self.copyDatabase(self.master.path)
        self.master.die()
        self.link, self.dying, self.session = None, [], None
        self.senderLost()
        self.master = Master(self, fresh, self.master.tag)

    def takeSnapshot(self) -> None:
        """Stop the master, copy its journal and outputs, start it."""
        self.crashMaster()
        lengths = {
            path: path.stat().st_size if path.exists() else 0
            for path in (self.rawPath, self.jsonPath)
        }
        self.snapshot = (self.copyDatabase(self.master.path), lengths)

    def restoreSnapshot(self) -> None:
        """
        Restore the master from the snapshot: journal and outputs from the same moment.
        """
        if self.snapshot is None:
            return
        path, lengths = self.snapshot
        if self.rawPath not in lengths:
            return
        self.crashMaster()
        self.master.die()
        for output, length in lengths.items():
            with open(output, "r+b") as file:
                file.truncate(length)
        self.seen[self.master.tag] = self.rawPath.read_bytes()
        self.master = Master(self, self.copyDatabase(path), self.master.tag)
        self.putBack += 1

    def changeMaster(self) -> None:
        """Switch to the other master, which has its own journal and outputs."""
        self.cut()
        if self.other is None:
            self.other = Master(self, self.directory / "another-0.db", "-other")
        self.master, self.other = self.other, self.master
        self.dying = []

    def crashWorker(self, save: bool) -> None:
        """Kill the worker; its offsets may or may not have been saved."""
        if save:
            self.files.save()
        fresh = self.copyDatabase(self.statePath)
        self.cut()
        self.stopWorker()
        self.statePath = fresh
        self.startWorker()

    def loseState(self) -> None:
        """Delete the worker's database."""
        self.crashWorker(False)
        self.stopWorker()
        self.crashes += 1
        self.statePath = self.directory / f"forwarder-{self.crashes}.db"
        self.startWorker()

    # The log

    def append(self, octets: bytes) -> None:
        with open(self.log, "ab") as file:
            file.write(octets)

    def line(self, length: int = 0) -> None:
        self.serial += 1
        self.append(b"%06d " % self.serial + b"x" * length + b"\n")

    def rotate(self) -> None:
        for number in range(20, 0, -1):
            old = self.logs / f"app.log.{number}"
            if old.exists():
                old.rename(self.logs / f"app.log.{number + 1}")
        self.log.rename(self.logs / "app.log.1")
        self.log.touch()

    def copytruncate(self) -> None:
        if not self.log.stat().st_size:
            return
        self.rotate()
        os.unlink(self.log)
        (self.logs / "app.log.1").rename(self.log)
        shutil.copyfile(self.log, self.logs / "app.log.1")
        os.truncate(self.log, 0)
        self.line()

    # The verdict

    def look(self) -> None:
        """Check that octets which a reader has seen never vanish or change."""
        now = self.rawPath.read_bytes()
        seen = self.seen.get(self.master.tag, b"")
        assert now.startswith(seen), "octets that a reader has seen are gone"
        self.seen[self.master.tag] = now
        for failure in self.failures:
            # Raised with its own type: only an assertion failure is a verdict on the
            # pipeline.
            failure.raiseException()
        self.content()

    def content(self) -> None:
        """
        Check that acknowledged (worker) <= committed (master), and that committed lines
        equal the file's.
        """
        if self.sender is None or self.sender.authority[0] == "":
            return
        known = {
            (k.stream, k.generation): k for k in self.master.journal.known(self.worker)
        }
        for content in self.files.opened:
            mark = content.acknowledged
            there = known.get((mark.stream, mark.generation))
            if there is None or mark.offset == content.content.origin:
                continue
            content.check()
            assert mark.offset <= there.offset, (
                f"{mark.offset} acknowledged, {there} committed"
            )
            if (
                content.lostReason is None
                and not content.isSearching
                and not content.hasChanged
            ):
                try:
                    crc = content.checksum(there.base, there.offset)
                except (Changed, Vanished):
                    continue
                assert crc == there.crc, f"the committed octets differ from {content}"

    def heal(self) -> None:
        """Check that everything arrives once there are no more faults."""
        for _ in range(8):
            if self.link is None or self.link.worker.closed:
                self.connect()
            for _ in range(30):
                self.poll()
                self.deliver(10**6, False)
                self.step(100)
                self.deliver(10**6, True)
            while self.dying:
                self.deliverLate(10**6)
                self.step(100)
            self.clock.advance(6)
            self.step(100)
        self.look()

    def numbers(self) -> list[int]:
        """The serial numbers in master.log, in order."""
        return [int(line[:6]) for line in self.rawPath.read_bytes().splitlines()]

    def check(self) -> None:
        """Check that both outputs have every line once and in order."""
        numbers = self.numbers()
        wanted = list(range(1, self.serial + 1))
        assert numbers == wanted, (
            f"{numbers} instead of 1 to {self.serial}: {self.events}"
        )
        records = [json.loads(line) for line in self.jsonPath.read_bytes().splitlines()]
        assert [int(r["raw_line"][:6]) for r in records] == wanted, (
            "master.json differs"
        )

    def close(self) -> None:
        self.cut()
        self.stopWorker()
        for master in (self.master, self.other):
            if master is not None:
                master.die()
        self._watch.stop()


def perform(world: World, step: tuple[object, ...]) -> None:
    """Do one step of a history."""
    match step:
        case ("line", int(length)):
            world.line(length)
        case ("deliver", int(octets), bool(down)):
            world.deliver(octets, down)
        case ("step", int(calls)):
            world.step(calls)
        case ("late", int(octets)):
            world.deliverLate(octets)
        case ("crash worker", bool(save)):
            world.crashWorker(save)
        case ("crash master", bool(committed)):
            world.crashMaster(committed)
        case ("connect",):
            world.connect()
        case ("poll",):
            world.poll()
        case ("cut",):
            world.cut()
        case ("snapshot",):
            world.takeSnapshot()
        case ("put back",):
            world.restoreSnapshot()
        case ("change master",):
            world.changeMaster()
        case ("rotate",):
            world.rotate()
        case ("copytruncate",):
            world.copytruncate()
        case ("wait",):
            world.clock.advance(11)
        case ("look",):
            world.look()
        case ("send",):
            world.poll()
            world.deliver(10**6, False)
        case ("hear",):
            world.deliver(10**6, True)
        case ("all",):
            world.poll()
            world.deliver(10**6, False)
            world.step(10)
            world.deliver(10**6, True)


def randomHistory(seed: int) -> list[tuple[object, ...]]:
    """A history like those that hypothesis makes, derived from a number."""
    dice = random.Random(seed)
    return [randomStep(dice) for _ in range(dice.randint(5, 60))]


def randomStep(dice: random.Random) -> tuple[object, ...]:
    lines: list[tuple[object, ...]] = [("line", dice.randint(0, 200))] * 2
    deliveries: list[tuple[object, ...]] = [
        ("deliver", dice.randint(1, 400), down) for down in (False, True)
    ]
    return dice.choice(
        [
            *lines,
            *deliveries,
            ("step", dice.randint(1, 3)),
            ("late", dice.randint(1, 400)),
            ("crash worker", dice.random() < 0.5),
            ("crash master", dice.random() < 0.5),
            ("connect",),
            ("poll",),
            ("poll",),
            ("cut",),
            ("rotate",),
            ("copytruncate",),
            ("wait",),
            ("send",),
            ("hear",),
            ("all",),
            ("all",),
        ]
    )


def journalSteps(dice: random.Random) -> tuple[object, ...]:
    """A random step, including those that affect masters."""
    if dice.random() < 0.85:
        return randomStep(dice)
    return dice.choice([("snapshot",), ("put back",), ("change master",)])


def journalHistory(seed: int) -> list[tuple[object, ...]]:
    """A history in which masters are restored and switched."""
    dice = random.Random(seed)
    return [journalSteps(dice) for _ in range(dice.randint(5, 60))]


def run(
    directory: Path,
    history: list[tuple[object, ...]],
    filesPerConnection: int = 256,
    patience: int = 1,
    marks: bool = True,
    hasRoster: bool = True,
) -> None:
    """
    Run a history, then heal.

    @param patience: the number of fault-free rounds within which everything must
        arrive.
    @param marks: whether both ends speak version 2.
    @raise AssertionError: a line was lost, repeated, out of order, or vanished.
    """
    world = World(
        directory,
        filesPerConnection=filesPerConnection,
        history=marks,
        hasRoster=hasRoster,
    )
    try:
        world.connect()
        world.warmUp()
        for step in history:
            perform(world, step)
            world.look()
        for _ in range(patience):
            world.heal()
        world.check()
        if world.other is not None:
            # One journal's acknowledgements say nothing about another journal.
            world.changeMaster()
            for _ in range(patience):
                world.heal()
            world.check()
    finally:
        world.close()


def main(arguments: Sequence[str]) -> int:
    """Run the random histories that the command line names. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.pipeline",
        description="Run random histories of both ends in memory. The exit status is 0 if in each"
        " of them every line is in both outputs once and in order.",
    )
    parser.add_argument("count", nargs="?", type=int, default=100, help="default: 100")
    parser.add_argument("first", nargs="?", type=int, default=1, help="the first seed")
    parser.add_argument(
        "journals",
        nargs="?",
        choices=["journals"],
        help="masters are also restored and switched",
    )
    chosen = parser.parse_args(arguments)
    count, first = chosen.count, chosen.first
    make = journalHistory if chosen.journals else randomHistory
    for number in range(first, first + count):
        directory = Path(
            tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        )
        try:
            run(directory / "world", make(number), marks=number % 4 > 0)
        except Exception as error:
            print(f"history {number}: {type(error).__name__}: {error}")
            return 1
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if (number - first + 1) % 500 == 0:
            print(f"{number - first + 1} histories without a violation", flush=True)
    name = "pipeline-journals" if chosen.journals else "pipeline"
    saveLines(name, vars(chosen), [f"{count:,} histories without a violation"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
