"""Tests for the status of real processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from decnet_syslog.testing import LocalCluster, LocalWorker, Process

from ..monitoring.test_documentation import documented
from ..peers import PairTestCase, requirePeer
from .test_processes import numbered

# The command, also from a checkout.
CLI = "from decnet_syslog.cli import main; main()"

# Writes each event to a new file.
COMMAND = """
import os, sys, tempfile
handle, path = tempfile.mkstemp(".json", dir=sys.argv[1])
os.write(handle, sys.stdin.buffer.read())
"""


def address(process: Process) -> str:
    """The URL of a process's status; "" until it is served."""
    found = re.search(r"status on (http://\S+)/status\.json", process.output())
    return "" if found is None else found[1]


def get(process: Process, path: str) -> bytes:
    """Get a document from a process's status port."""
    with urllib.request.urlopen(address(process) + path, timeout=30) as answer:
        octets: bytes = answer.read()
    return octets


def facts(process: Process) -> Any:
    """The facts in a process's status."""
    return json.loads(get(process, "/status.json"))


class WatchTestCase(PairTestCase):
    """A master with a status port, and its workers."""

    timeout = 300

    def enrolled(self, *names: str, options: tuple[str, ...] = ()) -> LocalCluster:
        """A master and its workers, not started yet."""
        pair = self.pair(["--status-port=0", *options])
        for name in names:
            pair.enroll(name, ["--status-port=0"])
        return pair

    def started(self, *names: str, options: tuple[str, ...] = ()) -> LocalCluster:
        """A master and its workers, running, each with a delivered line."""
        return self.start(self.enrolled(*names, options=options))

    def start(self, pair: LocalCluster) -> LocalCluster:
        """Start all of them."""
        pair.startListener()
        for number, worker in enumerate(pair.workers):
            worker.append(numbered(number, 1))
            worker.forwarder.start()
        self.waitForLines(pair, len(pair.workers))
        return pair

    def whenever(
        self, pair: LocalCluster, condition: Callable[[], object], what: str
    ) -> None:
        """Wait until a condition about the master's status holds."""
        self.waitFor(pair, lambda: bool(condition()), what)

    def state(self, pair: LocalCluster, worker: LocalWorker) -> str:
        """A worker's state in the master's status."""
        states = {w["name"]: w["state"] for w in facts(pair.listener)["workers"]}
        return str(states.get(worker.name))


class FleetTests(WatchTestCase):
    """The master knows the state of its workers."""

    def test_silentWorkers(self) -> None:
        """
        A forwarder that was stopped, killed or never started raises an alarm with its
        name; other and revoked ones do not. The alarm ends when the forwarder
        continues. The C{--on-event} command runs.
        """
        told = self.directory / "told"
        told.mkdir()
        program = self.directory / "tell.py"
        program.write_text(COMMAND)
        command = f"--on-event={sys.executable} {program} {told}"
        pair = self.enrolled("decky-01", "decky-02", "decky-03", options=(command,))
        pair.authority.enroll("decky-04", self.directory / "four")
        revoked = pair.authority.enroll("decky-05", self.directory / "five")
        pair.authority.revoke([revoked.serial_number])
        stopped, running, gone = self.start(pair).workers
        self.whenever(pair, lambda: facts(pair.listener)["ok"], "the master is not ok")

        def silent() -> set[str]:
            workers = facts(pair.listener)["workers"]
            return {w["name"] for w in workers if w["state"] == "silent"}

        stopped.forwarder.signal(signal.SIGSTOP)
        gone.forwarder.kill()
        self.whenever(
            pair,
            lambda: self.state(pair, stopped) == "silent",
            "decky-01 is not silent",
        )
        self.whenever(
            pair, lambda: self.state(pair, gone) == "silent", "decky-03 is not missed"
        )
        self.whenever(pair, lambda: "decky-04" in silent(), "decky-04 is not missed")
        self.assertEqual(silent(), {"decky-01", "decky-03", "decky-04"})
        self.assertEqual(self.state(pair, running), "ok")
        self.assertIn(
            "worker decky-01 is silent: nothing received for", pair.listener.output()
        )
        self.assertIn(
            "worker decky-03 is silent: nothing received for", pair.listener.output()
        )
        self.assertNotIn("decky-02 is silent", pair.listener.output())
        stopped.forwarder.signal(signal.SIGCONT)
        self.whenever(
            pair, lambda: self.state(pair, stopped) == "ok", "the alarm has not ended"
        )

        def events() -> list[tuple[str, str, bool]]:
            return sorted(
                (event["kind"], event["worker"], event["over"])
                for path in told.iterdir()
                if path.stat().st_size
                for event in [json.loads(path.read_bytes())]
            )

        expected = [
            ("silent", "decky-01", False),
            ("silent", "decky-01", True),
            ("silent", "decky-03", False),
            ("silent", "decky-04", False),
        ]
        self.whenever(pair, lambda: events() == expected, f"told {events()}")

    def test_stuckFile(self) -> None:
        """
        A forwarder that cannot read a file reports it, and the master names the file.
        """
        pair = self.started("decky-01")
        (worker,) = pair.workers
        worker.file.rename(worker.file.with_name("kept"))
        worker.file.mkdir()
        self.whenever(
            pair, lambda: self.state(pair, worker) == "stuck", "the worker is not stuck"
        )
        (found,) = facts(pair.listener)["workers"]
        self.assertIn(str(worker.file), found["alarms"]["stuck"]["text"])
        self.assertIn("not a regular file", found["alarms"]["stuck"]["text"])
        self.assertEqual(
            [one["name"] for one in facts(worker.forwarder)["troubles"]],
            [str(worker.file)],
        )
        worker.file.rmdir()
        worker.append(numbered(1, 1))
        self.waitForLines(pair, 2)
        self.whenever(
            pair, lambda: self.state(pair, worker) == "ok", "the alarm has not ended"
        )


class StatusTests(WatchTestCase):
    """The status of both ends."""

    def test_metricsPassPromtool(self) -> None:
        """
        promtool accepts the metrics of both ends, and docs/watching.rst lists exactly
        these metrics.
        """
        promtool = requirePeer("promtool")
        pair = self.started("decky-01")
        found: dict[str, str] = {}
        for process in (pair.listener, pair.workers[0].forwarder):
            text = get(process, "/metrics")
            checked = subprocess.run(
                [promtool, "check", "metrics"], input=text, capture_output=True
            )
            self.assertEqual((checked.returncode, checked.stderr), (0, b""), text)
            found |= dict(
                re.findall(r"^# TYPE (decnet_\w+) (\w+)$", text.decode(), re.M)
            )
        # For the outputs of a shared journal see test_jetstream_status.
        ours = {n: k for n, k in documented().items() if "_outputs_" not in n}
        self.assertEqual(found, ours)
        text = get(pair.listener, "/metrics")
        self.assertIn(b'decnet_listener_lines_total{worker="decky-01"} 1.0\n', text)

    def test_statusCommand(self) -> None:
        """
        C{decnet-syslog status} exits with 0 if everything is well, 1 if something is
        wrong, and 2 if nothing responds.
        """
        pair = self.started("decky-01")
        url = address(pair.listener)

        def status(*options: str) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [sys.executable, "-c", CLI, "status", url, *options],
                capture_output=True,
                env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
            )

        self.whenever(
            pair,
            lambda: re.search(rb"decky-01 +ok ", status().stdout),
            "the worker is not well",
        )
        self.assertEqual(status().returncode, 0)
        record = json.loads(status("--json").stdout)
        self.assertEqual(record["workers"][0]["lines"], 1)
        with open(self.directory / "shown", "wb") as shown:
            watching = subprocess.Popen(
                [sys.executable, "-c", CLI, "status", url, "--watch"],
                stdout=shown,
                env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
            )
        self.children.append(watching)
        screens = Path(shown.name)
        self.whenever(
            pair,
            lambda: screens.read_bytes().count(b"all is well") > 1,
            "the screen is not updated",
        )
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(30), 130)
        other = pair.workers[0].file
        other.rename(other.with_name("kept"))
        other.mkdir()
        self.whenever(
            pair,
            lambda: status().returncode == 1,
            "the status still reports no problem",
        )
        self.assertIn("stuck", status().stdout.decode())
        pair.listener.stop()
        gone = status()
        self.assertEqual((gone.returncode, gone.stdout), (2, b""))
        self.assertIn(b"decnet-listener", gone.stderr)

    def test_pagesOfBothEnds(self) -> None:
        """
        The listener's page shows its worker and the delivered line, the worker's page
        shows the file, and a forwarder's page links to its documents.
        """
        pair = self.started("decky-01")
        (worker,) = pair.workers
        self.whenever(
            pair, lambda: b"worker/decky-01" in get(pair.listener, "/"), "no worker"
        )
        line = numbered(0, 1).rstrip(b"\n").decode()
        self.assertIn(escape(line, quote=False), get(pair.listener, "/").decode())
        found = get(pair.listener, "/worker/decky-01").decode()
        self.assertIn(f"file {worker.file}", found)
        self.assertIn(b"/status.json", get(worker.forwarder, "/"))
        self.assertNotIn(b"<", get(worker.forwarder, "/"))

    def test_portInUse(self) -> None:
        """A status port in use is reported with one line."""
        pair = self.started("decky-01")
        port = address(pair.listener).rpartition(":")[2]
        path = Path(self.directory / "second")
        path.mkdir()
        second = Process(
            [
                "decnet-listener",
                f"--ca-dir={pair.caDirectory}",
                f"--host={pair.host}",
                "--port=0",
                f"--log-path={path / 'master.log'}",
                "--json-path=",
                f"--status-port={port}",
            ],
            path / "listener.out",
        )
        second.start()
        self.addCleanup(second.kill)
        assert second.running is not None
        self.assertEqual(second.running.wait(60), 1)
        self.assertIn("choose another --status-port", second.output())
