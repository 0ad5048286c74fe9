"""Tests for the doctor: each broken setup is found, with its cause and its remedy."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main
from decnet_syslog.doctor import _journal as doctorJournal
from decnet_syslog.doctor._ends import examineForwarder, examineListener
from decnet_syslog.doctor._identity import (
    checkAuthority,
    checkBundle,
    refusedAsMaster,
    refusedAsWorker,
)
from decnet_syslog.doctor._journal import checkJournalSpace
from decnet_syslog.doctor._logrotate import checkForwarded
from decnet_syslog.doctor._machine import (
    TIME_ERROR,
    checkClock,
    checkDatabase,
    checkDescriptors,
    checkSpace,
    isFlocked,
)
from decnet_syslog.doctor._probe import askMaster
from decnet_syslog.doctor._report import FAIL, NOTE, OK, DoctorReport
from decnet_syslog.doctor._rotations import readRotations
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.outputs._process import ListenerLock
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._contexts import forwarderContext
from decnet_syslog.worker.tap import Options as ForwarderOptions

from ..certificates import SERVER, authority, certificate, key, master, worker
from ..peers import PairTestCase


def writeBundle(
    directory: Path, cert: x509.Certificate, holder: str = "holder", ca: str = "ca"
) -> Path:
    """A bundle as C{enroll} writes it."""
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(authority(ca).public_bytes(Encoding.PEM))
    (directory / "worker.crt").write_bytes(cert.public_bytes(Encoding.PEM))
    path = directory / "worker.key"
    path.write_bytes(
        key(holder).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    path.chmod(0o600)
    return directory


class DoctorTestCase(SynchronousTestCase):
    """Tests with a directory and a report."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.report = DoctorReport()

    def assertFound(self, state: str, cause: str, cure: str) -> None:
        """Check for a finding with this state, and that no other finding is worse."""
        for finding in self.report.findings:
            if (
                finding.state == state
                and cause in finding.said
                and cure in finding.cure
            ):
                break
        else:
            self.fail(f"{state} {cause!r} {cure!r} not in\n{self.report.asText()}")
        if state != FAIL:
            self.assertTrue(self.report.well, self.report.asText())


class BundleTests(DoctorTestCase):
    """A worker's or a master's bundle is checked."""

    def check(self, path: Path, refuses: Any = refusedAsWorker, **options: Any) -> None:
        checkBundle(self.report, path, refuses, **options)

    def write(self, cert: x509.Certificate, **options: Any) -> Path:
        return writeBundle(self.directory / "b", cert, **options)

    def test_validBundle(self) -> None:
        """A valid bundle has no findings."""
        self.check(self.write(certificate(["w1"], days=(-1, 90))))
        self.assertEqual({f.state for f in self.report.findings}, {OK})

    def test_missingBundle(self) -> None:
        """A missing bundle is found."""
        self.check(self.directory / "b")
        self.assertFound(FAIL, "No such file", "decnet-syslog enroll")

    def test_keyReadableByOthers(self) -> None:
        """A key that others can read is found."""
        path = self.write(certificate(["w1"]))
        (path / "worker.key").chmod(0o644)
        self.check(path)
        self.assertFound(FAIL, "others can read this key", "chmod 600")

    def test_keyOfAnotherCertificate(self) -> None:
        """A key that belongs to another certificate is found."""
        self.check(self.write(certificate(["w1"]), holder="other"))
        self.assertFound(FAIL, "is not the key of worker.crt", "copy both")

    def test_certificateOfAnotherCA(self) -> None:
        """A certificate from a CA that the bundle does not have is found."""
        self.check(self.write(certificate(["w1"]), ca="other"))
        self.assertFound(FAIL, "not signed by the CA in ca.crt", "copy all three")

    def test_expiredCertificate(self) -> None:
        """An expired certificate is found."""
        self.check(self.write(certificate(["w1"], days=(-9, -1))))
        self.assertFound(FAIL, "expired on", "enroll again")

    def test_clockBehindCertificate(self) -> None:
        """A certificate whose validity has not begun points to this machine's clock."""
        self.check(self.write(certificate(["w1"], days=(1, 9))))
        self.assertFound(FAIL, "is not valid before", "clock")

    def test_expiresSoon(self) -> None:
        """A certificate that expires soon is noted."""
        self.check(self.write(certificate(["w1"], days=(-1, 5))))
        self.assertFound(NOTE, "in 4 days", "renew")

    def test_authorityExpired(self) -> None:
        """An expired CA is found even if the certificate is still valid."""
        path = self.write(certificate(["w1"], days=(-1, 200)))
        later = datetime.now(timezone.utc) + timedelta(days=150)
        self.check(path, now=later)
        self.assertFound(FAIL, "expired on", "replace the CA")

    def test_sameNamedCAs(self) -> None:
        """
        Two CAs with the same name are found if they lack the key identifiers that
        OpenSSL needs to distinguish them.
        """
        path = self.write(certificate(["w1"], days=(-1, 90)))
        twin = certificate([], ca="ca", holder="ca", usages=(), authority=True)
        with open(path / "ca.crt", "ab") as file:
            file.write(twin.public_bytes(Encoding.PEM))
        self.check(path)
        self.assertFalse([f for f in self.report.findings if "CAs" in f.check])
        first = Authority.create(self.directory / "one")
        first.enroll("w1", self.directory / "w1")
        second = Authority.create(self.directory / "two")
        with open(self.directory / "w1" / "ca.crt", "ab") as file:
            file.write(second.certificate.public_bytes(Encoding.PEM))
        self.check(self.directory / "w1")
        self.assertFound(NOTE, "several CAs with the same name", "key identifiers")

    def test_hostileName(self) -> None:
        """
        A name that every listener would refuse is found, and escaped on the terminal.
        """
        self.check(self.write(certificate(["w\x1b[2J/../\u202e"])))
        self.assertFound(FAIL, "a listener refuses", "enroll NAME")
        self.assertNotRegex(self.report.asText(), "[\x1b\u202e]")

    def test_serverOnlyCertificate(self) -> None:
        """A worker's certificate that is only for servers is found."""
        self.check(self.write(certificate(["w1"], usages=(SERVER,))))
        self.assertFound(FAIL, "not for clients", "enroll NAME")

    def test_masterWithoutName(self) -> None:
        """A master's certificate without the master's name is found."""
        self.check(self.write(certificate(["w1"])), refusedAsMaster)
        self.assertFound(FAIL, "not for servers", "ca init")

    def test_openDirectory(self) -> None:
        """A bundle's directory in which every user can create files is found."""
        path = self.write(certificate(["w1"]))
        path.chmod(0o777)
        self.check(path)
        self.assertFound(FAIL, "every user can replace", "chmod o-w")

    def test_readableCAKey(self) -> None:
        """A CA's key that others can read is found."""
        (self.directory / "ca.key").write_text("x")
        (self.directory / "ca.key").chmod(0o640)
        checkAuthority(self.report, self.directory)
        self.assertFound(FAIL, "make workers and masters", "chmod 600")


class MachineTests(DoctorTestCase):
    """The machine around the worker or the master is checked."""

    def test_clockSynchronisation(self) -> None:
        """An unsynchronised clock is noted; a synchronised one is good."""
        checkClock(self.report, lambda: TIME_ERROR)
        self.assertFound(NOTE, "not synchronised", "chrony")
        self.report = DoctorReport()
        checkClock(self.report, lambda: 0)
        self.assertFound(OK, "synchronised", "")
        # The real clock has one state or the other.
        checkClock(self.report)

    def test_noSpace(self) -> None:
        """A disk that is full, or too small for the configured limit, is found."""
        checkSpace(self.report, self.directory, 2**62, 0)
        self.assertFound(FAIL, "MiB are needed", "free space")
        self.report = DoctorReport()
        checkSpace(self.report, self.directory, 0, 2**62)
        self.assertFound(NOTE, "may be used", "lower the limit")

    def test_journalSpace(self) -> None:
        """
        The division of the journal's disk is reported: too small, smaller than its
        limit, or sufficient.
        """
        path = self.directory / "listener.db"
        for mebibytes, most, level, what in (
            (4, 0, FAIL, "8 MiB are needed"),
            (24, 1024, NOTE, "24 MiB: 4 in reserve, 3 for the write-ahead log"),
            (4096, 1024, OK, "32 in reserve, 64 for the write-ahead log"),
        ):
            self.report = DoctorReport()
            with mock.patch.object(
                doctorJournal, "available", return_value=mebibytes * 1024**2
            ):
                checkJournalSpace(self.report, path, most * 1024**2)
            self.assertFound(level, what, "free space" if level != OK else "")

    def test_invalidDatabase(self) -> None:
        """A state database that is another file or a link is found."""
        path = self.directory / "forwarder.db"
        path.write_text("PRIVATE KEY and more of that")
        checkDatabase(self.report, "state", path)
        self.assertFound(FAIL, "not an SQLite database", "move it away")
        link = self.directory / "link.db"
        link.symlink_to(path)
        checkDatabase(self.report, "state", link)
        self.assertFound(FAIL, "not a regular file", "another path")

    def test_databaseInUse(self) -> None:
        """
        A state database in use by another process is reported with the process, and not
        disturbed.
        """
        path = self.directory / "forwarder.db"
        code = (
            "import sys; from pathlib import Path;"
            " from decnet_syslog.files import StateStore;"
            f" b = StateStore.open(Path({str(path)!r})); print('open', flush=True);"
            " sys.stdin.read()"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdout.readline()
            checkDatabase(self.report, "state", path)
        finally:
            child.stdin.close()
            child.wait()
            child.stdout.close()
        self.assertFound(NOTE, f"in use by process {child.pid}", "second one")
        self.report = DoctorReport()
        checkDatabase(self.report, "state", path)
        self.assertFound(OK, "not in use", "")

    def test_lockIsDetected(self) -> None:
        """A listener's lock is detected without being taken."""
        path = self.directory / "listener.db.lock"
        self.assertFalse(isFlocked(path))
        lock = ListenerLock(path)
        lock.acquire()
        self.assertTrue(isFlocked(path))
        lock.release()
        self.assertFalse(isFlocked(path))

    def test_descriptorLimit(self) -> None:
        """A limit on open files below the limit on connections is noted."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        checkDescriptors(self.report, hard + 1)
        self.assertFound(NOTE, "fewer are accepted", "LimitNOFILE")


class ForwarderTests(DoctorTestCase):
    """
    A worker's files are checked; for its connection to the master see L{ProbeTests}.
    """

    def examine(self, *more: str, log: str = "app.log") -> None:
        home = self.directory
        if not (home / "agent").exists():
            writeBundle(home / "agent", certificate(["w1"], days=(-1, 90)))
        options = ForwarderOptions()
        options.parseOptions(
            [
                "--master-host=master",
                f"--agent-dir={home}/agent",
                f"--log-file={home}/{log}",
                *more,
            ]
        )
        self.asked: list[Any] = []
        examineForwarder(
            self.report,
            options,
            [str(home / "rotate")],
            lambda *a: self.asked.append(a),
        )

    def test_maxFiles(self) -> None:
        """More files than C{--max-files} allows are a problem, with that option as the remedy."""
        for name in ("a", "b", "c"):
            (self.directory / f"{name}.log").write_text("")
        self.examine("--max-files=3", log="*.log")
        self.assertNotIn("--max-files", self.report.asText())
        self.examine("--max-files=2", log="*.log")
        self.assertIn("3 files, but --max-files is 2", self.report.asText())

    def rotate(self, settings: str) -> None:
        (self.directory / "rotate").write_text(
            f"weekly\n{self.directory}/*.log {{\n{settings}\n}}\n"
        )

    def test_workerAsDocumented(self) -> None:
        """
        A worker that is set up as documented has no findings, and its master is
        contacted.
        """
        (self.directory / "app.log").write_bytes(b"x\n")
        self.rotate("rotate 7\ncreate\ncompress\ndelaycompress")
        self.examine()
        self.assertTrue(self.report.well)
        self.assertFound(OK, "loses nothing", "")
        self.assertEqual(self.asked[0][1:3], ("master", 6514))

    def test_noLog(self) -> None:
        """A missing log or directory is found."""
        self.rotate("rotate 7")
        self.examine()
        self.assertFound(NOTE, "does not exist yet", "correct --log-file")
        self.examine(log="nowhere/app.log")
        self.assertFound(FAIL, "No such file", "install -d")

    def test_pipeInPlaceOfLog(self) -> None:
        """A log that is a FIFO is found without opening it."""
        os.mkfifo(self.directory / "app.log")
        self.rotate("rotate 7")
        self.examine()
        self.assertFound(FAIL, "not a regular file", "not followed")

    def test_lossyRotations(self) -> None:
        """logrotate settings that lose a worker's lines are found."""
        (self.directory / "app.log").write_bytes(b"x\n")
        for settings, state, cause, cure in (
            ("rotate 7\nolddir /var/old", FAIL, "olddir", "--rotated '/var/old/'"),
            ("rotate 7\nolddir old", FAIL, "olddir", f"'{self.directory}/old/'"),
            ("rotate 0", FAIL, "deleted at once", "rotate 7"),
            ("create", FAIL, "deleted at once", "rotate 7"),
            ("rotate 7\nshred", FAIL, "shred", "noshred"),
            ("rotate 7\nextension .log\ncompress", OK, "loses nothing", ""),
            ("rotate 7\nextension .log\ndateext", OK, "loses nothing", ""),
            ("rotate 7\naddextension .log", OK, "loses nothing", ""),
            ("rotate 7\nstart 0\nhourly\ndateext", OK, "loses nothing", ""),
            (
                "rotate 7\naddextension .bak\ndateext",
                FAIL,
                "addextension",
                "app.log-*.bak'",
            ),
            ("rotate 7\naddextension .bak", FAIL, "addextension", "log.[0-9]*.bak'"),
            (
                "rotate 7\ndateext\ndateformat _%Y%m%d",
                FAIL,
                "dateformat",
                "app.log_*'",
            ),
            (
                "rotate 7\nolddir o\ndateext\ndateformat _%Y-%m",
                FAIL,
                "olddir, dateformat",
                "o/app.log_*-*'",
            ),
            ("rotate 7\ndateext\ndateformat .%s", OK, "loses nothing", ""),
            ("rotate 7\ndateext\ndateformat -%d%m%Y-%H", OK, "loses nothing", ""),
            ("rotate 7\ncompress\ncompresscmd /bin/xz", OK, "loses nothing", ""),
            ("rotate 7\ncompress\ncompresscmd bzip2", OK, "loses nothing", ""),
            ("rotate 7\ncompress\ncompresscmd zstd", OK, "loses nothing", ""),
            ("rotate 7\ncompress\ncompresscmd pigz", OK, "loses nothing", ""),
            (
                "rotate 7\ncompress\ncompresscmd xz\ncompressext .gz",
                OK,
                "loses nothing",
                "",
            ),
            ("rotate 7\ncompresscmd zip", OK, "loses nothing", ""),
            ("rotate 7\ncompress\ncompresscmd zip", FAIL, "zip", "compresscmd"),
            (
                "rotate 7\ncompress\ncompressext .gz\ncompresscmd compress",
                FAIL,
                "compressext .Z",
                "remove compresscmd",
            ),
            (
                "rotate 7\ncompress\ncompresscmd /usr/bin/lz4\ncompressext .lz4",
                FAIL,
                "lz4 cannot be read",
                "remove compresscmd",
            ),
            ("rotate 7\ncompress\ncompresscmd brotli", FAIL, "unable", "compresscmd"),
            (
                "rotate 7\ncompress\ncompressext .packed",
                FAIL,
                "plain text",
                "compressext",
            ),
            (
                "rotate 7\ncompress\ndelaycompress\ncompresscmd zip",
                NOTE,
                "two rotations pass",
                "compresscmd",
            ),
            ("rotate 7\ncopytruncate\ncompress", NOTE, "no file", "create"),
            ("rotate 7\nolddir /x\nnoolddir\nshred\nnoshred", OK, "loses nothing", ""),
            ("rotate -1", OK, "loses nothing", ""),
            (
                "rotate 7\npostrotate\n  olddir /x }\nendscript",
                OK,
                "loses nothing",
                "",
            ),
        ):
            self.report = DoctorReport()
            self.rotate(settings)
            self.examine()
            self.assertFound(state, cause, cure)

    def test_noZstd(self) -> None:
        """Rotation with zstd is found if Python lacks its library."""
        (self.directory / "app.log").write_bytes(b"x\n")
        self.rotate("rotate 7\ncompress\ncompresscmd zstd")
        missing = {"zstandard": None, "compression.zstd": None, "compression": None}
        with mock.patch.dict(sys.modules, missing):
            self.examine()
        self.assertFound(FAIL, "pip install zstandard", "where the forwarder runs")

    def test_suggestedPatternsSuffice(self) -> None:
        """With the suggested C{--rotated} option, no findings remain."""
        log = self.directory / "app.log"
        log.write_bytes(b"x\n")
        for settings in (
            "olddir /var/old",
            "olddir old\ncompress\ncompresscmd xz",
            "dateext\ndateformat _%Y%m%d\ncompress",
            "dateext\ndateformat .%Y%m%d-%H%M%S.%j.%V%z\nextension .log",
            "addextension .bak\ncompress",
            "addextension .bak\nolddir ../old\ndateext\ndateformat _%d%y",
        ):
            self.report = DoctorReport()
            self.rotate(f"rotate 7\n{settings}")
            known = readRotations(self.report, [str(self.directory / "rotate")])
            checkForwarded(self.report, known, str(log))
            cures = [found.cure for found in self.report.findings if found.cure]
            patterns = [cure.split("'")[1] for cure in cures if "--rotated" in cure]
            if "extension .log" not in settings:
                self.assertEqual(len(patterns), 1, settings)
            report = DoctorReport()
            checkForwarded(report, known, str(log), patterns)
            self.assertEqual([f.state for f in report.findings], [OK], settings)

    def test_rotationOfLinkTarget(self) -> None:
        """
        The rotation settings for a link's target apply: logrotate rotates that file.
        """
        (self.directory / "far").mkdir()
        (self.directory / "far" / "0.log").write_bytes(b"x\n")
        (self.directory / "app.log").symlink_to("far/0.log")
        (self.directory / "rotate").write_text(
            f"{self.directory}/far/*.log {{\n rotate 7\n}}\n"
        )
        self.examine()
        self.assertFound(OK, "loses nothing", "")

    def test_globalAndIncludedSettings(self) -> None:
        """
        Global settings apply to each file, included files are read, blocks for other
        files are ignored, and a file that includes itself causes no loop.
        """
        (self.directory / "app.log").write_bytes(b"x\n")
        more = self.directory / "more"
        more.write_text(f"'{self.directory}/app.log' '/other' {{ rotate 3 }}\n")
        (self.directory / "rotate").write_text(
            f"# olddir /comment\nolddir /common\n/elsewhere/*.log {{\n shred\n}}\n"
            f"include {more}\ninclude {self.directory}/rotate\n"
        )
        self.examine()
        self.assertFound(FAIL, "olddir", "--rotated '/common/'")
        self.assertFound(NOTE if self.report.well else FAIL, "olddir", "")
        self.assertNotIn("shred", self.report.asText())

    def test_logWithoutRotation(self) -> None:
        """
        A log without rotation, and an unreadable logrotate configuration, are noted.
        """
        (self.directory / "app.log").write_bytes(b"x\n")
        self.examine()
        self.assertFound(NOTE, "no rotation is configured", "fill up")
        self.assertFound(NOTE, "No such file", "--logrotate")

    def test_logRotatedTwice(self) -> None:
        """A log that two configurations rotate is noted."""
        (self.directory / "app.log").write_bytes(b"x\n")
        rotate = self.directory / "rotate"
        rotate.mkdir()
        for name in ("a", "b", "c.dpkg-old"):
            (rotate / name).write_text(f"{self.directory}/app.log {{\n rotate 7\n}}\n")
        self.examine()
        self.assertFound(NOTE, "more than once", "keep one")
        self.assertNotIn("dpkg-old", self.report.asText())


class ListenerTests(DoctorTestCase):
    """A master's setup is checked."""

    def setUp(self) -> None:
        super().setUp()
        writeBundle(
            self.directory / "ca" / "master",
            certificate(
                ["decnet-master"],
                usages=(SERVER,),
                alternatives=("decnet-master",),
                days=(-1, 90),
            ),
        )
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.socket.close)
        self.port = self.socket.getsockname()[1]

    def examine(self, *more: str, host: str = "127.0.0.1") -> None:
        options = ListenerOptions()
        options.parseOptions(
            [
                f"--host={host}",
                f"--port={self.port}",
                f"--ca-dir={self.directory}/ca",
                f"--log-path={self.directory}/master.log",
                f"--json-path={self.directory}/master.json",
                *more,
            ]
        )
        self.asked: list[Any] = []
        examineListener(
            self.report,
            options,
            [str(self.directory / "rotate")],
            str(self.directory / "w1"),
            lambda *a: self.asked.append(a),
        )

    def lock(self) -> None:
        lock = ListenerLock(self.directory / "listener.db.lock")
        lock.acquire()
        self.addCleanup(lock.release)

    def test_runningListener(self) -> None:
        """
        A running listener is contacted with a worker's bundle found on this machine.
        """
        self.lock()
        writeBundle(self.directory / "w1", certificate(["w1"], days=(-1, 90)))
        self.examine()
        self.assertTrue(self.report.well, self.report.asText())
        self.assertFound(OK, "a listener is running", "")
        self.assertEqual(self.asked[0][1:3], ("127.0.0.1", self.port))

    def test_portTaken(self) -> None:
        """A port in use by another program is found."""
        self.examine()
        self.assertFound(FAIL, "is taken", "ss -ltnp")
        self.assertEqual(self.asked, [])

    def test_sharedPort(self) -> None:
        """With C{--reuse-port}, a port in use is only noted."""
        self.examine("--reuse-port")
        self.assertFound(NOTE, "is taken", "--reuse-port")
        self.assertEqual(self.asked, [])

    def test_balancedListener(self) -> None:
        """If only balancers may connect, the listener is not contacted."""
        self.lock()
        self.examine("--proxy-protocol=192.0.2.1")
        self.assertFound(NOTE, "only balancers", "the balancer as --master-host")
        self.assertEqual(self.asked, [])

    def test_stoppedListener(self) -> None:
        """A stopped listener is noted."""
        self.socket.close()
        self.examine()
        self.assertFound(NOTE, "no listener is running", "systemctl start")

    def test_otherListener(self) -> None:
        """A listener with the same journal on another port is found."""
        self.lock()
        self.socket.close()
        self.examine()
        self.assertFound(FAIL, "nothing listens", "the same --host and --port")

    def test_journalElsewhere(self) -> None:
        """A journal on another machine is reported as such."""
        writeBundle(self.directory / "w1", certificate(["w1"], days=(-1, 90)))
        options = ListenerOptions()
        options.parseOptions(
            [
                "--host=127.0.0.1",
                f"--port={self.port}",
                f"--ca-dir={self.directory}/ca",
                "--journal=nats://192.0.2.1:4222",
                "--journal-plaintext",
            ]
        )
        asked: list[Any] = []
        examineListener(
            self.report,
            options,
            [],
            str(self.directory / "w1"),
            lambda *a: asked.append(a),
        )
        self.assertTrue(self.report.well, self.report.asText())
        self.assertFound(NOTE, "not checked", "nats stream info decnet")
        self.assertEqual(len(asked), 1)

    def test_addressOfAnotherMachine(self) -> None:
        """A listening address that belongs to another machine is found."""
        self.examine(host="192.0.2.1")
        self.assertFound(FAIL, "192.0.2.1", "an address of this machine")

    def test_outputIsALink(self) -> None:
        """An output that is a symbolic link is found."""
        (self.directory / "master.log").symlink_to("/etc/passwd")
        self.examine()
        self.assertFound(FAIL, "not a regular file", "remove it")

    def test_lossyRotations(self) -> None:
        """logrotate settings that lose acknowledged lines on a master are found."""
        self.lock()
        for settings, cause, cure in (
            ("rotate 9\ncopytruncate", "were acknowledged", "create 0640"),
            ("create", "deleted at once", "rotate 30"),
        ):
            self.report = DoctorReport()
            (self.directory / "rotate").write_text(
                f"{self.directory}/master.* {{\n{settings}\n}}\n"
            )
            self.examine()
            self.assertFound(FAIL, cause, cure)


class Answering(threading.Thread):
    """A server that applies a behaviour to one connection."""

    def __init__(self, behaviour: Any) -> None:
        super().__init__(daemon=True)
        self._behaviour = behaviour
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.start()

    def run(self) -> None:
        with self._socket:
            line, _ = self._socket.accept()
            with line:
                try:
                    self._behaviour(line)
                except OSError:
                    pass

    def close(self) -> None:
        """Unblock the thread if no client has come."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            pass
        self.join()


class ProbeTests(DoctorTestCase):
    """The connection to the master, and impostors in its place."""

    def ask(
        self,
        behaviour: Any,
        us: Any = None,
        delivery: str = "auto",
        patience: float = 10,
    ) -> None:
        there = Answering(behaviour)
        self.addCleanup(there.close)
        askMaster(
            self.report,
            "127.0.0.1",
            there.port,
            forwarderContext(us or worker(), "decnet-master", delivery != "plain"),
            "decnet-master",
            delivery,
            65536,
            patience=patience,
        )

    def server(
        self, says: bytes, cert: Any = None, alpn: bool = True, trusts: str = "ca"
    ) -> Any:
        """A TLS server's behaviour: say something, then read."""
        path = writeBundle(
            self.directory / f"s{len(list(self.directory.iterdir()))}",
            cert or master().certificate,
            ca=trusts,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path / "worker.crt", path / "worker.key")
        context.load_verify_locations(path / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            context.set_alpn_protocols(["decnet-syslog/1"])

        def serve(line: socket.socket) -> None:
            line.settimeout(20)
            with context.wrap_socket(line, server_side=True) as tls:
                tls.sendall(says)
                while tls.recv(65536):
                    pass

        return serve

    def test_unknownHost(self) -> None:
        """An unknown host name is found."""

        def resolve(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(-2, "Name or service not known")

        context = forwarderContext(worker(), "decnet-master", True)
        askMaster(
            self.report,
            "mastre.example.org",
            1,
            context,
            "decnet-master",
            "auto",
            65536,
            resolve=resolve,
        )
        self.assertFound(FAIL, "Name or service not known", "--master-host")

    def test_connectionRefused(self) -> None:
        """A port without a listener is found."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        context = forwarderContext(worker(), "decnet-master", True)
        askMaster(
            self.report, "127.0.0.1", port, context, "decnet-master", "auto", 65536
        )
        self.assertFound(FAIL, "Connection refused", "start the listener")

    def test_notTLS(self) -> None:
        """A server that does not speak TLS is found."""
        self.ask(lambda line: line.sendall(b"220 mail.example.org ESMTP\r\n" * 9))
        self.assertFound(FAIL, "does not speak TLS", "find the program on that port")

    def test_silentServer(self) -> None:
        """A server that accepts and stays silent, or hangs up, is found."""
        self.ask(lambda line: line.recv(1) and threading.Event().wait(1), patience=0.2)
        self.assertFound(FAIL, "no answer", "listener's log")
        self.report = DoctorReport()
        self.ask(lambda line: line.recv(4096))
        self.assertFound(FAIL, "closed the connection", "for the reason")

    def test_masterOfAnotherCA(self) -> None:
        """A master from another CA is found."""
        other = certificate(
            ["decnet-master"],
            ca="other",
            usages=(SERVER,),
            alternatives=("decnet-master",),
        )
        self.ask(self.server(b"", other))
        self.assertFound(FAIL, "CN=decnet-master", "it comes from another CA")

    def test_workerInPlaceOfMaster(self) -> None:
        """A master with a worker's certificate is found."""
        self.ask(self.server(b"", certificate(["w2"])))
        self.assertFound(FAIL, "CN=w2", "check --master-host")

    def test_masterWithOtherName(self) -> None:
        """A master with another name is found."""
        named = certificate(["m"], usages=(SERVER,), alternatives=("logs.example",))
        self.ask(self.server(b"", named))
        self.assertFound(FAIL, "does not have the master's name", "--master-name")

    def test_masterDoesNotTrustUs(self) -> None:
        """
        A master that does not trust our CA is found, although it refuses only after our
        side of the handshake.
        """
        self.ask(self.server(b"", trusts="other"))
        self.assertFound(FAIL, "does not trust the CA", "the CA was replaced")

    def test_plainMaster(self) -> None:
        """
        A master without the extension is reported by whether C{--delivery} requires,
        prefers or excludes the extension.
        """
        self.ask(self.server(b"", alpn=False), delivery="acked")
        self.assertFound(FAIL, "does not acknowledge", "decnet-listener")
        self.report = DoctorReport()
        self.ask(self.server(b"", alpn=False), delivery="auto")
        self.assertFound(NOTE, "does not acknowledge", "--delivery=acked")
        self.report = DoctorReport()
        self.ask(self.server(b"", alpn=False), delivery="plain")
        self.assertEqual({f.state for f in self.report.findings}, {OK})

    def test_byeFromMaster(self) -> None:
        """A master's BYE is found, and its text is escaped on the terminal."""
        self.ask(self.server(b"BYE limit go%20%1B%5D0%3Bowned%07away\n"))
        self.assertFound(FAIL, r"go \x1b]0;owned\x07away", "its limits")
        self.assertNotIn("\x1b", self.report.asText())

    def test_unrelatedServer(self) -> None:
        """
        A server with our ALPN name that sends other lines, or an endless one, is found.
        """
        self.ask(self.server(b"HELO \x1b[2J\n"))
        self.assertFound(FAIL, "not a decnet-listener", "find the program on that port")
        self.assertNotIn("\x1b", self.report.asText())
        self.report = DoctorReport()
        self.ask(self.server(b"A" * 300_000))
        self.assertFound(FAIL, "a line without an end", "find the program on that port")

    def test_stuckJournal(self) -> None:
        """A master that greets but whose journal does not respond is found."""
        hello = b"HELLO 1 %b 2048 256\n" % (b"5" * 32)
        self.ask(self.server(hello), patience=0.5)
        self.assertFound(FAIL, "no answer in 0.5 s", "does not answer")
        self.assertIn("accepts our certificate", self.report.asText())

    def test_shorterMessageLimit(self) -> None:
        """A master whose message limit is below ours is noted."""
        self.ask(self.server(b"HELLO 1 %b 2048 256\nLISTED\n" % (b"5" * 32)))
        self.assertFound(NOTE, "the master accepts 2048", "raise the listener's")


class CommandTests(PairTestCase):
    """The doctor command and a real listener."""

    def doctor(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        out = io.StringIO()
        with redirect_stdout(out):
            try:
                main(
                    ["doctor", *arguments, "--json", f"--logrotate={self.directory}/r"]
                )
            except SystemExit as ended:
                status = ended.code
        assert isinstance(status, int)
        return status, json.loads(out.getvalue())

    def test_roundTripFromBothEnds(self) -> None:
        """
        The doctor, run on either end, makes a round trip to the journal without leaving
        a line, a stream or a gap.
        """
        pair = self.pair()
        worker_ = pair.enroll("w1")
        pair.startListener()
        worker_.append(b"one\n")
        worker_.forwarder.start()
        self.waitForLines(pair, 1)
        ours = worker_.forwarder.arguments[1:]
        status, found = self.doctor("forwarder", *ours)
        self.assertEqual((status, found["ok"]), (0, True), found)
        said = {f["check"]: f["said"] for f in found["findings"]}
        self.assertIn("it holds 4 octets of 1 files", said["round trip"])
        self.assertIn(f"in use by process {worker_.forwarder.pid}", said["offsets"])
        status, found = self.doctor(
            "listener", *pair.listener.arguments[1:], f"--as-worker={worker_.bundle}"
        )
        self.assertEqual((status, found["ok"]), (0, True), found)
        # The forwarder kept its streams, and continues.
        worker_.append(b"two\n")
        self.assertEqual(self.waitForLines(pair, 2), [b"one\n", b"two\n"])
        self.assertNotIn("superseded", pair.listener.output())
        pair.listener.stop()
        status, found = self.doctor("forwarder", *ours)
        self.assertEqual((status, found["ok"]), (1, False))
        self.assertEqual(pair.logPath.read_bytes(), b"one\ntwo\n")

    def test_invalidOptions(self) -> None:
        """Options that the service would refuse are a finding."""
        status, found = self.doctor("forwarder")
        self.assertEqual(status, 1)
        self.assertIn("--master-host", found["findings"][0]["said"])
