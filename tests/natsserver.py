"""
Real NATS servers with JetStream: a single one, or a cluster of three.

Each server listens on its own loopback address, chosen at random. So any number of them
run in parallel without agreeing on ports, and a restarted server keeps its address.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.limits import Limits
from decnet_syslog.nats._access import Access, parseServers
from decnet_syslog.nats._bus import Bus, NoResponse
from decnet_syslog.nats._journal import JetStreamJournal
from decnet_syslog.nats._layout import Layout
from decnet_syslog.nats._outbox import Outbox
from decnet_syslog.nats._outputsjournal import OutputsJournal
from decnet_syslog.nats._outputstate import OutputState
from decnet_syslog.wire._framing import MESSAGE_OCTETS_MAX

from .peers import requirePeer

__all__ = [
    "CLIENT_PORT",
    "ROOMY",
    "NatsCluster",
    "NatsServer",
    "NatsTestCase",
    "openJetStream",
    "openOutputs",
    "waitUntil",
]

CLIENT_PORT = 4222
ROUTE_PORT = 6222
MONITOR_PORT = 8222

# Enough for the longest line and its headers.
ROOMY = "max_payload: 2097152"

# The size limit of a test's stream.
STREAM_OCTETS_MAX = 64 * 1024 * 1024

# The time limit for a server to start and for a cluster to elect a leader, on a busy
# machine.
PATIENCE_S = 60.0


def waitUntil(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}, in {PATIENCE_S:.0f} s")
        time.sleep(0.02)


def openJetStream(
    url: str,
    replicas: int | None = None,
    octetsMax: int = STREAM_OCTETS_MAX,
    messageOctetsMax: int = MESSAGE_OCTETS_MAX,
    streamsPerWorkerMax: int = Limits.filesPerWorker,
    encoding: str = "zstd",
) -> JetStreamJournal:
    """Open the journal as a listener does."""
    bus = Bus.open(Access(parseServers(url)))
    layout = Layout("decnet", replicas, octetsMax)
    return JetStreamJournal.open(
        bus, layout, messageOctetsMax, streamsPerWorkerMax, encoding
    )


def openOutputs(
    url: str,
    state: Path,
    replicas: int | None = None,
    octetsMax: int = STREAM_OCTETS_MAX,
    messageOctetsMax: int = MESSAGE_OCTETS_MAX,
) -> OutputsJournal:
    """Open the journal as the process that writes the outputs does."""
    bus = Bus.open(Access(parseServers(url)))
    layout = Layout("decnet", replicas, octetsMax)
    outbox = Outbox(bus, layout, OutputState.open(state), "test", time.monotonic)
    journal = OutputsJournal.openWith(bus, layout, outbox, messageOctetsMax)
    outbox.prepare()
    waitUntil(outbox.acquire, "another process owns the outputs")
    return journal


def freeAddress() -> str:
    """A loopback address on which these ports are unused."""
    while True:
        address = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])
        try:
            for port in (CLIENT_PORT, ROUTE_PORT, MONITOR_PORT):
                with socket.create_server((address, port)):
                    pass
        except OSError:
            continue
        return address


@dataclass
class NatsServer:
    """
    One server.

    @ivar directory: its configuration, log and store; created if missing.
    @ivar routes: the addresses of the other nodes; empty for a single server.
    @ivar extra: additional configuration lines: tls, authorization, max_payload ...
    @ivar storage: an additional line for the jetstream section: sync_interval ...
    @ivar storeOctetsMax: the size limit for all its streams together.
    """

    directory: Path
    name: str = "n1"
    address: str = field(default_factory=freeAddress)
    routes: Sequence[str] = ()
    extra: str = ""
    storeOctetsMax: int = 4 * 1024**3
    storage: str = ""
    running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://{self.address}:{CLIENT_PORT}"

    @property
    def alive(self) -> bool:
        """Whether the server process runs."""
        return self.running is not None and self.running.poll() is None

    def configuration(self) -> str:
        """The text of its configuration file."""
        lines = [
            f'server_name: "{self.name}"',
            f'host: "{self.address}"',
            f"port: {CLIENT_PORT}",
            f'http: "{self.address}:{MONITOR_PORT}"',
            "jetstream {",
            f'  store_dir: "{self.directory / "store"}"',
            "  max_memory_store: 67108864",
            f"  max_file_store: {self.storeOctetsMax}",
            f"  {self.storage}",
            "}",
        ]
        if self.routes:
            urls = ", ".join(f'"nats-route://{at}:{ROUTE_PORT}"' for at in self.routes)
            lines += [
                "cluster {",
                '  name: "tests"',
                f'  host: "{self.address}"',
                f"  port: {ROUTE_PORT}",
                f"  routes: [{urls}]",
                "}",
            ]
        return "\n".join([*lines, self.extra, ""])

    def spawn(self) -> None:
        """Start the server unless it runs, without waiting."""
        if self.alive:
            return
        program = requirePeer("nats-server")
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "nats.conf"
        configuration.write_text(self.configuration(), "utf-8")
        with open(self.directory / "nats.out", "ab") as out:
            self.running = subprocess.Popen(
                [program, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def start(self) -> None:
        """Start the server and wait until clients can connect."""
        self.spawn()
        waitUntil(self.listens, f"{self.name} does not listen: {self.output()}")

    def listens(self) -> bool:
        """Whether the server accepts connections."""
        assert self.alive, self.output()
        try:
            socket.create_connection((self.address, CLIENT_PORT), 1).close()
        except OSError:
            return False
        return True

    def healthy(self) -> bool:
        """Whether JetStream is up: in a cluster, with a quorum and fully caught up."""
        with (
            suppress(URLError, OSError, ValueError),
            urlopen(f"http://{self.address}:{MONITOR_PORT}/healthz", timeout=2) as got,
        ):
            return bool(json.load(got)["status"] == "ok")
        return False

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()

    def stop(self) -> None:
        """Stop the server as an init system would, and wait."""
        if self.alive:
            assert self.running is not None
            self.running.terminate()
            self.running.wait(PATIENCE_S)

    @property
    def store(self) -> Path:
        """The directory of JetStream's files."""
        return self.directory / "store"

    def copyStore(self, copy: Path) -> None:
        """Back up the store. The server must be stopped."""
        self.stop()
        shutil.copytree(self.store, copy)
        self.start()

    def putBackStore(self, copy: Path, part: str = "") -> None:
        """
        Kill the server, restore its store from a copy, and start it.

        @param part: the subdirectory of the store to restore; by default all of the
            store.
        """
        self.kill()
        self.wipe(part)
        shutil.copytree(copy / part, self.store / part)
        self.start()

    def wipe(self, part: str = "") -> None:
        """Delete the store, or a part. The server must not run."""
        assert not self.alive
        if (self.store / part).exists():
            shutil.rmtree(self.store / part)

    def reload(self) -> None:
        """Make the server reload its configuration."""
        (self.directory / "nats.conf").write_text(self.configuration(), "utf-8")
        assert self.running is not None
        self.running.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """
        Suspend the server, so that it answers nothing, as after a network failure.
        """
        assert self.running is not None
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the server."""
        assert self.running is not None
        self.running.send_signal(signal.SIGCONT)

    def output(self) -> str:
        """The last part of its log."""
        path = self.directory / "nats.out"
        return path.read_text("utf-8", "replace")[-3000:] if path.exists() else ""


class NatsCluster:
    """
    Servers that form a cluster, three by default.

    @ivar nodes: the servers.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        extra: str = "",
        user: tuple[str, str] | None = None,
    ) -> None:
        """@param user: a name and a password, if C{extra} requires them."""
        self.user = user
        addresses = [freeAddress() for _ in range(size)]
        self.nodes = [
            NatsServer(directory / f"n{at}", f"n{at}", address, addresses, extra)
            for at, address in enumerate(addresses, 1)
        ]

    @property
    def urls(self) -> list[str]:
        """The URLs for clients."""
        return [node.url for node in self.nodes]

    @property
    def journal(self) -> str:
        """The value for C{--journal}."""
        return "nats://" + ",".join(
            f"{node.address}:{CLIENT_PORT}" for node in self.nodes
        )

    def start(self) -> None:
        """
        Start the servers that do not run; wait until all have a leader and have caught
        up.
        """
        for _ in range(3):
            for node in self.nodes:
                # One after another: when nodes start at the same moment, one may never
                # learn how much room another has.
                node.start()
            # Some versions stay unhealthy until a restart, most often after a restore.
            deadline = time.monotonic() + PATIENCE_S / 2
            while not self._isHealthy() and time.monotonic() < deadline:
                time.sleep(0.02)
            if self._isHealthy() and self._places():
                return
            for node in self.nodes:
                node.stop()
        raise AssertionError(
            f"no healthy cluster with room for a stream: {self.nodes[0].output()}"
        )

    def _isHealthy(self) -> bool:
        return all(node.healthy() for node in self.nodes)

    def _places(self) -> bool:
        """Whether a test stream can soon be placed on all nodes."""
        bus = Bus.open(Access(parseServers(self.journal), user=self.user))
        deadline = time.monotonic() + 10
        try:
            while time.monotonic() < deadline:
                try:
                    made = bus.run(
                        bus.api(
                            "STREAM.CREATE.probe",
                            name="probe",
                            subjects=["probe"],
                            storage="memory",
                            num_replicas=len(self.nodes),
                        )
                    )
                    if "error" not in made:
                        bus.run(bus.api("STREAM.DELETE.probe"))
                        return True
                except NoResponse:
                    pass
                time.sleep(0.1)
        finally:
            bus.close()
        return False

    def kill(self) -> None:
        """Kill all servers with SIGKILL."""
        for node in self.nodes:
            node.kill()


class NatsTestCase(SynchronousTestCase):
    """Servers for a test; they end with it."""

    # In seconds; trial's own limit for a test that waits for processes.
    timeout = 240

    def directory(self) -> Path:
        """A new directory."""
        made = Path(self.mktemp()).resolve()
        made.mkdir(parents=True)
        return made

    def server(self, extra: str = "", storeOctetsMax: int = 4 * 1024**3) -> NatsServer:
        """A single server, started."""
        server = NatsServer(
            self.directory(), extra=extra, storeOctetsMax=storeOctetsMax
        )
        self.addCleanup(server.kill)
        server.start()
        waitUntil(server.healthy, "JetStream does not start")
        return server

    def cluster(self, size: int = 3, extra: str = ROOMY) -> NatsCluster:
        """A cluster, started."""
        cluster = NatsCluster(self.directory(), size, extra)
        self.addCleanup(cluster.kill)
        cluster.start()
        return cluster
