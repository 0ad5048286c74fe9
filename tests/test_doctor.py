"""Broken set-ups: each is found, its cause named and its cure."""

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
from decnet_syslog.doctor import journal as doctorJournal
from decnet_syslog.doctor.ends import examineForwarder, examineListener
from decnet_syslog.doctor.identity import (
    checkAuthority,
    checkBundle,
    refusedAsMaster,
    refusedAsWorker,
)
from decnet_syslog.doctor.journal import checkJournalSpace
from decnet_syslog.doctor.logrotate import checkForwarded, readRotations
from decnet_syslog.doctor.machine import (
    TIME_ERROR,
    checkClock,
    checkDatabase,
    checkDescriptors,
    checkSpace,
    isFlocked,
)
from decnet_syslog.doctor.probe import askMaster
from decnet_syslog.doctor.report import FAIL, NOTE, OK, Report
from decnet_syslog.master.outputprocess import ListenerLock
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.trust.authority import Authority
from decnet_syslog.trust.contexts import forwarderContext
from decnet_syslog.worker.tap import Options as ForwarderOptions

from .certificates import SERVER, authority, certificate, key, master, worker
from .peers import PairTestCase


def writeBundle(
    directory: Path, cert: x509.Certificate, holder: str = "holder", ca: str = "ca"
) -> Path:
    """A bundle as enroll writes it."""
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
    """With a directory and a report."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.report = Report()

    def assertFound(self, state: str, cause: str, cure: str) -> None:
        """There is a finding of this state; nothing else is worse than it."""
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
    """What an end is."""

    def check(self, path: Path, refuses: Any = refusedAsWorker, **options: Any) -> None:
        checkBundle(self.report, path, refuses, **options)

    def write(self, cert: x509.Certificate, **options: Any) -> Path:
        return writeBundle(self.directory / "b", cert, **options)

    def test_well(self) -> None:
        """Nothing is wrong with a good one."""
        self.check(self.write(certificate(["w1"], days=(-1, 90))))
        self.assertEqual({f.state for f in self.report.findings}, {OK})

    def test_missing(self) -> None:
        """No bundle."""
        self.check(self.directory / "b")
        self.assertFound(FAIL, "No such file", "decnet-syslog enroll")

    def test_keyReadable(self) -> None:
        """A key that others can read."""
        path = self.write(certificate(["w1"]))
        (path / "worker.key").chmod(0o644)
        self.check(path)
        self.assertFound(FAIL, "others can read this key", "chmod 600")

    def test_otherKey(self) -> None:
        """A key of another certificate."""
        self.check(self.write(certificate(["w1"]), holder="other"))
        self.assertFound(FAIL, "is not the key of worker.crt", "copy both")

    def test_otherAuthority(self) -> None:
        """A certificate of another CA than the bundle's."""
        self.check(self.write(certificate(["w1"]), ca="other"))
        self.assertFound(FAIL, "not signed by the CA in ca.crt", "copy all three")

    def test_expired(self) -> None:
        """Too late."""
        self.check(self.write(certificate(["w1"], days=(-9, -1))))
        self.assertFound(FAIL, "expired on", "enroll again")

    def test_clock(self) -> None:
        """Too early: this machine's clock."""
        self.check(self.write(certificate(["w1"], days=(1, 9))))
        self.assertFound(FAIL, "is not valid before", "clock")

    def test_expiring(self) -> None:
        """Soon too late."""
        self.check(self.write(certificate(["w1"], days=(-1, 5))))
        self.assertFound(NOTE, "in 4 days", "renew")

    def test_authorityExpired(self) -> None:
        """The CA is too old, the certificate is not."""
        path = self.write(certificate(["w1"], days=(-1, 200)))
        later = datetime.now(timezone.utc) + timedelta(days=150)
        self.check(path, now=later)
        self.assertFound(FAIL, "expired on", "replace the CA")

    def test_sameName(self) -> None:
        """Two CAs with one name: OpenSSL needs key identifiers to tell them apart."""
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
        self.assertFound(NOTE, "several CAs with one name", "key identifiers")

    def test_hostileName(self) -> None:
        """A name that no listener takes; it does not reach the terminal as it is."""
        self.check(self.write(certificate(["w\x1b[2J/../\u202e"])))
        self.assertFound(FAIL, "a listener refuses", "enroll NAME")
        self.assertNotRegex(self.report.asText(), "[\x1b\u202e]")

    def test_serverOnly(self) -> None:
        """A certificate for servers is no worker's."""
        self.check(self.write(certificate(["w1"], usages=(SERVER,))))
        self.assertFound(FAIL, "not for clients", "enroll NAME")

    def test_masterWithoutName(self) -> None:
        """A worker's certificate is no master's."""
        self.check(self.write(certificate(["w1"])), refusedAsMaster)
        self.assertFound(FAIL, "not for servers", "ca init")

    def test_openDirectory(self) -> None:
        """A directory where anybody can put other files."""
        path = self.write(certificate(["w1"]))
        path.chmod(0o777)
        self.check(path)
        self.assertFound(FAIL, "everybody can replace", "chmod o-w")

    def test_authorityKey(self) -> None:
        """A CA whose key others can read."""
        (self.directory / "ca.key").write_text("x")
        (self.directory / "ca.key").chmod(0o640)
        checkAuthority(self.report, self.directory)
        self.assertFound(FAIL, "make workers and masters", "chmod 600")


class MachineTests(DoctorTestCase):
    """What is around an end."""

    def test_clock(self) -> None:
        """A clock that nobody keeps in step, and one that somebody does."""
        checkClock(self.report, lambda: TIME_ERROR)
        self.assertFound(NOTE, "not synchronised", "chrony")
        self.report = Report()
        checkClock(self.report, lambda: 0)
        self.assertFound(OK, "synchronised", "")
        # The real one answers something.
        checkClock(self.report)

    def test_noSpace(self) -> None:
        """A disk without room, or without enough for the limit."""
        checkSpace(self.report, self.directory, 2**62, 0)
        self.assertFound(FAIL, "MiB are needed", "make room")
        self.report = Report()
        checkSpace(self.report, self.directory, 0, 2**62)
        self.assertFound(NOTE, "may be used", "lower the limit")

    def test_journalSpace(self) -> None:
        """How the journal's disk is divided; too small, smaller than its limit, well."""
        path = self.directory / "listener.db"
        for mebibytes, most, level, what in (
            (4, 0, FAIL, "8 MiB are needed"),
            (24, 1024, NOTE, "24 MiB: 4 in reserve, 3 for the write-ahead log"),
            (4096, 1024, OK, "32 in reserve, 64 for the write-ahead log"),
        ):
            self.report = Report()
            with mock.patch.object(
                doctorJournal, "available", return_value=mebibytes * 1024**2
            ):
                checkJournalSpace(self.report, path, most * 1024**2)
            self.assertFound(level, what, "make room" if level != OK else "")

    def test_noDatabase(self) -> None:
        """A state that is something else; a link to somewhere."""
        path = self.directory / "forwarder.db"
        path.write_text("PRIVATE KEY and more of that")
        checkDatabase(self.report, "state", path)
        self.assertFound(FAIL, "no SQLite database", "move it away")
        link = self.directory / "link.db"
        link.symlink_to(path)
        checkDatabase(self.report, "state", link)
        self.assertFound(FAIL, "no regular file", "another path")

    def test_inUse(self) -> None:
        """A state that another process has; it is named, and not disturbed."""
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
        self.report = Report()
        checkDatabase(self.report, "state", path)
        self.assertFound(OK, "not in use", "")

    def test_lock(self) -> None:
        """A listener's lock is seen, and is not taken."""
        path = self.directory / "listener.db.lock"
        self.assertFalse(isFlocked(path))
        lock = ListenerLock(path)
        lock.acquire()
        self.assertTrue(isFlocked(path))
        lock.release()
        self.assertFalse(isFlocked(path))

    def test_descriptors(self) -> None:
        """A limit on open files that is below the one on connections."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        checkDescriptors(self.report, hard + 1)
        self.assertFound(NOTE, "fewer are accepted", "LimitNOFILE")


class ForwarderTests(DoctorTestCase):
    """A worker's files; its way to the master is in L{ProbeTests}."""

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

    def rotate(self, settings: str) -> None:
        (self.directory / "rotate").write_text(
            f"weekly\n{self.directory}/*.log {{\n{settings}\n}}\n"
        )

    def test_well(self) -> None:
        """A worker that is set up as the docs say, and then asks the master."""
        (self.directory / "app.log").write_bytes(b"x\n")
        self.rotate("rotate 7\ncreate\ncompress\ndelaycompress")
        self.examine()
        self.assertTrue(self.report.well)
        self.assertFound(OK, "loses nothing", "")
        self.assertEqual(self.asked[0][1:3], ("master", 6514))

    def test_noLog(self) -> None:
        """A log that is not there; a directory that is not."""
        self.rotate("rotate 7")
        self.examine()
        self.assertFound(NOTE, "not there yet", "correct --log-file")
        self.examine(log="nowhere/app.log")
        self.assertFound(FAIL, "No such file", "install -d")

    def test_pipe(self) -> None:
        """A log that is a pipe: looked at, not opened."""
        os.mkfifo(self.directory / "app.log")
        self.rotate("rotate 7")
        self.examine()
        self.assertFound(FAIL, "no regular file", "not followed")

    def test_rotations(self) -> None:
        """What logrotate is told that loses lines on a worker."""
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
                "two pass unshipped",
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
            self.report = Report()
            self.rotate(settings)
            self.examine()
            self.assertFound(state, cause, cure)

    def test_noZstd(self) -> None:
        """zstd without its library."""
        (self.directory / "app.log").write_bytes(b"x\n")
        self.rotate("rotate 7\ncompress\ncompresscmd zstd")
        missing = {"zstandard": None, "compression.zstd": None, "compression": None}
        with mock.patch.dict(sys.modules, missing):
            self.examine()
        self.assertFound(FAIL, "pip install zstandard", "where the forwarder runs")

    def test_rotated(self) -> None:
        """The remedy that is printed is one: with it nothing is found any more."""
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
            self.report = Report()
            self.rotate(f"rotate 7\n{settings}")
            known = readRotations(self.report, [str(self.directory / "rotate")])
            checkForwarded(self.report, known, str(log))
            cures = [found.cure for found in self.report.findings if found.cure]
            patterns = [cure.split("'")[1] for cure in cures if "--rotated" in cure]
            if "extension .log" not in settings:
                self.assertEqual(len(patterns), 1, settings)
            report = Report()
            checkForwarded(report, known, str(log), patterns)
            self.assertEqual([f.state for f in report.findings], [OK], settings)

    def test_link(self) -> None:
        """logrotate rotates the file that a link leads to."""
        (self.directory / "far").mkdir()
        (self.directory / "far" / "0.log").write_bytes(b"x\n")
        (self.directory / "app.log").symlink_to("far/0.log")
        (self.directory / "rotate").write_text(
            f"{self.directory}/far/*.log {{\n rotate 7\n}}\n"
        )
        self.examine()
        self.assertFound(OK, "loses nothing", "")

    def test_inherited(self) -> None:
        """What is said for all files holds for each; what is included is read; what does
        not cover the file is not its; a file that includes itself ends."""
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

    def test_uncovered(self) -> None:
        """A log without a rotation, and a configuration that cannot be read."""
        (self.directory / "app.log").write_bytes(b"x\n")
        self.examine()
        self.assertFound(NOTE, "none is configured", "finite")
        self.assertFound(NOTE, "No such file", "--logrotate")

    def test_twice(self) -> None:
        """A log that two configurations rotate."""
        (self.directory / "app.log").write_bytes(b"x\n")
        rotate = self.directory / "rotate"
        rotate.mkdir()
        for name in ("a", "b", "c.dpkg-old"):
            (rotate / name).write_text(f"{self.directory}/app.log {{\n rotate 7\n}}\n")
        self.examine()
        self.assertFound(NOTE, "more than once", "keep one")
        self.assertNotIn("dpkg-old", self.report.asText())


class ListenerTests(DoctorTestCase):
    """A master."""

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

    def test_well(self) -> None:
        """A listener that runs is asked, as the worker whose bundle there is."""
        self.lock()
        writeBundle(self.directory / "w1", certificate(["w1"], days=(-1, 90)))
        self.examine()
        self.assertTrue(self.report.well, self.report.asText())
        self.assertFound(OK, "a listener serves", "")
        self.assertEqual(self.asked[0][1:3], ("127.0.0.1", self.port))

    def test_taken(self) -> None:
        """A port that another program has."""
        self.examine()
        self.assertFound(FAIL, "is taken", "ss -ltnp")
        self.assertEqual(self.asked, [])

    def test_sharedPort(self) -> None:
        """Others may have the port as well, if they are to."""
        self.examine("--reuse-port")
        self.assertFound(NOTE, "is taken", "--reuse-port")
        self.assertEqual(self.asked, [])

    def test_balanced(self) -> None:
        """Behind a balancer nobody else may connect: it is not tried."""
        self.lock()
        self.examine("--proxy-protocol=192.0.2.1")
        self.assertFound(NOTE, "only balancers", "--master-host of the balancer")
        self.assertEqual(self.asked, [])

    def test_stopped(self) -> None:
        """No listener."""
        self.socket.close()
        self.examine()
        self.assertFound(NOTE, "no listener runs", "systemctl start")

    def test_otherListener(self) -> None:
        """A listener with this journal, on another port."""
        self.lock()
        self.socket.close()
        self.examine()
        self.assertFound(FAIL, "nobody listens", "the same --host and --port")

    def test_shared(self) -> None:
        """A journal that is not on this machine."""
        writeBundle(self.directory / "w1", certificate(["w1"], days=(-1, 90)))
        options = ListenerOptions()
        options.parseOptions(
            [
                "--host=127.0.0.1",
                f"--port={self.port}",
                f"--ca-dir={self.directory}/ca",
                "--journal=nats://192.0.2.1:4222",
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
        self.assertFound(NOTE, "not looked at", "nats stream info decnet")
        self.assertEqual(len(asked), 1)

    def test_notOurAddress(self) -> None:
        """An address of another machine."""
        self.examine(host="192.0.2.1")
        self.assertFound(FAIL, "192.0.2.1", "an address of this machine")

    def test_output(self) -> None:
        """An output that is a link."""
        (self.directory / "master.log").symlink_to("/etc/passwd")
        self.examine()
        self.assertFound(FAIL, "no regular file", "remove it")

    def test_rotations(self) -> None:
        """What loses acknowledged lines on a master."""
        self.lock()
        for settings, cause, cure in (
            ("rotate 9\ncopytruncate", "has been acknowledged", "create 0640"),
            ("create", "deleted at once", "rotate 30"),
        ):
            self.report = Report()
            (self.directory / "rotate").write_text(
                f"{self.directory}/master.* {{\n{settings}\n}}\n"
            )
            self.examine()
            self.assertFound(FAIL, cause, cure)


class Answering(threading.Thread):
    """A program that listens, and does with one connection what it is told to."""

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
        """Let a thread go that nobody came to."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            pass
        self.join()


class ProbeTests(DoctorTestCase):
    """The way to the master, and who may be there instead of it."""

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
        """What a TLS server does that says something and listens."""
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

    def test_noName(self) -> None:
        """A name that nobody knows."""

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

    def test_refused(self) -> None:
        """A port on which nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        context = forwarderContext(worker(), "decnet-master", True)
        askMaster(
            self.report, "127.0.0.1", port, context, "decnet-master", "auto", 65536
        )
        self.assertFound(FAIL, "Connection refused", "start the listener")

    def test_noTLS(self) -> None:
        """A program that speaks, but not TLS."""
        self.ask(lambda line: line.sendall(b"220 mail.example.org ESMTP\r\n" * 9))
        self.assertFound(FAIL, "does not speak TLS", "what listens there")

    def test_silent(self) -> None:
        """A program that accepts and says nothing; one that hangs up."""
        self.ask(lambda line: line.recv(1) and threading.Event().wait(1), patience=0.2)
        self.assertFound(FAIL, "no answer", "listener's log")
        self.report = Report()
        self.ask(lambda line: line.recv(4096))
        self.assertFound(FAIL, "hangs up", "says why")

    def test_otherAuthority(self) -> None:
        """A master of another CA."""
        other = certificate(
            ["decnet-master"],
            ca="other",
            usages=(SERVER,),
            alternatives=("decnet-master",),
        )
        self.ask(self.server(b"", other))
        self.assertFound(FAIL, "CN=decnet-master", "it comes from another CA")

    def test_workerAsMaster(self) -> None:
        """A worker's certificate that plays master."""
        self.ask(self.server(b"", certificate(["w2"])))
        self.assertFound(FAIL, "CN=w2", "check --master-host")

    def test_otherName(self) -> None:
        """A master by another name."""
        named = certificate(["m"], usages=(SERVER,), alternatives=("logs.example",))
        self.ask(self.server(b"", named))
        self.assertFound(FAIL, "does not have the master's name", "--master-name")

    def test_weAreUnknown(self) -> None:
        """A master that knows another CA than ours: it says so behind our handshake."""
        self.ask(self.server(b"", trusts="other"))
        self.assertFound(FAIL, "does not trust the CA", "the CA was replaced")

    def test_plain(self) -> None:
        """A master without the extension, where one is asked for, wished for, unwanted."""
        self.ask(self.server(b"", alpn=False), delivery="acked")
        self.assertFound(FAIL, "does not acknowledge", "decnet-listener")
        self.report = Report()
        self.ask(self.server(b"", alpn=False), delivery="auto")
        self.assertFound(NOTE, "does not acknowledge", "--delivery=acked")
        self.report = Report()
        self.ask(self.server(b"", alpn=False), delivery="plain")
        self.assertEqual({f.state for f in self.report.findings}, {OK})

    def test_sentAway(self) -> None:
        """A master that does not want us; its words are shown without their effect."""
        self.ask(self.server(b"BYE limit go%20%1B%5D0%3Bowned%07away\n"))
        self.assertFound(FAIL, r"go \x1b]0;owned\x07away", "its limits")
        self.assertNotIn("\x1b", self.report.asText())

    def test_stranger(self) -> None:
        """A program that has our ALPN name and says something else, or without end."""
        self.ask(self.server(b"HELO \x1b[2J\n"))
        self.assertFound(FAIL, "no listener of ours", "what listens there")
        self.assertNotIn("\x1b", self.report.asText())
        self.report = Report()
        self.ask(self.server(b"A" * 300_000))
        self.assertFound(FAIL, "a line without an end", "what listens there")

    def test_stuck(self) -> None:
        """A master that greets, and whose journal does not answer."""
        hello = b"HELLO 1 %b 2048 256\n" % (b"5" * 32)
        self.ask(self.server(hello), patience=0.5)
        self.assertFound(FAIL, "no answer in 0.5 s", "does not work")
        self.assertIn("accepts our certificate", self.report.asText())

    def test_shortMessages(self) -> None:
        """A master that takes shorter lines than ours are."""
        self.ask(self.server(b"HELLO 1 %b 2048 256\nLISTED\n" % (b"5" * 32)))
        self.assertFound(NOTE, "the master takes 2048", "raise the listener's")


class CommandTests(PairTestCase):
    """The command, with a real listener."""

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

    def test_bothEnds(self) -> None:
        """From either end a round trip to the journal; no line, no stream, no gap of it."""
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
        # The forwarder kept its streams, and goes on.
        worker_.append(b"two\n")
        self.assertEqual(self.waitForLines(pair, 2), [b"one\n", b"two\n"])
        self.assertNotIn("superseded", pair.listener.output())
        pair.listener.stop()
        status, found = self.doctor("forwarder", *ours)
        self.assertEqual((status, found["ok"]), (1, False))
        self.assertEqual(pair.logPath.read_bytes(), b"one\ntwo\n")

    def test_options(self) -> None:
        """What the service would refuse is a finding."""
        status, found = self.doctor("forwarder")
        self.assertEqual(status, 1)
        self.assertIn("--master-host", found["findings"][0]["said"])
