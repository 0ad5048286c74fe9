"""Revoked and replaced certificates, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from decnet_syslog.commands.pair import Pair, Worker
from decnet_syslog.trust.authority import Authority
from decnet_syslog.trust.renewal import BUNDLE_FILES

from .peers import PairTestCase
from .test_processes import numbered


class Writer:
    """Writes numbered lines to workers' files until it is stopped."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.count = 0
        self._thread.start()

    def _write(self) -> None:
        while not self._over.wait(0.005):
            for worker in self._workers:
                worker.append(numbered(self.count, 1))
            self.count += 1

    def stop(self) -> int:
        """End it. How many lines each worker has."""
        self._over.set()
        self._thread.join()
        return self.count


def decnetSyslog(*arguments: str) -> str:
    """Run a command of decnet-syslog. What it printed."""
    code = "from decnet_syslog.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout


def replaceBundle(home: Path, new: Path) -> None:
    """Replace a bundle's files one after the other."""
    for name in BUNDLE_FILES:
        shutil.copy2(new / name, home / f".{name}")
        os.replace(home / f".{name}", home / name)


class RunningTests(PairTestCase):
    """Two workers that send all the time."""

    def started(self) -> tuple[Pair, Worker, Worker]:
        pair = self.pair()
        one, two = pair.enroll("w1"), pair.enroll("w2")
        pair.startListener()
        for worker in (one, two):
            worker.append(numbered(-1, 1))
            worker.forwarder.start()
        self.waitForLines(pair, 2)
        return pair, one, two

    def delivered(self, pair: Pair) -> dict[str, list[str]]:
        """The messages of each worker, in order."""
        found: dict[str, list[str]] = {}
        for line in pair.jsonPath.read_bytes().splitlines():
            record = json.loads(line)
            found.setdefault(record["source_worker"], []).append(record["msg"])
        return found

    def expected(self, count: int) -> list[str]:
        return [f"number {n}" for n in range(-1, count)]

    def connections(self, pair: Pair, name: str) -> int:
        return pair.listener.output().count(f"{name} connected from")

    def test_revoked(self) -> None:
        """The command closes the worker's connection and refuses its next ones."""
        pair, one, two = self.started()
        writer = Writer(one, two)
        self.addCleanup(writer.stop)
        said = decnetSyslog("revoke", "w1", f"--ca-dir={pair.caDirectory}")
        self.assertIn("revoked", said)
        pair.wait(
            lambda: "closing w1 at" in pair.listener.output(), "w1 is not sent away"
        )
        pair.wait(
            lambda: (
                "it was revoked on" in pair.listener.output().split("closing w1")[-1]
                and "refused 127" in pair.listener.output()
            ),
            "w1 is not refused when it comes back",
        )
        held = len(self.delivered(pair)["w1"])
        count = writer.stop()
        pair.wait(lambda: len(self.delivered(pair)["w2"]) == count + 1, "w2 is held up")
        delivered = self.delivered(pair)
        self.assertEqual(delivered["w2"], self.expected(count))
        self.assertEqual(self.connections(pair, "w2"), 1)
        self.assertEqual(delivered["w1"], self.expected(count)[: len(delivered["w1"])])
        self.assertEqual(len(delivered["w1"]), held)
        self.assertIn(
            "was revoked already",
            decnetSyslog("revoke", "w1", f"--ca-dir={pair.caDirectory}"),
        )
        self.assertIn(
            "REVOKED", decnetSyslog("ca", "show", f"--ca-dir={pair.caDirectory}")
        )

    def test_replaced(self) -> None:
        """Both ends' certificates are replaced under load: no connection is dropped."""
        pair, one, _ = self.started()
        writer = Writer(*pair.workers)
        self.addCleanup(writer.stop)
        directory = pair.directory
        shutil.move(pair.caDirectory / "master", directory / "old-master")
        shutil.copytree(directory / "old-master", directory / "kept")
        new = Authority.open(pair.caDirectory).masterIdentity()
        shutil.move(new, directory / "new-master")
        shutil.move(directory / "old-master", pair.caDirectory / "master")
        replaceBundle(pair.caDirectory / "master", directory / "new-master")
        decnetSyslog(
            "enroll",
            "w1",
            "--renew",
            f"--out={directory / 'new-w1'}",
            f"--ca-dir={pair.caDirectory}",
        )
        replaceBundle(one.bundle, directory / "new-w1")
        for process in (pair.listener, one.forwarder):
            pair.wait(
                lambda process=process: "using the new certificate" in process.output(),
                "a new certificate is not noticed",
            )
        shutil.copy2(directory / "kept" / "worker.key", pair.caDirectory / "master")
        pair.wait(
            lambda: "is not the key of worker.crt" in pair.listener.output(),
            "a key that does not fit is not noticed",
        )
        self.assertEqual(
            [self.connections(pair, name) for name in ("w1", "w2")], [1, 1]
        )
        one.forwarder.kill()
        one.forwarder.start()
        pair.wait(lambda: self.connections(pair, "w1") == 2, "w1 does not come back")
        count = writer.stop()
        pair.wait(
            lambda: all(len(m) == count + 1 for m in self.delivered(pair).values()),
            "not everything arrives",
        )
        for messages in self.delivered(pair).values():
            self.assertEqual(messages, self.expected(count))
        records = [json.loads(x) for x in pair.jsonPath.read_bytes().splitlines()]
        prints = {(r["source_worker"], r["source_fingerprint"]) for r in records}
        self.assertEqual(Counter(name for name, _ in prints), {"w1": 2, "w2": 1})
        self.assertNotIn("w2 at", pair.listener.output())
