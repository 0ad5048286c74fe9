"""
Mistakes that people make on the command line and in configuration files: each is answered with one
line that has the remedy, a status other than 0, and no traceback.

The table runs in this process, as far as to the service that would start; what needs a process or a
second user is below it.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog.master.tap as masterTap
import decnet_syslog.worker.tap as workerTap
from decnet_syslog.cli import main
from decnet_syslog.configuration import Configured
from decnet_syslog.outputs import ListenerLock
from decnet_syslog.trust import Authority

# A user without rights, on every Linux.
NOBODY = 65534

# The command, also from a checkout.
CLI = "from decnet_syslog.cli import main; main()"

TAPS: dict[str, Any] = {"forwarder": workerTap, "listener": masterTap}

# Words, with {d} for a directory, and what the line must contain. "F" and "L" stand for a forwarder
# and a listener whose other options are right, "D" for a forwarder without
# --master-host. A file of this text is at {d}/x.toml.
MISTAKES: list[tuple[str, str, str]] = [
    # The command
    ("forwader", "", "do you mean forwarder?"),
    ("listner --port 1", "", "do you mean listener?"),
    ("config chek", "", "do you mean check?"),
    ("offset exprt", "", "show, export, import"),
    ("offset exprt", "", "do you mean export?"),
    ("config show listner", "", "no service listner; do you mean listener?"),
    ("status --limt=3", "", "do you mean --limit?"),
    ("enroll w2 --out={d}/o --ca-dir={d}/ca --days=0", "", "from 1 to 36500"),
    ("enroll w2 --out={d}/o --ca-dir={d}/ca --days=100000", "", "from 1 to 36500"),
    ("--verson", "", "do you mean version?"),
    ("enroll", "", "enroll"),
    ("install", "", "install BUNDLE"),
    ("revoke", "", "revoke"),
    ("completion fsh", "", "fish"),
    # The forwarder
    ("forwarder --log-file={d}/a", "", "add --master-host"),
    ("forwarder --master-host=m", "", "add --log-file"),
    ("F --log-fle={d}/a", "", "do you mean --log-file?"),
    ("F --mastr-host=x", "", "do you mean --master-host?"),
    ("F --master-host=https://m.example.org/", "", "--master-host"),
    ("F --master-host=m:port", "", "--master-host"),
    ("F --master-host=m:70000", "", "--master-host"),
    ("F --master-host=m:70000", "", "'70000' is not a port: a number from 1 to 65535"),
    ("F --master-host=m:0", "", "'0' is not a port: a number from 1 to 65535"),
    ("F --master-host=", "", "--master-host"),
    ("F --master-host=a..b", "", "--master-host"),
    ("F --master-host=.", "", "--master-host"),
    ("F --master-host=a..b:6514", "", "--master-host"),
    ("F --master-host=user@m", "", "--master-host"),
    ("F --master-host=192.0.2.300", "", "--master-host"),
    (f"F --master-host={'a' * 64}.example", "", "--master-host"),
    (f"F --master-host={'a.' * 127}example", "", "--master-host"),
    (
        "F --master-host=127.0.0.1 --master-port=0",
        "",
        "--master-port: '0' is not a port",
    ),
    ("F --master-port=70000", "", "a number from 1 to 65535"),
    ("D --master-domain=example..org", "", "--master-domain"),
    ("D --master-domain=.example.org", "", "--master-domain"),
    ("D --master-domain=", "", "--master-domain"),
    ("D --master-domain=example.org:6514", "", "--master-domain"),
    ("D --master-domain=192.0.2.1", "", "--master-host"),
    ("D --master-domain=https://example.org", "", "--master-domain"),
    (f"D --master-domain={'a' * 64}.example", "", "--master-domain"),
    # With the service's name before it, it is too long for the DNS.
    (f"D --master-domain={'a.' * 120}example", "", "--master-domain"),
    ("F --master-port=many", "", "--master-port: 'many' is not a port"),
    ("F --master-port", "", "--master-port"),
    ("F --log-file={d}", "", "is a directory"),
    ("F --agent-dir={d}/none", "", "decnet-syslog enroll"),
    ("F --agent-dir={d}/ca", "", "is the directory of a CA"),
    ("F --agent-dir={d}/offline", "", "is the directory of a CA"),
    ("F --agent-dir={d}", "", "one level deeper, in {d}/agent: give that directory"),
    ("F --state-db={d}", "", "is a directory"),
    ("F --state-db={d}/none/x.db", "", "create it"),
    ("F --delivery=always", "", "--delivery must be auto, acked or plain"),
    ("F --on-new-master=forget", "", "--on-new-master must be resend or resume"),
    ("F --max-message=10", "", "at least 2048"),
    ("F --max-lag-bytes=5", "", "--max-lag-bytes must be 0 or at least"),
    ("F --max-files=0", "", "--max-files"),
    ("F --max-files=-3", "", "--max-files"),
    ("F --poll-interval=fast", "", "--poll-interval: 'fast' is not a time"),
    ("F --poll-interval=0", "", "more than 0 and less than 1000000"),
    ("F --poll-interval=1e9", "", "more than 0 and less than 1000000"),
    ("F --batch-bytes=99g", "", "--batch-bytes"),
    ("F --master-domain=example.org", "", "exclude each other"),
    ("F --status-address=127.0.0.1", "", "without --status-port"),
    ("F --status-port=6516 --status-address=192.0.2.1", "", "loopback"),
    ("F --status-port=99999", "", "--status-port"),
    ("F --on-event={d}/none", "", "--on-event"),
    ("F file.log", "", "unexpected argument"),
    # The listener
    ("L --log-path={d}", "", "is a directory"),
    ("L --log-path={d}/{workr}.log", "", "{worker}"),
    ("L --log-path={d}/none/master.log", "", "{d}/none"),
    ("L --ca-dir={d}/none", "", "decnet-syslog ca init"),
    ("L --port=http", "", "--port: 'http' is not a port"),
    ("L --status-address=0.0.0.0", "", "without --status-port"),
    ("L --status-port=6515 --status-address=master", "", "is not an IP address"),
    ("L --max-rate=5", "", "--max-rate must be 0 or at least"),
    ("L --max-rate=fast", "", "--max-rate: 'fast' is not a size"),
    ("L --on-hostname-mismatch=ignore", "", "--on-hostname-mismatch is one of"),
    ("L --proxy-protocol=everywhere", "", "--proxy-protocol"),
    ("L --allow={d}/none", "", "{d}/none"),
    ("L --journal={d}/none/j.db", "", "create it"),
    ("L --journal-max=1", "", "--journal-max must be at least"),
    ("L --journal=nats://", "", "decnet-outputs writes the outputs"),
    # The file
    ("F --config={d}/none.toml", "", "No such file"),
    ("F --config={d}", "", "is a directory"),
    (
        "F --config={d}/x.toml",
        "max-fils = 3\n",
        "x.toml:1: there is no option max-fils",
    ),
    ("F --config={d}/x.toml", "\nmax-files = '3'\n", "x.toml:2: max-files must be"),
    ("F --config={d}/x.toml", "[mastrs]\n", "do you mean masters?"),
    ("F --config={d}/x.toml", "max-files = \n", "x.toml:1: not TOML"),
    ("F --config={d}/x.toml", "max-files = 3\nmax-files = 4\n", "x.toml:2"),
    (
        "F --config={d}/x.toml",
        "max-files = 3\nmax-files = 4\n",
        "max-files is given twice: delete one of them",
    ),
    ("F --config={d}/x.toml", "[files]\n[files]\n", "[files] is given twice"),
    ("F --config={d}/x.toml", "[foo]\n", "the sections are files, masters, tls"),
    (
        "F --config={d}/x.toml",
        "on-event = '/none/tell --from forwarder'\n",
        "no executable program '/none/tell':",
    ),
    ("F --config={d}/x.toml", "max-message = '1k'\n", "x.toml:1: --max-message"),
    ("F --config={d}/x.toml", "master-port = 70000\n", "x.toml:1: --master-port"),
    ("config check {d}/none.toml", "", "add --service forwarder"),
    # Other commands
    ("status 99999999", "", "status"),
    ("enroll Not/A/Name --ca-dir={d}/ca --out={d}/o", "", "name"),
    ("request ../../etc", "", "name"),
    ("install {d}/none", "", "{d}/none"),
    ("doctor forwader", "", "forwarder"),
    ("verify {d}/none", "", "verify"),
]


class MistakeTests(SynchronousTestCase):
    """Each mistake alone, with everything else right."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        authority = Authority.create(self.directory / "ca")
        authority.masterIdentity(["127.0.0.1"])
        authority.enroll("decky-01", self.directory / "agent")
        # A CA whose key is elsewhere.
        shutil.copytree(
            self.directory / "ca" / "master", self.directory / "offline/master"
        )
        shutil.copy(self.directory / "ca" / "ca.crt", self.directory / "offline")
        (self.directory / "home").mkdir()
        self.patch(Configured, "directory", str(self.directory / "etc"))
        self.patch(Configured, "decnetPath", str(self.directory / "decnet.ini"))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DECNET_")}
        clean["HOME"] = str(self.directory / "home")
        environment = mock.patch.dict(os.environ, clean, clear=True)
        environment.start()
        self.addCleanup(environment.stop)

    def words(self, text: str) -> list[str]:
        """The words of a command line; right options come first, so that wrong ones win."""
        first, *rest = text.replace("{d}", str(self.directory)).split(" ")
        given = {word.partition("=")[0] for word in rest}
        d = self.directory
        right = {
            "F": {
                "--master-host": "m",
                "--log-file": f"{d}/a.log",
                "--agent-dir": f"{d}/agent",
            },
            "D": {
                "--log-file": f"{d}/a.log",
                "--agent-dir": f"{d}/agent",
            },
            "L": {
                "--ca-dir": f"{d}/ca",
                "--log-path": f"{d}/m.log",
                "--json-path": f"{d}/m.json",
            },
        }.get(first, {})
        service = {"F": "forwarder", "D": "forwarder", "L": "listener"}.get(
            first, first
        )
        more = [f"{n}={v}" for n, v in right.items() if n not in given]
        return [service, *more, *rest]

    def test_everyMistakeHasItsRemedy(self) -> None:
        """Every mistake has one line with the remedy; the status says whose fault it is."""
        wrong = []
        for words, text, remedy in MISTAKES:
            (self.directory / "x.toml").write_text(text)
            found = self.answer(self.words(words), remedy)
            if found is not None:
                wrong.append(f"{words} {text!r}: {found}")
        self.assertFalse(wrong, "\n".join(wrong))
        self.assertGreaterEqual(len(MISTAKES), 40)

    def answer(self, words: list[str], remedy: str) -> str | None:
        """What is wrong with the answer to a mistake; C{None}: nothing."""
        out, err = io.StringIO(), io.StringIO()
        status: object = None
        tap = TAPS.get(words[0])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                if tap is None:
                    main(words)
                else:
                    # As the command does it, up to the service that would start.
                    options = tap.Options()
                    options.parseOptions(words[1:])
                    tap.makeService(options)
            except usage.UsageError as error:
                status = str(error)
            except SystemExit as ended:
                status = ended.code
        said = err.getvalue() if not isinstance(status, str) else f"{status}\n"
        remedy = remedy.replace("{d}", str(self.directory))
        if status in (0, None):
            return f"status {status}: {said or out.getvalue()!r}"
        if "Traceback" in said or said.count("\n") != 1:
            return f"not one line: {said!r}"
        if remedy not in said:
            return f"no remedy {remedy!r}: {said!r}"
        return None

    def test_noWrongSuggestion(self) -> None:
        """The dashes do not make two names similar."""
        self.assertIsNone(self.answer(["status", "--prot=1"], "--prot not recognized"))
        self.assertIsNotNone(self.answer(["status", "--prot=1"], "do you mean"))

    def test_unreadableAuthority(self) -> None:
        """A CA directory that this user may not read is named, with the reason."""
        d = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, d)
        d.chmod(0o755)
        Authority.create(d / "ca").masterIdentity(["127.0.0.1"])
        isRoot = os.geteuid() == 0
        (d / "ca").chmod(0o700 if isRoot else 0)
        self.addCleanup((d / "ca").chmod, 0o700)
        for name in ("enroll", "ca", "revoke"):
            importlib.import_module(f"decnet_syslog.commands.{name}")
        self.directory = d
        for text in (
            "L --config= --log-path=/tmp/none.log --json-path= --journal=/tmp/none.db",
            "enroll decky-01 --ca-dir={d}/ca --out={d}/none",
            "ca show --ca-dir={d}/ca",
            "revoke decky-01 --ca-dir={d}/ca",
        ):
            words = self.words(text)
            if isRoot:
                os.seteuid(NOBODY)
            try:
                found = self.answer(words, "{d}/ca")
                denied = self.answer(words, "ermission denied")
            finally:
                if isRoot:
                    os.seteuid(0)
            self.assertEqual((found, denied), (None, None), text)


class ProcessTests(SynchronousTestCase):
    """What only a process can get wrong."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        authority = Authority.create(self.directory / "ca")
        authority.masterIdentity(["127.0.0.1"])

    def start(self, *words: str, user: int | None = None) -> subprocess.Popen[str]:
        """Start a command."""
        environment = {k: v for k, v in os.environ.items() if "DECNET_" not in k}
        paths = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-c", CLI, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=user,
            env={**environment, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def listener(self, *more: str, user: int | None = None) -> subprocess.Popen[str]:
        """Start a listener whose options are right."""
        return self.start(
            "listener",
            "--config=",
            "--host=127.0.0.1",
            "--port=0",
            f"--ca-dir={self.directory}/ca",
            f"--log-path={self.directory}/m.log",
            f"--json-path={self.directory}/m.json",
            *more,
            user=user,
        )

    def refusal(self, process: subprocess.Popen[str]) -> str:
        """The last line of a command that ends with an error."""
        out, _ = process.communicate(timeout=120)
        self.assertNotIn("Traceback", out)
        self.assertNotEqual(process.returncode, 0, out)
        lines: list[str] = out.strip().splitlines()
        return lines[-1]

    def test_addressesThatAreNotHere(self) -> None:
        """An address of another machine is named, and not the port."""
        for option in ("--host=192.0.2.1", "--status-address=192.0.2.1"):
            more = ["--status-port=0"] if "status" in option else []
            said = self.refusal(self.listener(option, *more))
            self.assertIn("192.0.2.1", said)
            self.assertIn("address of this machine", said)
            self.assertNotIn("choose another", said)

    def test_interruptedWait(self) -> None:
        """A listener that waits for another one's lock logs that; Ctrl-C ends it in one line."""
        lock = ListenerLock(self.directory / "listener.db.lock")
        lock.acquire()
        self.addCleanup(lock.release)
        process = self.listener(f"--journal={self.directory}/listener.db")
        assert process.stdout is not None
        seen = ""
        while "wait" not in seen:
            line = process.stdout.readline()
            self.assertTrue(line, seen)
            seen += line
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
        self.assertNotIn("Traceback", seen + out)
        self.assertIn(process.returncode, (130, -signal.SIGINT, 1), seen + out)
