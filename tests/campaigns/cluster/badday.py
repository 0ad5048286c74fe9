"""
An operator's bad day: faults of a cluster, in addition to kills.

A store is restored from a copy of all nodes that was made some faults earlier. So the
workers, the outputs and the other nodes know newer messages than the restored store
has. The same copy can be restored several times.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from decnet_syslog.nats._access import Access, parseServers
from decnet_syslog.nats._bus import Bus, NoResponse
from decnet_syslog.testing import LocalWorker, Process, Writer

from ...natsserver import ROOMY, NatsServer
from .fleet import Fleet
from .naming import found

__all__ = ["FAULTS", "BadDay"]

FAULTS = (
    "store put back",
    "disk wiped",
    "stream edited",
    "max_payload changed",
    "outputs cloned",
    "credentials rotated",
    "worker put back, too",
)

# Less than the size of one of our messages.
SMALL = "max_payload: 65536"

# How long a setting stays unsafe, in seconds.
WRONG_S = (0.5, 2.0, 4.0)


class BadDay:
    """
    Random faults.

    @ivar faults: how often each fault happened.
    @ivar clone: decnet-outputs on a clone of the outputs' machine, with its own files.
    """

    def __init__(
        self,
        fleet: Fleet,
        dice: random.Random,
        heal: Callable[[], None],
        writer: Writer,
        choice: Sequence[str] = FAULTS,
    ) -> None:
        """
        @param heal: wait until NATS is healthy.
        @param writer: writes the workers' lines.
        @param choice: some of L{FAULTS}.
        """
        self._choice = choice
        self.fleet = fleet
        self.faults: Counter[str] = Counter()
        self.clone: Process | None = None
        self._dice = dice
        self._heal = heal
        self._writer = writer
        self._copied = False
        self._passwords = 0
        self._faults: Mapping[str, Callable[[], None]] = dict(
            zip(
                FAULTS,
                (
                    self._putBack,
                    self._wipe,
                    self._edit,
                    self._payload,
                    self._cloneOutputs,
                    self._rotate,
                    self._workerToo,
                ),
                strict=True,
            )
        )

    def strike(self) -> None:
        """Cause a random fault."""
        what = self._dice.choice(self._choice)
        self._faults[what]()
        self.faults[what] += 1

    @property
    def _nodes(self) -> list[NatsServer]:
        return self.fleet.nats.nodes

    def _copy(self, name: str = "copy") -> None:
        """Back up all nodes while they are stopped."""
        self._heal()
        for node in self._nodes:
            node.stop()
        for node in self._nodes:
            copy = node.directory / name
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(node.store, copy)
        self.fleet.revive()

    def _restore(self, nodes: Sequence[NatsServer], name: str = "copy") -> None:
        """Kill some nodes, and restore their stores."""
        for node in nodes:
            node.kill()
        for node in nodes:
            node.wipe()
            shutil.copytree(node.directory / name, node.store)

    def _putBack(self) -> None:
        """Restore one, two or all nodes."""
        if not self._copied:
            self._copy()
            self._copied = True
            self._heal()
            # In the meantime lines are committed, acknowledged and written.
            time.sleep(self._dice.choice((3.0, 6.0, 12.0)))
        count = self._dice.choice((1, 2, 3, 3))
        self.faults[f"of {count} nodes"] += 1
        self._heal()
        some = self._dice.sample(self._nodes, count)
        self._restore(some)
        # Keep the copy for the next time, or make a new one.
        self._copied = self._dice.random() < 0.5

    def _workerToo(self) -> None:
        """
        Restore all nodes and one worker to the same moment. Afterwards the worker writes other
        lines at the same offsets. Before the restore the outputs have all of its lines, because
        those that are only on its disk are lost with the disk.
        """
        worker = self._dice.choice(self.fleet.workers)
        home = worker.file.parent
        moment = self.fleet.directory / "moment"
        shutil.rmtree(moment, ignore_errors=True)
        with self._writer.lock:
            self._arrived(worker)
            worker.forwarder.stop()
            shutil.copytree(home, moment)
            self._copy("moment")
        self._heal()
        time.sleep(self._dice.choice((2.0, 4.0)))
        with self._writer.lock:
            self._arrived(worker)
            self._heal()
            worker.forwarder.kill()
            self._restore(self._nodes, "moment")
            log = worker.forwarder.log.read_bytes()
            shutil.rmtree(home)
            shutil.copytree(moment, home)
            worker.forwarder.log.write_bytes(log)

    def _arrived(self, worker: LocalWorker) -> None:
        """Wait until the outputs have all lines of a worker that writes no more."""
        wanted = self._writer.written[worker.name]

        def isThere() -> bool:
            self.fleet.revive()
            return all(
                len({one.number for one, _ in found(path) if one.worker == worker.name})
                >= wanted
                for path in (self.fleet.logPath, self.fleet.jsonPath)
            )

        self.fleet.wait(isThere, f"not all lines of {worker.name} arrive")

    def _wipe(self) -> None:
        """Wipe one disk. A cluster of three does not survive the loss of two."""
        self._heal()
        node = self._dice.choice(self._nodes)
        node.kill()
        node.wipe()
        self.fleet.revive()
        self._heal()

    def _edit(self) -> None:
        """Make the stream's settings unsafe for some time."""
        wrong, right = self._dice.choice(
            (
                ({"max_age": 3600 * 10**9}, {"max_age": 0}),
                ({"discard": "old"}, {"discard": "new"}),
                ({"max_msgs_per_subject": 10**6}, {"max_msgs_per_subject": -1}),
            )
        )
        self._heal()
        self._update(wrong)
        time.sleep(self._dice.choice(WRONG_S))
        self._update(right)

    def _update(self, change: Mapping[str, Any]) -> None:
        bus = Bus.open(
            Access(parseServers(self.fleet.nats.journal), user=self.fleet.nats.user)
        )

        def updated() -> bool:
            try:
                config = bus.run(bus.api("STREAM.INFO.decnet"))["config"]
                answer = bus.run(
                    bus.api("STREAM.UPDATE.decnet", **{**config, **change})
                )
            except (NoResponse, KeyError):
                return False
            return "error" not in answer

        try:
            self.fleet.wait(updated, "the stream cannot be edited")
        finally:
            bus.close()

    def _configure(self) -> None:
        for node in self._nodes:
            node.extra = self.fleet.configuration()
            if node.alive:
                node.reload()

    def _payload(self) -> None:
        """Lower max_payload for some time."""
        self.fleet.payload = SMALL
        self._configure()
        time.sleep(self._dice.choice(WRONG_S))
        self.fleet.payload = ROOMY
        self._configure()

    def _cloneOutputs(self) -> None:
        """Clone the machine of the outputs, and start both."""
        if self.clone is not None:
            self.clone.kill()
        home = self.fleet.directory / "clone"
        home.mkdir(exist_ok=True)
        self.fleet.outputs.kill()
        for file in self.fleet.directory.glob("outputs.db*"):
            if not file.name.endswith(".lock"):
                shutil.copy(file, home / file.name)
        self.clone = self.fleet.outputsIn(home)
        # Either one may start first, but much less than a lease's duration before the
        # other.
        first = [self.clone, self.fleet.outputs]
        self._dice.shuffle(first)
        for process in first:
            process.start()

    def _rotate(self) -> None:
        """Change the password, either in the servers first or in the file first."""
        self._passwords += 1
        user = "decnet", f"password{self._passwords}"
        self.fleet.nats.user = user
        steps = [self._configure, self.fleet.writeSecret]
        self._dice.shuffle(steps)
        for step in steps:
            step()
            time.sleep(self._dice.choice((0.0, 0.5, 1.5)))
