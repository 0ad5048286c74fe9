"""
Moving from a journal in a file to JetStream and back, by the steps in docs/jetstream.rst, with real
processes.
"""

from __future__ import annotations

import signal
from pathlib import Path

from decnet_syslog.testing import LocalCluster, Process, countLines

from ..natsserver import ROOMY, NatsTestCase, waitUntil


class MovingTests(NatsTestCase):
    """The journal moves twice while a worker writes."""

    def setUp(self) -> None:
        self.nats = self.server(ROOMY)
        self.home = self.directory()
        self.pair = LocalCluster(self.home)
        self.addCleanup(self.pair.stop)
        self.written: list[bytes] = []
        self.worker = self.pair.enroll("w1", ["--on-new-master=resume"])
        self.alone = list(self.pair.listener.arguments)
        shared = f"--journal={self.nats.url}"
        self.sharing = [
            "decnet-listener",
            f"--host={self.pair.host}",
            f"--port={self.pair.port}",
            f"--ca-dir={self.pair.caDirectory}",
            shared,
        ]
        self.outputs = Process(
            [
                "decnet-outputs",
                shared,
                f"--log-path={self.pair.logPath}",
                f"--json-path={self.pair.jsonPath}",
            ],
            self.home / "outputs.out",
        )
        self.addCleanup(self.outputs.kill)

    def write(self, count: int) -> None:
        """Write a number of lines to the worker's log."""
        fresh = [
            b"<13>1 2026-01-01T00:00:00Z h a - - - line %06d\n"
            % (len(self.written) + at)
            for at in range(count)
        ]
        self.written += fresh
        self.worker.append(b"".join(fresh))

    def lines(self) -> list[bytes]:
        """The lines of the raw log."""
        path = self.pair.logPath
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def arrived(self) -> None:
        """Wait for all lines, and check that each is there once, in order."""
        waitUntil(
            lambda: len(self.lines()) >= len(self.written),
            f"{len(self.lines())} of {len(self.written)} lines",
        )
        self.assertEqual(countLines(self.written, self.lines()), (0, 0))
        self.assertEqual(self.lines(), self.written)
        records = self.pair.jsonPath
        waitUntil(
            lambda: records.read_bytes().count(b"\n") >= len(self.written),
            "records are missing",
        )
        self.assertEqual(records.read_bytes().count(b"\n"), len(self.written))

    def stopListener(self) -> None:
        """
        Stop the listener cleanly while the worker writes. The listener acknowledges all lines that
        it has received, and the worker sends the others to the next journal.
        """
        self.pair.listener.signal(signal.SIGTERM)
        for _ in range(50):
            self.write(20)
        self.assertIn(self.pair.listener.stop(), (0, -signal.SIGTERM))

    def test_thereAndBack(self) -> None:
        """
        Moving to JetStream and back loses and repeats no line, and the output files
        continue.
        """
        self.pair.startListener()
        self.worker.forwarder.start()
        self.write(500)
        self.arrived()
        # To JetStream.
        self.write(200)
        self.stopListener()
        self.write(100)
        self.pair.listener.arguments = self.sharing
        self.outputs.start()
        self.pair.listener.start()
        self.arrived()
        self.write(300)
        self.arrived()
        # And back: stop the listener, then the outputs once everything is written; use
        # a new file.
        self.write(200)
        self.stopListener()
        self.write(100)
        while True:
            self.outputs.stop()
            said = self.outputs.output().rpartition("stopping; ")[2]
            if said.startswith("everything in the stream is written"):
                break
            self.assertIn("not written yet", said)
            self.outputs.start()
            waitUntil(
                lambda: (
                    "writing the" in self.outputs.output().rpartition("stopping;")[2]
                ),
                "the outputs do not start again",
            )
        for left in self.pair.logPath.parent.glob("listener.db*"):
            left.rename(self.home / f"old-{left.name}")
        self.assertTrue(Path(self.home / "old-listener.db").exists())
        self.pair.listener.arguments = self.alone
        self.pair.listener.start()
        self.write(300)
        self.arrived()
