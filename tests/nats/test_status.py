"""Tests for the status of the outputs of a shared journal."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from decnet_syslog.testing import Process

from ..conversations.test_status import CLI, address, facts, get
from ..monitoring.test_documentation import documented
from ..natsserver import ROOMY, NatsTestCase, waitUntil


class StatusTests(NatsTestCase):
    """Two outputs processes, of which one writes."""

    def outputs(self, name: str, *options: str) -> Process:
        """One of the outputs processes."""
        home = self.home / name
        home.mkdir()
        process = Process(
            [
                "decnet-outputs",
                f"--journal={self.nats.url}",
                f"--log-path={home / 'master.log'}",
                "--status-port=0",
                *options,
            ],
            home / "outputs.out",
        )
        self.addCleanup(process.kill)
        process.start()
        waitUntil(lambda: bool(address(process)), f"no status: {process.output()}")
        return process

    def setUp(self) -> None:
        self.nats = self.server(ROOMY)
        self.home = self.directory()

    def status(self, process: Process) -> tuple[int, str]:
        """The status command's exit status and text for a process."""
        done = subprocess.run(
            [sys.executable, "-c", CLI, "status", address(process)],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
        )
        return done.returncode, done.stdout + done.stderr

    def test_writerLagAndJournal(self) -> None:
        """
        The status has the writer, the lag and the journal's size, and reports a journal
        that does not respond.
        """
        one = self.outputs("one")
        waitUntil(lambda: facts(one)["writing"], one.output())
        two = self.outputs("two")
        waitUntil(lambda: facts(two)["holder"] != "", two.output())
        self.assertEqual(facts(two)["holder"], facts(one)["holder"])
        self.assertEqual((facts(two)["writing"], facts(two)["outputs"]), (False, []))
        waitUntil(lambda: len(facts(one)["outputs"]) == 2, one.output())
        self.assertEqual([o["blocked"] for o in facts(one)["outputs"]], [None, None])
        self.assertEqual(facts(one)["journal"]["octets_max"], 1024**3)
        code, text = self.status(one)
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"writing\njournal: .* of 1\.0 GiB")
        self.assertRegex(text, r"raw:/\S+ +0 batches +ok")
        self.assertIn("waiting: the outputs are written by ", self.status(two)[1])
        found = {
            name: kind
            for process in (one, two)
            for name, kind in re.findall(
                r"^# TYPE (decnet_\w+) (\w+)$", get(process, "/metrics").decode(), re.M
            )
        }
        self.assertEqual(
            found,
            {
                n: k
                for n, k in documented().items()
                if "_outputs_" in n or n == "decnet_build_info"
            },
        )
        self.assertIn(b"decnet_outputs_writing 1.0\n", get(one, "/metrics"))
        self.assertIn(b"decnet_outputs_writing 0.0\n", get(two, "/metrics"))
        self.nats.freeze()
        waitUntil(
            lambda: not facts(two)["ok"],
            f"no problem is reported: {json.dumps(facts(two))}",
        )
        code, text = self.status(two)
        self.assertEqual(code, 1, text)
        self.assertIn("away: journal: no answer for ", text)
        self.nats.thaw()
        waitUntil(lambda: bool(facts(two)["ok"]), "the status has not recovered")

    def test_loopbackOnly(self) -> None:
        """A status address other than loopback is refused."""
        process = Process(
            [
                "decnet-outputs",
                f"--journal={self.nats.url}",
                f"--log-path={self.home / 'master.log'}",
                "--status-port=0",
                "--status-address=0.0.0.0",
            ],
            self.home / "outputs.out",
        )
        self.addCleanup(process.kill)
        process.start()
        waitUntil(lambda: not process.alive, "the process was not refused")
        self.assertIn("loopback only", process.output())
