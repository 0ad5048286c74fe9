"""Tests for the pipeline with real twistd processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from pathlib import Path
from unittest import SkipTest

from decnet_syslog.testing import LocalCluster, LocalWorker
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._names import fingerprint

from ..peers import PairTestCase

ODD = (
    b"plain\n"
    b"\n"
    b"\n"
    b"crlf\r\n"
    b"\r\n"
    b"nul \x00 inside\n"
    b"not utf-8 \xff\xfe\xc3\n"
    b"\xef\xbb\xbfbom\n"
    b"12 looks like a frame\n"
    b"OPEN looks like control\n" + b"long " * 12000 + b"\n"
    b"<134>1 2026-04-18T00:00:00Z h a p m - ok\n"
)


def numbered(first: int, count: int) -> bytes:
    """Distinguishable lines."""
    return b"".join(
        b"<134>1 2026-04-18T00:00:00Z decky ssh - auth - number %d\n" % n
        for n in range(first, first + count)
    )


class DeliveryTests(PairTestCase):
    """Lines arrive once, exactly as written."""

    def started(self, *options: str) -> tuple[LocalCluster, LocalWorker]:
        pair = self.pair()
        worker = pair.enroll("decky-01", options)
        pair.startListener()
        worker.forwarder.start()
        return pair, worker

    def test_octetForOctet(self) -> None:
        """
        CRLF, empty lines, NUL, invalid UTF-8 and a line of 60,000 octets arrive
        unchanged; an incomplete line does not arrive.
        """
        pair, worker = self.started()
        worker.append(ODD + b"no line feed yet")
        self.waitForLines(pair, ODD.count(b"\n"))
        self.assertEqual(pair.logPath.read_bytes(), ODD)
        records = [
            json.loads(record) for record in pair.jsonPath.read_bytes().splitlines()
        ]
        self.assertEqual({record["source_worker"] for record in records}, {"decky-01"})
        offsets = [record["source_offset"] for record in records]
        self.assertEqual(offsets[:4], [0, 6, 7, 8])
        self.assertEqual(records[0]["source_log"], str(worker.file))
        worker.append(b": now\n")
        self.waitForLines(pair, ODD.count(b"\n") + 1)
        self.assertEqual(pair.logPath.read_bytes(), worker.file.read_bytes())

    def test_directoryMissing(self) -> None:
        """
        A forwarder whose log's directory does not exist at the start waits for it; the
        directory may also disappear and return.
        """
        pair = self.pair()
        worker = pair.enroll("decky-01")
        late = worker.file.parent / "late" / "decnet.log"
        worker.forwarder.arguments = [
            *worker.forwarder.arguments,
            f"--log-file={late}",
        ]
        pair.startListener()
        worker.forwarder.start()
        worker.append(b"one\n")
        self.waitForLines(pair, 1)
        late.parent.mkdir()
        late.write_bytes(b"two\n")
        self.waitForLines(pair, 2)
        late.unlink()
        late.parent.rmdir()
        late.parent.mkdir()
        late.write_bytes(b"three\n")
        self.waitForLines(pair, 3)
        self.assertEqual(pair.logPath.read_bytes(), b"one\ntwo\nthree\n")
        self.assertNotIn("Traceback", worker.forwarder.output())

    def test_masterAway(self) -> None:
        """
        Lines written while the master is down, with a restart of the forwarder in
        between, arrive once.
        """
        pair, worker = self.started()
        worker.append(numbered(0, 100))
        self.waitForLines(pair, 100)
        pair.listener.stop()
        worker.append(numbered(100, 100))
        worker.forwarder.stop()
        worker.append(numbered(200, 100))
        worker.forwarder.start()
        worker.append(numbered(300, 100))
        pair.startListener()
        self.waitForLines(pair, 400)
        worker.forwarder.stop()
        pair.listener.stop()
        self.assertEqual(pair.logPath.read_bytes(), numbered(0, 400))

    def test_killsWhileLinesFlow(self) -> None:
        """
        If both ends are killed repeatedly while lines flow, each line arrives once.
        """
        pair, worker = self.started()
        for round_ in range(6):
            worker.append(numbered(round_ * 2000, 2000))
            time.sleep(0.05 * round_)
            (pair.listener if round_ % 2 else worker.forwarder).kill()
            pair.startListener()
            worker.forwarder.start()
        self.waitForLines(pair, 12000)
        worker.forwarder.stop()
        pair.listener.stop()
        self.assertEqual(pair.logPath.read_bytes(), numbered(0, 12000))
        records = pair.jsonPath.read_bytes().splitlines()
        self.assertEqual([json.loads(r)["msg"] for r in records][-1], "number 11999")
        self.assertEqual(len(records), 12000)

    def test_cleanStop(self) -> None:
        """
        A stopped forwarder has saved the acknowledged position, and exits by the signal
        that stopped it.
        """
        pair, worker = self.started()
        worker.append(numbered(0, 10))
        self.waitForLines(pair, 10)
        self.assertEqual(worker.forwarder.stop(), -signal.SIGTERM)
        db = sqlite3.connect(worker.bundle / "forwarder.db")
        self.addCleanup(db.close)
        (offset,) = db.execute("SELECT offset FROM position").fetchone()
        self.assertEqual(offset, worker.file.stat().st_size)
        self.assertEqual(pair.listener.stop(), -signal.SIGTERM)

    def test_legacyOffset(self) -> None:
        """
        The offset of DECNET's own forwarder is taken over, and no line is sent twice.
        """
        pair = self.pair()
        worker = pair.enroll("decky-01")
        worker.append(numbered(0, 20))
        db = sqlite3.connect(worker.bundle / "forwarder.db")
        db.execute(
            "CREATE TABLE forwarder_offset (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
        )
        sent = len(numbered(0, 15))
        db.execute("INSERT INTO forwarder_offset VALUES ('default', ?)", (sent,))
        db.commit()
        db.close()
        pair.startListener()
        worker.forwarder.start()
        self.waitForLines(pair, 5)
        self.assertEqual(pair.logPath.read_bytes(), numbered(15, 5))

    def test_rotatedOutputs(self) -> None:
        """
        If the outputs are renamed, with and without a signal, and truncated, every line
        is in one of the files.
        """
        pair, worker = self.started()
        kept = []
        for round_ in range(4):
            worker.append(numbered(round_ * 50, 50))
            self.waitForLines(pair, 50)
            old = pair.logPath.with_suffix(f".log.{round_}")
            oldJSON = pair.jsonPath.with_suffix(f".json.{round_}")
            if round_ == 3:
                old.write_bytes(pair.logPath.read_bytes())
                os.truncate(pair.logPath, 0)
                os.truncate(pair.jsonPath, 0)
            else:
                pair.logPath.rename(old)
                pair.jsonPath.rename(oldJSON)
                pair.listener.signal((signal.SIGHUP, signal.SIGUSR1, 0)[round_])
            kept.append(old)
        worker.append(numbered(200, 50))
        self.waitForLines(pair, 50)
        octets = b"".join(path.read_bytes() for path in [*kept, pair.logPath])
        self.assertEqual(octets, numbered(0, 250))

    def test_fileForEachWorker(self) -> None:
        """With {worker} in a path, each worker gets its own file."""
        path = self.directory / "{worker}.log"
        pair = self.pair([f"--log-path={path}"])
        for name in ("w1", "w2"):
            worker = pair.enroll(name)
            worker.append(f"from {name}\n".encode())
            worker.forwarder.start()
        pair.startListener()
        for name in ("w1", "w2"):
            octets = self.waitForFile(pair, self.directory / f"{name}.log", 1)
            self.assertEqual(octets, f"from {name}\n".encode())

    def test_overlongLine(self) -> None:
        """A line over the limit becomes a gap record, and later lines arrive."""
        pair, worker = self.started("--max-message=2048")
        worker.append(b"before\n" + b"x" * 5000 + b"\nbehind\n")
        lines = self.waitForLines(pair, 3)
        self.assertEqual((lines[0], lines[2]), (b"before\n", b"behind\n"))
        gap = json.loads(pair.jsonPath.read_bytes().splitlines()[1])
        self.assertEqual(gap["gap"]["start"], 7)
        self.assertEqual(gap["gap"]["end"], 7 + 5001)
        self.assertEqual(gap["source_worker"], "decky-01")


class ImpostorTests(PairTestCase):
    """
    Impostors that connect to a real listener, and a real forwarder that connects to an
    impostor.
    """

    def knock(self, pair: LocalCluster, bundle: Path | None) -> None:
        """Connect as any TLS client could, and try to send a line."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if bundle is not None:
            context.load_cert_chain(bundle / "worker.crt", bundle / "worker.key")
        # In TLS 1.3 the refusal comes after the client's part of the handshake.
        with (
            contextlib.suppress(OSError),
            socket.create_connection((pair.host, pair.port), 10) as raw,
            context.wrap_socket(raw) as tls,
        ):
            tls.sendall(b"6 forged")
            tls.recv(1)

    def test_listenerRefusesImpostors(self) -> None:
        """
        Impostors' lines are not stored, the listener logs each refusal with the
        address, and continues to serve.
        """
        pair = self.pair()
        pair.startListener()
        other = Authority.create(self.directory / "other-ca")
        other.enroll("decky-01", self.directory / "impostor")
        self.knock(pair, self.directory / "impostor")
        self.knock(pair, None)
        self.knock(pair, pair.caDirectory / "master")
        with socket.create_connection((pair.host, pair.port), 10) as raw:
            raw.sendall(b"5 hello")
            raw.recv(1)
        worker = pair.enroll("decky-01")
        worker.append(b"honest\n")
        worker.forwarder.start()
        self.assertEqual(self.waitForLines(pair, 1), [b"honest\n"])
        said = pair.listener.output()
        print_ = fingerprint(Bundle.load(self.directory / "impostor").certificate)
        self.assertRegex(
            said, r"refused 127\.0\.0\.1:[0-9]+: .*CN=decky-01.* " + print_
        )
        self.assertRegex(
            said, r"refused 127\.0\.0\.1:[0-9]+: .*peer did not return a certificate"
        )
        self.assertRegex(said, r"refused 127\.0\.0\.1:[0-9]+: .*CN=decnet-master")
        self.assertNotIn("Traceback", said)
        self.assertNotIn("Unhandled", said)

    def test_workerAsMaster(self) -> None:
        """
        A forwarder refuses a master that presents a worker's bundle, and logs this.
        """
        pair = self.pair()
        honest = pair.enroll("decky-01")
        pair.authority.enroll("decky-02", self.directory / "stolen")
        (pair.caDirectory / "master").rename(pair.caDirectory / "real-master")
        (self.directory / "stolen").rename(pair.caDirectory / "master")
        pair.startListener()
        honest.append(b"secret\n")
        honest.forwarder.start()
        self.waitFor(
            pair,
            lambda: honest.forwarder.output().count("connecting to ") >= 2,
            "the forwarder does not try again",
        )
        said = honest.forwarder.output()
        self.assertIn("CN=decky-02' refused", said)
        self.assertNotIn("connected to the master", said)
        self.assertEqual(pair.logPath.read_bytes(), b"")


class CommandTests(PairTestCase):
    """The commands report errors on one line, with the remedy."""

    def run_(self, *arguments: str, **environment: str) -> tuple[int, str]:
        code = "from twisted.scripts.twistd import run; run()"
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", code, "--nodaemon", "--pidfile=", *arguments],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=60,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                **environment,
            },
        )
        return done.returncode, done.stdout + done.stderr

    def assertRefused(self, words: str, *arguments: str, **environment: str) -> None:
        """
        Check that the command fails with the right status and text, without a traceback
        or help text before it.
        """
        status, said = self.run_(*arguments, **environment)
        self.assertNotEqual(status, 0, said)
        self.assertIn(words, said)
        self.assertNotIn("Traceback", said)
        self.assertNotIn("Usage:", said)

    def test_forwarderErrors(self) -> None:
        """Missing or invalid options of the forwarder are reported."""
        self.assertRefused("--master-host", "decnet-forwarder")
        self.assertRefused("--log-file", "decnet-forwarder", "--master-host=x")
        host = ["decnet-forwarder", "--master-host=x", "--log-file=y"]
        self.assertRefused("ca.crt", *host, f"--agent-dir={self.directory}")
        self.assertRefused("decnet-syslog enroll", *host, "--agent-dir=/nonexistent")
        self.assertRefused("no directory", *host, "--state-db=/nonexistent/x.db")
        self.assertRefused("not a port", *host, "--master-port=70000")
        self.assertRefused(
            "DECNET_SWARM_SYSLOG_PORT", *host, DECNET_SWARM_SYSLOG_PORT="x"
        )
        self.assertRefused("not a size", *host, "--max-message=huge")
        self.assertRefused("--delivery", *host, "--delivery=maybe")

    def test_listenerErrors(self) -> None:
        """Missing or invalid options of the listener are reported."""
        self.assertRefused("ca.crt", "decnet-listener")
        self.assertRefused(
            "no directory", "decnet-listener", "--log-path=/nonexistent/x.log"
        )
        self.assertRefused(
            "same path", "decnet-listener", "--log-path=x", "--json-path=x"
        )
        pair = self.pair()
        pair.startListener()
        self.assertRefused(
            "cannot listen",
            "decnet-listener",
            f"--host={pair.host}",
            f"--port={pair.port}",
            f"--ca-dir={pair.caDirectory}",
        )

    def test_secondListener(self) -> None:
        """A second listener for the same journal is refused."""
        pair = self.pair()
        pair.startListener()
        self.assertRefused(
            "another decnet-listener",
            "decnet-listener",
            "--host=127.0.0.1",
            "--port=0",
            f"--ca-dir={pair.caDirectory}",
            f"--journal={pair.journalPath}",
        )

    def test_secondForwarder(self) -> None:
        """A second forwarder for the same state database is refused."""
        pair = self.pair()
        worker = pair.enroll("w1")
        pair.startListener()
        worker.append(b"x\n")
        worker.forwarder.start()
        self.waitForLines(pair, 1)
        self.assertRefused(
            "another decnet-forwarder",
            "decnet-forwarder",
            "--master-host=127.0.0.1",
            f"--agent-dir={worker.bundle}",
            f"--log-file={worker.file}",
        )


class FullDiskTests(PairTestCase):
    """A disk that fills up and later has space again."""

    def test_outputFull(self) -> None:
        """
        While an output's disk is full no line is lost or repeated, and writing resumes
        without intervention.
        """
        small = self.directory / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)],
            capture_output=True,
        )
        if mounted.returncode:
            raise SkipTest("mounting a small disk is not permitted")
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)], check=True)
        ballast = small / "ballast"
        ballast.write_bytes(b"x" * 1_500_000)
        pair = self.pair(
            [f"--log-path={small}/more.log", f"--journal={self.directory}/j.db"]
        )
        worker = pair.enroll("w1")
        pair.startListener()
        worker.forwarder.start()
        worker.append(numbered(0, 15000))
        self.waitFor(
            pair,
            lambda: "wait in the journal" in pair.listener.output(),
            "the output is not blocked",
        )
        self.waitForFile(pair, pair.jsonPath, 15000)
        ballast.unlink()
        octets = self.waitForFile(pair, small / "more.log", 15000)
        self.assertEqual(octets, worker.file.read_bytes())
        pair.listener.stop()
