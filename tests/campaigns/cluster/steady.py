"""
Measure a steady trickle of lines: the delay of the outputs' cursors, the size of the journal, and
what a kill repeats. C{python -m tests.campaigns.cluster.steady}; with C{--journal file} for a
listener's own journal.

One worker writes ten lines a second. In JetStream, this program reads the cursors from the bucket,
like a host that takes over. Then the host of the outputs dies, and another host with its own files
continues. In a file, it asks the listener how much is not deleted yet. Then the listener is killed
and started again.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

from benchmarks.report import saveLines
from decnet_syslog.journal._stored import payloadOctets, storedOctets
from decnet_syslog.nats._access import Access, parseServers
from decnet_syslog.nats._bus import Bus
from decnet_syslog.testing import LocalCluster, Process, freePort

from ...natsserver import ROOMY, NatsServer, waitUntil

__all__ = ["main"]

# Interval of the measurements, in seconds.
LOOK_S = 0.1

LINE = b"<13>1 2026-01-01T00:00:00Z h a - - - line %08d\n"

# Of a listener's journal.
PAGE_OCTETS = 65536

# How long lines are written after the kill, in seconds.
AFTER_S = 5.0


class Steady(ABC):
    """
    A worker, a listener, and their measurement.

    @ivar homes: the directories with output files.
    """

    def __init__(self, directory: Path, rate: float) -> None:
        """
        @param rate: lines a second.
        """
        self.pair = LocalCluster(directory)
        self.worker = self.pair.enroll("w1")
        self.homes = [directory]
        self.written = 0
        self._rate = rate

    @abstractmethod
    def start(self) -> None:
        """Start everything."""

    @abstractmethod
    def look(self, now: float) -> tuple[float, int]:
        """
        Measure once.

        @param now: seconds, monotonic.
        @return: the age of the oldest message that a cursor does not include, in seconds; the
            journal's size, in octets.
        """

    @abstractmethod
    def kill(self) -> None:
        """Kill the process that writes the outputs; another one continues."""

    def stop(self) -> None:
        """End everything."""
        self.pair.stop()

    def write(self) -> None:
        """Write the next line."""
        self.worker.append(LINE % self.written)
        self.written += 1

    def watch(self, seconds: float) -> tuple[float, int]:
        """
        Write steadily, and measure.

        @return: the maximum of each value that L{look} returns.
        """
        late, most = 0.0, 0
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + seconds:
            while self.written < (now - begun) * self._rate:
                self.write()
            behind, octets = self.look(now)
            late, most = max(late, behind), max(most, octets)
            time.sleep(LOOK_S)
        return late, most

    def failOver(self) -> tuple[int, int]:
        """
        Kill the writing process while lines arrive, and wait for its successor.

        @return: the number of lost lines, and of lines that are in the files twice.
        """
        self.kill()
        until = time.monotonic() + AFTER_S
        while time.monotonic() < until:
            self.write()
            time.sleep(1 / self._rate)
        wanted = self.written

        def found() -> Counter[bytes]:
            lines: Counter[bytes] = Counter()
            for home in self.homes:
                path = home / "master.log"
                if path.exists():
                    lines.update(path.read_bytes().splitlines())
            return lines

        waitUntil(lambda: len(found()) >= wanted, "no process has taken over")
        lines = found()
        return wanted - len(lines), sum(lines.values()) - len(lines)


class Shared(Steady):
    """A journal in JetStream, and two hosts with outputs."""

    def __init__(self, directory: Path, rate: float) -> None:
        super().__init__(directory, rate)
        self.nats = NatsServer(directory / "nats", extra=ROOMY)
        self.pair.listener.arguments = [
            "decnet-listener",
            f"--host={self.pair.host}",
            f"--port={self.pair.port}",
            f"--ca-dir={self.pair.caDirectory}",
            f"--journal={self.nats.url}",
        ]
        self.homes = [directory / "one", directory / "two"]
        self.outputs = [self._outputs(home) for home in self.homes]
        self._came: dict[int, float] = {}

    def _outputs(self, home: Path) -> Process:
        home.mkdir()
        return Process(
            [
                "decnet-outputs",
                f"--journal={self.nats.url}",
                f"--log-path={home / 'master.log'}",
                f"--json-path={home / 'master.json'}",
            ],
            home / "outputs.out",
        )

    def start(self) -> None:
        """Start everything. The second host waits for the lease."""
        self.nats.start()
        waitUntil(self.nats.healthy, "JetStream does not start")
        self.pair.startListener()
        self.worker.forwarder.start()
        for process, said in zip(self.outputs, ("writing", "waiting"), strict=True):
            process.start()
            waitUntil(
                lambda process=process, said=said: said in process.output(),  # type: ignore[misc]
                f"the outputs do not log {said!r}",
            )
        self._bus = Bus.open(Access(parseServers(self.nats.url)))

    def look(self, now: float) -> tuple[float, int]:
        """Read the stream's state and the cursors in the bucket."""
        api, came = self._bus.api, self._came
        state = self._bus.run(api("STREAM.INFO.decnet"))["state"]
        came.setdefault(state["last_seq"], now)
        got = self._bus.run(
            api(
                "STREAM.MSG.GET.KV_decnet-outputs",
                last_by_subj="$KV.decnet-outputs.outputs",
            )
        )
        value = json.loads(base64.b64decode(got["message"]["data"]))
        cursor = min(value["cursors"].values(), default=0)
        for seq in [seq for seq in came if seq <= cursor]:
            del came[seq]
        return now - min(came.values(), default=now), int(state["bytes"])

    def kill(self) -> None:
        """Kill the first host's outputs. The second host continues in its own files."""
        self._bus.close()
        self.outputs[0].kill()

    def stop(self) -> None:
        """End everything."""
        super().stop()
        for process in self.outputs:
            process.kill()
        self.nats.kill()


class Alone(Steady):
    """A listener with its own journal and outputs."""

    def __init__(self, directory: Path, rate: float) -> None:
        super().__init__(directory, rate)
        self._statusPort = freePort("127.0.0.1")
        self.pair.listener.arguments = [
            *self.pair.listener.arguments,
            f"--status-port={self._statusPort}",
        ]

    def start(self) -> None:
        """Start both."""
        self.pair.startListener()
        self.worker.forwarder.start()

    def look(self, now: float) -> tuple[float, int]:
        """
        Ask the listener how much its journal holds: written batches are deleted. Batches of one
        line are equally long and come at a steady rate, so this is the age of the oldest one.
        """
        url = f"http://127.0.0.1:{self._statusPort}/status.json"
        with urlopen(url, timeout=10) as got:
            octets = int(json.load(got)["journal"]["octets"])
        batch = storedOctets(payloadOctets(len(LINE % 0), 0), PAGE_OCTETS)
        return octets / batch / self._rate, octets

    def kill(self) -> None:
        """Kill the listener, and start it again."""
        self.pair.listener.kill()
        self.pair.listener.start()


def main(arguments: Sequence[str]) -> int:
    """Run it. The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.cluster.steady")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=10.0, help="lines a second")
    parser.add_argument("--journal", choices=("nats", "file"), default="nats")
    given = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-steady-"))
    steady = {"nats": Shared, "file": Alone}[given.journal](directory, given.rate)
    try:
        steady.start()
        late, most = steady.watch(given.seconds)
        lost, twice = steady.failOver()
    finally:
        steady.stop()
    shutil.rmtree(directory)
    saveLines(
        f"steady-{given.journal}",
        vars(given),
        [
            f"{steady.written} lines, {given.rate:g} a second",
            f"cursors behind the journal: at most {late:.2f} s",
            f"not removed from the journal: at most {most:,} octets",
            f"after a kill: {lost} lines lost, {twice} in the files twice",
        ],
    )
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
