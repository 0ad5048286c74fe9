"""
Tests with real processes for outputs on disks that fill up, in directories that
disappear, and in files that are moved.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from unittest import SkipTest

from decnet_syslog.testing import LocalCluster

from ..campaigns import diskmatrix
from ..campaigns.diskmatrix import Cell
from ..peers import PairTestCase, requirePeer

_LINE = re.compile(rb"number (\d+) [^\n]*\n")


def numbered(count: int, first: int = 0) -> bytes:
    """Distinguishable lines of different lengths."""
    return b"".join(
        b"<134>1 2026-04-18T00:00:00Z decky ssh - auth - number %d %s\n"
        % (n, b"x" * (n % 97))
        for n in range(first, first + count)
    )


class MatrixTests(PairTestCase):
    """Some runs of L{tests.campaigns.diskmatrix}."""

    def hold(self, cell: Cell, words: str, status: int | None = None) -> None:
        """
        Check that nothing is lost or repeated, and that the listener did and logged
        what it should.
        """
        requirePeer("strace")
        result = diskmatrix.run(cell)
        self.assertEqual((result.lost, result.repeated), (0, 0))
        self.assertEqual(result.status, status)
        self.assertIn(words, result.words)

    def test_readOnly(self) -> None:
        """If both outputs' file system turns read-only, the listener waits."""
        self.hold(Cell("both", "EROFS", "running"), "Read-only file system")

    def test_failedSync(self) -> None:
        """A failed sync ends the listener."""
        self.hold(Cell("raw", "EIO on sync", "running"), "cannot be trusted", 74)

    def test_directoryGone(self) -> None:
        """
        If the directory is replaced by a file before a restart, the listener waits.
        """
        self.hold(Cell("JSON", "file in its place", "killed"), "Not a directory")

    def test_compressedWhileDown(self) -> None:
        """
        Compressing the outputs while a killed listener is down loses and repeats
        nothing.
        """
        self.hold(Cell("both", "compressed", "killed"), "")


class FullTests(PairTestCase):
    """A disk fills up within a batch, and space is freed in various ways."""

    def small(self) -> Path:
        """A disk of 3 MiB."""
        if os.geteuid():
            raise SkipTest("only root can mount a small disk")
        path = self.directory / "small"
        path.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)], check=True
        )
        self.addCleanup(subprocess.run, ["umount", "-l", str(path)], check=True)
        return path

    def full(self) -> tuple[LocalCluster, Path]:
        """Both outputs on a disk that has become full."""
        small = self.small()
        pair = self.pair(
            [f"--log-path={small}/full.log", f"--json-path={small}/full.json"]
        )
        worker = pair.enroll("w1")
        worker.append(numbered(30_000))
        worker.forwarder.start()
        pair.startListener()
        self.waitFor(
            pair,
            lambda: pair.listener.output().count("cannot write") >= 2,
            "the disk is not full",
        )
        return pair, small

    def assertOnce(self, *places: Path) -> None:
        """Check that each output's files have every line whole and once."""
        for ending in ("log", "json"):
            numbers = []
            for place in places:
                for path in place.glob(f"*full.{ending}*"):
                    for line in path.read_bytes().splitlines(True):
                        if not line.endswith(b"\n"):
                            continue
                        if ending == "json":
                            line = json.loads(line)["raw_line"].encode() + b"\n"
                        numbers += [int(n) for n in _LINE.findall(line)]
            self.assertEqual(sorted(numbers), list(range(30_000)), ending)

    def arrived(self, pair: LocalCluster, small: Path) -> bool:
        """Whether the last line is in both outputs."""
        return all(
            (small / name).exists() and b"number 29999 " in (small / name).read_bytes()
            for name in ("full.log", "full.json")
        )

    def make(self, small: Path, pair: LocalCluster) -> None:
        """Enlarge the disk, and wait for the last line."""
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        self.waitFor(
            pair, lambda: self.arrived(pair, small), "the outputs do not continue"
        )

    def test_movedToAnotherDisk(self) -> None:
        """
        When the outputs are moved to another disk, the deleted files are closed and no
        line is missing.
        """
        pair, small = self.full()
        other = self.directory / "other"
        other.mkdir()
        for name in ("full.log", "full.json"):
            shutil.move(small / name, other / name)

        def held() -> list[str]:
            main = pair.listener.pid
            children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
            opened = []
            for pid in [str(main), *children]:
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    try:
                        opened.append(os.readlink(link))
                    except OSError:
                        continue
            return [name for name in opened if "/full." in name and "deleted" in name]

        self.waitFor(pair, lambda: not held(), "deleted files are still open")
        self.make(small, pair)
        self.assertOnce(small, other)

    def test_renamedAndKilled(self) -> None:
        """
        The outputs are renamed on the full disk, and the listener is killed before
        there is space: no line is lost or repeated.
        """
        pair, small = self.full()
        for name in ("full.log", "full.json"):
            (small / name).rename(small / f"{name}.1")
        pair.listener.kill()
        pair.startListener()
        self.make(small, pair)
        self.assertOnce(small)

    def test_truncatedAndStopped(self) -> None:
        """
        The outputs are copied elsewhere and truncated, as by logrotate, and the
        listener is stopped: no line is lost or repeated.
        """
        pair, small = self.full()
        other = self.directory / "other"
        other.mkdir()
        for name in ("full.log", "full.json"):
            # Nothing can be written in between: the disk is full.
            shutil.copy(small / name, other / name)
        pair.listener.signal(signal.SIGSTOP)
        for name in ("full.log", "full.json"):
            os.truncate(small / name, 0)
        pair.listener.signal(signal.SIGCONT)
        self.waitFor(
            pair,
            lambda: all((small / n).stat().st_size for n in ("full.log", "full.json")),
            "the outputs do not continue",
        )
        pair.listener.stop()
        pair.startListener()
        self.make(small, pair)
        self.assertOnce(small, other)


class ConfiguredTests(PairTestCase):
    """Outputs that are exchanged, removed, and configured again."""

    def test_exchangedPaths(self) -> None:
        """
        Exchanged paths are refused with one line; once corrected, no line is missing.
        """
        pair = self.pair()
        worker = pair.enroll("w1")
        worker.append(numbered(10))
        worker.forwarder.start()
        pair.startListener()
        self.waitForLines(pair, 10)
        pair.listener.stop()
        right = list(pair.listener.arguments)
        swap = {"--log-path": "--json-path", "--json-path": "--log-path"}
        wrong = [
            swap.get(name, name) + equals + value
            for name, equals, value in (a.partition("=") for a in right)
        ]
        before = len(pair.listener.output())
        pair.listener.arguments = wrong
        pair.listener.start()
        assert pair.listener.running is not None
        self.assertEqual(pair.listener.running.wait(60), 1)
        said = pair.listener.output()[before:]
        self.assertIn("--force-output", said)
        self.assertNotIn("Traceback", said)
        pair.listener.arguments = right
        worker.append(numbered(10, 10))
        pair.startListener()
        self.waitForLines(pair, 20)
        self.assertEqual(pair.logPath.read_bytes(), numbered(20))
        self.assertNotIn("was not among", pair.listener.output())

    def test_leftOut(self) -> None:
        """
        An output that was removed from the configuration for a time reports at the next
        start which batches it lacks.
        """
        pair = self.pair()
        worker = pair.enroll("w1")
        worker.append(numbered(10))
        worker.forwarder.start()
        pair.startListener()
        self.waitForLines(pair, 10)
        pair.listener.stop()
        whole = list(pair.listener.arguments)
        pair.listener.arguments = [*whole[:-1], "--json-path="]
        self.assertTrue(whole[-1].startswith("--json-path"))
        worker.append(numbered(10, 10))
        pair.startListener()
        self.waitForFile(pair, pair.logPath, 20)
        pair.listener.stop()
        self.assertNotIn("was not among", pair.listener.output())
        pair.listener.arguments = whole
        pair.startListener()
        self.waitFor(
            pair,
            lambda: "was not among the outputs" in pair.listener.output(),
            "the missing batches are not reported",
        )
        self.assertEqual(pair.jsonPath.read_bytes().count(b"\n"), 10)
