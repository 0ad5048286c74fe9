"""Tests for L{decnet_syslog.outputs._process}, with real child processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.journal._values import Batch, Cursor
from decnet_syslog.outputs._pipe import ObjectPipe
from decnet_syslog.outputs._process import ListenerLock, RemoteOutput
from decnet_syslog.outputs._rendering import RECORDS

from ..doubles import PROVENANCE, STREAM, makeOutput


def batch(seq: int, octets: bytes) -> Batch:
    """A batch of lines."""
    return Batch(seq, PROVENANCE, STREAM, 0, 0, len(octets), octets, None, None)


class RemoteOutputTests(SynchronousTestCase):
    """An output in a child process behaves like one in this process."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "master.json"
        self.events: list[tuple[str, Any]] = []
        self.lock = ListenerLock(self.directory / "lock")
        self.addCleanup(self.lock.release)

    def output(self, path: Path | None = None) -> RemoteOutput:
        output = RemoteOutput(RECORDS, str(path or self.path), self.event, self.lock)
        self.addCleanup(output.abandon)
        return output

    def event(self, name: str, **facts: Any) -> None:
        self.events.append((name, facts))

    def started(self) -> RemoteOutput:
        output = self.output()
        output.start(Cursor(output.name, 0, {}))
        return output

    def test_notStarted(self) -> None:
        """An output that is not started holds no descriptor."""
        before = os.listdir("/proc/self/fd")
        for _ in range(8):
            self.output()
            makeOutput(self, self.path, RECORDS)
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))

    def test_sameAsLocal(self) -> None:
        """Files, cursors and names are the same as for a local output."""
        local = makeOutput(self, self.directory / "local.json", RECORDS, self.event)
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

    def test_eventsAreForwarded(self) -> None:
        """Events about the file are forwarded from the child."""
        remote = self.started()
        for seq in (1, 2):
            while remote.apply([batch(seq, b"x\n")]) is not None:
                remote.sync()
            if seq == 1:
                os.truncate(self.path, 0)
        self.assertEqual([name for name, _ in self.events], ["output-truncated"])
        remote.close()

    def test_errorsAreRaisedHere(self) -> None:
        """Errors in the child are raised here, and the child continues."""
        other = self.directory / "a directory"
        other.mkdir()
        remote = self.output(other)
        error = self.assertRaises(UserError, remote.start, Cursor(remote.name, 0, {}))
        self.assertIn("cannot open the output", str(error))
        remote.reopen()

    def test_signalsAreIgnored(self) -> None:
        """
        A child ignores termination signals, so that the listener can write everything
        first.
        """
        remote = self.started()
        assert remote.pid is not None
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGUSR2,
        ):
            os.kill(remote.pid, number)
        while remote.apply([batch(1, b"x\n")]) is not None:
            pass
        remote.close()
        self.assertEqual(self.path.read_bytes().count(b"\n"), 1)

    def test_signalsAtOnce(self) -> None:
        """
        A signal that arrives before the child ignores signals does not end it either.
        """
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

    def test_killedChild(self) -> None:
        """A killed child causes an error instead of a hang."""
        remote = self.started()
        assert remote.pid is not None
        os.kill(remote.pid, signal.SIGKILL)
        error = self.assertRaises(RuntimeError, remote.sync)
        self.assertIn("has ended", str(error))

    def test_listenerKilled(self) -> None:
        """
        When its listener is killed, the child ends silently, even with an unread
        answer.
        """
        remote = self.started()

        def die(pipe: ObjectPipe) -> None:
            self.assertTrue(select.select([pipe], [], [], 60)[0])
            raise EOFError

        with mock.patch.object(ObjectPipe, "recv", die):
            self.assertRaises(RuntimeError, remote.reopen)
        self.assertEqual(remote.abandon(), 0)

    def test_lockedByChild(self) -> None:
        """When a listener dies, its child keeps the lock until it has ended as well."""
        self.lock.acquire()
        remote = self.started()
        self.lock.release()
        another = ListenerLock(self.directory / "lock")
        error = self.assertRaises(UserError, another.acquire, 0.1)
        self.assertIn("another decnet-listener", str(error))
        remote.close()
        another.acquire(0.1)
        another.release()
