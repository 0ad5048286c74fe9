"""
Measure a steady trickle of lines: the delay of the outputs' cursors, the size of the stream, and
the lines that a failover repeats. C{python -m tests.cluster.steady}.

One worker writes ten lines a second, and this program reads the cursors from the bucket, like a
host that takes over. Then the host of the outputs dies, and another host with its own files
continues.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decnet_syslog.commands.pair import Pair, Process
from decnet_syslog.nats.access import Access, parseServers
from decnet_syslog.nats.bus import Bus

from ..natsserver import ROOMY, NatsServer, waitUntil

__all__ = ["main"]

# The interval between two measurements, in seconds.
LOOK_S = 0.1


class Steady:
    """The processes and their measurement."""

    def __init__(self, directory: Path, rate: float) -> None:
        self.directory = directory
        self.nats = NatsServer(directory / "nats", extra=ROOMY)
        self.pair = Pair(directory)
        self._rate = rate
        self.pair.listener.arguments = [
            "decnet-listener",
            f"--host={self.pair.host}",
            f"--port={self.pair.port}",
            f"--ca-dir={self.pair.caDirectory}",
            f"--journal={self.nats.url}",
        ]
        self.worker = self.pair.enroll("w1")
        self.homes = [directory / "one", directory / "two"]
        self.outputs = [self._outputs(home) for home in self.homes]
        self.written = 0

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
                f"the process has not logged {said}",
            )

    def write(self) -> None:
        """Write the next line."""
        self.worker.append(
            b"<13>1 2026-01-01T00:00:00Z h a - - - line %08d\n" % self.written
        )
        self.written += 1

    def watch(self, seconds: float) -> tuple[float, int]:
        """
        Write steadily, and measure.

        @return: the longest time from the arrival of a message until all cursors include it, in
            seconds; the largest size of the stream, in octets.
        """
        bus = Bus.open(Access(parseServers(self.nats.url)))
        came: dict[int, float] = {}
        late, most = 0.0, 0
        begun = time.monotonic()
        try:
            while (now := time.monotonic()) < begun + seconds:
                while self.written < (now - begun) * self._rate:
                    self.write()
                state = bus.run(bus.api("STREAM.INFO.decnet"))["state"]
                most = max(most, state["bytes"])
                came.setdefault(state["last_seq"], now)
                got = bus.run(
                    bus.api(
                        "STREAM.MSG.GET.KV_decnet-outputs",
                        last_by_subj="$KV.decnet-outputs.outputs",
                    )
                )
                value = json.loads(base64.b64decode(got["message"]["data"]))
                cursor = min(value["cursors"].values(), default=0)
                for seq in [seq for seq in came if seq <= cursor]:
                    del came[seq]
                late = max(late, now - min(came.values(), default=now))
                time.sleep(LOOK_S)
        finally:
            bus.close()
        return late, most

    def failOver(self) -> tuple[int, int]:
        """
        Kill the writing host while lines arrive, and wait for the other one.

        @return: the number of lost lines, and the number of lines that both hosts have.
        """
        self.outputs[0].kill()
        until = time.monotonic() + 5
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

        waitUntil(lambda: len(found()) >= wanted, "the other host has not taken over")
        lines = found()
        return wanted - len(lines), sum(lines.values()) - len(lines)

    def stop(self) -> None:
        """End every process."""
        self.pair.stop()
        for process in self.outputs:
            process.kill()
        self.nats.kill()


def main(arguments: Sequence[str]) -> int:
    """Run the measurement. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.steady")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=10.0, help="lines a second")
    given = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-steady-"))
    steady = Steady(directory, given.rate)
    try:
        steady.start()
        late, most = steady.watch(given.seconds)
        lost, both = steady.failOver()
    finally:
        steady.stop()
    shutil.rmtree(directory)
    print(f"{steady.written} lines, {given.rate:g} a second")
    print(f"cursors behind the stream: {late:.2f} s at most")
    print(f"the stream: {most:,} octets at most")
    print(f"after a failover: {lost} lines lost, {both} in the files of both hosts")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
