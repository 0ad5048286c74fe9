"""Tests that walk the pages in docs/howto, with temporary directories as machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import yaml
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._names import fingerprint
from decnet_syslog.wire._gap import GapRecord, renderGapRecord
from decnet_syslog.wire._provenance import Provenance

from .peers import EXAMPLES, PairTestCase, example, requirePeer
from .records import renderRecords
from .test_enrolling_page import NAMES, MachinesTestCase
from .test_readme import ROOT

HOWTO = ROOT / "docs/howto"


def block(page: str, name: str) -> str:
    """The commands or the SQL of a page under this name."""
    text = (HOWTO / f"{page}.rst").read_text("utf-8")
    found = re.search(
        rf"(?m)^( *)\.\. {name}-(?:commands|sql)\n\n\1::\n\n((?:\1    .*\n|\n)+)", text
    )
    assert found is not None, (page, name)
    return textwrap.dedent(found[2])


def records() -> bytes:
    """A master.json with something for each command of the pages."""
    arrived = "2026-11-28T12:00:00.000001Z"
    one = Provenance("decky-01", "sha-256:11", "192.0.2.10:1", arrived, "/l", False)
    two = Provenance("decky-02", "sha-256:22", "192.0.2.11:2", arrived, "/l", True)
    plain = Provenance("relay", "sha-256:33", "192.0.2.12:3", arrived, None, False)
    line = '<13>1 - decky-01 ssh 1 login [relay@55555 src_ip="%s" username="%s"] try'

    def lines(*pairs: tuple[str, str]) -> list[bytes]:
        return [(line % pair).encode() for pair in pairs]

    return b"".join(
        [
            renderRecords(
                lines(("192.0.2.7", "root"), ("192.0.2.7", "a\u0000b\\")), one, 0
            ),
            renderRecords(lines(("192.0.2.8", "root")), two, 0),
            renderRecords([b"<13>1 - h a - - - \xff\xfe"], two, 100),
            # An attacker's idea of a number and of an object where others have text.
            renderRecords(
                [b"<13>1 - - - - - - x", b"<13>1 - - - - - - x2"], plain, None
            ),
            renderGapRecord(GapRecord(100, 350, "vanished"), two, "5" * 32, 0),
        ]
    )


class ReadingTests(SynchronousTestCase):
    """docs/howto/reading.rst and docs/howto/database.rst."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        (self.directory / "master.json").write_bytes(records())

    def run_(self, page: str, name: str) -> str:
        """Run a block in the directory of the file."""
        done = subprocess.run(
            [requirePeer("bash"), "-euo", "pipefail", "-c", block(page, name)],
            cwd=self.directory,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_jqAnswersQuestions(self) -> None:
        """Each command with jq answers the question above it."""
        requirePeer("jq")
        counted = self.run_("reading", "addresses").split()
        self.assertEqual(counted[-4:], ["2", "192.0.2.7", "1", "192.0.2.8"][-4:])
        seen = self.run_("reading", "worker").splitlines()
        self.assertEqual(len(seen), 2)
        self.assertEqual(json.loads(seen[0])["fields"]["username"], "root")
        self.assertEqual(
            self.run_("reading", "gaps").split("\t")[1:],
            ["decky-02", "/l", "250", "vanished\n"],
        )
        self.assertIn('decky-02 says "decky-01"', self.run_("reading", "mismatch"))
        self.assertIn("<13>1 - h a - - - M-^?M-~", self.run_("reading", "octets"))

    def test_duckdbAnswersQuestions(self) -> None:
        """Each query answers the question above it, also for a rotated, compressed file."""
        subprocess.run(["gzip", "-k", "master.json"], cwd=self.directory, check=True)
        with duckdb.connect() as db:
            db.execute(f"SET file_search_path = '{self.directory}'")
            db.execute(block("reading", "table"))
            hours = db.execute(block("reading", "hours")).fetchall()
            self.assertEqual(
                [(row[0], row[2]) for row in hours],
                [("decky-01", 4), ("decky-02", 4), ("relay", 4)],
            )
            names = db.execute(block("reading", "names")).fetchall()
            self.assertEqual(names, [("root", 2, 4)])
            lost = db.execute(block("reading", "lost")).fetchall()
            self.assertEqual(
                [(*row[:2], int(row[2])) for row in lost],
                [("decky-02", "vanished", 500)],
            )

    def test_duckdbTable(self) -> None:
        """Records that are loaded twice are in the table once, and none is left out."""
        shutil.copy(self.directory / "master.json", self.directory / "master.json.1")
        script = (EXAMPLES / "records-duckdb.sql").read_text("utf-8")
        with duckdb.connect() as db:
            db.execute(f"SET file_search_path = '{self.directory}'")
            for _ in range(2):
                db.execute(script)
            count = db.execute("SELECT count(*) FROM record").fetchall()
        self.assertEqual(count, [(records().count(b"\n"),)])

    def test_sqliteKeepsRecordsOnce(self) -> None:
        """SQLite keeps records that are loaded twice once, and unchanged."""
        requirePeer("sqlite3")
        shutil.copy(self.directory / "master.json", self.directory / "master.json.1")
        for _ in range(2):
            self.run_("database", "sqlite")
        with sqlite3.connect(self.directory / "records.sqlite") as db:
            rows = {row for (row,) in db.execute("SELECT json FROM record")}
        db.close()
        self.assertEqual(rows, set(records().decode().splitlines()))

    def test_postgresqlHasTheKey(self) -> None:
        """The script for PostgreSQL has the same key, of members that the master wrote."""
        text = (EXAMPLES / "records-postgresql.sql").read_text("utf-8")
        (key,) = re.findall(r"PRIMARY KEY \((.*)\)", text)
        (other,) = re.findall(
            r"PRIMARY KEY \((.*)\)",
            (EXAMPLES / "records-duckdb.sql").read_text("utf-8"),
        )
        self.assertEqual(key, other)
        self.assertEqual(
            set(re.findall(r"one->>'(\w+)'", text)),
            {"received_at", "source_worker", "source_log", "source_offset"},
        )


class ReplaceTests(MachinesTestCase):
    """docs/howto/replace-ca.rst."""

    def test_everyWorkerEndsWithNewCA(self) -> None:
        """Every worker ends with a certificate from the new CA, and trusts only that."""
        self.names(*NAMES)
        for name in NAMES:
            self.run_(f"decnet-syslog enroll {name} --out first/{name}")
            self.run_(f"tar -C first/{name} -c . | ssh {name} decnet-syslog install -")
        before = {name: self.installed(name) for name in NAMES}
        authority = self.home / ".decnet/ca/ca.crt"
        old = authority.read_text()
        self.run_(block("replace-ca", "begin"))
        self.run_(block("replace-ca", "copy"))
        self.assertNotIn("still old", self.run_(block("replace-ca", "list")))
        self.run_(block("replace-ca", "finish"))
        self.run_(block("replace-ca", "forget"))
        self.assertNotEqual(authority.read_text(), old)
        for name in NAMES:
            self.assertNotEqual(self.installed(name), before[name])
            trusted = (self.top / name / ".decnet/agent/ca.crt").read_text()
            self.assertEqual(trusted, authority.read_text())
        self.assertFalse((self.home / "bundles").exists())

    def test_usedCertificates(self) -> None:
        """The records show which certificate each worker uses."""
        requirePeer("jq")
        (self.home / "decnet").mkdir()
        (self.home / "decnet/master.json").write_bytes(records())
        self.assertEqual(
            self.run_(block("replace-ca", "used")).splitlines(),
            ["decky-01 sha-256:11", "decky-02 sha-256:22", "relay sha-256:33"],
        )


def lines(first: int, end: int) -> bytes:
    """Numbered lines."""
    return b"".join(b"<13>1 - w1 a - - - line %d\n" % n for n in range(first, end))


class StateTests(PairTestCase):
    """docs/howto/backup.rst and docs/howto/upgrade.rst, with a real pair."""

    def here(self, page: str, name: str) -> str:
        """A block, with our directory for the system's and nothing of systemd and apt."""
        text = block(page, name).replace("/var/lib/decnet-syslog", str(self.directory))
        return "\n".join(
            line
            for line in text.splitlines()
            if not line.startswith(("systemctl ", "apt "))
        )

    def sh(self, code: str) -> None:
        """Run commands."""
        done = subprocess.run(
            [requirePeer("bash"), "-euo", "pipefail", "-c", code],
            cwd=self.directory,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_masterPutBack(self) -> None:
        """
        With the outputs and the CA of a backup and without a journal, every line arrives again
        that is on a worker's disk.
        """
        pair = self.pair()
        worker = pair.enroll("w1")
        pair.startListener()
        worker.forwarder.start()
        worker.append(lines(0, 50))
        self.waitForLines(pair, 50)
        archives = self.directory / "archives"
        archives.mkdir()

        # The page's own commands, with our directories for the master's.
        def ours(name: str) -> str:
            code = "\n".join(
                line
                for line in block("backup", name).splitlines()
                if not line.startswith("systemctl ")
            )
            for own, used in (
                ("-$(date +%F)", ""),
                ("-2026-11-28", ""),
                ("-C /", f"-C {self.directory}"),
                ("zf master.tar.gz", f"zf {archives / 'master.tar.gz'}"),
                ("zf ca.tar.gz", f"zf {archives / 'ca.tar.gz'}"),
                ("etc/decnet-syslog/ca", "ca"),
                ("etc/decnet-syslog", "ca"),
                ("var/log/decnet-syslog", "master.log master.json"),
            ):
                code = code.replace(own, used)
            return code

        self.sh(ours("backup"))
        for name, hasKey in (("ca", True), ("master", False)):
            path = archives / f"{name}.tar.gz"
            self.assertEqual(path.stat().st_mode & 0o077, 0)
            with tarfile.open(path) as archive:
                self.assertEqual("ca/ca.key" in archive.getnames(), hasKey, name)
        pair.listener.kill()
        for path in self.directory.glob("*"):
            if path.name.startswith(("listener.db", "master.")) or path.name == "ca":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.sh(ours("restore"))
        pair.startListener()
        worker.append(lines(50, 60))
        self.waitForLines(pair, 110)
        found = pair.logPath.read_bytes()
        self.assertEqual(found, lines(0, 50) + lines(0, 60))

    def test_forwarderGoesBack(self) -> None:
        """A forwarder without its state repeats nothing, and loses nothing."""
        pair = self.pair()
        worker = pair.enroll("w1")
        state = self.directory / "forwarder.db"
        process = worker.forwarder
        process.arguments = [*process.arguments, f"--state-db={state}"]
        pair.startListener()
        worker.forwarder.start()
        worker.append(lines(0, 50))
        self.waitForLines(pair, 50)
        worker.forwarder.stop()
        self.sh(self.here("upgrade", "forwarder-down"))
        self.assertFalse(state.exists())
        worker.append(lines(50, 60))
        worker.forwarder.start()
        self.waitForLines(pair, 60)
        self.assertEqual(pair.logPath.read_bytes(), lines(0, 60))
        worker.forwarder.stop()
        pair.listener.stop()
        # The page has the versions of the state that this release writes.
        text = (HOWTO / "upgrade.rst").read_text("utf-8")
        for path in (pair.journalPath, state):
            (said,) = re.findall(rf"``{path.name}`` +([0-9]+) +``sqlite3 ", text)
            with sqlite3.connect(path) as db:
                ((version,),) = db.execute("PRAGMA user_version").fetchall()
            db.close()
            self.assertEqual(
                int(said),
                version,
                f"{path.name}: change the table in howto/upgrade.rst",
            )

    def test_listenerGoesBack(self) -> None:
        """
        With the kept copy of the journal nothing is lost; what arrived after the copy is twice in
        master.json.
        """
        pair = self.pair()
        worker = pair.enroll("w1")

        def run(first: int, end: int, count: int) -> None:
            pair.startListener()
            worker.forwarder.start()
            worker.append(lines(first, end))
            self.waitForFile(pair, pair.jsonPath, count)
            worker.forwarder.stop()
            pair.listener.stop()

        run(0, 50, 50)
        self.sh(self.here("upgrade", "keep"))
        run(50, 60, 60)
        self.sh(self.here("upgrade", "listener-down"))
        run(60, 70, 80)
        found = [
            json.loads(line)["msg"] for line in pair.jsonPath.read_bytes().splitlines()
        ]
        self.assertEqual(set(found), {f"line {n}" for n in range(70)})
        twice = {text for text in found if found.count(text) > 1}
        self.assertEqual(twice, {f"line {n}" for n in range(50, 60)})
        self.assertEqual(
            set(pair.logPath.read_bytes().splitlines()), set(lines(0, 70).splitlines())
        )


class KubernetesTests(MachinesTestCase):
    """docs/examples/kubernetes.yaml."""

    def documents(self) -> dict[str, Any]:
        """The objects by their kind."""
        text = (EXAMPLES / "kubernetes.yaml").read_text("utf-8")
        return {one["kind"]: one for one in yaml.safe_load_all(text)}

    def test_listenerAcceptsItsDirectory(self) -> None:
        """The init container makes a directory that the listener accepts, as its configuration."""
        documents = self.documents()
        pod = documents["StatefulSet"]["spec"]["template"]["spec"]
        (init,) = pod["initContainers"]
        secret, made = self.top / "secret", self.top / "made"
        secret.mkdir()
        made.mkdir()
        ca = self.home / ".decnet/ca"
        for path in (ca / "ca.crt", ca / "master/worker.crt", ca / "master/worker.key"):
            shutil.copy(path, secret)
        (code,) = init["args"]
        for mount, path in (("/run/secret", secret), ("/run/ca", made)):
            code = code.replace(mount, str(path))
        self.run_(code)
        self.assertEqual(
            fingerprint(Bundle.load(made / "master").certificate),
            fingerprint(Bundle.load(ca / "master").certificate),
        )
        self.assertEqual((made / "master/worker.key").stat().st_mode & 0o777, 0o600)
        text = documents["ConfigMap"]["data"]["listener.toml"]
        (self.home / "listener.toml").write_text(text.replace("/run/ca", str(made)))
        self.assertIn(
            "ok for the listener", self.run_("decnet-syslog config check listener.toml")
        )
        (container,) = pod["containers"]
        mounts = {one["mountPath"] for one in container["volumeMounts"]}
        paths = re.findall(r'(?m)"(/(?:var|run)/[\w/-]+)', text)
        self.assertGreater(len(paths), 3)
        for path in paths:
            self.assertTrue({path, os.path.dirname(path)} & mounts, path)

    def test_forwarderOptionsExist(self) -> None:
        """Every option of the forwarder exists, and its paths are mounted."""
        pod = self.documents()["DaemonSet"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        command, *options = container["args"]
        shown = self.run_(
            f"decnet-syslog config show {command} --config= "
            + " ".join(f"'{one}'" for one in options if "--state-db" not in one)
        )
        self.assertEqual(shown.count("# command line"), len(options) - 1)
        mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
        self.assertTrue(mounts["/var/log"]["readOnly"])
        self.assertNotIn("readOnly", mounts["/var/lib/decnet-syslog"])


class PageTests(MachinesTestCase):
    """docs/howto/balancer.rst, docs/howto/full-disk.rst."""

    def test_balancerIsAccepted(self) -> None:
        """The listener accepts the page's setting for the address that the balancer has."""
        text = (HOWTO / "balancer.rst").read_text("utf-8")
        found = re.search(r"(?m)^ +\[listen\]\n +(proxy-protocol = .*)$", text)
        assert found is not None
        (self.home / "listener.toml").write_text(f"[listen]\n{found[1]}\n")
        self.assertIn("ok for", self.run_("decnet-syslog config check listener.toml"))
        balancer = (EXAMPLES / "haproxy.cfg").read_text("utf-8")
        (address,) = re.findall(r'\["([0-9.]+)"\]', found[1])
        self.assertIn(f"bind {address}:6514", balancer)

    def test_fullDisk(self) -> None:
        """The messages and the alert of the page exist."""
        text = " ".join((HOWTO / "full-disk.rst").read_text("utf-8").split())
        known = (ROOT / "docs/operations.rst").read_text("utf-8")
        for message in (
            "cannot write json:",
            "the journal's disk has no room for lines",
            "can be written again",
        ):
            self.assertIn(message, text)
            self.assertIn(message, known)
        alerts = (EXAMPLES / "prometheus-alerts.yml").read_text("utf-8")
        for alert in re.findall(r"``(Decnet\w+)``", text):
            self.assertIn(f"alert: {alert}\n", alerts)


class ShippingTests(SynchronousTestCase):
    """The configurations of other programs, as far as they can be read here."""

    def test_wellFormed(self) -> None:
        """Each file has its syntax, and the members that it names are those of a record."""
        members = {name for line in records().splitlines() for name in json.loads(line)}
        for name in ("vector.yaml", "filebeat.yml"):
            self.assertIsInstance(
                yaml.safe_load((EXAMPLES / name).read_text("utf-8")), dict
            )
        template = json.loads((EXAMPLES / "elasticsearch-template.json").read_text())
        properties = template["template"]["mappings"]["properties"]
        self.assertLess(set(properties), members)
        named = {
            "filebeat.yml": r"decnet\.(\w+)",
            "alloy.alloy": r'= "((?:source|received)_\w+)"',
            "vector.yaml": r"\.(received_at|timestamp)\b",
            "splunk-props.conf": r"TIMESTAMP_FIELDS = (\w+)",
        }
        for name, pattern in named.items():
            found = set(re.findall(pattern, (EXAMPLES / name).read_text("utf-8")))
            self.assertTrue(found and found <= members, (name, found - members))
        self.assertIn(
            "/var/log/decnet-syslog/master.json",
            (EXAMPLES / "splunk-inputs.conf").read_text(),
        )


class ElasticsearchTests(PairTestCase):
    """docs/examples/rsyslog-elasticsearch.conf, with the real rsyslog and a server of HTTP."""

    def test_recordsArriveUnchanged(self) -> None:
        """
        rsyslog sends every record unchanged, also a long one; a record that it sends twice has the
        same identifier.
        """
        program = requirePeer("rsyslogd")
        if not list(Path("/usr/lib").glob("*/rsyslog/omelasticsearch.so")):
            requirePeer("omelasticsearch.so of rsyslog-elasticsearch")
        sent: list[tuple[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            """As much of Elasticsearch as rsyslog needs."""

            protocol_version = "HTTP/1.1"

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.answer(b"{}")

            do_HEAD = do_GET

            def do_POST(self) -> None:
                octets = self.rfile.read(int(self.headers["Content-Length"]))
                rows = octets.decode().splitlines()
                for action, record in zip(rows[::2], rows[1::2], strict=True):
                    (about,) = json.loads(action).values()
                    sent.append((about["_id"], record))
                items = [{"index": {"status": 201}} for _ in rows[::2]]
                self.answer(json.dumps({"errors": False, "items": items}).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        file = self.directory / "master.json"
        one = Provenance(
            "w", "sha-256:1", "192.0.2.1:1", "2026-11-28T12:00:00Z", "/l", False
        )
        long = renderRecords([b"<13>1 - h a - - - " + b"x" * 100_000], one, 500)
        again = records().splitlines(keepends=True)[0]
        file.write_bytes(records() + long + again)
        path = self.directory / "rsyslog.conf"
        path.write_text(
            example(
                "rsyslog-elasticsearch.conf",
                ("/var/spool/rsyslog", self.directory),
                ("/var/log/decnet-syslog/master.json", file),
                ("https://elasticsearch.example.org", "http://127.0.0.1"),
                ("9200", server.server_port),
                # Other tests may have all instances of inotify.
                ('mode="inotify"', 'mode="polling" PollingInterval="1"'),
            )
        )
        self.spawn(
            program, "-n", "-f", str(path), "-i", str(self.directory / "rsyslog.pid")
        )
        expected = file.read_text("utf-8").splitlines()
        pair = self.pair()
        self.waitFor(pair, lambda: len(sent) >= len(expected), "not all records came")
        self.assertEqual(sorted(record for _, record in sent), sorted(expected))
        identifiers = {identifier for identifier, _ in sent}
        self.assertEqual(len(identifiers), len(set(expected)))
        self.assertNotIn("-", identifiers)
