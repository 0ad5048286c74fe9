"""
Compare the lag that a listener shows with the truth, for some minutes at a time.

Each trial writes lines at a steady rate, faster than they can be delivered, and looks at the
listener's status every three seconds. The truth is known from outside: when each line was written,
and which octets C{master.log} has. Three ways to be slow:

* C{throttled}: the listener's C{--max-rate};
* C{link}: a TCP proxy that limits the octets per second, with the kernel's usual buffers;
* C{burst}: the same proxy, and everything written at once.

At every look the shown lag, in seconds and in octets, must be within 20 % of the truth, or within
what passes between two reports and a look: three seconds, and what was written in that time.
C{lagging} must be raised whenever the truth has exceeded its limit for longer than a report takes,
and a file is never shown with more delivered than it has. To run all for three minutes each:

    python -m tests.campaigns.lag
    python -m tests.campaigns.lag throttled 60
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decnet_syslog.monitoring import LAGGING_S
from decnet_syslog.testing import LocalCluster, Process

__all__ = ["TRIALS", "Look", "Slow", "run", "wrong"]

# Octets a second: of the writer, and of the connection.
WRITTEN = 60_000
DELIVERED = 20_000

LINE_OCTETS = 200
LOOK_S = 3.0
SHARE = 0.2
SLACK_S = 3.0

# Nothing that the worker reports can be there earlier: its first octets travel before.
BEGIN_S = 8.0

# The alarm may be this much late, in seconds: a look of the listener, and a report.
LATE_S = 6.0

TRIALS = ("throttled", "link", "burst")


class Slow(threading.Thread):
    """
    A TCP proxy for one client at a time, slow in the direction of the master.

    @ivar port: where it listens, on 127.0.0.1.
    """

    def __init__(self, target: tuple[str, int], octetsPerSecond: int) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._rate = octetsPerSecond
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends = threading.Event()

    def run(self) -> None:
        """Serve until L{end}."""
        while not self._ends.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self._target) as master:
                self._serve(client, master)

    def _serve(self, client: socket.socket, master: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            for one in (client, master):
                ready.register(one, selectors.EVENT_READ)
            freeAt = time.monotonic()
            while not self._ends.is_set():
                waits = freeAt - time.monotonic()
                if waits > 0 and client in ready.get_map():
                    ready.unregister(client)
                elif waits <= 0 and client not in ready.get_map():
                    ready.register(client, selectors.EVENT_READ)
                for key, _ in ready.select(max(0.001, min(0.1, waits))):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    octets = source.recv(4096)
                    if not octets:
                        return
                    if source is master:
                        client.sendall(octets)
                        continue
                    master.sendall(octets)
                    freeAt = max(freeAt, time.monotonic()) + len(octets) / self._rate

    def end(self) -> None:
        """Stop serving."""
        self._ends.set()
        self._listener.close()


@dataclass
class Writer:
    """
    Writes lines at a rate, and remembers when.

    @ivar ends: the size of the file after each write; C{times}: when that was.
    """

    path: Path
    rate: int
    ends: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    number: int = 0

    def write(self, octets: int) -> None:
        """Write lines of about this total size."""
        lines = []
        for _ in range(max(1, octets // LINE_OCTETS)):
            self.number += 1
            text = f"<134>1 - host app - - - {self.number} "
            lines.append(text.ljust(LINE_OCTETS - 1, "x").encode() + b"\n")
        now = time.monotonic()
        with open(self.path, "ab") as file:
            file.write(b"".join(lines))
            self.ends.append(file.tell())
        self.times.append(now)

    def behind(self, delivered: int) -> tuple[int, float]:
        """Octets that are not delivered, and the age of the oldest."""
        at = bisect_right(self.ends, delivered)
        if at == len(self.ends):
            return 0, 0.0
        return self.ends[-1] - delivered, time.monotonic() - self.times[at]


@dataclass(frozen=True)
class Look:
    """One look: the truth, and what the listener showed."""

    at: float
    octets: int
    seconds: float
    shownOctets: int | None
    shownSeconds: float | None
    state: str
    lagging: bool
    throttled: str | None
    overfull: bool


def wrong(look: Look, lateSince: float | None) -> str | None:
    """
    What is wrong with a look; C{None}: nothing.

    @param lateSince: since when the truth has exceeded the limit of the alarm.
    """
    if look.at < BEGIN_S:
        return None
    if look.overfull:
        return "more is delivered than there is"
    if look.shownSeconds is None or look.shownOctets is None:
        return None if look.seconds < LATE_S else "no lag is shown"
    if abs(look.shownSeconds - look.seconds) > max(SLACK_S, SHARE * look.seconds):
        return "the seconds are wrong"
    if abs(look.shownOctets - look.octets) > max(
        SLACK_S * WRITTEN, SHARE * look.octets
    ):
        return "the octets are wrong"
    if lateSince is not None and look.at - lateSince > LATE_S and not look.lagging:
        return "lagging is not raised"
    if (
        look.seconds < LAGGING_S / 2 - SLACK_S
        and look.lagging
        and lateSince is not None
    ):
        return "lagging is raised"
    return None


def isConnected(pair: LocalCluster) -> bool:
    """Whether both ends serve their status and are connected."""
    ends = (pair.listener, pair.workers[0].forwarder)
    if not all("/status.json" in end.output() for end in ends):
        return False
    return bool(facts(pair.listener)["connected_workers"])


def facts(process: Process) -> dict[str, Any]:
    """The status of a process."""
    found = re.search(r"status on (http://\S+)/status\.json", process.output())
    assert found is not None
    with urllib.request.urlopen(f"{found[1]}/status.json", timeout=30) as answer:
        status: dict[str, Any] = json.loads(answer.read())
    return status


@contextmanager
def started(trial: str, directory: Path) -> Iterator[tuple[LocalCluster, Writer]]:
    """The processes of a trial."""
    limit = [f"--max-rate={DELIVERED}"] if trial == "throttled" else []
    pair = LocalCluster(directory, ["--status-port=0", *limit])
    proxy = None
    options = ["--status-port=0"]
    if trial != "throttled":
        proxy = Slow((pair.host, pair.port), DELIVERED)
        options += ["--master-host=127.0.0.1", f"--master-port={proxy.port}"]
        proxy.start()
    try:
        worker = pair.enroll("decky-01", options)
        pair.startListener()
        worker.forwarder.start()
        pair.wait(lambda: isConnected(pair), "the forwarder does not connect")
        yield pair, Writer(worker.file, WRITTEN)
    finally:
        pair.stop()
        if proxy is not None:
            proxy.end()


def look(pair: LocalCluster, writer: Writer, began: float) -> Look:
    """Look at the truth and at the status, as close together as two processes allow."""
    status = facts(pair.listener)
    delivered = pair.logPath.stat().st_size if pair.logPath.exists() else 0
    octets, seconds = writer.behind(delivered)
    (worker,) = status["workers"]
    held = worker["throttled"]
    own = facts(pair.workers[0].forwarder)
    overfull = any(
        one["position"] > one["size"] for one in [*worker["streams"], *own["files"]]
    )
    return Look(
        time.monotonic() - began,
        octets,
        seconds,
        worker["behind_octets"],
        worker["behind_seconds"],
        worker["state"],
        "lagging" in worker["alarms"],
        None if held is None else held["reason"],
        overfull,
    )


def run(trial: str, seconds: float) -> tuple[int, list[Look]]:
    """
    One trial.

    @return: the number of wrong looks, and all looks.
    """
    looks: list[Look] = []
    bad = 0
    with (
        tempfile.TemporaryDirectory(prefix="decnet-syslog-lag-") as name,
        started(trial, Path(name)) as (pair, writer),
    ):
        began = time.monotonic()
        if trial == "burst":
            writer.write(int(DELIVERED * seconds * 0.7))
        due, lateSince = LOOK_S, None
        while (now := time.monotonic() - began) < seconds:
            if trial != "burst":
                writer.write(WRITTEN // 10)
            if now >= due:
                due = now + LOOK_S
                found = look(pair, writer, began)
                if found.seconds < LAGGING_S:
                    lateSince = None
                elif lateSince is None:
                    lateSince = found.at
                why = wrong(found, lateSince)
                bad += why is not None
                looks.append(found)
                show(trial, found, why)
            time.sleep(max(0.0, 0.1 - (time.monotonic() - began - now)))
    return bad, looks


def show(trial: str, found: Look, why: str | None) -> None:
    """Print one look."""
    shown = "none" if found.shownSeconds is None else f"{found.shownSeconds:6.1f} s"
    octets = "none" if found.shownOctets is None else f"{found.shownOctets:9}"
    print(
        f"{trial} {found.at:6.1f} s: truth {found.seconds:6.1f} s {found.octets:9} octets,"
        f" shown {shown} {octets}, {found.state}, held {found.throttled}"
        f"{', lagging' if found.lagging else ''}{f': WRONG: {why}' if why else ''}",
        flush=True,
    )


def main() -> None:
    """Run the trials that the command line names."""
    words = sys.argv[1:]
    seconds = float(words.pop()) if words and words[-1].isdigit() else 180.0
    bad = 0
    for trial in words or TRIALS:
        failed, looks = run(trial, seconds)
        bad += failed or not any(one.lagging for one in looks)
        if trial == "throttled" and not any(one.throttled for one in looks):
            print("throttled: the listener never said that it holds the worker back")
            bad += 1
        print(f"{trial}: {len(looks)} looks, {failed} wrong")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
