"""The processes of the arrangement, each on its own loopback address."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from decnet_syslog.testing import LocalWorker, Process, freePort
from decnet_syslog.trust._authority import Authority

from ...natsserver import ROOMY, NatsCluster
from ...peers import example, requirePeer

# The limit for lines: a test node's disk space, minus its other data.
JOURNAL_OCTETS_MAX = 128 * 1024 * 1024

__all__ = ["Balancer", "Fleet"]

# The time limit for any process to start on a busy machine, in seconds.
PATIENCE_S = 120.0


def freeHost() -> str:
    """A random loopback address, very likely unused."""
    return "127.{}.{}.{}".format(*[random.randint(1, 254) for _ in range(3)])


class Balancer:
    """
    HAProxy in front of the listeners, configured as documented.

    @ivar source: the address that it connects from.
    """

    def __init__(self, directory: Path, listeners: int) -> None:
        self.host = freeHost()
        self.port = freePort(self.host)
        self.source = freeHost()
        self.targets = [
            (host, freePort(host)) for host in [freeHost() for _ in range(listeners)]
        ]
        self._directory = directory
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start HAProxy."""
        servers = "".join(
            f"    server l{number} {host}:{port}\n"
            for number, (host, port) in enumerate(self.targets, 1)
        )
        configuration = self._directory / "haproxy.cfg"
        configuration.write_text(
            example(
                "haproxy.cfg",
                ("bind 192.0.2.1:6514", f"bind {self.host}:{self.port}"),
                ("send-proxy-v2", f"source {self.source} send-proxy-v2"),
                ("    server one 192.0.2.11:6514\n", servers),
                ("    server two 192.0.2.12:6514\n", ""),
            )
        )
        with open(self._directory / "haproxy.out", "ab") as out:
            self.running = subprocess.Popen(
                [requirePeer("haproxy"), "-db", "-f", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def stop(self) -> None:
        """End HAProxy."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()


class Fleet:
    """
    All processes together.

    @ivar logPath: the raw output.
    @ivar jsonPath: the records.
    """

    def __init__(
        self,
        directory: Path,
        listeners: int,
        workers: int,
        records: bool = True,
        balanced: bool = True,
    ) -> None:
        """
        @param balanced: whether HAProxy distributes the connections; otherwise the
            kernel does, among listeners that share a port.
        @param records: whether JSON records are written in addition to the raw log.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.nats = NatsCluster(directory / "nats", 3, user=("decnet", "password"))
        self.payload = ROOMY
        for node in self.nats.nodes:
            node.extra = self.configuration()
        self._secret = directory / "nats.credentials"
        self.writeSecret()
        self.balancer = Balancer(directory, listeners)
        self._balanced = balanced
        self.logPath = directory / "master.log"
        self.jsonPath = directory / "master.json"
        self._authority = Authority.create(directory / "ca")
        self._authority.masterIdentity()
        self.listeners = [
            self._listener(number, host, port)
            for number, (host, port) in enumerate(
                self.balancer.targets
                if balanced
                else [(self.balancer.host, self.balancer.port)] * listeners,
                1,
            )
        ]
        self._records = records
        self.outputs = self.outputsIn(directory)
        self.workers = [self._worker(f"w{n:02d}") for n in range(1, workers + 1)]

    def configuration(self) -> str:
        """The changeable part of every node's configuration."""
        assert self.nats.user is not None
        name, password = self.nats.user
        return (
            f"{self.payload}\nauthorization"
            f' {{ users: [{{ user: "{name}", password: "{password}" }}] }}'
        )

    def writeSecret(self) -> None:
        """Write the current password into the credentials file."""
        assert self.nats.user is not None
        fresh = self._secret.with_suffix(".new")
        fresh.touch(0o600)
        fresh.write_text(":".join(self.nats.user) + "\n")
        fresh.rename(self._secret)

    def outputsIn(self, directory: Path) -> Process:
        """A decnet-outputs that writes into a directory."""
        return Process(
            [
                "decnet-outputs",
                f"--journal={self.nats.journal}",
                f"--journal-max={JOURNAL_OCTETS_MAX}",
                f"--journal-credentials={self._secret}",
                f"--log-path={directory / 'master.log'}",
                f"--json-path={directory / 'master.json' if self._records else ''}",
            ],
            directory / "outputs.out",
        )

    def _listener(self, number: int, host: str, port: int) -> Process:
        home = self.directory / f"l{number}"
        home.mkdir()
        return Process(
            [
                "decnet-listener",
                f"--host={host}",
                f"--port={port}",
                f"--ca-dir={self.directory / 'ca'}",
                f"--journal={self.nats.journal}",
                f"--journal-max={JOURNAL_OCTETS_MAX}",
                f"--journal-credentials={self._secret}",
                f"--proxy-protocol={self.balancer.source}"
                if self._balanced
                else "--reuse-port",
            ],
            home / "listener.out",
        )

    def _worker(self, name: str) -> LocalWorker:
        home = self.directory / name
        home.mkdir()
        self._authority.enroll(name, home / "agent")
        file = home / "decnet.log"
        forwarder = Process(
            [
                "decnet-forwarder",
                f"--master-host={self.balancer.host}:{self.balancer.port}",
                f"--agent-dir={home / 'agent'}",
                f"--log-file={file}",
            ],
            home / "forwarder.out",
        )
        return LocalWorker(name, file, home / "agent", forwarder)

    @property
    def processes(self) -> list[Process]:
        """Every process of ours."""
        return [
            *self.listeners,
            self.outputs,
            *[worker.forwarder for worker in self.workers],
        ]

    def startServers(self) -> None:
        """
        Start everything except the workers, and wait until lines would be accepted and
        written.
        """
        # One after another: when nodes start at the same instant, the leader sometimes
        # does not know one for minutes ("no suitable peers for placement").
        for node in self.nats.nodes:
            node.start()
        self.nats.start()
        if self._balanced:
            self.balancer.start()
        for process, said in [
            *[(listener, "listening on") for listener in self.listeners],
            (self.outputs, "writing the outputs"),
        ]:
            process.start()
            self.wait(
                lambda process=process, said=said: said in self._said(process),  # type: ignore[misc]
                f"no process has logged {said!r}",
            )

    @staticmethod
    def _said(process: Process) -> str:
        """
        Everything that a process has logged; an ended process is restarted, as by
        systemd.
        """
        process.start()
        return process.output()

    def start(self) -> None:
        """Start everything, and wait until a line from each worker has arrived."""
        self.startServers()
        for worker in self.workers:
            worker.forwarder.start()
        for worker in self.workers:
            worker.append(f"first line of {worker.name}\n".encode())
        self.wait(self._begun, "the first lines are missing")

    def _begun(self) -> bool:
        if not self.logPath.exists():
            return False
        found = self.logPath.read_bytes().splitlines()
        return {f"first line of {w.name}".encode() for w in self.workers} <= set(found)

    def isHealthy(self) -> bool:
        """Whether every NATS node reports that it has caught up."""
        return all(node.alive and node.healthy() for node in self.nats.nodes)

    def revive(self) -> None:
        """Start every process that does not run."""
        for node in self.nats.nodes:
            node.spawn()
        for process in self.processes:
            process.start()

    def wait(
        self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S
    ) -> None:
        """
        Wait until a condition holds.

        @raise AssertionError: it does not hold in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}, for {seconds:.0f} s; {self.directory}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End every process."""
        for process in self.processes:
            process.kill()
        self.balancer.stop()
        self.nats.kill()
