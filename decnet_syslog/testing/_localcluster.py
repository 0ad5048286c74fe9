"""
A temporary master and its workers as real processes.

Everything is in one directory. Every pair has its own loopback address, so that any number of them
can run side by side without agreeing on ports.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..trust import Authority

__all__ = [
    "LocalCluster",
    "LocalWorker",
    "Process",
    "countLines",
    "freePort",
    "newDirectory",
]

_TWISTD = "from twisted.scripts.twistd import run; run()"

# How long a process may take to start or stop on a busy machine, in seconds.
PATIENCE_S = 60.0


@dataclass
class Process:
    """
    One twistd process, started and stopped at will.

    @ivar arguments: the arguments of C{twistd}.
    @ivar log: the file for its output.
    @ivar prefix: a command that runs it.
    @ivar code: the code that runs twistd.
    """

    arguments: Sequence[str]
    log: Path
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    code: str = _TWISTD
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, unless it is running."""
        if self.alive:
            return
        with open(self.log, "ab") as log:
            self.running = subprocess.Popen(
                [
                    *self.prefix,
                    sys.executable,
                    "-c",
                    self.code,
                    "--nodaemon",
                    "--pidfile=",
                    *self.arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env={
                    **os.environ,
                    # The package may run from a checkout.
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                    "PYTHONUNBUFFERED": "1",
                    **self.environment,
                },
            )

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self.running is not None and self.running.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; the tracer's, if a tracer started it."""
        assert self.running is not None
        return self.running.pid

    def signal(self, number: int) -> None:
        """Send a signal, if the process is running."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()

    def stop(self) -> int:
        """
        Stop it as an init system would, and wait.

        @return: its exit status; negative for a signal.
        """
        assert self.running is not None
        self.signal(signal.SIGTERM)
        return self.running.wait(PATIENCE_S)

    def output(self) -> str:
        """Its output so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


@dataclass
class LocalWorker:
    """A worker: its name, its log file, its forwarder."""

    name: str
    file: Path
    bundle: Path
    forwarder: Process

    def append(self, octets: bytes) -> None:
        """Append to the worker's log."""
        with open(self.file, "ab") as file:
            file.write(octets)


class LocalCluster:
    """
    A master with its listener, and workers.

    @ivar directory: the directory of all files.
    @ivar host: the listener's address.
    """

    def __init__(
        self, directory: Path, options: Sequence[str] = (), port: int | None = None
    ) -> None:
        """
        @param options: further options of the listener.
        @param port: the port to which forwarders connect, if not the listener's own.
        """
        self.directory = directory
        self.host = "127.{}.{}.{}".format(*[random.randint(1, 254) for _ in range(3)])
        self.port = freePort(self.host)
        self._connectTo = port or self.port
        self.logPath = directory / "master.log"
        self.jsonPath = directory / "master.json"
        self.journalPath = directory / "listener.db"
        self.caDirectory = directory / "ca"
        self.authority = Authority.create(self.caDirectory)
        self.authority.masterIdentity([self.host])
        self.workers: list[LocalWorker] = []
        self.listener = Process(
            [
                "decnet-listener",
                "--config=",
                f"--host={self.host}",
                f"--port={self.port}",
                f"--ca-dir={self.caDirectory}",
                f"--log-path={self.logPath}",
                f"--json-path={self.jsonPath}",
                *options,
            ],
            directory / "listener.out",
        )

    def enroll(self, name: str, options: Sequence[str] = ()) -> LocalWorker:
        """Make a worker, with its certificates and its forwarder."""
        home = self.directory / name
        home.mkdir()
        bundle = home / "agent"
        self.authority.enroll(name, bundle)
        file = home / "decnet.log"
        forwarder = Process(
            [
                "decnet-forwarder",
                "--config=",
                f"--master-host={self.host}",
                f"--master-port={self._connectTo}",
                f"--agent-dir={bundle}",
                f"--log-file={file}",
                *options,
            ],
            home / "forwarder.out",
        )
        worker = LocalWorker(name, file, bundle, forwarder)
        self.workers.append(worker)
        return worker

    @property
    def processes(self) -> list[Process]:
        """All processes."""
        return [self.listener, *[worker.forwarder for worker in self.workers]]

    def startListener(self) -> None:
        """Start the listener and wait until it accepts connections."""
        self.listener.start()
        self.wait(self._listening, "the listener does not listen")

    def _listening(self) -> bool:
        if not self.listener.alive:
            raise UserError(f"the listener exited:\n{self.listener.output()[-2000:]}")
        # Looked up instead of connecting: a connection would appear in the listener's log.
        octets = bytes(reversed(socket.inet_aton(self.host))).hex().upper()
        return any(
            f" {octets}:{self.port:04X} 00000000:0000 0A" in line
            for line in Path("/proc/net/tcp").read_text().splitlines()
        )

    def wait(self, condition: object, what: str, seconds: float = PATIENCE_S) -> None:
        """
        Wait until a condition holds.

        @raise UserError: it does not hold in time.
        """
        deadline = time.monotonic() + seconds
        assert callable(condition)
        while not condition():
            if time.monotonic() > deadline:
                raise UserError(f"{what}, for {seconds:.0f} s; see {self.directory}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill every process, including stopped ones."""
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.kill()


def freePort(host: str) -> int:
    """A port of this host on which nothing listens."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def newDirectory(path: str | None, purpose: str) -> Path:
    """
    A new directory: the one named, or a temporary one.

    @raise UserError: it exists already.
    """
    if path is None:
        return Path(tempfile.mkdtemp(prefix=f"decnet-syslog-{purpose}-"))
    directory = Path(path).resolve()
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise UserError(
            f"{directory} exists: give a new directory with --directory"
        ) from None
    return directory


def countLines(written: Iterable[bytes], delivered: Iterable[bytes]) -> tuple[int, int]:
    """The number of written lines that were lost, and of those delivered more than once."""
    want = Counter(written)
    have = Counter(delivered)
    lost = sum((want - have).values())
    repeated = sum((have - want).values())
    return lost, repeated
