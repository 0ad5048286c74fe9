"""
Cut the power: discard written octets that were not synced, and check whether it
mattered.

Simulated at the file layer, as ALICE does (Pillai et al., OSDI 2014): a child process
runs histories of L{tests.campaigns.pipeline} on real files, with the real cores and the real
SQLite, under C{strace}. The trace has every write, truncation, rename and sync with its
octets. From the trace, the state of the disk is rebuilt as a power cut after any one
call may have left it: synced octets are present; of the rest none, all, some whole or
torn at sectors, or lengths without data; names whose directory was not synced may or
may not exist. The cut affects the master's files, the worker's, or both. Then the
pipeline is started on the resulting files:

* no position is lower than one that the master has acknowledged or reported;
* every line that the worker's log still has, or that was acknowledged, arrives once and
  in order.

A child is killed in the middle of its history and the next one continues, so that a
power cut also follows a kill: the successor has read octets back from the page cache
which the killed process wrote and never synced. To try all cuts of some histories:

    python -m tests.campaigns.powercut 4 1
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.report import saveLines
from decnet_syslog.wire import ACK, RESUME, ControlLine

from . import pipeline
from .pipeline import End, Master, World, perform

__all__ = ["MODES", "SIDES", "Disk", "check", "parse", "record"]

SECTOR_OCTETS = 512

# A serial number that no history reaches.
LATER = 500_000

# What a power cut keeps of unsynced octets.
MODES = ("nothing", "some", "lengths", "everything")

# Which machine loses power.
SIDES = ("master", "worker", "both")

_CALLS = "openat,pwrite64,write,ftruncate,truncate,fallocate,rename,unlink,fsync,fdatasync,link"
_UNKNOWN = "sendfile,copy_file_range,pwritev,writev,renameat2,msync,sync"

# 12 pwrite64(3</dir/file>, "octets", 4, 0) = 4
_CALL = re.compile(rb"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?")
_FILE = re.compile(rb"\d+<(.*?)>")
_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@dataclass
class Node:
    """
    A file's content: the part on disk, and the writes since.

    @ivar pending: (offset, octets), or (length, None) for a truncation.
    @ivar changedAt: the number of the call that last wrote to the file.
    """

    number: int
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    length: int = 0
    changedAt: int = 0

    def write(self, offset: int, octets: bytes) -> None:
        self.pending.append((offset, octets))
        self.length = max(self.length, offset + len(octets))

    def truncate(self, length: int) -> None:
        self.pending.append((length, None))
        self.length = length

    def sync(self) -> None:
        self.durable = self.after(self.pending)
        self.pending = []

    def after(self, changes: list[tuple[int, bytes | None]]) -> bytearray:
        """The content on disk after some of the changes."""
        content = bytearray(self.durable)
        for offset, octets in changes:
            end = offset + len(octets or b"")
            if len(content) < end:
                content.extend(bytes(end - len(content)))
            if octets is None:
                del content[offset:]
            else:
                content[offset:end] = octets
        return content

    def left(self, mode: str, dice: random.Random) -> bytes:
        """The content that a power cut leaves."""
        if mode == "nothing":
            return bytes(self.durable)
        if mode == "everything":
            return bytes(self.after(self.pending))
        if mode == "lengths":
            content = self.durable[: self.length]
            return bytes(content) + bytes(self.length - len(content))
        kept = [change for change in self.pending if dice.random() < 0.6]
        return bytes(self.after([_torn(change, dice) for change in kept]))


def _torn(
    change: tuple[int, bytes | None], dice: random.Random
) -> tuple[int, bytes | None]:
    """A write of which only the first sectors may have reached the disk."""
    offset, octets = change
    if octets is None or dice.random() < 0.6:
        return change
    sectors = (offset + len(octets) - 1) // SECTOR_OCTETS - offset // SECTOR_OCTETS
    end = (offset // SECTOR_OCTETS + dice.randint(0, sectors)) * SECTOR_OCTETS
    return offset, octets[: max(0, end - offset)]


class Disk:
    """
    The files under a directory, call by call.

    @ivar names: the names as processes see them; the keys are paths.
    @ivar durable: the names that are on disk.
    @ivar acknowledged: positions that the master has promised, by stream.
    """

    def __init__(self, directory: Path) -> None:
        self._root = os.fsencode(directory) + b"/"
        self._nodes = 0
        self._calls = 0
        self.names: dict[bytes, Node] = {}
        self.durable: dict[bytes, Node] = {}
        self.acknowledged: dict[tuple[str, int], int] = {}
        self.journal = ""

    def apply(self, name: bytes, arguments: bytes, result: int) -> bool:
        """Apply one call. Returns whether it changed anything."""
        self._calls += 1
        files = _FILE.findall(arguments)
        texts = [codecs.escape_decode(text)[0] for text in _TEXT.findall(arguments)]
        if result < 0:
            return False
        match name:
            case b"openat":
                return self._open(texts[0], arguments)
            case b"write" if files[0].endswith(b"/marks"):
                self._mark(json.loads(texts[0]))
                return False
            case b"write" | b"pwrite64":
                return self._write(files[0], texts[0][:result], name, arguments)
            case b"ftruncate" | b"truncate":
                node = self.names.get(texts[0] if texts else files[0])
                if node is not None:
                    node.truncate(int(arguments.rpartition(b", ")[2]))
                return node is not None
            case b"fallocate":
                node = self.names.get(files[0])
                if node is not None:
                    offset, length = map(int, arguments.split(b", ")[2:])
                    node.truncate(max(node.length, offset + length))
                return node is not None
            case b"rename":
                self.names[texts[1]] = self.names.pop(texts[0])
                return True
            case b"link":
                self.names[texts[1]] = self.names[texts[0]]
                return True
            case b"unlink":
                return self.names.pop(texts[0], None) is not None
            case b"fsync" | b"fdatasync":
                return self._sync(files[0])
        raise AssertionError(f"{name!r} is an unknown call")

    def _open(self, path: bytes, arguments: bytes) -> bool:
        if not path.startswith(self._root) or path.endswith(b"/marks"):
            return False
        node = self.names.get(path)
        if node is None and b"O_CREAT" in arguments:
            self.names[path] = Node(self._nodes, changedAt=self._calls)
            self._nodes += 1
            return True
        if node is not None and b"O_TRUNC" in arguments:
            node.truncate(0)
            return True
        return False

    def _write(self, path: bytes, octets: bytes, name: bytes, arguments: bytes) -> bool:
        node = self.names.get(path)
        if node is None:
            return False
        # A write without an offset appends.
        at = node.length
        if name == b"pwrite64":
            at = int(arguments.rpartition(b", ")[2])
        node.write(at, octets)
        node.changedAt = self._calls
        return True

    def _sync(self, path: bytes) -> bool:
        node = self.names.get(path)
        if node is not None:
            node.sync()
            return True
        if not (path + b"/").startswith(self._root):
            return False
        for names, others in ((self.names, self.durable), (self.durable, self.names)):
            for file in [f for f in names if os.path.dirname(f) == path]:
                if file in self.names:
                    self.durable[file] = self.names[file]
                elif others is self.names:
                    del self.durable[file]
        return True

    def _mark(self, promise: list[object]) -> None:
        stream, generation, offset = promise
        assert isinstance(stream, str)
        assert isinstance(generation, int)
        assert isinstance(offset, int)
        key = (stream, generation)
        self.acknowledged[key] = max(offset, self.acknowledged.get(key, 0))

    def _cut(self, path: bytes, side: str) -> bool:
        """Whether a file is on a machine that lost power."""
        inside = path[len(self._root) :]
        owner = "worker" if inside.startswith((b"logs/", b"forwarder")) else "master"
        return side in (owner, "both")

    def image(
        self, side: str, mode: str, dice: random.Random
    ) -> dict[bytes, tuple[Node, bytes]]:
        """What a power cut leaves: the names, each with its content."""
        strict = mode == "nothing" or (mode == "some" and dice.random() < 0.5)
        names = {p: n for p, n in self.names.items() if not self._cut(p, side)}
        seen = self.durable if strict else self.names
        names |= {p: n for p, n in seen.items() if self._cut(p, side)}
        return {
            path: (
                node,
                node.left(mode if self._cut(path, side) else "everything", dice),
            )
            for path, node in names.items()
        }


def parse(trace: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """The calls in a trace: name, arguments, result."""
    with open(trace, "rb") as lines:
        for line in lines:
            call = _CALL.match(line)
            if call is None:
                # A signal, or the call during which the process was killed.
                assert b"+++" in line or b"---" in line or b" = ?" in line, line[:200]
                continue
            yield call[1], call[2], int(call[3])


def record(
    directory: Path, seed: int, steps: int, synced: bool = True, children: int = 2
) -> Path:
    """
    Run children in a directory, one after another; each is killed at its end.

    @param synced: whether the journal is synced as it should be.
    @return: the trace.
    """
    trace = directory.with_name(directory.name + ".trace")
    for child in range(children):
        part = trace.with_suffix(f".{child}")
        command = ["strace", "-qq", "-y", "-s", "16000000", "-o", str(part)]
        command += ["-e", f"trace={_CALLS},{_UNKNOWN}", sys.executable]
        command += [
            "-m",
            "tests.campaigns.powercut",
            "child",
            str(directory),
            str(seed + child),
        ]
        command += [str(steps), "synced" if synced else "unsynced"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
        with open(trace, "ab") as whole:
            whole.write(part.read_bytes())
        part.unlink()
    return trace


def doNotSync(master: Master) -> None:
    """Install a mistake: commit without a sync."""
    commit = master.journal.commit

    def unsynced(*arguments: Any) -> Any:
        master.database.connection.execute("PRAGMA synchronous = OFF")
        return commit(*arguments)

    master.journal.commit = unsynced  # type: ignore


def live(directory: Path, seed: int, steps: int, synced: bool) -> None:
    """The child: continue from the files in the directory, then be killed."""
    world = World(directory, serial=lastLine(directory))
    if not synced:
        doNotSync(world.master)
    marks = os.open(directory / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sendControl = End.sendControl

    def marked(end: End, *lines: ControlLine) -> None:
        for line in lines:
            if isinstance(line, ACK | RESUME):
                promise = [line.stream, line.generation, line.offset]
                os.write(marks, json.dumps(promise).encode())
        sendControl(end, *lines)

    End.sendControl = marked  # type: ignore
    dice = random.Random(seed)
    world.connect()
    world.warmUp()
    done = 0
    while done < steps:
        step = pipeline.randomStep(dice)
        # The kill is the crash; a copied database would look like a synced file.
        if step[0] not in ("crash worker", "crash master", "copytruncate"):
            perform(world, step)
            done += 1
    os.kill(os.getpid(), signal.SIGKILL)


def lines(octets: bytes) -> list[int]:
    """The serial numbers of the whole lines of a log; a power cut can leave NULs in it."""
    return [int(number) for number in re.findall(rb"^(\d{6}) x*\n", octets, re.M)]


def lastLine(directory: Path) -> int:
    """The highest serial number in a worker's logs."""
    logs = list((directory / "logs").glob("app.log*"))
    return max([0, *[n for log in logs for n in lines(log.read_bytes())]])


class Machine:
    """Restores images into existing files, so that every file keeps its inode."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.directory = directory
        self._store = directory.with_name(directory.name + ".nodes")
        self._store.mkdir()
        for path, node in disk.names.items():
            os.link(path, self._store / str(node.number))

    def restore(self, image: dict[bytes, tuple[Node, bytes]]) -> None:
        """Make the directory match the image."""
        for place in (self.directory, self.directory / "logs"):
            for path in list(place.iterdir()):
                if path.is_file():
                    path.unlink()
        for name, (node, octets) in image.items():
            kept = self._store / str(node.number)
            kept.write_bytes(octets)
            # Rotated files are read in order of age.
            os.utime(kept, (node.changedAt, node.changedAt))
            if name.endswith(b"-segments"):
                # The journal refuses a second name for it, and records no inode.
                shutil.copy2(os.fsencode(kept), name)
            else:
                os.link(kept, name)


def check(
    directory: Path,
    image: dict[bytes, tuple[Node, bytes]],
    acknowledged: dict[tuple[str, int], int],
) -> None:
    """
    Start on the remaining files, and check that nothing is missing.

    @raise AssertionError: something is missing.
    """
    logs = {p: octets for p, (_, octets) in image.items() if b"/logs/" in p}
    wanted = {number for octets in logs.values() for number in lines(octets)}
    # The log may have lost lines that have arrived: the next number must differ from
    # theirs.
    with mock.patch("decnet_syslog.outputs._file.bootId", return_value="another boot"):
        _check(directory, wanted, acknowledged)


def _check(
    directory: Path, wanted: set[int], acknowledged: dict[tuple[str, int], int]
) -> None:
    world = World(directory, serial=LATER)
    try:
        known = {
            (k.stream, k.generation): k.offset for k in world.master.journal.known("w1")
        }
        for key, offset in acknowledged.items():
            assert known.get(key, 0) >= offset, (
                f"{key}: {offset} acknowledged, {known.get(key)} there"
            )
        world.connect()
        world.line()
        world.heal()
        raw = world.rawPath.read_bytes()
        numbers = lines(raw)
        assert numbers == sorted(set(numbers)), numbers
        assert wanted <= set(numbers), sorted(wanted - set(numbers))
        records = world.jsonPath.read_bytes().splitlines()
        assert len(records) == raw.count(b"\n"), "master.json differs"
        said = "".join(json.loads(record)["raw_line"] + "\n" for record in records)
        assert lines(said.encode()) == numbers, "master.json differs"
    finally:
        world.close()


def cuts(
    directory: Path, trace: Path, dice: random.Random, share: float = 1.0
) -> Iterator[tuple[int, str, str]]:
    """
    Cut the power after every call that changes a file, or after a share of those calls.

    @return: for each cut that was survived: the number of the call, which machine, and
        the mode.
    """
    disk = Disk(directory)
    last = Disk(directory)
    for call in parse(trace):
        last.apply(*call)
    machine = Machine(directory, last)
    for number, call in enumerate(parse(trace)):
        if not disk.apply(*call) or dice.random() >= share:
            continue
        for side in SIDES:
            for mode in MODES:
                image = disk.image(side, mode, dice)
                machine.restore(image)
                try:
                    check(directory, image, disk.acknowledged)
                except BaseException as error:
                    what = f"after call {number} ({call[0]!r} {call[1][:120]!r})"
                    where = f"{side}, {mode} of what was not synced: {error}"
                    raise AssertionError(f"{what}, {where}") from error
                yield number, side, mode


def newHome() -> Path:
    """A new directory, in memory where possible: it is synced very often."""
    home = "/dev/shm" if os.path.isdir("/dev/shm") else None
    return Path(tempfile.mkdtemp(dir=home, prefix="decnet-syslog-powercut-"))


def run(
    home: Path, seed: int, steps: int = 40, share: float = 1.0, synced: bool = True
) -> int:
    """
    Record a history, and cut the power after every one of its calls.

    @return: the number of cuts.
    """
    directory = home / f"world-{seed}"
    trace = record(directory, seed, steps, synced)
    return sum(1 for _ in cuts(directory, trace, random.Random(seed), share))


def main(arguments: Sequence[str]) -> int:
    """Cut the power throughout some histories. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.powercut",
        description="Record random histories, and cut the power of a simulated disk after every"
        " call of each. A violation ends in a traceback.",
    )
    parser.add_argument("count", nargs="?", type=int, default=4, help="default: 4")
    parser.add_argument("first", nargs="?", type=int, default=1, help="the first seed")
    chosen = parser.parse_args(arguments)
    count, first = chosen.count, chosen.first
    cuts = []
    for seed in range(first, first + 2 * count, 2):
        home = newHome()
        try:
            cuts.append(run(home, seed))
        except BaseException:
            print(f"history {seed}: see {home}", flush=True)
            raise
        shutil.rmtree(home)
        print(f"history {seed}: {cuts[-1]:,} power cuts survived", flush=True)
    words = f"{len(cuts)} histories, {sum(cuts):,} power cuts: all survived"
    saveLines("powercut", vars(chosen), [words])
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        live(
            Path(sys.argv[2]),
            int(sys.argv[3]),
            int(sys.argv[4]),
            sys.argv[5] == "synced",
        )
    raise SystemExit(main(sys.argv[1:]))
