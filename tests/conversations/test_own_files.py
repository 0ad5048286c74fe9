"""Tests for the program's own files: planted objects, modes, users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog
import twisted
from decnet_syslog.errors import UserError
from decnet_syslog.files import StateStore
from decnet_syslog.journal._sqlite import Journal
from decnet_syslog.outputs._file import OutputFile
from decnet_syslog.outputs._process import ListenerLock

from ..peers import PairTestCase
from ..tailing import TailTestCase
from .test_processes import numbered

# The conventional uid of nobody; no name is needed.
NOBODY = 65534


def journal(path: Path) -> None:
    Journal.open(path).close()


def bookmarks(path: Path) -> None:
    StateStore.open(path).close()


def lock(path: Path) -> None:
    held = ListenerLock(path)
    held.acquire()
    held.release()


def output(path: Path) -> None:
    OutputFile(str(path), lambda name, **facts: None).close()


PRIVATE: list[Callable[[Path], None]] = [journal, bookmarks, lock]


class PlantedTests(SynchronousTestCase):
    """
    Any other object in place of one of our files is refused with one line, and left
    untouched.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "ours"

    def assertRefused(self, make: Callable[[Path], None], word: str) -> None:
        error = str(self.assertRaises(UserError, make, self.path))
        self.assertIn(word, error)
        self.assertIn(str(self.directory), error)
        self.assertNotIn("\n", error)

    def test_symbolicLink(self) -> None:
        """A symbolic link is refused whether or not its target exists."""
        target = self.directory / "target"
        for octets in (None, b"precious"):
            if octets is not None:
                target.write_bytes(octets)
            self.path.symlink_to(target)
            for make in (*PRIVATE, output):
                self.assertRefused(make, "cannot open")
            self.path.unlink()
        self.assertEqual(target.read_bytes(), b"precious")

    def test_hardLinkToAnotherFile(self) -> None:
        """
        If the path is a hard link to another of our files, that file and its mode stay
        unchanged.
        """
        target = self.directory / "target"
        target.write_bytes(b"precious" * 1000)
        target.chmod(0o644)
        os.link(target, self.path)
        self.assertRefused(bookmarks, "another kind")
        self.assertRefused(journal, "another kind")
        lock(self.path)
        self.assertEqual(target.read_bytes(), b"precious" * 1000)
        self.assertEqual(target.stat().st_mode & 0o777, 0o644)

    def test_hardLinkOfBackup(self) -> None:
        """A second hard link to our own file, as made by a backup, is accepted."""
        for make in PRIVATE:
            self.path.unlink(missing_ok=True)
            make(self.path)
            os.link(self.path, self.directory / f"backup-{make.__name__}")
            make(self.path)

    def test_pipeDoesNotBlock(self) -> None:
        """A FIFO is refused without waiting for its other end."""
        os.mkfifo(self.path)
        for make in (*PRIVATE, output):
            self.assertRefused(make, "not a regular file")

    def test_directoryInPlaceOfFile(self) -> None:
        """A directory in place of the file is refused."""
        self.path.mkdir()
        for make in (*PRIVATE, output):
            self.assertRefused(make, "cannot open")

    def test_everybodysDirectory(self) -> None:
        """A world-writable directory is refused, unless it is sticky like /tmp."""
        self.directory.chmod(0o777)
        for make in PRIVATE:
            self.assertRefused(make, "chmod o-w")
        self.directory.chmod(0o1777)
        for make in PRIVATE:
            self.path.unlink()
            make(self.path)

    def test_otherUsers(self) -> None:
        """
        A file of another user is refused, and so is our own file where another user may
        replace it.
        """
        us = os.geteuid()
        if us == 0:
            os.chown(self.directory, NOBODY - 1, -1)
        for make in PRIVATE:
            self.path.unlink(missing_ok=True)
            make(self.path)
            with mock.patch.object(os, "geteuid", return_value=us + 1):
                self.assertRefused(make, "belongs to user")
        status = list(os.stat(self.path))
        status[4] = us + 1
        with (
            mock.patch.object(os, "geteuid", return_value=us + 1),
            mock.patch.object(os, "fstat", return_value=os.stat_result(status)),
        ):
            self.assertRefused(lock, "who can replace the file")

    def test_modesIgnoreUmask(self) -> None:
        """
        New files have fixed modes, whatever the umask; existing files keep their mode.
        """
        for umask in (0o000, 0o077, 0o777):
            before = os.umask(umask)
            self.addCleanup(os.umask, before)
            for make in (*PRIVATE, output):
                self.path.unlink(missing_ok=True)
                make(self.path)
                wanted = 0o640 if make is output else 0o600
                self.assertEqual(self.path.stat().st_mode & 0o7777, wanted)
            os.umask(before)
        self.path.chmod(0o660)
        output(self.path)
        self.assertEqual(self.path.stat().st_mode & 0o7777, 0o660)


class LinkTests(TailTestCase):
    """Symbolic links among the logs that a pattern matches."""

    pattern = "*.log"

    def test_matchedLinkIsSkipped(self) -> None:
        """
        A link that a pattern matches is skipped and reported once; other logs are
        shipped.
        """
        secret = self.directory / "secret"
        secret.write_bytes(b"secret\n")
        (self.logs / "planted.log").symlink_to(secret)
        self.append(b"a\n")
        for _ in range(5):
            self.assertEqual(self.settle(), b"a\n")
        self.assertEqual(self.events.count("unreadable"), 1)

    def test_logReplacedByLink(self) -> None:
        """A log that is replaced by a link is not followed."""
        secret = self.directory / "secret"
        secret.write_bytes(b"secret\n")
        self.append(b"a\n")
        self.settle()
        self.path.unlink()
        self.path.symlink_to(secret)
        self.assertNotIn(b"secret", self.settle())
        self.assertIn("unreadable", self.events)

    def test_linkInPlaceOfRotatedFile(self) -> None:
        """A link in place of a rotated file is not read."""
        secret = self.directory / "secret"
        secret.write_bytes(b"secret\n")
        self.append(b"a\n")
        self.settle()
        for name in ("app.log.1", "app.log-20260418"):
            (self.logs / name).symlink_to(secret)
        self.append(b"b\n")
        self.assertEqual(self.settle(), b"a\nb\n")


class GivenTests(TailTestCase):
    """A log given by its own name that is a symbolic link."""

    def test_givenLinkIsFollowed(self) -> None:
        """A link given as C{--log-file} is followed: the operator chose it."""
        real = self.directory / "real"
        real.write_bytes(b"a\n")
        self.path.symlink_to(real)
        self.assertEqual(self.settle(), b"a\n")


class UserTests(PairTestCase):
    """Services started with twistd's C{--uid} and C{--gid}."""

    def test_servesAsNobody(self) -> None:
        """
        Services started by root that run as nobody create all their files as nobody,
        and work.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can switch to another user")
        places = {
            str(Path(m.__file__ or "").parents[1]) for m in (decnet_syslog, twisted)
        }
        environment = {"PYTHONPATH": os.pathsep.join(places)}
        python = self.pythonOf(NOBODY, environment)
        # The directory that trial makes is accessible to root only.
        self.directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-user-"))
        self.addCleanup(shutil.rmtree, self.directory)
        pair = self.pair()
        worker = pair.enroll("decky-01")
        # The certificates belong to root; files made at run time belong to the user.
        out = self.directory / "out"
        state = worker.file.parent / "state"
        for made in (out, state):
            made.mkdir()
            os.chown(made, NOBODY, NOBODY)
        for directory in (self.directory, worker.file.parent):
            directory.chmod(0o755)
        pair.logPath, pair.jsonPath = out / "master.log", out / "master.json"
        user = [f"--uid={NOBODY}", f"--gid={NOBODY}"]
        for process in pair.processes:
            process.prefix = ["/bin/sh", "-c", f'shift; exec {python} "$@"', "sh"]
            process.environment = environment
        pair.listener.arguments = [
            *user,
            "decnet-listener",
            f"--host={pair.host}",
            f"--port={pair.port}",
            f"--ca-dir={pair.caDirectory}",
            f"--log-path={pair.logPath}",
            f"--json-path={pair.jsonPath}",
        ]
        worker.forwarder.arguments = [
            *user,
            *worker.forwarder.arguments,
            f"--state-db={state}/forwarder.db",
        ]
        pair.startListener()
        worker.append(numbered(0, 10))
        worker.forwarder.start()
        self.waitForLines(pair, 10)
        for process in pair.processes:
            status = Path(f"/proc/{process.pid}/status").read_text()
            self.assertIn(f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n", status)
        files = [*out.iterdir(), *state.iterdir()]
        self.assertGreaterEqual(len(files), 4)
        for file in files:
            owner = file.stat()
            self.assertEqual((owner.st_uid, owner.st_gid), (NOBODY, NOBODY), file)
            wanted = 0o640 if file in (pair.logPath, pair.jsonPath) else 0o600
            self.assertEqual(owner.st_mode & 0o777, wanted, file)
        # A second run, with the existing files.
        pair.listener.stop()
        pair.startListener()
        worker.append(numbered(10, 10))
        self.waitForLines(pair, 20)

    def pythonOf(self, user: int, environment: dict[str, str]) -> str:
        """A Python interpreter that another user can run, with our dependencies."""
        for python in (sys.executable, shutil.which("python3", path="/usr/bin:/bin")):
            if python is None:
                continue
            try:
                done = subprocess.run(
                    [python, "-c", "import OpenSSL, twisted, decnet_syslog"],
                    user=user,
                    group=user,
                    extra_groups=[],
                    cwd="/",
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                )
            except OSError:
                continue
            if done.returncode == 0:
                return python
        raise SkipTest("another user cannot run any Python here")
