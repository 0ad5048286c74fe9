"""
Histories of a log's files, checked against a model that knows every octet.

A L{FilesHistory} has the real follower and state database over real files, a clock that
is a number, and two journals that are dictionaries: they hold the octets sent to them,
and can be restored from a copy. Contents may be equal, prefixes of each other, or share
a banner; they are rotated, copied, truncated, compressed, deleted, replaced by grown
copies, and written late.

At the end, for the connected journal: the octets of every written line are delivered,
or no more are missing than its gap records account for. Any line that is delivered more
often than it was written was reported.

To run some histories: C{python -m tests.campaigns.contents 20000 [SEED]}.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from benchmarks.report import saveLines
from decnet_syslog.files import (
    AcknowledgedPosition,
    FollowedFiles,
    GapChunk,
    OpenContent,
    StateStore,
    Vanished,
)
from decnet_syslog.files._matching import SEARCH_S
from decnet_syslog.files._objects import FileId, identify
from decnet_syslog.sending._chunks import byName, nextChunk

__all__ = ["ACTIONS", "FilesHistory", "Outcome", "randomHistory"]

BANNER = b"service starting\n"

# Events that report possible repetition, or octets left to a gap that includes them.
REPEATS = frozenset(
    ("duplicate", "rotated-unseen", "copy-not-certain", "returned", "diverged")
)

Action = tuple[Any, ...]


@dataclass
class Held:
    """A journal's position in a stream: the crc covers [base, offset)."""

    start: int
    offset: int
    base: int
    crc: int


@dataclass
class Ledger:
    """A journal: streams, lines in the order of arrival, octets of gaps."""

    name: str
    held: dict[tuple[str, int], Held] = field(default_factory=dict)
    lines: Counter[bytes] = field(default_factory=Counter)
    gapOctets: int = 0
    elsewhere: Counter[bytes] = field(default_factory=Counter)
    gapOctetsElsewhere: int = 0
    number: int = 0
    eras: dict[str, int] = field(default_factory=lambda: {"first": 0})

    @property
    def mark(self) -> tuple[int, str]:
        return self.number, list(self.eras)[-1]

    def holds(self, mark: tuple[int, str] | None) -> bool:
        """Whether this journal's history contains a mark."""
        if mark is None or mark[1] not in self.eras:
            return False
        tokens = list(self.eras)
        after = tokens[tokens.index(mark[1]) + 1 :]
        return mark[0] <= (self.eras[after[0]] if after else self.number)


@dataclass
class Outcome:
    """
    The result of a history.

    @ivar lost: octets that no gap accounts for.
    @ivar alike: lost octets of lines that were each written more than once: contents
        that no program can distinguish.
    @ivar repeated: octets of lines that arrived too often.
    """

    lost: int
    alike: int
    repeated: int
    gapped: int
    events: frozenset[str]

    @property
    def isUnreported(self) -> bool:
        """Whether lines arrived too often without an event to report it."""
        return self.repeated > 0 and not self.events & REPEATS


class FilesHistory:
    """The files of one log, its follower, and two journals."""

    def __init__(self, directory: Path) -> None:
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True)
        (self.logs / "old").mkdir()
        self.directory = directory
        self.path = self.logs / "app.log"
        self.now = 0.0
        self.serial = 0
        self.stamp = 20260101
        self.written: Counter[bytes] = Counter()
        self.events: Counter[str] = Counter()
        self.contents: dict[int, bytes] = {}
        self.writers: list[tuple[BinaryIO, Path]] = []
        self.ledgers = {name: Ledger(name) for name in "AB"}
        self.ledger = self.ledgers["A"]
        self.snapshot: Ledger | None = None
        self.met: set[OpenContent] = set()
        self.isRunning = False
        # For each file, by its object: octets of its content, and how many of them a
        # poll has seen.
        self.sizes: dict[FileId, int] = {}
        self.seen: dict[FileId, int] = {}
        self.seenSaved: dict[FileId, int] = {}
        # Lines that were destroyed before any poll saw them: no program could have read
        # them.
        self.unseen: Counter[bytes] = Counter()
        self.ghosts: list[bytes] = []
        self.path.touch()
        self.go()
        self.ship()

    # The worker

    def go(self) -> None:
        if self.isRunning:
            return
        self.store = StateStore.open(self.directory / "forwarder.db")
        self.files = FollowedFiles(
            [str(self.path)],
            self.store,
            lambda: self.now,
            messageOctetsMax=2048,
            lagOctetsMax=None,
            events=lambda name, **facts: self.events.update([name]),
            rotated=[str(self.logs / "old") + "/"],
        )
        self.isRunning = True
        self.connect()

    def connect(self) -> None:
        """HELLO: the acknowledgements of a journal count if it still has the lines."""
        ledger = self.ledger
        authority = (ledger.name * 32, "worker")
        isMet = self.files.journal.isMet(authority)
        self.files.journal.connect(
            authority,
            resend=True,
            isHistoryKept=ledger.holds(self.files.journal.markOf(authority[0])),
            mark=ledger.mark,
        )
        if not isMet:
            # Lines that another journal received before are offered if they are on
            # disk; otherwise they are not owed.
            for other in self.ledgers.values():
                if other is not ledger:
                    ledger.elsewhere = Counter(other.lines)
                    ledger.gapOctetsElsewhere = other.gapOctets
            self.files.journal.meet(authority, ledger.mark)
        self.met.clear()

    def halt(self, save: bool) -> None:
        if self.isRunning:
            if save:
                self.files.stop()
                self.seen.update(self.visible())
            else:
                self.seen = dict(self.seenSaved)
                self.files.close()
                for octets in self.ghosts:
                    self.unseen.update(octets.splitlines(True))
            self.ghosts.clear()
            for file, _ in self.writers:
                self.noteKilled(file)
            self.store.close()
            self.met.clear()
            self.isRunning = False

    def noteKilled(self, file: BinaryIO) -> None:
        """A file without a name is no longer held open."""
        if not os.fstat(file.fileno()).st_nlink:
            with open(f"/proc/self/fd/{file.fileno()}", "rb") as content:
                seen = self.seen.get(identify(content.fileno()), 0)
                self.unseen.update(content.read()[seen:].splitlines(True))

    def loseState(self) -> None:
        self.halt(False)
        for path in self.directory.glob("forwarder.db*"):
            if path.is_file():
                path.unlink()
        self.seen.clear()
        self.events["state-lost"] += 1
        self.go()

    def meet(self, one: OpenContent) -> bool:
        """As for OPEN and RESUME: the journal's position is compared and adopted."""
        if one in self.met:
            return True
        if one.isSearching:
            return False
        at = one.acknowledged
        key = (at.stream, at.generation)
        # A stream unknown to the journal begins at the presumed position.
        held = self.ledger.held.setdefault(
            key, Held(at.offset, at.offset, at.offset, 0)
        )
        if one.lostReason is None and not one.hasChanged and held.base >= one.floor:
            try:
                crc = one.checksum(held.base, held.offset)
            except Vanished:
                if one.isSearching or one.hasChanged or one.file is None:
                    return False
                crc = held.crc ^ 1
            if crc != held.crc:
                self.diverge(one)
                return False
        # MARK also precedes RESUME if it has advanced.
        self.files.journal.remember(self.ledger.mark)
        self.files.journal.adopt(
            {one: AcknowledgedPosition(*key, held.offset, held.base, held.crc)}
        )
        one.invariants()
        self.met.add(one)
        return True

    def diverge(self, one: OpenContent) -> None:
        """
        The journal has another content under this name: this content gets another name.
        """
        self.events["diverged"] += 1
        self.serial += 1
        origin = one.content.origin
        self.files.journal.adopt(
            {one: AcknowledgedPosition(f"{self.serial:032x}", 0, origin, origin)}
        )

    def ship(self, pieces: int = 10**6, acknowledge: bool = True) -> None:
        """Poll, read, and let the journal store the lines; acknowledge them or not."""
        if not self.isRunning:
            return
        self.now += 0.6
        # As the service does, half a second after a change.
        self.files.save()
        self.seenSaved = dict(self.seen)
        self.files.poll()
        self.seen.update(self.visible())
        self.ghosts.clear()
        for one in self.files.opened:
            one.invariants()
        for contents in byName(self.files.opened).values():
            for _ in range(pieces):
                found = nextChunk(
                    contents, lambda one: one.read(64) if self.meet(one) else None
                )
                if found is None:
                    break
                self._deliver(*found, acknowledge)

    def _deliver(self, one: OpenContent, chunk: Any, acknowledge: bool) -> None:
        at = one.acknowledged
        held = self.ledger.held[at.stream, at.generation]
        assert chunk.start == held.offset, (one, chunk, held)
        held.offset = chunk.end
        self.ledger.number += 1
        if isinstance(chunk, GapChunk):
            held.base, held.crc = chunk.end, 0
            self.ledger.gapOctets += chunk.end - chunk.start
        else:
            crc = crc32(chunk.octets, held.crc)
            assert chunk.continued(held.crc) == crc, (chunk, held)
            held.crc = crc
            self.ledger.lines.update(chunk.octets.splitlines(True))
        if acknowledge:
            # MARK precedes ACK.
            self.files.journal.remember(self.ledger.mark)
            one.acknowledge(held.offset, held.base, held.crc)
        one.invariants()

    def cut(self) -> None:
        """The connection is lost: unacknowledged lines will be requested again."""
        if self.isRunning:
            for one in self.files.opened:
                one.rewind(one.acknowledged.offset)
            self.met.clear()

    def switch(self, name: str) -> None:
        self.cut()
        self.ledger = self.ledgers[name]
        if self.isRunning:
            self.connect()

    def putBack(self) -> None:
        """The journal is restored to its state at the time of the copy."""
        if self.snapshot is None or self.snapshot.name != self.ledger.name:
            return
        self.cut()
        self.ledger = self.ledgers[self.snapshot.name] = deepcopy(self.snapshot)
        self.serial += 1
        self.ledger.eras[f"era {self.serial}"] = self.ledger.number
        if self.isRunning:
            self.connect()

    # What is destroyed

    def idOf(self, path: Path) -> FileId:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return identify(descriptor)
        finally:
            os.close(descriptor)

    def visible(self) -> dict[FileId, int]:
        """The sizes of the contents that a poll can see."""
        found = {}
        for path in [self.path, *self.rotated()]:
            if path.is_file():
                key = self.idOf(path)
                found[key] = self.sizes.get(key, path.stat().st_size)
        for file, _ in self.writers:
            descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
            key = identify(descriptor)
            # A file without a name is readable while it is held open.
            if key in self.seen:
                found[key] = os.fstat(descriptor).st_size
            os.close(descriptor)
        return found

    def destroyed(self, path: Path) -> None:
        """The octets of a file are about to be destroyed."""
        if not path.is_file() or path.stat().st_nlink > 1:
            return
        unpack = {
            ".gz": gzip.decompress,
            ".xz": lzma.decompress,
            ".bz2": bz2.decompress,
        }
        octets = unpack.get(path.suffix, bytes)(path.read_bytes())
        seen = self.seen.get(self.idOf(path), 0)
        self.unseen.update(octets[seen:].splitlines(True))
        # If the forwarder is killed before the next poll, unsaved octets are lost as
        # well.
        self.ghosts.append(octets[self.seenSaved.get(self.idOf(path), 0) : seen])

    def moved(self, old: Path, new: Path, size: int) -> None:
        """The octets of a file are in another one now."""
        key = self.idOf(new)
        self.sizes[key] = size
        self.seen[key] = min(size, self.seen.get(self.idOf(old), 0))
        self.seenSaved[key] = min(size, self.seenSaved.get(self.idOf(old), 0))
        if new.suffix not in (".gz", ".xz", ".bz2"):
            del self.sizes[key]

    # The files

    def write(self, octets: bytes, path: Path | None = None) -> None:
        with open(path or self.path, "ab") as file:
            file.write(octets)
        self.written.update(octets.splitlines(True))

    def line(self, length: int = 0) -> bytes:
        self.serial += 1
        return b"%d:" % self.serial + b"x" * length + b"\n"

    def rotated(self) -> list[Path]:
        """The rotated files, in no particular order."""
        names = [p for p in self.logs.iterdir() if p.name.startswith("app")]
        names += list((self.logs / "old").iterdir())
        return sorted(p for p in names if p != self.path and p.is_file())

    def rotate(self, how: str) -> None:
        if not self.path.exists():
            self.path.touch()
        if how == "number":
            for number in range(9, 0, -1):
                for ending in ("", ".gz", ".xz", ".bz2"):
                    old = self.logs / f"app.log.{number}{ending}"
                    if old.exists():
                        old.rename(self.logs / f"app.log.{number + 1}{ending}")
        target = self.target(how)
        self.destroyed(target)
        self.path.rename(target)
        self.path.touch()

    def target(self, how: str) -> Path:
        self.stamp += 1
        return {
            "number": self.logs / "app.log.1",
            "old": self.logs / "app.log.old",
            "date": self.logs / f"app.log-{self.stamp}",
            "extension": self.logs / f"app-{self.stamp}.log",
            "olddir": self.logs / "old" / f"app.log-{self.stamp}",
        }[how]

    def copytruncate(self, looks: bool, race: str = "") -> None:
        """
        Copy the log and truncate it, as logrotate does.

        @param race: a line is written between the copy and the truncation; no poll sees
            it (C{"unseen"}), or a poll does (C{"seen"}).
        """
        if not self.path.exists() or not self.path.stat().st_size:
            return
        target = self.target("date")
        with open(target, "wb") as copy:
            data = self.path.read_bytes()
            copy.write(data[: len(data) // 2])
            copy.flush()
            if looks:
                self.ship()
            copy.write(data[len(data) // 2 :])
            copy.flush()
            if looks:
                self.ship()
            if race:
                late = self.line()
                self.write(late)
                if race == "seen" and self.isRunning:
                    self.ship(self.serial % 3, self.serial % 2 == 0)
                    self.ghosts.append(late)
                else:
                    self.unseen.update([late])
            self.moved(self.path, target, len(data))
            self.truncated()

    def truncated(self) -> None:
        os.truncate(self.path, 0)
        key = self.idOf(self.path)
        self.seen.pop(key, None)
        self.seenSaved.pop(key, None)

    def compress(self, which: int, how: str, looks: bool) -> None:
        plain = [p for p in self.rotated() if p.suffix not in (".gz", ".xz", ".bz2")]
        if not plain:
            return
        path = plain[which % len(plain)]
        if any(path == held for _, held in self.writers):
            return
        packers: dict[str, Callable[[bytes], bytes]] = {
            "gz": gzip.compress,
            "xz": lzma.compress,
            "bz2": bz2.compress,
        }
        pack = packers[how]
        packed = path.with_name(f"{path.name}.{how}")
        data = pack(path.read_bytes())
        with open(packed, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            if looks:
                self.ship()
            file.write(data[len(data) // 2 :])
        times = path.stat()
        os.utime(packed, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.moved(path, packed, times.st_size)
        if looks:
            self.ship()
        path.unlink()

    def link(self, which: int) -> None:
        """
        Give a rotated file a second name. A poll that overlaps a rotation sees the
        same: one object under its old name and its new one.
        """
        files = self.rotated()
        if files:
            path = files[which % len(files)]
            packed = path.suffix if path.suffix in (".gz", ".xz", ".bz2") else ""
            os.link(path, f"{self.target('date')}{packed}")

    def delete(self, which: int) -> None:
        files = self.rotated()
        if files:
            path = files[which % len(files)]
            self.destroyed(path)
            path.unlink()

    def replaceGrown(self) -> None:
        """Rename a grown copy over the file, as rsync or an editor does."""
        if not self.path.exists():
            return
        copy = self.logs / ".app.log.tmp"
        shutil.copyfile(self.path, copy)
        self.write(self.line(), copy)
        self.moved(self.path, copy, copy.stat().st_size)
        copy.rename(self.path)

    def openLate(self) -> None:
        if self.path.exists():
            file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            self.writers.append((file, self.path))

    def writeLate(self, close: bool) -> None:
        for file, _ in self.writers:
            octets = self.line()
            file.write(octets)
            self.written.update([octets])
            self.noteUnheld(file, octets)
        if close:
            self.closeLate()

    def noteUnheld(self, file: BinaryIO, octets: bytes) -> None:
        """Octets written to a nameless file that is not held open are destroyed."""
        descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
        key, links = identify(descriptor), os.fstat(descriptor).st_nlink
        os.close(descriptor)
        held = [o.content.file for o in self.files.opened if o.file is not None]
        if links:
            return
        if self.isRunning and key in held:
            self.ghosts.append(octets)
        else:
            self.unseen.update([octets])

    def closeLate(self) -> None:
        for file, _ in self.writers:
            file.close()
        self.writers.clear()

    # Histories

    def act(self, action: Action) -> None:
        """Perform one action."""
        match action:
            case ("line", length):
                self.write(self.line(length))
            case ("banner",):
                self.write(BANNER)
            case ("nuls",):
                self.write(b"\0" * 40 + b"\n")
            case ("rotate", how):
                self.rotate(how)
            case ("begin", octets):
                self.rotate("number")
                self.write(octets)
            case ("copytruncate", looks):
                self.copytruncate(looks)
            case ("copytruncate", looks, race):
                self.copytruncate(looks, race)
            case ("compress", which, how, looks):
                self.compress(which, how, looks)
            case ("link", which):
                self.link(which)
            case ("delete", which):
                self.delete(which)
            case ("grown",):
                self.replaceGrown()
            case ("open-late",):
                self.openLate()
            case ("write-late", close):
                self.writeLate(close)
            case ("truncate",):
                self.closeLate()
                if self.path.exists():
                    self.destroyed(self.path)
                    self.truncated()
            case ("unlink",):
                if self.path.exists():
                    self.destroyed(self.path)
                    self.path.unlink()
            case ("halt", save):
                self.halt(save)
            case ("go",):
                self.go()
            case ("restart", save):
                self.halt(save)
                self.go()
            case ("cut",):
                self.cut()
            case ("ship", pieces, acknowledge):
                self.ship(pieces, acknowledge)
            case ("wait", seconds):
                self.now += seconds
            case ("journal", name):
                self.switch(name)
            case ("copy-journal",):
                self.snapshot = deepcopy(self.ledger)
            case ("put-back",):
                self.putBack()
            case ("lose-state",):
                self.loseState()
            case _:
                raise AssertionError(action)

    def finish(self) -> Outcome:
        """Let every grace period pass, and count."""
        self.closeLate()
        self.go()
        for _ in range(5):
            self.cut()
            self.ship()
            self.ship()
            self.now += SEARCH_S + 1
        for _ in range(8):
            self.ship()
            self.now += SEARCH_S + 1
        self.ship()
        gapOctets = self.ledger.gapOctets + self.ledger.gapOctetsElsewhere
        missing = self.written - self.ledger.lines - self.unseen - self.ledger.elsewhere
        extra = self.ledger.lines - self.written
        lost = sum(len(line) * n for line, n in missing.items())
        lost = max(0, lost - gapOctets)
        unique = sum(len(line) for line in missing if self.written[line] == 1)
        isAlike = unique <= gapOctets
        return Outcome(
            0 if isAlike else lost,
            lost if isAlike else 0,
            sum(len(line) * n for line, n in extra.items()),
            self.ledger.gapOctets,
            frozenset(self.events),
        )

    def close(self) -> None:
        self.closeLate()
        self.halt(False)


HOWS = ("number", "number", "old", "date", "extension", "olddir")

ACTIONS: Sequence[tuple[int, Any]] = (
    (6, lambda r: ("line", r.choice([0, 1, 30, 200]))),
    (2, lambda r: ("banner",)),
    (1, lambda r: ("nuls",)),
    (3, lambda r: ("rotate", r.choice(HOWS))),
    (2, lambda r: ("begin", r.choice([BANNER, BANNER + b"x\n", b"\0" * 40 + b"\n"]))),
    (2, lambda r: ("copytruncate", r.random() < 0.5)),
    (
        2,
        lambda r: (
            "compress",
            r.randrange(10),
            r.choice(["gz", "gz", "xz", "bz2"]),
            r.random() < 0.5,
        ),
    ),
    (1, lambda r: ("delete", r.randrange(10))),
    (1, lambda r: ("grown",)),
    (1, lambda r: ("open-late",)),
    (1, lambda r: ("write-late", r.random() < 0.5)),
    (1, lambda r: ("truncate",)),
    (1, lambda r: ("unlink",)),
    (2, lambda r: ("halt", r.random() < 0.7)),
    (3, lambda r: ("go",)),
    (2, lambda r: ("restart", r.random() < 0.7)),
    (1, lambda r: ("cut",)),
    (8, lambda r: ("ship", r.choice([1, 3, 10**6]), r.random() < 0.8)),
    (2, lambda r: ("wait", r.choice([1.0, 5.0, 20.0]))),
    (1, lambda r: ("journal", r.choice("AB"))),
    (1, lambda r: ("copy-journal",)),
    (1, lambda r: ("put-back",)),
)


RACES = (
    (
        2,
        lambda r: (
            "copytruncate",
            r.random() < 0.5,
            r.choice(["seen", "seen", "unseen"]),
        ),
    ),
    (1, lambda r: ("link", r.randrange(10))),
)
"""What only histories from C{RACES_FROM} on have, so that the seeds below keep theirs."""

RACES_FROM = 1_000_000


def randomHistory(seed: int) -> list[Action]:
    """A random history of up to 30 actions."""
    r = random.Random(seed)
    actions = (*ACTIONS, *RACES) if seed >= RACES_FROM else ACTIONS
    makers = [make for _, make in actions]
    weights = [weight for weight, _ in actions]
    count = r.randint(3, 30)
    return [make(r) for make in r.choices(makers, weights, k=count)]


def perform(history: Sequence[Action]) -> Outcome:
    """Perform a history in its own directory."""
    with tempfile.TemporaryDirectory(prefix="contents-") as name:
        world = FilesHistory(Path(name))
        try:
            for action in history:
                world.act(action)
            return world.finish()
        finally:
            world.close()


def reduce(history: list[Action], isBad: Any) -> list[Action]:
    """A shorter history that is still bad."""
    changed = True
    while changed:
        changed = False
        for index in range(len(history) - 1, -1, -1):
            shorter = history[:index] + history[index + 1 :]
            if isBad(shorter):
                history, changed = shorter, True
    return history


def main() -> int:
    """Run the histories that the command line names. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.contents",
        description="Run random histories of a log's files. The exit status is 0 if in each"
        " of them every octet is delivered or in a gap record, and every repeat is reported.",
    )
    parser.add_argument("count", nargs="?", type=int, default=100, help="default: 100")
    parser.add_argument("first", nargs="?", type=int, default=1, help="the first seed")
    chosen = parser.parse_args()
    count, first = chosen.count, chosen.first
    lost = alike = repeated = unreported = 0
    for seed in range(first, first + count):
        history = randomHistory(seed)
        try:
            outcome = perform(history)
        except Exception as error:
            print(f"seed {seed}: {type(error).__name__}: {error}")
            lost += 1
            continue
        lost += outcome.lost > 0
        alike += outcome.alike > 0
        repeated += outcome.repeated > 0
        unreported += outcome.isUnreported
        if outcome.lost or outcome.isUnreported:
            print(f"seed {seed}: {outcome}")
    words = (
        f"{count:,} histories: {lost} lost octets, {alike} lost some of contents that are"
        f" alike, {repeated} repeated lines, {unreported} of them unreported"
    )
    saveLines("contents", vars(chosen), [words])
    return 1 if lost or unreported else 0


if __name__ == "__main__":
    sys.exit(main())
