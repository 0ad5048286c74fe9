"""Tests for L{decnet_syslog.master.outputprocess}: real children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.master.outputprocess import ListenerLock, RemoteOutput
from decnet_syslog.master.outputs import FileOutput
from decnet_syslog.master.rendering import renderJSON
from decnet_syslog.master.values import Batch, Cursor

from .doubles import PROVENANCE, STREAM


def batch(seq: int, octets: bytes) -> Batch:
    """A batch of lines."""
    return Batch(seq, PROVENANCE, STREAM, 0, 0, len(octets), octets, None, None)


class RemoteOutputTests(SynchronousTestCase):
    """An output in a child does what one in this process does."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "master.json"
        self.events: list[tuple[str, Any]] = []
        self.lock = ListenerLock(self.directory / "lock")
        self.addCleanup(self.lock.release)

    def output(self, path: Path | None = None) -> RemoteOutput:
        output = RemoteOutput("json", str(path or self.path), self.event, self.lock)
        self.addCleanup(output.abandon)
        return output

    def event(self, name: str, **facts: Any) -> None:
        self.events.append((name, facts))

    def started(self) -> RemoteOutput:
        output = self.output()
        output.start(Cursor(output.name, 0, {}))
        return output

    def test_same(self) -> None:
        """The same files, the same cursors, the same name for them."""
        local = FileOutput(
            "json", str(self.directory / "local.json"), renderJSON, self.event
        )
        local.start(Cursor(local.name, 0, {}))
        remote = self.started()
        self.assertEqual(remote.name, local.name.replace("local.json", "master.json"))
        batches = [batch(1, b"one\ntwo\n"), batch(2, b"three\n")]
        for output in (local, remote):
            while (cursor := output.apply(batches)) is not None:
                self.assertEqual(cursor.seq, 0)
            self.assertEqual(output.seq, 2)
            cursor = output.sync()
            self.assertEqual((cursor.seq, len(cursor.files)), (2, 1))
            output.close()
        octets = self.path.read_bytes()
        self.assertEqual(octets, (self.directory / "local.json").read_bytes())
        lines = [json.loads(line)["raw_line"] for line in octets.splitlines()]
        self.assertEqual(lines, ["one", "two", "three"])

    def test_events(self) -> None:
        """What others do to the file is told here."""
        remote = self.started()
        for seq in (1, 2):
            while remote.apply([batch(seq, b"x\n")]) is not None:
                remote.sync()
            if seq == 1:
                os.truncate(self.path, 0)
        self.assertEqual([name for name, _ in self.events], ["output-truncated"])
        remote.close()

    def test_errors(self) -> None:
        """What goes wrong there is raised here; the child goes on."""
        other = self.directory / "a directory"
        other.mkdir()
        remote = self.output(other)
        error = self.assertRaises(UserError, remote.start, Cursor(remote.name, 0, {}))
        self.assertIn("cannot open the output", str(error))
        remote.reopen()

    def test_signals(self) -> None:
        """A child does not end before the listener: what it has is written first."""
        remote = self.started()
        assert remote._child is not None
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGUSR2,
        ):
            remote._child.send_signal(number)
        while remote.apply([batch(1, b"x\n")]) is not None:
            pass
        remote.close()
        self.assertEqual(self.path.read_bytes().count(b"\n"), 1)

    def test_signalsAtOnce(self) -> None:
        """Nor does one end it that comes before it has begun to ignore signals."""
        remote = self.output()
        pids: list[int] = []

        def spawn(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
            child = popen(*arguments, **named)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
                child.send_signal(number)
            pids.append(child.pid)
            return child

        popen = subprocess.Popen
        with mock.patch("subprocess.Popen", spawn):
            remote.start(Cursor(remote.name, 0, {}))
        self.assertEqual(len(pids), 1)
        remote.close()

    def test_killed(self) -> None:
        """A child that is gone is an error, not a hang."""
        remote = self.started()
        assert remote._child is not None
        remote._child.kill()
        error = self.assertRaises(RuntimeError, remote.sync)
        self.assertIn("has ended", str(error))

    def test_listenerKilled(self) -> None:
        """A child whose listener was killed ends without a word, also with an answer of its
        that nobody has read."""
        remote = self.started()
        assert remote._line is not None and remote._child is not None
        remote._line.send(("reopen", ()))
        self.assertTrue(remote._line.poll(60))
        remote._line.close()
        self.assertEqual(remote._child.wait(60), 0)

    def test_lockedByChild(self) -> None:
        """A listener that died leaves the lock to its child, until that has ended, too."""
        self.lock.acquire()
        remote = self.started()
        self.lock.release()
        another = ListenerLock(self.directory / "lock")
        error = self.assertRaises(UserError, another.acquire, 0.1)
        self.assertIn("another decnet-listener", str(error))
        remote.close()
        another.acquire(0.1)
        another.release()
