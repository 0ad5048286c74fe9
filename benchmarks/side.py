"""
One side of a comparison: a receiver and its senders, real processes under mutual TLS.

L{Ours} is C{twistd decnet-listener} and C{twistd decnet-forwarder} with default
settings, with fsync, journal and acknowledgements; nothing is tuned. The others are in
L{benchmarks.rsyslog}. All sides use the same kind of CA, ECDSA P-256, TLS 1.3, OpenSSL.
"""

from __future__ import annotations

import compileall
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import decnet_syslog
from decnet_syslog.errors import UserError
from decnet_syslog.hotpath._functions import PURE_PYTHON
from decnet_syslog.testing import LocalCluster, Process
from decnet_syslog.trust import Authority

from .processes import listens

__all__ = ["Ours", "Pure", "Side", "ends", "nameProcesses", "waitFor"]

# The time limit for a process to begin listening, in seconds.
START_S = 60.0


def waitFor(
    condition: Callable[[], bool], what: str, seconds: float, every: float = 0.005
) -> None:
    """
    Wait until a condition holds.

    @raise UserError: it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UserError(f"{what}, for {seconds:.0f} s")
        time.sleep(every)


class Side(ABC):
    """
    A receiver and its senders.

    @cvar name: for tables and file names.
    @ivar rawPath: the output of raw lines.
    @ivar jsonPath: the output of records; C{None} if there is none.
    @ivar host: the receiver's address; C{port} is its port.
    @ivar authority: the CA of every certificate here.
    """

    name: str
    host: str
    port: int
    rawPath: Path
    jsonPath: Path | None
    authority: Authority

    @abstractmethod
    def __init__(self, directory: Path, json: bool) -> None:
        """
        @param directory: a new one.
        @param json: whether records are written in addition to raw lines.
        """

    @abstractmethod
    def addSender(self, name: str, files: Sequence[Path]) -> None:
        """Create a sender for some files. Call it before L{startReceiver}."""

    @abstractmethod
    def startReceiver(self) -> None:
        """Start the receiver and wait until it listens."""

    @abstractmethod
    def startSenders(self) -> None:
        """Start the senders."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Every running process: "receiver", "sender", "sender-2"..."""

    @abstractmethod
    def said(self) -> str:
        """The processes' logs, for an error message."""

    @abstractmethod
    def stop(self) -> None:
        """End every process."""

    def awaitPort(self, alive: Callable[[], bool]) -> None:
        """Wait until the receiver listens."""

        def ready() -> bool:
            if not alive():
                raise UserError(f"{self.name}: the receiver has ended:\n{self.said()}")
            return listens(self.host, self.port)

        waitFor(ready, f"{self.name} does not listen", START_S, 0.02)


def ends(paths: Sequence[Path]) -> str:
    """The last part of each log, for an error message."""
    return "".join(
        f"\n--- {path}\n{path.read_text('utf-8', 'replace')[-2000:]}"
        for path in paths
        if path.exists()
    )


def nameProcesses(receiver: int, senders: Sequence[int]) -> dict[str, int]:
    """The receiver as "receiver", and the senders as "sender", "sender-2"..."""
    named = {"receiver": receiver}
    for number, pid in enumerate(senders, 1):
        named["sender" if number == 1 else f"sender-{number}"] = pid
    return named


class Ours(Side):
    """
    decnet-listener and decnet-forwarder.

    @cvar environment: variables for their processes.
    """

    name = "decnet-syslog"
    environment: Mapping[str, str] = {}

    def __init__(self, directory: Path, json: bool) -> None:
        directory.mkdir(parents=True)
        # As pip does at installation: a checkout may have no bytecode.
        compileall.compile_dir(Path(decnet_syslog.__file__).parent, quiet=1)
        # The fleet shares a few certificates.
        self._pair = LocalCluster(directory, ["--max-connections-per-worker=20000"])
        self._senders: list[Process] = []
        self.host, self.port = self._pair.host, self._pair.port
        self.rawPath = self._pair.logPath
        self.jsonPath = self._pair.jsonPath if json else None
        self.authority = self._pair.authority
        self._pair.listener.environment |= self.environment
        if not json:
            listener = self._pair.listener
            kept = [a for a in listener.arguments if not a.startswith("--json-path=")]
            listener.arguments = [*kept, "--json-path="]

    def addSender(self, name: str, files: Sequence[Path]) -> None:
        """Create a forwarder without a limit on its lag."""
        worker = self._pair.enroll(name, ["--max-lag-bytes=0"])
        kept = [
            a for a in worker.forwarder.arguments if not a.startswith("--log-file=")
        ]
        worker.forwarder.arguments = [*kept, *[f"--log-file={file}" for file in files]]
        worker.forwarder.environment |= self.environment
        self._senders.append(worker.forwarder)

    def startReceiver(self) -> None:
        """Start the listener and wait until it listens."""
        self._pair.listener.start()
        self.awaitPort(lambda: self._pair.listener.alive)

    def stopReceiver(self) -> None:
        """Stop the listener as an init system would; L{startReceiver} starts it again."""
        self._pair.listener.stop()

    def killReceiver(self) -> None:
        """Kill the listener."""
        self._pair.listener.kill()

    def startSenders(self) -> None:
        """Start the forwarders."""
        for sender in self._senders:
            sender.start()

    def pids(self) -> dict[str, int]:
        """The process ids of the listener and the forwarders."""
        started = [s.pid for s in self._senders if s.running is not None]
        return nameProcesses(self._pair.listener.pid, started)

    def said(self) -> str:
        """The last part of their logs."""
        return ends([p.log for p in self._pair.processes])

    def stop(self) -> None:
        """Kill them: everything is delivered."""
        self._pair.stop()


class Pure(Ours):
    """The same without the compiled module."""

    name = "pure Python"
    environment: Mapping[str, str] = {PURE_PYTHON: "1"}
