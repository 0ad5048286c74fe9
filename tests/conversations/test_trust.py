"""Tests for revoked and replaced certificates, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from decnet_syslog.testing import LocalCluster, LocalWorker
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._bundles import BUNDLE_FILES, Bundle
from decnet_syslog.trust._names import fingerprint

from ..peers import PairTestCase
from .test_processes import numbered


class Writer:
    """Writes numbered lines to workers' files until it is stopped."""

    def __init__(self, *workers: LocalWorker) -> None:
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
        """Stop writing. Returns the number of lines for each worker."""
        self._over.set()
        self._thread.join()
        return self.count


def decnetSyslog(*arguments: str) -> str:
    """Run a decnet-syslog command. Returns its output."""
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
    """Replace the files of a bundle, one after another."""
    for name in BUNDLE_FILES:
        shutil.copy2(new / name, home / f".{name}")
        os.replace(home / f".{name}", home / name)


def knock(pair: LocalCluster, bundle: Path) -> str:
    """
    Connect to a listener with a bundle, as a plain sender. Returns the alert, or
    nothing after a second.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(bundle / "worker.crt", bundle / "worker.key")
    with (
        socket.create_connection((pair.host, pair.port), 10) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.settimeout(1)
        try:
            tls.sendall(b"7 knocked")
            tls.recv(1)
        except ssl.SSLError as error:
            return str(error.reason)
        except TimeoutError:
            return ""
    return "closed"


class RunningTests(PairTestCase):
    """Two workers that send continuously."""

    def started(self) -> tuple[LocalCluster, LocalWorker, LocalWorker]:
        pair = self.pair()
        one, two = pair.enroll("w1"), pair.enroll("w2")
        pair.startListener()
        for worker in (one, two):
            worker.append(numbered(-1, 1))
            worker.forwarder.start()
        self.waitForLines(pair, 2)
        return pair, one, two

    def delivered(self, pair: LocalCluster) -> dict[str, list[str]]:
        """The messages of each worker, in order."""
        found: dict[str, list[str]] = {}
        for line in pair.jsonPath.read_bytes().splitlines():
            record = json.loads(line)
            found.setdefault(record["source_worker"], []).append(record["msg"])
        return found

    def expected(self, count: int) -> list[str]:
        return [f"number {n}" for n in range(-1, count)]

    def connections(self, pair: LocalCluster, name: str) -> int:
        return pair.listener.output().count(f"{name} connected from")

    def test_revokedWorker(self) -> None:
        """
        The revoke command closes the worker's connection, and later connections are
        refused.
        """
        pair, one, two = self.started()
        writer = Writer(one, two)
        self.addCleanup(writer.stop)
        said = decnetSyslog("revoke", "w1", f"--ca-dir={pair.caDirectory}")
        self.assertIn("revoked", said)
        pair.wait(
            lambda: "closing w1 at" in pair.listener.output(), "w1 is not disconnected"
        )
        pair.wait(
            lambda: (
                "it was revoked on" in pair.listener.output().split("closing w1")[-1]
                and "refused 127" in pair.listener.output()
            ),
            "w1 is not refused when it reconnects",
        )
        held = len(self.delivered(pair)["w1"])
        count = writer.stop()
        pair.wait(lambda: len(self.delivered(pair)["w2"]) == count + 1, "w2 is delayed")
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

    def assertShutOut(self, pair: LocalCluster, bundle: Path, alert: str) -> None:
        """
        Check that a bundle is refused within a second, and that its owner learns the
        reason.
        """
        self.waitFor(
            pair, lambda: alert in knock(pair, bundle), f"{bundle} does not get {alert}"
        )

    def test_authorityReplaced(self) -> None:
        """
        When the CA is replaced under load, no line is lost and nothing restarts;
        revocations work before, during and after; at the end the old CA's certificates
        are refused.
        """
        pair, one, two = self.started()
        processes = [(process, process.pid) for process in pair.processes]
        ca = f"--ca-dir={pair.caDirectory}"
        old = {w.name: self.directory / f"old-{w.name}" for w in (one, two)}
        for worker in (one, two):
            shutil.copytree(worker.bundle, old[worker.name])
        for name in ("before", "during"):
            old[name] = self.directory / name
            decnetSyslog("enroll", name, f"--out={old[name]}", ca)
        writer = Writer(one, two)
        self.addCleanup(writer.stop)
        decnetSyslog("revoke", "before", ca)
        self.assertShutOut(pair, old["before"], "REVOKED")

        said = decnetSyslog("ca", "replace", ca)
        for name in ("w1", "w2", "during"):
            self.assertIn(f"still old {name} ", said)
        self.assertNotIn("before", said)
        self.assertEqual(decnetSyslog("ca", "replace", ca), said)
        new = self.directory / "new"
        decnetSyslog("enroll", "mallory", f"--out={new / 'mallory'}", ca)
        decnetSyslog("revoke", "during", ca)
        decnetSyslog("revoke", "mallory", ca)
        for bundle in (old["during"], new / "mallory", old["before"]):
            self.assertShutOut(pair, bundle, "REVOKED")
        refused = self.assertRaises(
            subprocess.CalledProcessError, decnetSyslog, "ca", "replace", "--finish", ca
        )
        self.assertIn("no certificate from the new CA yet: w1, w2", refused.stderr)

        decnetSyslog("ca", "replace", f"--out={new}", ca)
        for worker in (one, two):
            replaceBundle(worker.bundle, new / worker.name)
        self.waitFor(
            pair,
            lambda: all(
                "using the new certificate" in worker.forwarder.output()
                for worker in (one, two)
            ),
            "the new bundle is not loaded",
        )
        decnetSyslog("ca", "replace", "--finish", ca)
        self.waitFor(
            pair,
            lambda: [self.connections(pair, name) for name in ("w1", "w2")] == [2, 2],
            "a worker does not reconnect with the new certificate",
        )
        for worker in (one, two):
            shutil.copy2(pair.caDirectory / "ca.crt", worker.bundle / ".new")
            os.replace(worker.bundle / ".new", worker.bundle / "ca.crt")
        for name in ("w1", "w2", "before", "during"):
            self.assertShutOut(pair, old[name], "UNKNOWN_CA")
        self.assertShutOut(pair, new / "mallory", "REVOKED")
        decnetSyslog("enroll", "after", f"--out={new / 'after'}", ca)
        decnetSyslog("revoke", "after", ca)
        self.assertShutOut(pair, new / "after", "REVOKED")

        count = writer.stop()
        self.waitFor(
            pair,
            lambda: all(
                len(self.delivered(pair).get(name, ())) == count + 1
                for name in ("w1", "w2")
            ),
            "lines are missing",
        )
        delivered = self.delivered(pair)
        for name in ("w1", "w2"):
            self.assertEqual(delivered.pop(name), self.expected(count))
        # A connection may be accepted until the listener has read the list.
        self.assertLessEqual(set(delivered), {"before", "during", "mallory", "after"})
        for process, pid in processes:
            self.assertTrue(process.alive)
            self.assertEqual(process.pid, pid)
            self.assertEqual(process.output().count("starting up"), 1)
        self.assertNotIn("is not used", pair.listener.output())
        for worker in (one, two):
            shown = Bundle.load(worker.bundle)
            self.assertEqual(len(shown.authorities), 1)
            prints = [
                record["source_fingerprint"]
                for record in map(json.loads, pair.jsonPath.read_bytes().splitlines())
                if record["source_worker"] == worker.name
            ]
            self.assertEqual(prints[-1], fingerprint(shown.certificate))

    def test_refusedWorkerRecovers(self) -> None:
        """
        A refused worker logs the reason once and keeps its lines: once the cause is
        removed, they arrive without a restart.
        """
        allow = self.directory / "allow"
        allow.write_text("revoked\nplain\noperator\nforeign\n")
        pair = self.pair([f"--allow={allow}"])
        ca = f"--ca-dir={pair.caDirectory}"
        other = Authority.create(self.directory / "other")
        workers = {
            name: pair.enroll(name, [f"--delivery={delivery}"])
            for name, delivery in (
                ("revoked", "auto"),
                ("plain", "plain"),
                ("barred", "auto"),
                ("operator", "auto"),
                ("foreign", "auto"),
            )
        }
        for name in ("revoked", "plain"):
            decnetSyslog("revoke", name, ca)
        for name, authority, role in (
            ("operator", pair.authority, "operator"),
            ("foreign", other, "worker"),
        ):
            authority.enroll(name, self.directory / f"odd-{name}", role=role)
            replaceBundle(workers[name].bundle, self.directory / f"odd-{name}")
        trusts = workers["foreign"].bundle / "ca.crt"
        trusts.write_bytes(
            trusts.read_bytes() + (pair.caDirectory / "ca.crt").read_bytes()
        )
        pair.startListener()
        for worker in workers.values():
            worker.append(numbered(0, 3))
            worker.forwarder.start()
        words = {
            "revoked": "this worker's certificate is revoked (it says",
            "plain": "this worker's certificate is revoked;",
            "barred": "not on the master's allow-list (it says",
            "operator": "this certificate is not a worker's (it says",
            "foreign": "the master does not trust the CA",
        }
        for name, said in words.items():
            self.waitFor(
                pair,
                lambda name=name, said=said: (  # type: ignore[misc]
                    said in workers[name].forwarder.output()
                    and workers[name].forwarder.output().count("connecting to") >= 3
                ),
                f"{name} does not learn the reason",
            )
        self.assertEqual(pair.logPath.read_bytes(), b"")
        for name, said in words.items():
            output = workers[name].forwarder.output()
            self.assertEqual(output.count(said), 1, output)
            self.assertEqual(output.count("no connection to the master"), 1, output)
            self.assertNotIn("connected to the master", output)
        # The cause is removed: another bundle, or another list.
        allow.write_text(allow.read_text() + "barred\n")
        for name in words:
            if name != "barred":
                new = self.directory / f"new-{name}"
                authority = Authority.open(pair.caDirectory)
                authority.enroll(name, new)
                replaceBundle(workers[name].bundle, new)
        self.waitFor(
            pair,
            lambda: (
                {n: len(m) for n, m in self.delivered(pair).items()}
                == dict.fromkeys(words, 3)
            ),
            "lines are missing",
        )
        for name in words:
            self.assertEqual(
                self.delivered(pair)[name], [f"number {n}" for n in range(3)]
            )

    def test_replacedCertificates(self) -> None:
        """
        When both ends' certificates are replaced under load, no connection is dropped.
        """
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
                "the new certificate is not loaded",
            )
        shutil.copy2(directory / "kept" / "worker.key", pair.caDirectory / "master")
        pair.wait(
            lambda: "is not the key of worker.crt" in pair.listener.output(),
            "a mismatching key is not reported",
        )
        self.assertEqual(
            [self.connections(pair, name) for name in ("w1", "w2")], [1, 1]
        )
        one.forwarder.kill()
        one.forwarder.start()
        pair.wait(lambda: self.connections(pair, "w1") == 2, "w1 does not reconnect")
        count = writer.stop()
        pair.wait(
            lambda: all(len(m) == count + 1 for m in self.delivered(pair).values()),
            "lines are missing",
        )
        for messages in self.delivered(pair).values():
            self.assertEqual(messages, self.expected(count))
        records = [json.loads(x) for x in pair.jsonPath.read_bytes().splitlines()]
        prints = {(r["source_worker"], r["source_fingerprint"]) for r in records}
        self.assertEqual(Counter(name for name, _ in prints), {"w1": 2, "w2": 1})
        self.assertNotIn("w2 at", pair.listener.output())
