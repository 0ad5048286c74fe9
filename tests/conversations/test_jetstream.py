"""
Tests with real processes and a real cluster: kills lose nothing and repeat nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import time
from pathlib import Path

from decnet_syslog.nats._access import Access, parseServers
from decnet_syslog.nats._bucket import Bucket
from decnet_syslog.nats._bus import Bus, NoResponse
from decnet_syslog.testing import (
    LocalCluster,
    LocalWorker,
    Process,
    countLines,
    freePort,
)

from ..natsserver import ROOMY, NatsTestCase, waitUntil


class RunningTestCase(NatsTestCase):
    """A worker, a listener, and the outputs."""

    def arrange(self, journal: str) -> None:
        """
        Make the processes, without starting them.

        @param journal: the value of C{--journal}.
        """
        self.journal = journal
        self.home = self.directory()
        self.pair = LocalCluster(self.home)
        self.addCleanup(self.pair.stop)
        self.pair.listener.arguments = [
            "decnet-listener",
            f"--host={self.pair.host}",
            f"--port={self.pair.port}",
            f"--ca-dir={self.pair.caDirectory}",
            f"--journal={journal}",
        ]
        self.worker = self.pair.enroll("w1")
        self.written: list[bytes] = []

    def outputs(self, directory: Path, code: str = "", records: bool = True) -> Process:
        """
        The process that writes the files of a directory.

        @param records: whether it writes records as well.
        @param code: run first in its process.
        """
        directory.mkdir(exist_ok=True)
        process = Process(
            [
                "decnet-outputs",
                f"--journal={self.journal}",
                f"--log-path={directory / 'master.log'}",
                f"--json-path={directory / 'master.json' if records else ''}",
            ],
            directory / "outputs.out",
        )
        process.code = code + process.code
        self.addCleanup(process.kill)
        process.start()
        return process

    def append(self, worker: LocalWorker, count: int) -> None:
        """Write a number of lines."""
        fresh = [
            b"<13>1 2026-01-01T00:00:00Z h a - - - line %06d\n"
            % (len(self.written) + at)
            for at in range(count)
        ]
        self.written += fresh
        worker.append(b"".join(fresh))

    def lines(self, directory: Path) -> list[bytes]:
        """The lines in the file."""
        path = directory / "master.log"
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def await_(self, directory: Path) -> None:
        """Wait until both files have every line once and in order."""
        waitUntil(
            lambda: len(self.lines(directory)) >= len(self.written),
            f"{len(self.lines(directory))} of {len(self.written)} lines in the files:"
            f" {self.said()}",
        )
        self.assertEqual(countLines(self.written, self.lines(directory)), (0, 0))
        self.assertEqual(self.lines(directory), self.written)
        records = directory / "master.json"
        waitUntil(
            lambda: records.read_bytes().count(b"\n") >= len(self.written),
            "records are missing",
        )
        self.assertEqual(records.read_bytes().count(b"\n"), len(self.written))

    def said(self) -> str:
        """The last part of every process's log."""
        return "".join(
            f"\n--- {path}\n{path.read_text('utf-8', 'replace')[-2000:]}"
            for path in sorted(self.home.glob("**/*.out"))
        )


class RunningTests(RunningTestCase):
    """With a cluster of three nodes."""

    def setUp(self) -> None:
        self.cluster_ = self.cluster()
        self.arrange(self.cluster_.journal)

    def test_killsLoseNothing(self) -> None:
        """
        Killing the listener (replaced by another without any state), the outputs and a
        node of the cluster loses and repeats nothing.
        """
        files = self.home / "files"
        outputs = self.outputs(files)
        self.pair.startListener()
        self.worker.forwarder.start()
        self.append(self.worker, 2000)
        self.await_(files)
        for _ in range(2):
            self.append(self.worker, 3000)
            self.pair.listener.kill()
            self.append(self.worker, 1000)
            self.pair.listener.start()
            self.append(self.worker, 2000)
            outputs.kill()
            self.append(self.worker, 1000)
            outputs.start()
            self.await_(files)
        self.cluster_.nodes[0].kill()
        self.append(self.worker, 3000)
        self.await_(files)
        self.cluster_.nodes[0].start()
        self.cluster_.nodes[1].kill()
        self.append(self.worker, 3000)
        self.await_(files)
        outputs.stop()
        self.assertIn(self.pair.listener.stop(), (0, -signal.SIGTERM))

    def test_severalMasters(self) -> None:
        """
        A forwarder that knows two listeners continues at the other one, at the exact
        octet.
        """
        files = self.home / "files"
        self.outputs(files)
        other = "127.7.6.5"
        port = freePort(other)
        second = Process(
            [
                *["decnet-listener", f"--host={other}", f"--port={port}"],
                *self.pair.listener.arguments[3:],
            ],
            self.home / "second.out",
        )
        self.addCleanup(second.kill)
        worker = self.pair.enroll("w2", [f"--master-host={other}:{port}"])
        self.pair.startListener()
        second.start()
        worker.forwarder.start()
        for listener in (self.pair.listener, second, self.pair.listener):
            self.append(worker, 2000)
            listener.kill()
            self.append(worker, 2000)
            self.await_(files)
            listener.start()
        self.assertIn(f"connecting to {other}:{port}", worker.forwarder.output())

    def test_takeoverBetweenHosts(self) -> None:
        """
        Of two hosts with outputs one writes. When it is stopped, killed or hangs, the
        other continues; one that hung and resumes writes nothing more. Together their
        files have every line once.
        """
        # The test shortens the lease's times.
        hasty = (
            "import decnet_syslog.nats._lease as lease;"
            " lease.LEASE_S, lease.RENEW_S, lease.GIVE_UP_S = 4.0, 0.5, 2.0\n"
        )
        homes = [self.home / "one", self.home / "two"]
        self.pair.startListener()
        self.worker.forwarder.start()
        one = self.outputs(homes[0], hasty)
        self.append(self.worker, 1000)
        self.await_(homes[0])
        two = self.outputs(homes[1], hasty)
        waitUntil(lambda: "waiting" in two.output(), "the second process does not wait")
        self.assertEqual(self.lines(homes[1]), [])
        one.stop()
        before = len(self.written)
        self.append(self.worker, 500)
        waitUntil(lambda: len(self.lines(homes[1])) >= 500, "no takeover after a stop")
        self.assertEqual(self.lines(homes[1]), self.written[before:])
        one.start()
        waitUntil(
            lambda: one.output().count("waiting") == 1,
            "the first process does not wait",
        )
        two.signal(signal.SIGSTOP)
        before = len(self.written)
        self.append(self.worker, 500)
        waitUntil(
            lambda: self.lines(homes[0])[-500:] == self.written[before:],
            f"no takeover from the hanging process: {self.said()}",
        )
        seen = self.lines(homes[1])
        two.signal(signal.SIGCONT)
        waitUntil(lambda: not two.alive, "the process that lost the lease continues")
        assert two.running is not None
        self.assertEqual(two.running.returncode, 75)
        self.assertEqual(self.lines(homes[1])[: len(seen)], seen)
        two.start()
        waitUntil(
            lambda: two.output().count("waiting") == 2,
            "the resumed process does not wait",
        )
        one.kill()
        self.append(self.worker, 500)
        everything = set(self.written)
        waitUntil(
            lambda: everything <= {*self.lines(homes[0]), *self.lines(homes[1])},
            f"no takeover from the killed process: {self.said()}",
        )
        for home in homes:
            self.assertEqual(len(set(self.lines(home))), len(self.lines(home)))

    def test_storesPutBack(self) -> None:
        """
        The stores of all nodes are restored while no outputs run, and the new stream becomes longer
        than the old one before they start: every line is written once. The workers connect again at
        once, because the listener gives them the true reason.
        """
        files = self.home / "files"
        outputs = self.outputs(files)
        self.pair.startListener()
        self.worker.forwarder.start()
        self.append(self.worker, 100)
        self.await_(files)
        nodes = self.cluster_.nodes
        for node in nodes:
            node.stop()
        for node in nodes:
            shutil.copytree(node.store, node.directory / "copy")
        self.cluster_.start()
        self.append(self.worker, 200)
        self.await_(files)
        outputs.stop()
        for node in nodes:
            node.kill()
        for node in nodes:
            node.wipe()
            shutil.copytree(node.directory / "copy", node.store)
        self.cluster_.start()
        bus = Bus.open(Access(parseServers(self.journal)))
        self.addCleanup(bus.close)

        def last() -> int:
            with contextlib.suppress(NoResponse, KeyError):
                return int(bus.run(bus.api("STREAM.INFO.decnet"))["state"]["last_seq"])
            return 0

        restored = last()
        for _ in range(20):
            # One by one, so that the stream becomes longer than it was.
            before = last()
            self.append(self.worker, 1)
            waitUntil(lambda before=before: last() > before, self.said())  # type: ignore[misc]
        self.assertGreaterEqual(last(), restored + 20)
        outputs.start()
        self.await_(files)
        self.assertIn("the stream went back", outputs.output())
        said = self.worker.forwarder.output()
        self.assertIn("journal-went-back", said)
        self.assertNotIn("superseded", said)

    def test_noQuorum(self) -> None:
        """
        While most nodes are down, nothing is acknowledged and no process ends; when
        they are back, every line is delivered once.
        """
        files = self.home / "files"
        self.outputs(files)
        self.pair.startListener()
        self.worker.forwarder.start()
        self.append(self.worker, 1000)
        self.await_(files)
        for node in self.cluster_.nodes[1:]:
            node.kill()
        self.append(self.worker, 3000)
        waitUntil(
            lambda: "nothing is accepted until" in self.pair.listener.output(),
            f"the listener does not log that it waits: {self.said()}",
        )
        self.append(self.worker, 1000)
        self.assertEqual(len(self.lines(files)), 1000)
        self.cluster_.start()
        self.await_(files)
        self.assertTrue(self.pair.listener.alive and self.worker.forwarder.alive)

    def test_fullStream(self) -> None:
        """
        When the stream is full because no outputs run, the backlog stays with the
        worker; once outputs run, every line is delivered once.
        """
        files = self.home / "files"
        self.pair.listener.arguments = [
            *self.pair.listener.arguments,
            "--journal-max=1m",
            "--journal-compression=none",
            "--journal-replicas=1",
        ]
        self.pair.startListener()
        self.worker.forwarder.start()
        self.append(self.worker, 60000)
        waitUntil(
            lambda: "maximum bytes" in self.pair.listener.output(),
            f"the stream never fills up: {self.said()}",
        )
        self.outputs(files)
        self.await_(files)


class HangingTests(RunningTestCase):
    """With a single server that does not answer."""

    def setUp(self) -> None:
        self.nats = self.server(ROOMY)
        self.arrange(self.nats.url)

    def test_killedWhileNatsHangs(self) -> None:
        """
        While the thread that reads the stream hangs, the outputs' position is saved. So after a
        kill and a rollback of the stream, no line is repeated.
        """
        hang = self.home / "hang"
        # Hang after a read that has returned lines.
        code = (
            "import os, time; from decnet_syslog.nats._journal import JetStreamJournal as J;"
            " real, lines = J._entries, []\n"
            "def entries(*given):\n"
            f"    while lines and os.path.exists({str(hang)!r}):\n"
            "        time.sleep(0.1)\n"
            f"    lines[:] = found = real(*given) if os.path.exists({str(hang)!r}) else []\n"
            "    return found or real(*given)\n"
            "J._entries = entries\n"
        )
        files = self.home / "files"
        outputs = self.outputs(files, code, records=False)
        self.pair.startListener()
        self.worker.forwarder.start()
        self.append(self.worker, 500)
        waitUntil(lambda: self.lines(files) == self.written, f"no lines: {self.said()}")
        copy = self.home / "copy"
        self.nats.copyStore(copy)
        hang.touch()
        self.append(self.worker, 500)
        waitUntil(lambda: len(self.lines(files)) > 500, f"no more lines: {self.said()}")
        log = files / "master.log"
        waitUntil(
            lambda: self.savedLength(files) == log.stat().st_size,
            f"the position is not saved: {self.said()}",
        )
        outputs.kill()
        hang.unlink()
        self.nats.putBackStore(copy)
        outputs.start()
        self.append(self.worker, 500)
        waitUntil(
            lambda: len(self.lines(files)) >= len(self.written),
            f"lines are missing: {self.said()}",
        )
        self.assertIn("the stream went back", outputs.output())
        self.assertEqual(self.lines(files), self.written)

    def savedLength(self, directory: Path) -> int:
        """The length of the raw file in the database of a running outputs process."""
        # The process has the database locked.
        copy = Path(self.mktemp())
        copy.mkdir(parents=True)
        for path in directory.glob("outputs.db*"):
            shutil.copy(path, copy / path.name)
        with contextlib.closing(sqlite3.connect(copy / "outputs.db")) as db:
            try:
                (length,) = db.execute("SELECT max(length) FROM output_file").fetchone()
            except sqlite3.DatabaseError:
                # It was copied in the middle of a write.
                return 0
        return int(length or 0)


class TrickleTests(RunningTestCase):
    """Lines that arrive one by one, faster than an output is idle for a sync."""

    def test_cursorMoves(self) -> None:
        """
        While single lines arrive all the time, the cursor in the bucket follows.
        """
        nats = self.server(ROOMY)
        self.arrange(nats.url)
        files = self.home / "files"
        self.outputs(files)
        self.pair.startListener()
        self.worker.forwarder.start()
        bus = Bus.open(Access(parseServers(nats.url)))
        self.addCleanup(bus.close)
        bucket = Bucket(bus, "decnet")
        passed = []

        def follows() -> bool:
            self.append(self.worker, 1)
            time.sleep(0.1)
            last = bus.run(bus.api("STREAM.INFO.decnet"))["state"]["last_seq"]
            passed.append(bus.run(bucket.read()).released)
            # At least two saves, while lines arrive.
            return len({seq for seq in passed if 0 < seq < last}) > 1

        self.append(self.worker, 1)
        waitUntil(lambda: len(self.lines(files)) > 0, self.said())
        waitUntil(follows, f"the cursor does not move: {self.said()}")
        self.await_(files)
