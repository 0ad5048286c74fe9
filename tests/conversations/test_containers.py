"""
Tests for packaging/docker: the services of the compose file as plain processes.

No container can be started here. The tests run the same commands with the same files; a volume is
a directory, and every host is this one.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.testing import freePort

from ..peers import requirePeer

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "packaging/docker"

WAIT_S = 60


class ComposeTestCase(SynchronousTestCase):
    """The compose file, and a directory for its volumes."""

    timeout = 240

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.compose: Any = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
        self.services: dict[str, Any] = self.compose["services"]
        self.ports = {
            "6514": str(freePort("127.0.0.1")),
            "6515": str(freePort("127.0.0.1")),
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self.end)

    def end(self) -> None:
        """Stop what still runs."""
        for process in self.processes:
            process.kill()
            process.wait()

    def mounts(self, service: str) -> dict[str, Path]:
        """The paths in a container, and their files."""
        found: dict[str, Path] = {}
        for volume in self.services[service].get("volumes", ()):
            source, target = volume.removesuffix(":ro").split(":")
            if source.startswith("."):
                # A file of ours, with the paths and hosts of this machine.
                found[target] = self.directory / service / Path(target).name
            else:
                self.assertIn(source, self.compose["volumes"])
                found[target] = self.directory / "volumes" / source
                found[target].mkdir(parents=True, exist_ok=True)
        return found

    def here(self, service: str, text: str) -> str:
        """A text of the compose file or of a configuration file, for this machine."""
        mounts = self.mounts(service)
        for target in sorted(mounts, key=len, reverse=True):
            text = text.replace(target, str(mounts[target]))
        if len({path.parent for path in mounts.values()}) == 1:
            # The directory of several volumes.
            text = text.replace("/etc/decnet-syslog", str(self.directory / "volumes"))
        text = text.replace('"listener"', '"127.0.0.1"')
        return re.sub(r"\b651[456]\b", lambda found: self.port(service, found[0]), text)

    def port(self, service: str, port: str) -> str:
        """The free port in place of a container's port."""
        # Each container has its own loopback interface.
        key = f"{service}:{port}" if port == "6516" else port
        return self.ports.setdefault(key, str(freePort("127.0.0.1")))

    def command(self, service: str) -> list[str]:
        """The words that a container would run."""
        one = self.services[service]
        if one["image"] == "decnet-syslog":
            text = (DOCKER / "Dockerfile").read_text("utf-8")
            (entry,) = re.findall(r"(?m)^ENTRYPOINT (.*)$", text)
            words = [*one.get("entrypoint", ast.literal_eval(entry)), *one["command"]]
        else:
            words = one["command"]
        return [self.here(service, word.replace("$$", "$")) for word in words]

    def environment(self, service: str) -> dict[str, str]:
        """The environment, with our command on the path."""
        bin_ = self.directory / "bin"
        if not bin_.exists():
            bin_.mkdir()
            program = bin_ / "decnet-syslog"
            program.write_text(
                f"#!{sys.executable}\nimport sys\nsys.path[:0] = {sys.path!r}\n"
                "from decnet_syslog.cli import main\nmain()\n"
            )
            program.chmod(0o755)
        given = self.services[service].get("environment", {})
        return {
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "HOME": str(self.directory / "nobody"),
            "DECNET_SWARM_SYSLOG_PORT": self.ports["6514"],
            **{name: self.here(service, value) for name, value in given.items()},
        }

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Start a service."""
        for volume in self.services[service].get("volumes", ()):
            source, target = volume.removesuffix(":ro").split(":")
            if source.startswith("."):
                text = (DOCKER / source).read_text("utf-8")
                path = self.mounts(service)[target]
                path.parent.mkdir(exist_ok=True)
                path.write_text(self.here(service, text), "utf-8")
        words = self.command(service)
        program = "/opt/decnet-syslog/bin/decnet-syslog"
        words = [w.replace(program, "decnet-syslog") for w in words]
        with open(self.directory / f"{service}.out", "ab") as out:
            process = subprocess.Popen(
                words,
                env=self.environment(service),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.processes.append(process)
        return process

    def healthy(self, service: str) -> bool:
        """The health check of a service."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        self.assertEqual(kind, "CMD")
        done = subprocess.run(
            [self.here(service, word) for word in words],
            env=self.environment(service),
            capture_output=True,
            text=True,
        )
        self.said = done.stdout + done.stderr
        return done.returncode == 0

    def until(self, condition: Any, what: str) -> None:
        """Wait for a condition."""
        until = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > until:
                said = "".join(
                    f"\n--- {path.name}\n{path.read_text('utf-8', 'replace')[-2000:]}"
                    for path in sorted(self.directory.glob("*.out"))
                )
                self.fail(f"{what}{said}")
            time.sleep(0.1)


class ComposeTests(ComposeTestCase):
    """The services, started in the order of the compose file."""

    def test_servicesRun(self) -> None:
        """
        The certificates are made once, both workers' lines reach the listener, every health check
        passes, and SIGTERM ends the services in order.
        """
        for _ in range(2):
            done = self.start("certificates").wait()
            said = (self.directory / "certificates.out").read_text()
            self.assertEqual(done, 0, said)
        volumes = self.directory / "volumes"
        self.assertEqual(
            sorted(os.listdir(volumes / "bundles")),
            ["decky-01", "decky-02", "prometheus"],
        )
        running = [self.start(name) for name in ("listener", "decky-01", "decky-02")]
        visitors = self.start("visitors")

        def arrived() -> set[str]:
            path = volumes / "outputs/master.json"
            lines = path.read_bytes().splitlines() if path.exists() else []
            return {
                f"{record['source_worker']} {record['attacker_ip']}"
                for record in map(json.loads, lines)
            }

        both = {"decky-01 192.0.2.7", "decky-02 192.0.2.7"}
        self.until(lambda: arrived() == both, "no lines from both workers")
        visitors.kill()
        for service in ("listener", "decky-01", "decky-02"):
            self.until(lambda s=service: self.healthy(s), f"{service} is not healthy")
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(), -signal.SIGTERM)

    def test_everyMountExists(self) -> None:
        """Every file that is mounted from the repository exists, and is a file."""
        mounted = []
        for name, one in self.services.items():
            for volume in one.get("volumes", ()):
                source = volume.split(":")[0]
                if source.startswith("."):
                    mounted.append(source)
                    self.assertTrue((DOCKER / source).is_file(), f"{name}: {source}")
        self.assertGreater(len(mounted), 6)
        # Grafana finds the dashboard where it looks for one.
        paths = [v.split(":")[1] for v in self.services["grafana"]["volumes"]]
        provider = yaml.safe_load((DOCKER / "grafana-dashboards.yaml").read_text())
        self.assertIn(
            provider["providers"][0]["options"]["path"],
            [str(Path(path).parent) for path in paths],
        )

    def test_prometheusAcceptsConfiguration(self) -> None:
        """Prometheus accepts its file, and scrapes the port that the listener opens."""
        program = requirePeer("promtool")
        directory = self.directory / "prometheus"
        directory.mkdir()
        shutil.copy(ROOT / "docs/examples/prometheus-alerts.yml", directory)
        text = (DOCKER / "prometheus.yml").read_text()
        for name in ("ca.crt", "worker.crt", "worker.key"):
            (directory / name).touch()
        path = directory / "prometheus.yml"
        path.write_text(
            text.replace("/etc/prometheus/bundles/prometheus", str(directory))
        )
        done = subprocess.run(
            [program, "check", "config", str(path)], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        port = re.search(
            r"(?m)^status-port = ([0-9]+)", (DOCKER / "listener.toml").read_text()
        )
        assert port is not None
        self.assertIn(f"listener:{port[1]}", text)

    def test_imageHasEverySource(self) -> None:
        """What the image is built from is not left out of the build's context."""
        ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        kept = {line[1:] for line in ignored if line.startswith("!")}
        copied: set[str] = set()
        for line in (DOCKER / "Dockerfile").read_text("utf-8").splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                copied |= set(line.split()[1:-1])
        self.assertEqual(copied, kept)
        for name in copied:
            self.assertTrue((ROOT / name).exists(), name)
